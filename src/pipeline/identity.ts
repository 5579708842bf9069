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

/** A holder as it is written down: [identity, id, since, seconds when it was last wanted or null while it is]. */
export type SavedHolder = readonly [string, number, number, number | null];

export interface SavedIdentities {
  /** One above the highest id given. */
  readonly next: number;
  readonly holders: readonly SavedHolder[];
}

/**
 * One build is one transaction: `begin`, a `claim` for everybody who is part of it, `commit`. Without the commit, because the
 * build failed, nothing has changed.
 */
export class IdentityRegistry {
  readonly #holders = new Map<string, Holder>();
  readonly #limit: number;
  readonly #noun: string;
  #next = 0;
  #claimed = new Map<string, Holder>();
  /** Identities whose id was given to a claimant. */
  #recycled = new Set<string>();
  #nextClaimed = 0;
  /** Grows with every commit after which an id means somebody it did not mean before. */
  #changes = 0;

  constructor(limit: number, noun: string) {
    this.#limit = limit;
    this.#noun = noun;
  }

  begin(): void {
    this.#claimed = new Map();
    this.#recycled = new Set();
    this.#nextClaimed = this.#next;
  }

  get changes(): number {
    return this.#changes;
  }

  /** Everything that is known, for `restore`. */
  save(): SavedIdentities {
    const holders = [...this.#holders].map(([identity, { id, since, gone }]): SavedHolder => {
      return [identity, id, since, gone === Infinity ? null : gone];
    });
    return { next: this.#next, holders };
  }

  /**
   * Begins with what an earlier registry of the same kind knew; before the first `begin`. Throws RangeError when it can not be true: then
   * nothing is known.
   */
  restore({ next, holders }: SavedIdentities): void {
    const ids = new Set(holders.map(([, id]) => id));
    const isRight =
      Number.isInteger(next) &&
      next >= 0 &&
      next <= this.#limit &&
      ids.size === holders.length &&
      holders.every(([, id, since]) => Number.isInteger(id) && id >= 0 && id < next && Number.isInteger(since) && since >= 0);
    if (!isRight) throw new RangeError(`the identities of ${this.#noun} contradict themselves`);
    this.#next = next;
    this.#holders.clear();
    for (const [identity, id, since, gone] of holders) this.#holders.set(identity, { id, since, gone: gone ?? Infinity });
  }

  /** The id of `identity`, new or known. Throws GD_SNAPSHOT_IDS when more than `limit` are alive or recently gone. */
  claim(identity: string, now: number): { id: number; since: number } {
    // Whose id was given away a moment ago, in this build, is somebody new.
    const known = this.#claimed.get(identity) ?? (this.#recycled.has(identity) ? undefined : this.#holders.get(identity));
    const id = known?.id ?? (this.#nextClaimed < this.#limit ? this.#nextClaimed++ : this.#recycle(now));
    const holder: Holder = known ?? { id, since: now, gone: Infinity };
    this.#claimed.set(identity, holder);
    return { id: holder.id, since: holder.since };
  }

  /** The build succeeded: who was not claimed is gone since `now`. */
  commit(now: number): void {
    if (this.#recycled.size > 0 || this.#nextClaimed !== this.#next) this.#changes++;
    for (const identity of this.#recycled) this.#holders.delete(identity);
    for (const holder of this.#holders.values()) if (holder.gone === Infinity) holder.gone = now;
    for (const [identity, holder] of this.#claimed) {
      holder.gone = Infinity;
      this.#holders.set(identity, holder);
    }
    this.#next = this.#nextClaimed;
  }

  /** One above the highest id given, those claimed since `begin` included. */
  get limit(): number {
    return this.#nextClaimed;
  }

  #recycle(now: number): number {
    let oldest: [string, Holder] | null = null;
    for (const entry of this.#holders) {
      if (this.#claimed.has(entry[0]) || this.#recycled.has(entry[0])) continue;
      if (oldest === null || entry[1].gone < oldest[1].gone) oldest = entry;
    }
    if (oldest === null || now - oldest[1].gone < REUSE_AFTER) {
      throw new CodedError('GD_SNAPSHOT_IDS', `more than ${this.#limit} ${this.#noun} within ${REUSE_AFTER} seconds`, {
        hint: `remove ${this.#noun} from the configuration, or wait until old ones are forgotten`,
      });
    }
    this.#recycled.add(oldest[0]);
    return oldest[1].id;
  }
}
