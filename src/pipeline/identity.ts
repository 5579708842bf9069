/**
 * Stable numbers for services and backends. A backend keeps its id through every snapshot, so that flow entries go on naming
 * it; an id is given to somebody else only after it has been unused for REUSE_AFTER, and then with a new `since`, by
 * which older flow entries are known to be stale.
 */
import { CodedError } from '../base/errors.ts';

/** Seconds for which an id that nobody has any more stays free. */
export const REUSE_AFTER = 3600;

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

/** What changed between two of them. */
export interface SavedIdentityChanges extends SavedIdentities {
  readonly forgotten: readonly string[];
}

/**
 * One build is one transaction: `begin`, a `claim` for everybody who is part of it, `commit`. Without the commit, because the
 * build failed, nothing has changed. A build that knows what is new may say only that (`change`): who was part of the last one still is, unless `leave` says
 * otherwise.
 */
export class IdentityRegistry {
  readonly #holders = new Map<string, Holder>();
  readonly #limit: number;
  readonly #noun: string;
  #next = 0;
  #claimed = new Map<string, Holder>();
  /** Identities whose id was given to a claimant. */
  #recycled = new Set<string>();
  /** Identities that were part of the last build and leave; null: whoever does not claim leaves. */
  #leaving: Set<string> | null = null;
  #nextClaimed = 0;
  /** Identities whose holder is another than when `takeChanges` was last asked. */
  #touched = new Set<string>();
  /** Grows with every commit after which an id means somebody it did not mean before. */
  #changes = 0;

  constructor(limit: number, noun: string) {
    this.#limit = limit;
    this.#noun = noun;
  }

  begin(): void {
    this.#claimed = new Map();
    this.#recycled = new Set();
    this.#leaving = null;
    this.#nextClaimed = this.#next;
  }

  /** As `begin`, but who was part of the last build is part of this one too, without a claim. */
  change(): void {
    this.begin();
    this.#leaving = new Set();
  }

  /** After `change`: no longer part of the build, unless it claims. */
  leave(identity: string): void {
    this.#leaving?.add(identity);
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

  /** What is known now has been written down. */
  told(): void {
    this.#touched = new Set();
  }

  /** What `save` would say otherwise than when this was last asked: holders that are new or another, and identities that have none any more. */
  takeChanges(): SavedIdentityChanges {
    const holders: SavedHolder[] = [];
    const forgotten: string[] = [];
    for (const identity of this.#touched) {
      const holder = this.#holders.get(identity);
      if (holder === undefined) forgotten.push(identity);
      else holders.push([identity, holder.id, holder.since, holder.gone === Infinity ? null : holder.gone]);
    }
    this.#touched = new Set();
    return { next: this.#next, holders, forgotten };
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
    const before = this.#claimed.get(identity);
    if (before !== undefined) return { id: before.id, since: before.since };
    const known = this.#recycled.size > 0 && this.#recycled.has(identity) ? undefined : this.#holders.get(identity);
    const id = known?.id ?? (this.#nextClaimed < this.#limit ? this.#nextClaimed++ : this.#recycle(now));
    const holder: Holder = known ?? { id, since: now, gone: Infinity };
    this.#claimed.set(identity, holder);
    return { id: holder.id, since: holder.since };
  }

  /** The build succeeded: who was not claimed is gone since `now`. */
  commit(now: number): void {
    if (this.#recycled.size > 0 || this.#nextClaimed !== this.#next) this.#changes++;
    for (const identity of this.#recycled) {
      this.#holders.delete(identity);
      this.#touched.add(identity);
    }
    if (this.#leaving === null) {
      for (const [identity, holder] of this.#holders) this.#part(identity, holder, now);
    } else {
      for (const identity of this.#leaving) this.#part(identity, this.#holders.get(identity), now);
    }
    for (const [identity, holder] of this.#claimed) {
      const isNew = holder.id >= this.#next || this.#recycled.size > 0;
      if (holder.gone === Infinity && !isNew) continue;
      this.#touched.add(identity);
      holder.gone = Infinity;
      this.#holders.set(identity, holder);
    }
    this.#next = this.#nextClaimed;
  }

  #part(identity: string, holder: Holder | undefined, now: number): void {
    if (holder === undefined || holder.gone !== Infinity || this.#claimed.has(identity)) return;
    holder.gone = now;
    this.#touched.add(identity);
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
