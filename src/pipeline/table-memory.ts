/**
 * The shared memory of tables, used again when no snapshot that somebody reads has it any more. A thread's view of memory that it once was sent may stay until
 * V8 looks for garbage there, which it does hardly ever in a thread that makes none: memory that is used again is held all the same, and by that is bounded.
 */

/** Bytes that wait to be used again, at most. */
const MOST_SPARE = 8 << 20;

/** A table that the snapshots of these generations have, the first and the last one included. */
interface Retired {
  readonly table: SharedArrayBuffer;
  readonly first: number;
  readonly last: number;
}

export class TableMemory {
  /** Generations that somebody may read. */
  readonly #read = new Set<number>();
  /** Tables of the last snapshot: the generation that had each first. */
  readonly #first = new Map<SharedArrayBuffer, number>();
  #retired: Retired[] = [];
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

  /** The next snapshot: without tables that the one before had, and with others. Generations only grow. */
  publish(generation: number, gone: readonly SharedArrayBuffer[], come: Iterable<SharedArrayBuffer>): void {
    this.#read.add(generation);
    for (const table of gone) {
      this.#retired.push({ table, first: this.#first.get(table) ?? generation, last: generation - 1 });
      this.#first.delete(table);
    }
    for (const table of come) if (!this.#first.has(table)) this.#first.set(table, generation);
    this.#sweep();
  }

  /** The snapshot of this generation is read by nobody any more. */
  release(generation: number): void {
    if (this.#read.delete(generation)) this.#sweep();
  }

  #sweep(): void {
    const read = [...this.#read];
    this.#retired = this.#retired.filter(({ table, first, last }) => {
      if (read.some((generation) => generation >= first && generation <= last)) return true;
      this.#keep(table);
      return false;
    });
  }

  #keep(table: SharedArrayBuffer): void {
    if (table.byteLength === 0 || this.#spareBytes + table.byteLength > MOST_SPARE) return;
    this.#spareBytes += table.byteLength;
    const others = this.#spare.get(table.byteLength);
    if (others === undefined) this.#spare.set(table.byteLength, [table]);
    else others.push(table);
  }
}
