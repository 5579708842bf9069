/** What a client asks of the daemon, read and held against the bounds: nothing of it is believed. */
import { CodedError, EXIT } from '../base/errors.ts';
import type { SnapshotNames } from '../pipeline/snapshot.ts';
import { TRACE_BOUNDS } from './bounds.ts';
import { tryFilter } from './filter/compile.ts';
import { type Expression, type Term, termsOf } from './filter/expression.ts';
import { parseFilter } from './filter/parse.ts';

export interface TraceRequest {
  readonly filter: string;
  readonly expression: Expression;
  readonly count: number;
  readonly seconds: number;
  readonly rate: number;
  readonly snap: number;
}

const KEYS: readonly string[] = ['filter', ...Object.keys(TRACE_BOUNDS)];

/** Throws GD_TRACE_REQUEST, or GD_TRACE_FILTER (both exit code 2); GD_TRACE_NAME for a service, pool or backend that is not among `names`. */
export function traceRequest(asked: Readonly<Record<string, unknown>>, names: SnapshotNames): TraceRequest {
  const refuse = (message: string, hint: string) => new CodedError('GD_TRACE_REQUEST', message, { exitCode: EXIT.USAGE, hint });
  const unknown = Object.keys(asked).find((key) => !KEYS.includes(key));
  if (unknown !== undefined) throw refuse(`unknown word "${unknown}"`, `a trace is asked for with ${KEYS.join(', ')}`);
  const { filter = '' } = asked;
  if (typeof filter !== 'string') throw refuse('filter is a text', 'gue-director trace --help');
  const number = (key: keyof typeof TRACE_BOUNDS): number => {
    const { least, usual, most } = TRACE_BOUNDS[key];
    const value = asked[key] ?? usual;
    if (typeof value === 'number' && Number.isInteger(value) && (value === usual || (value >= least && value <= most)))
      return value;
    throw refuse(`${key} is a whole number from ${least} to ${most}`, 'docs/trace.md, "Bounds", says why');
  };
  const expression = parseFilter(filter);
  for (const term of termsOf(expression)) checkName(term, names);
  checkCompiles(filter, expression);
  return { filter, expression, count: number('count'), seconds: number('seconds'), rate: number('rate'), snap: number('snap') };
}

/** A filter that the threads can not compile is refused here: GD_TRACE_FILTER. */
function checkCompiles(filter: string, expression: Expression): void {
  try {
    tryFilter(expression);
  } catch (error) {
    throw new CodedError('GD_TRACE_FILTER', `the filter "${filter}" can not be compiled: ${String(error)}`, {
      exitCode: EXIT.USAGE,
      hint: 'write it in other words: gue-director trace --help',
      cause: error,
    });
  }
}

function checkName(term: Term, { services, pools, backends }: SnapshotNames): void {
  const unknown = (what: string, name: string, known: readonly string[]) => {
    const some =
      known.length === 0
        ? 'there is none'
        : `there ${known.length === 1 ? 'is' : 'are'} ${known.slice(0, 12).join(', ')}${known.length > 12 ? ', …' : ''}`;
    return new CodedError('GD_TRACE_NAME', `no ${what} is named "${name}"`, { exitCode: EXIT.USAGE, hint: some });
  };
  if (term.is === 'service' && !services.some(({ name }) => name === term.name)) {
    throw unknown(
      'service',
      term.name,
      services.map(({ name }) => name),
    );
  }
  if (term.is === 'pool' && !pools.some(({ name }) => name === term.name))
    throw unknown(
      'pool',
      term.name,
      pools.map(({ name }) => name),
    );
  if (
    term.is === 'backend' &&
    !backends.some(({ name, pool }) => name === term.name && (term.pool === null || pool === term.pool))
  ) {
    const written = term.pool === null ? term.name : `${term.pool}/${term.name}`;
    throw unknown(
      'backend',
      written,
      backends.map(({ name, pool }) => `${pool}/${name}`),
    );
  }
}
