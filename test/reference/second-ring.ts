// What the ring of seconds (src/observe/second-ring.ts) should hold, as lists of objects: the oldest second goes while there are too many seconds or records.

import type { CountedSecond } from '../../src/observe/second-ring.ts';

export interface HeldSecond extends CountedSecond {
  readonly records: { series: number; packets: number; bytes: number }[];
}

export class HeldSeconds {
  readonly held: HeldSecond[] = [];
  hasForgotten = false;
  readonly #seconds: number;
  readonly #records: number;

  constructor(seconds: number, records: number) {
    this.#seconds = seconds;
    this.#records = records;
  }

  begin(end: number, lasted: number): void {
    this.held.push({ end, lasted, records: [] });
    while (this.held.length > this.#seconds) this.#forget();
  }

  add(series: number, packets: number, bytes: number): boolean {
    const count = () => this.held.reduce((sum, { records }) => sum + records.length, 0);
    while (count() + 1 > this.#records && this.held.length > 1) this.#forget();
    if (count() + 1 > this.#records) return false;
    this.held[this.held.length - 1].records.push({ series, packets, bytes });
    return true;
  }

  #forget(): void {
    this.held.shift();
    this.hasForgotten = true;
  }
}
