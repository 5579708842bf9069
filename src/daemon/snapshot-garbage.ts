/**
 * Snapshots that nobody reads any more, given back in time. Their tables lie in shared memory, which V8 counts for no thread: it sees a handful of small objects,
 * takes its time with them, and each holds 130 KB of a table of 65,537 slots. A director whose backends flap for a day would grow by gigabytes before V8 looked. So
 * what was published is counted here, and when it is much, V8 is told to look now.
 *
 * Main collects everything, in a task of its own (about 100 ms of a heap of 40 MB; it handles no packet), and gives the memory that this leaves empty back to the
 * system, most of it room for young objects that V8 once made larger: so what the process holds a few minutes after a change says what it needs. A forwarding thread
 * collects only what is young, at most a millisecond: what it has of a snapshot is young when the next one comes.
 */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import type { SnapshotParts } from '../pipeline/snapshot.ts';
import type { SnapshotChange } from './thread-protocol.ts';

/** Bytes of shared memory after which is collected. */
const MUCH = 8 << 20;
/** Seconds after which is collected although it was less, when something was published. */
const LONG = 300;

type Kind = 'minor' | 'major';
type Collect = (options: { readonly type: Kind; readonly execution: 'sync' | 'async' }) => unknown;

let found: Collect | null = null;

/** V8's own function, which scripts do not see unless it is asked for by a flag; a context made afterwards has it. */
function collector(): Collect {
  if (found === null) {
    setFlagsFromString('--expose-gc');
    found = runInNewContext('gc') as Collect;
    setFlagsFromString('--no-expose-gc');
  }
  return found;
}

/** What a developer's "collect garbage" does, and no other function of Node: it also makes the heap smaller. A Node built without it collects all the same. */
function collectAndShrink(): void {
  if (!process.features.inspector) {
    collector()({ type: 'major', execution: 'async' });
    return;
  }
  const { Session } = process.getBuiltinModule('node:inspector');
  const session = new Session();
  session.connect();
  // Not inside the answer: there it would wait for itself, for ever.
  session.post('HeapProfiler.collectGarbage', () => setImmediate(() => session.disconnect()));
}

export class SnapshotGarbage {
  readonly #type: Kind;
  #bytes = 0;
  #collectedAt: number | null = null;
  #tables: ReadonlySet<ArrayBufferLike> = new Set();
  /** Roots are written again when nobody reads them: those are no garbage. */
  readonly #roots = new WeakSet<ArrayBufferLike>();
  /** Times that V8 was told. */
  collections = 0;

  /** `minor`: in a forwarding thread; `major`: in main. */
  constructor(type: Kind) {
    this.#type = type;
  }

  /** The next snapshot is here: what the one before had and this one has not will be garbage. `now`: seconds. */
  published({ root, tables }: Pick<SnapshotParts, 'root' | 'tables'>, now: number): void {
    if (!this.#roots.has(root)) this.#bytes += root.byteLength;
    this.#roots.add(root);
    for (const table of tables) if (!this.#tables.has(table)) this.#bytes += table.byteLength;
    this.#tables = new Set(tables);
    this.#collect(now);
  }

  /** The same in a thread, which is told what is new. */
  received({ root, isNewRoot, tables }: SnapshotChange, now: number): void {
    if (isNewRoot) this.#bytes += root.byteLength;
    for (const [, table] of tables) this.#bytes += table.byteLength;
    this.#collect(now);
  }

  #collect(now: number): void {
    this.#collectedAt ??= now;
    if (this.#bytes < MUCH && now - this.#collectedAt < LONG) return;
    this.#bytes = 0;
    this.#collectedAt = now;
    this.collections++;
    if (this.#type === 'major') collectAndShrink();
    else collector()({ type: 'minor', execution: 'sync' });
  }
}
