/**
 * The shared memory of tables, used again when no snapshot that somebody reads has it any more. A thread's view of memory that it once was sent may stay until
 * V8 looks for garbage there, which it does hardly ever in a thread that makes none: memory that is used again is held all the same, and by that is bounded.
 */

/** Bytes that wait to be used again, at most. */
const MOST_SPARE = 8 << 20;

export class TableMemory {
  /** Snapshots that have it and are read. */
  readonly #uses = new Map<SharedArrayBuffer, number>();
  /** By size. */
  readonly #spare = new Map<number, SharedArrayBuffer[]>();
  #spareBytes = 0;

  /** Memory of so many bytes; what stands in it is anything. */
  take(bytes: number): SharedArrayBuffer {
    const memory = this.#spare.get(bytes)?.pop();
    if (memory === undefined) return new SharedArrayBuffer(bytes);
    this.#spareBytes -= bytes;
    return memory;
  }

  /** A snapshot has these tables. */
  use(tables: readonly SharedArrayBuffer[]): void {
    for (const table of tables) this.#uses.set(table, (this.#uses.get(table) ?? 0) + 1);
  }

  /** A snapshot that had them is read by nobody any more. */
  release(tables: readonly SharedArrayBuffer[]): void {
    for (const table of tables) {
      const uses = (this.#uses.get(table) ?? 0) - 1;
      if (uses > 0) {
        this.#uses.set(table, uses);
        continue;
      }
      this.#uses.delete(table);
      if (uses < 0 || table.byteLength === 0 || this.#spareBytes + table.byteLength > MOST_SPARE) continue;
      this.#spareBytes += table.byteLength;
      const others = this.#spare.get(table.byteLength);
      if (others === undefined) this.#spare.set(table.byteLength, [table]);
      else others.push(table);
    }
  }
}
