// What the notes of dropped packets (src/base/drop-notes.ts) should hold: for each reason a list, of which only the last `kept` stay.

import type { DropNote } from '../../src/base/drop-notes.ts';

export class NoteLists {
  readonly lists = new Map<string, DropNote[]>();
  readonly #kept: number;

  constructor(kept: number) {
    this.#kept = kept;
  }

  add(note: DropNote): void {
    const list = this.lists.get(note.reason) ?? [];
    list.push(note);
    if (list.length > this.#kept) list.shift();
    this.lists.set(note.reason, list);
  }

  within(from: number, to: number): DropNote[] {
    return [...this.lists.values()].flat().filter(({ time }) => time >= from && time < to);
  }
}
