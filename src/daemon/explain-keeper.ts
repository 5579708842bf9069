/** `explain` of the running director: what it would do with a packet now, by its own tables, flow entries and path MTUs. It reads what threads write and changes nothing. */
import type { Clock } from '../base/clock.ts';
import { CodedError, EXIT } from '../base/errors.ts';
import { answer } from '../explain/answer.ts';
import { type AskedFrame, flowFrame, hexFrame } from '../explain/question.ts';
import { SnapshotBuilder, type SavedState, type SnapshotParts } from '../pipeline/snapshot.ts';
import type { Spec } from '../pipeline/spec.ts';
import { type FlowMemory, flowWords } from './flow-memory.ts';
import type { PathFacts } from './thread-protocol.ts';

export interface ExplainKeeperOptions {
  readonly clock: Clock;
  readonly threads: number;
  /** What is in force, tunnel sources resolved; null before the first publication. */
  readonly inForce: () => { readonly spec: Spec; readonly parts: SnapshotParts } | null;
  readonly flows: () => FlowMemory;
  /** What the ids of backends and tables mean by now (SnapshotBuilder.save). */
  readonly identities: () => SavedState;
  /** Of path-keeper.ts. */
  readonly pathMtu: () => SharedArrayBuffer | null;
  /** Of the drivers, as a forwarding thread has them; null while none forwards. */
  readonly facts: () => PathFacts | null;
}

/** An answer for the admin face: JSON. */
export interface Explained {
  readonly status: 200 | 400 | 503;
  readonly body: object;
}

export class ExplainKeeper {
  readonly #options: ExplainKeeperOptions;
  #words: Int32Array | null = null;

  constructor(options: ExplainKeeperOptions) {
    this.#options = options;
  }

  /**
   * `flow` (words) with `flags` and `length`, or `packet` (hexadecimal digits) with `link`; `without`: POOL/NAME. 200 with a trail; 400 with `message`, `hint` and
   * `code` for a question that can not be read; 503 while nothing forwards.
   */
  explain(query: URLSearchParams): Explained {
    const inForce = this.#options.inForce();
    const facts = this.#options.facts();
    if (inForce === null || facts === null) return { status: 503, body: { message: 'no forwarding thread is at work yet', hint: 'ask again in a moment' } };
    try {
      return { status: 200, body: this.#answer(frameOf(query), query.get('without'), inForce, facts) };
    } catch (error) {
      if (!(error instanceof CodedError) || error.exitCode !== EXIT.USAGE) throw error;
      return { status: 400, body: { message: error.message, hint: error.hint, code: error.code } };
    }
  }

  #answer(asked: AskedFrame, without: string | null, inForce: { spec: Spec; parts: SnapshotParts }, facts: PathFacts): object {
    const { clock, threads, flows, identities, pathMtu } = this.#options;
    const now = clock.seconds();
    const memory = flows();
    this.#words ??= flowWords(memory);
    const mtus = pathMtu();
    const builder = new SnapshotBuilder();
    if (without !== null) builder.restore(identities(), now);
    return answer(
      asked,
      now,
      {
        ...inForce,
        builder,
        live: { words: this.#words, key: memory.key, geometry: memory.geometry, threads },
        pathMtu: mtus === null ? null : new Int32Array(mtus),
        ingress: facts.ingress,
        egress: facts.egress,
      },
      without,
    );
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
  return flowFrame(flow as string, { flags: query.get('flags') ?? undefined, length: length === null ? undefined : Number(length) });
}
