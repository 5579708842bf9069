/**
 * Snapshots that nobody reads any more, given back in time. Their tables lie in shared memory, which V8 counts for no thread: it sees a handful of small objects,
 * takes its time with them, and each holds 130 KB of a table of 65,537 slots. A director whose backends flap for a day would grow by gigabytes before V8 looked. So
 * what was published is counted here, and when it is much, V8 is told to look now.
 *
 * Main collects everything and gives back what is empty: so what the process holds a few minutes after a change says what it needs. A forwarding thread collects only
 * what is young: what it has of a snapshot is young when the next one comes.
 */
import type { SnapshotParts } from '../pipeline/snapshot.ts';
import { collectAndShrink, collectYoung } from './heap.ts';
import type { SnapshotChange } from './thread-protocol.ts';

/** Bytes of shared memory after which is collected. */
const MUCH = 8 << 20;
/** Seconds after which is collected although it was less, when something was published. */
const LONG = 300;

type Kind = 'minor' | 'major';

export class SnapshotGarbage {
  readonly #type: Kind;
  #bytes = 0;
  #collectedAt: number | null = null;
  /** What nobody reads any more is used again: what was published before is no garbage of another time. */
  readonly #known = new WeakSet<ArrayBufferLike>();
  /** Those that were published last. */
  #tables: readonly SharedArrayBuffer[] = [];
  /** Times that V8 was told. */
  collections = 0;

  /** `minor`: in a forwarding thread; `major`: in main. */
  constructor(type: Kind) {
    this.#type = type;
  }

  /** The next snapshot is here: what the one before had and this one has not will be garbage. `now`: seconds. */
  published({ root, tables }: Pick<SnapshotParts, 'root' | 'tables'>, now: number): void {
    this.#publish(root);
    for (let number = 0; number < tables.length; number++) {
      // What stays, as most does, was looked at.
      if (this.#tables[number] !== tables[number]) this.#publish(tables[number]);
    }
    this.#tables = tables;
    this.#collect(now);
  }

  #publish(memory: SharedArrayBuffer): void {
    if (this.#known.has(memory)) return;
    this.#bytes += memory.byteLength;
    this.#known.add(memory);
  }

  /** The same in a thread, which is told what is new. */
  received({ newBytes }: SnapshotChange, now: number): void {
    this.#bytes += newBytes;
    this.#collect(now);
  }

  #collect(now: number): void {
    this.#collectedAt ??= now;
    if (this.#bytes < MUCH && now - this.#collectedAt < LONG) return;
    this.#bytes = 0;
    this.#collectedAt = now;
    this.collections++;
    if (this.#type === 'major') collectAndShrink();
    else collectYoung();
  }
}
