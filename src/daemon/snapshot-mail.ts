/** Snapshots on their way to a thread: main says what is another than before, the thread puts it together. */
import type { SharedSnapshot } from '../pipeline/snapshot.ts';
import type { SnapshotChange } from './thread-protocol.ts';

/** Main's side, for one thread: knows what that thread has. */
export class SnapshotSender {
  #tables: readonly SharedArrayBuffer[];
  /** Memory that the thread has or had. */
  readonly #sent = new WeakSet<SharedArrayBuffer>();

  /** `first`: what the thread was started with. */
  constructor({ root, tables }: SharedSnapshot) {
    this.#tables = tables;
    for (const memory of [root, ...tables]) this.#sent.add(memory);
  }

  /** What brings the thread from the last snapshot to this one. */
  changeTo({ generation, root, tables }: SharedSnapshot): SnapshotChange {
    const before = this.#tables;
    const changed: (readonly [number, SharedArrayBuffer])[] = [];
    for (let number = 0; number < tables.length; number++) {
      if (before[number] !== tables[number]) changed.push([number, tables[number]]);
    }
    let newBytes = 0;
    for (const memory of [root, ...changed.map(([, table]) => table)]) {
      if (!this.#sent.has(memory)) newBytes += memory.byteLength;
      this.#sent.add(memory);
    }
    this.#tables = tables;
    return { generation, root, newBytes, tableCount: tables.length, tables: changed };
  }
}

/** The thread's side. */
export class SnapshotReceiver {
  #tables: readonly SharedArrayBuffer[];

  constructor({ tables }: SharedSnapshot) {
    this.#tables = tables;
  }

  take({ generation, root, tableCount, tables: changed }: SnapshotChange): SharedSnapshot {
    const tables = this.#tables.slice(0, tableCount);
    for (const [number, table] of changed) tables[number] = table;
    this.#tables = tables;
    return { generation, root, tables };
  }
}
