/** Which number each table has in a snapshot's list. One that stays keeps its number, so that a change of one pool changes no other pool's record. */
import type { PoolHistory } from './pool-history.ts';

/** Stands for nobody's table. */
const NONE = new SharedArrayBuffer(0);

export class TableNumbers {
  readonly numbers: ReadonlyMap<SharedArrayBuffer, number>;
  /** By number. */
  readonly list: readonly SharedArrayBuffer[];

  constructor(numbers: ReadonlyMap<SharedArrayBuffer, number> = new Map()) {
    this.numbers = numbers;
    const list: SharedArrayBuffer[] = [];
    for (const [table, number] of numbers) {
      while (list.length <= number) list.push(NONE);
      list[number] = table;
    }
    this.list = list;
  }

  /** Numbers of the tables of these pools: new ones get those that are free. Tables of which nobody has a slot have none. */
  next(histories: readonly PoolHistory[]): TableNumbers {
    const wanted = new Set<SharedArrayBuffer>();
    for (const { current, previous } of histories) {
      if (current.slots.size > 0) wanted.add(current.buffer);
      if (previous !== null && previous.slots.size > 0) wanted.add(previous.buffer);
    }
    const numbers = new Map<SharedArrayBuffer, number>();
    const taken = new Set<number>();
    for (const table of wanted) {
      const number = this.numbers.get(table);
      // Nobody's number is above what a list without gaps would have.
      if (number === undefined || number >= wanted.size) continue;
      numbers.set(table, number);
      taken.add(number);
    }
    let free = 0;
    for (const table of wanted) {
      if (numbers.has(table)) continue;
      while (taken.has(free)) free++;
      numbers.set(table, free++);
    }
    return new TableNumbers(numbers);
  }
}
