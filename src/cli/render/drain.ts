/** The text of `drain`: what is drained, since when, until when, and what is left on it. */
import { duration } from '../../base/duration.ts';
import { columns } from './columns.ts';
import type { Paint } from './paint.ts';

/** What POST /-/drain answers. */
export interface DrainListing {
  readonly director: { readonly age: number; readonly stopIn: number | null } | null;
  readonly backends: readonly {
    readonly pool: string;
    readonly backend: string;
    readonly state: string;
    readonly cause: string;
    readonly age: number;
    readonly downIn: number | null;
    readonly flows: { readonly alive: number; readonly remembered: number } | null;
  }[];
}

export function drainText({ director, backends }: DrainListing, paint: Paint): string {
  const lines: string[] = [];
  if (director !== null) {
    const end = director.stopIn === null ? '' : `, ends in ${duration(director.stopIn)}`;
    lines.push(paint.yellow(`this director is draining for ${duration(director.age)}${end}: not ready, it forwards on`));
  }
  if (backends.length === 0) {
    if (director === null) lines.push('nothing is drained');
    return `${lines.join('\n')}\n`;
  }
  if (director !== null) lines.push('');
  const rows = backends.map(({ pool, backend, state, cause, age, downIn, flows }) => [
    `${pool}/${backend}`,
    state,
    cause,
    duration(age),
    state === 'down' ? 'now' : downIn === null ? 'never' : `in ${duration(downIn)}`,
    ...(flows === null ? ['-', '-'] : [String(flows.alive), String(flows.remembered)]),
  ]);
  const heading = ['backend', 'state', 'cause', 'for', 'down', 'flows of the last minute', 'of the last ten'];
  const [first, ...rest] = columns([heading, ...rows], ['left', 'left', 'left', 'right', 'right', 'right', 'right']);
  return `${[...lines, paint.dim(first), ...rest].join('\n')}\n`;
}
