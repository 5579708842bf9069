/** `explain` of the running director: what it would do with a packet now, by its own tables, flow entries and path MTUs. It reads what threads write and changes nothing. */
import type { Action } from '../admin/actions.ts';
import type { Clock } from '../base/clock.ts';
import { CodedError, EXIT } from '../base/errors.ts';
import { answer } from '../explain/answer.ts';
import { type AskedFrame, flowFrame, hexFrame } from '../explain/question.ts';
import { SnapshotBuilder, type SnapshotParts } from '../pipeline/snapshot.ts';
import type { Spec } from '../pipeline/spec.ts';
import type { FlowKeeper } from './flow-keeper.ts';
import type { ForwardingThreads } from './forwarding-threads.ts';
import type { PathKeeper } from './path-keeper.ts';
import type { PathFacts } from './thread-protocol.ts';

/** An answer for the admin face: JSON. */
export interface Explained {
  readonly status: 200 | 400 | 503;
  readonly body: object;
}

export class ExplainKeeper {
  readonly #clock: Clock;
  /** What is in force, tunnel sources resolved; null before the first publication. */
  readonly #publisher: { readonly spec: Spec | null; readonly current: SnapshotParts | null };
  readonly #flows: Pick<FlowKeeper, 'memory' | 'identities'>;
  readonly #paths: Pick<PathKeeper, 'memory'>;
  readonly #threads: Pick<ForwardingThreads, 'seats' | 'facts' | 'flowWords'>;
  /** What is known against a backend. */
  readonly #warnings: (pool: string, backend: string) => readonly string[];

  constructor(
    clock: Clock,
    publisher: { readonly spec: Spec | null; readonly current: SnapshotParts | null },
    flows: Pick<FlowKeeper, 'memory' | 'identities'>,
    paths: Pick<PathKeeper, 'memory'>,
    threads: Pick<ForwardingThreads, 'seats' | 'facts' | 'flowWords'>,
    warnings: (pool: string, backend: string) => readonly string[],
  ) {
    this.#warnings = warnings;
    this.#clock = clock;
    this.#publisher = publisher;
    this.#flows = flows;
    this.#paths = paths;
    this.#threads = threads;
  }

  /**
   * `flow` (words) with `flags` and `length`, or `packet` (hexadecimal digits) with `link`; `without`: POOL/NAME. 200 with a trail; 400 with `message`, `hint` and
   * `code` for a question that can not be read; 503 while nothing forwards.
   */
  explain(query: URLSearchParams): Explained {
    const { spec, current: parts } = this.#publisher;
    const { facts } = this.#threads;
    if (spec === null || parts === null || facts === null)
      return { status: 503, body: { message: 'no forwarding thread is at work yet', hint: 'ask again in a moment' } };
    try {
      return { status: 200, body: this.#answer(frameOf(query), query.get('without'), { spec, parts }, facts) };
    } catch (error) {
      if (!(error instanceof CodedError) || error.exitCode !== EXIT.USAGE) throw error;
      return { status: 400, body: { message: error.message, hint: error.hint, code: error.code } };
    }
  }

  /** The same with POST: for packets too long for a query. */
  readonly action: Action = (request) => {
    const words = Object.entries(request).map(([key, value]): [string, string] => [key, String(value)]);
    return this.explain(new URLSearchParams(words));
  };

  #answer(asked: AskedFrame, without: string | null, inForce: { spec: Spec; parts: SnapshotParts }, facts: PathFacts): object {
    const now = this.#clock.seconds();
    const { key, geometry } = this.#flows.memory;
    const pathMtu = this.#paths.memory;
    const builder = new SnapshotBuilder();
    if (without !== null) builder.restore(this.#flows.identities(), now);
    const told = answer(
      asked,
      now,
      {
        ...inForce,
        builder,
        live: { words: this.#threads.flowWords, key, geometry, threads: this.#threads.seats.length },
        pathMtu: pathMtu === null ? null : new Int32Array(pathMtu),
        ingress: facts.ingress,
        egress: facts.egress,
      },
      without,
    );
    const { choice } = told;
    const warnings = choice?.backend == null ? [] : this.#warnings(choice.pool, choice.backend);
    return choice === null || warnings.length === 0 ? told : { ...told, choice: { ...choice, warnings } };
  }
}

function frameOf(query: URLSearchParams): AskedFrame {
  const unknown = [...query.keys()].find((key) => !['flow', 'flags', 'length', 'packet', 'link', 'without'].includes(key));
  const refuse = (message: string) =>
    new CodedError('GD_EXPLAIN_QUESTION', message, {
      exitCode: EXIT.USAGE,
      hint: 'ask for /-/explain?flow=tcp+192.0.2.7:40000+198.51.100.1:443, or ?packet=HEX',
    });
  if (unknown !== undefined) throw refuse(`unknown parameter "${unknown}"`);
  const flow = query.get('flow');
  const packet = query.get('packet');
  if ((flow === null) === (packet === null)) throw refuse(flow === null ? 'which packet?' : 'flow or packet: one of them');
  if (packet !== null) {
    const link = query.get('link') ?? undefined;
    if (link !== undefined && link !== 'ip' && link !== 'ethernet') throw refuse('link is ip or ethernet');
    return hexFrame(packet, link);
  }
  const length = query.get('length');
  if (length !== null && !/^\d{1,5}$/.test(length)) throw refuse('length is a number of bytes');
  return flowFrame(flow as string, {
    flags: query.get('flags') ?? undefined,
    length: length === null ? undefined : Number(length),
  });
}
