/**
 * Stable numbers for services and backends. A backend keeps its id through every snapshot, so that flow entries go on naming
 * it; an id is given to somebody else only after it has been unused for REUSE_AFTER, and then with a new `since`, by
 * which older flow entries are known to be stale.
 */
import { IdentityTransaction } from './identity-transaction.ts';

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
 * A `claim` for everybody who is part of the build; one that knows what is new may say only that (`change`): who was part of the last one still is, unless `leave`
 * says otherwise.
 */
export class IdentityRegistry extends IdentityTransaction<Holder, string> {
  /** Everything that is known, for `restore`. */
  save(): SavedIdentities {
    return { next: this.next, holders: [...this.kept].map(saved) };
  }

  /** What `save` would say otherwise than when this was last asked: holders that are new or another, and identities that have none any more. */
  takeChanges(): SavedIdentityChanges {
    const { kept, forgotten } = this.takeTouched();
    return { next: this.next, holders: kept.map(saved), forgotten };
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
      next <= this.most &&
      ids.size === holders.length &&
      holders.every(([, id, since]) => Number.isInteger(id) && id >= 0 && id < next && Number.isInteger(since) && since >= 0);
    if (!isRight) throw new RangeError(`the identities of ${this.noun} contradict themselves`);
    this.next = next;
    this.kept.clear();
    for (const [identity, id, since, gone] of holders) this.kept.set(identity, { id, since, gone: gone ?? Infinity });
  }

  /** The id of `identity`, new or known. Throws GD_SNAPSHOT_IDS when more than `limit` are alive or recently gone. */
  claim(identity: string, now: number): { id: number; since: number } {
    // Whose id was given away a moment ago, in this build, is somebody new.
    const before = this.claimed.get(identity);
    if (before !== undefined) return { id: before.id, since: before.since };
    const known = this.recycled.size > 0 && this.recycled.has(identity) ? undefined : this.kept.get(identity);
    const id = known?.id ?? this.give(now);
    const holder: Holder = known ?? { id, since: now, gone: Infinity };
    this.claimed.set(identity, holder);
    return { id: holder.id, since: holder.since };
  }

  /** The build succeeded: who was not claimed is gone since `now`. */
  commit(now: number): void {
    for (const identity of this.recycled) {
      this.kept.delete(identity);
      this.touched.add(identity);
    }
    if (this.leaving === null) {
      for (const [identity, holder] of this.kept) this.#part(identity, holder, now);
    } else {
      for (const identity of this.leaving) this.#part(identity, this.kept.get(identity), now);
    }
    for (const [identity, holder] of this.claimed) {
      const isNew = holder.id >= this.next || this.recycled.size > 0;
      if (holder.gone === Infinity && !isNew) continue;
      this.touched.add(identity);
      holder.gone = Infinity;
      this.kept.set(identity, holder);
    }
    this.settle();
  }

  #part(identity: string, holder: Holder | undefined, now: number): void {
    if (holder === undefined || holder.gone !== Infinity || this.claimed.has(identity)) return;
    holder.gone = now;
    this.touched.add(identity);
  }

  protected longestGone(): { id: number; gone: number; taken: string } | null {
    let oldest: [string, Holder] | null = null;
    for (const entry of this.kept) {
      if (this.claimed.has(entry[0]) || this.recycled.has(entry[0])) continue;
      if (oldest === null || entry[1].gone < oldest[1].gone) oldest = entry;
    }
    return oldest === null ? null : { id: oldest[1].id, gone: oldest[1].gone, taken: oldest[0] };
  }
}

function saved([identity, { id, since, gone }]: readonly [string, Holder]): SavedHolder {
  return [identity, id, since, gone === Infinity ? null : gone];
}
