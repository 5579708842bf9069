/**
 * What the stable numbers of services (identity.ts) and of backends (backend-identities.ts) have in common: an id is a number below a limit, and one build of a snapshot is
 * one transaction, `begin` or `change`, claims, `commit`. Without the commit, because the build failed, nothing has changed.
 */
import { CodedError } from '../base/errors.ts';

/** Seconds for which an id that nobody has any more stays free. */
export const REUSE_AFTER = 3600;

/** What is kept under each key. `Kept`: what a claim makes; `Taken`: what tells whose id went to a claimant. */
export abstract class IdentityTransaction<Kept, Taken> {
  /** How many ids there are, and of what, for errors. */
  protected readonly most: number;
  protected readonly noun: string;
  /** One above the highest id given; the same with those that the build has given. */
  protected next = 0;
  protected nextClaimed = 0;
  protected readonly kept = new Map<string, Kept>();
  /** What the build has claimed. */
  protected claimed = new Map<string, Kept>();
  /** From whom the build has taken an id, for a claimant. */
  protected recycled = new Set<Taken>();
  /** Keys that leave; null: those that do not claim. */
  protected leaving: Set<string> | null = null;
  /** Keys of which something else is kept than when `takeChanged` was last asked. */
  protected touched = new Set<string>();
  #changes = 0;

  constructor(most: number, noun: string) {
    this.most = most;
    this.noun = noun;
  }

  /** Whoever does not claim leaves. */
  begin(): void {
    this.claimed = new Map();
    this.recycled = new Set();
    this.leaving = null;
    this.nextClaimed = this.next;
  }

  /** As `begin`, but who was part of the last build is part of this one too, without a claim. */
  change(): void {
    this.begin();
    this.leaving = new Set();
  }

  /** After `change`: no longer part of the build, unless it claims. */
  leave(key: string): void {
    this.leaving?.add(key);
  }

  /** Grows with every commit after which an id means somebody it did not mean before. */
  get changes(): number {
    return this.#changes;
  }

  /** One above the highest id given, those claimed since `begin` included. */
  get limit(): number {
    return this.nextClaimed;
  }

  /** What is known now has been written down. */
  told(): void {
    this.touched = new Set();
  }

  /** What is kept under the keys that were touched since this was last asked, and the keys of which nothing is known any more. */
  protected takeTouched(): { kept: [string, Kept][]; forgotten: string[] } {
    const kept: [string, Kept][] = [];
    const forgotten: string[] = [];
    for (const key of this.touched) {
      const one = this.kept.get(key);
      if (one === undefined) forgotten.push(key);
      else kept.push([key, one]);
    }
    this.touched = new Set();
    return { kept, forgotten };
  }

  /** An id for somebody new. Throws GD_SNAPSHOT_IDS when there is none. */
  protected give(now: number): number {
    if (this.nextClaimed < this.most) return this.nextClaimed++;
    const oldest = this.longestGone();
    if (oldest === null || now - oldest.gone < REUSE_AFTER) {
      throw new CodedError('GD_SNAPSHOT_IDS', `more than ${this.most} ${this.noun} within ${REUSE_AFTER} seconds`, {
        hint: `remove ${this.noun} from the configuration, or wait until old ones are forgotten`,
      });
    }
    this.recycled.add(oldest.taken);
    return oldest.id;
  }

  /** Whose id may be taken first. `gone`: seconds when it was last part of a snapshot, Infinity while it is. */
  protected abstract longestGone(): { readonly id: number; readonly gone: number; readonly taken: Taken } | null;

  /** The last step of a commit. */
  protected settle(): void {
    if (this.recycled.size > 0 || this.nextClaimed !== this.next) this.#changes++;
    this.next = this.nextClaimed;
  }
}
