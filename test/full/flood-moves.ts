// Which flows of a flood came to another worker with their second packet than with their first (floods.py).

export const KINDS = ['syn', 'ack', 'udp'] as const;
export type Kind = (typeof KINDS)[number];

/** [low 22 bits of the source address, source port, mark] */
export type Seen = readonly [number, number, number];

const FIRST = 1;

interface Mark {
  readonly about: string;
  /** Flows that docs/flows.md promises not to move. */
  readonly stays: readonly Kind[];
  readonly isLate?: true;
}

/** What the inner IP identification of a second packet says; the numbers are floods.py's. */
export const MARKS: Readonly<Record<number, Mark>> = {
  2: { about: 'first packet before the change, second just after it', stays: KINDS },
  3: { about: 'first packet before the change, second a minute after it', stays: ['syn', 'ack'], isLate: true },
  4: { about: 'first packet after the change, second a tenth of a second later', stays: ['ack'] },
  5: { about: 'first packet after the change, second a minute after the change', stays: ['ack'], isLate: true },
  6: { about: 'table unchanged', stays: KINDS },
};

export interface Tally {
  readonly kind: Kind;
  readonly mark: number;
  /** Flows whose two packets both were seen. */
  readonly looked: number;
  readonly moved: number;
}

export class Moves {
  readonly #first = new Map<number, number>();
  readonly #seconds: { flow: number; kind: number; mark: number; worker: number }[] = [];

  /** What a worker's tap saw. */
  add(worker: number, seen: readonly Seen[]): void {
    for (const [source, port, mark] of seen) {
      const flow = source * 65536 + port;
      if (mark === FIRST) this.#first.set(flow, worker);
      else this.#seconds.push({ flow, kind: source >> 20, mark, worker });
    }
  }

  /** By kind and mark, in that order. A flow of which one packet was dropped on the way is in none. */
  tally(): Tally[] {
    const counts = new Map<string, { kind: Kind; mark: number; looked: number; moved: number }>();
    for (const { flow, kind, mark, worker } of this.#seconds) {
      const first = this.#first.get(flow);
      if (first === undefined) continue;
      const key = `${kind} ${mark}`;
      const count = counts.get(key) ?? { kind: KINDS[kind], mark, looked: 0, moved: 0 };
      counts.set(key, count);
      count.looked++;
      if (first !== worker) count.moved++;
    }
    return [...counts].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, count]) => count);
  }
}
