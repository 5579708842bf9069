/**
 * Stable numbers for services and backends. A backend keeps its id through every snapshot, so that flow entries go on naming
 * it; an id is given to somebody else only after it has been unused for REUSE_AFTER, and then with a new `since`, by
 * which older flow entries are known to be stale.
 */
import { CodedError } from '../base/errors.ts';

const REUSE_AFTER = 3600;

interface Holder {
  readonly id: number;
  readonly since: number;
  /** Seconds when it was last part of a snapshot; Infinity while it is. */
  gone: number;
}

export class IdentityRegistry {
  readonly #holders = new Map<string, Holder>();
  readonly #limit: number;
  readonly #noun: string;
  #next = 0;

  constructor(limit: number, noun: string) {
    this.#limit = limit;
    this.#noun = noun;
  }

  /** Marks everybody as gone; `claim` in the same build brings the living back. */
  begin(now: number): void {
    for (const holder of this.#holders.values()) if (holder.gone === Infinity) holder.gone = now;
  }

  /** The id of `identity`, new or known. Throws GD_SNAPSHOT_IDS when more than `limit` are alive or recently gone. */
  claim(identity: string, now: number): { id: number; since: number } {
    const known = this.#holders.get(identity);
    if (known !== undefined) {
      known.gone = Infinity;
      return known;
    }
    const holder: Holder = { id: this.#next < this.#limit ? this.#next++ : this.#recycle(now), since: now, gone: Infinity };
    this.#holders.set(identity, holder);
    return holder;
  }

  /** One above the highest id ever given. */
  get limit(): number {
    return this.#next;
  }

  #recycle(now: number): number {
    let oldest: [string, Holder] | null = null;
    for (const entry of this.#holders) if (oldest === null || entry[1].gone < oldest[1].gone) oldest = entry;
    if (oldest === null || now - oldest[1].gone < REUSE_AFTER) {
      throw new CodedError('GD_SNAPSHOT_IDS', `more than ${this.#limit} ${this.#noun} within ${REUSE_AFTER} seconds`, {
        hint: `remove ${this.#noun} from the configuration, or wait until old ones are forgotten`,
      });
    }
    this.#holders.delete(oldest[0]);
    return oldest[1].id;
  }
}
