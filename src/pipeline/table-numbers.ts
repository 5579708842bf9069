/** Which number each table has in a snapshot's list. One that stays keeps its number, so that a change of one pool changes no other pool's record. */

/** Tables as the next snapshot would have them; `TableNumbers.take` makes it so. */
export interface NumberedTables {
  /** By number. */
  readonly list: readonly SharedArrayBuffer[];
  /** Tables that the list before had not, with their numbers, and those that have another number. */
  readonly changed: ReadonlyMap<SharedArrayBuffer, number>;
  readonly gone: readonly SharedArrayBuffer[];
  /** Another one when a table that stays has another number. */
  readonly order: number;
}

export class TableNumbers {
  readonly #numbers = new Map<SharedArrayBuffer, number>();
  /** Without gaps. */
  #list: readonly SharedArrayBuffer[] = [];
  #order = 0;

  /** Number of a table of the list that was taken, −1 for what is not in it. */
  numberOf(table: SharedArrayBuffer): number {
    return this.#numbers.get(table) ?? -1;
  }

  /** The list without `gone`, which are in it, and with `come`, which are not. */
  next(gone: readonly SharedArrayBuffer[], come: readonly SharedArrayBuffer[]): NumberedTables {
    const list = [...this.#list];
    const changed = new Map<SharedArrayBuffer, number>();
    const free = gone.map((table) => this.numberOf(table)).sort((a, b) => b - a);
    for (const table of come) {
      const number = free.pop() ?? list.length;
      list[number] = table;
      changed.set(table, number);
    }
    if (free.length === 0) return { list, changed, gone, order: this.#order };
    // More have gone than come: the last ones take their places.
    const left = new Set(free);
    while (free.length > 0) {
      const last = list.length - 1;
      const table = list.pop() as SharedArrayBuffer;
      if (left.delete(last)) {
        free.splice(free.indexOf(last), 1);
        continue;
      }
      const number = free.pop() as number;
      left.delete(number);
      list[number] = table;
      changed.set(table, number);
    }
    return { list, changed, gone, order: this.#order + 1 };
  }

  take({ list, changed, gone, order }: NumberedTables): void {
    for (const table of gone) this.#numbers.delete(table);
    for (const [table, number] of changed) this.#numbers.set(table, number);
    this.#list = list;
    this.#order = order;
  }
}
