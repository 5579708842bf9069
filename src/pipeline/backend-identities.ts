/**
 * Stable numbers for backends, kept in pieces: one for each pool, with a column for the ids and one for when they were given. What names a backend across snapshots is
 * its pool, name and address. It keeps its id through every snapshot, so that flow entries go on naming it; an id is given to somebody else only after it has been unused for
 * REUSE_AFTER, and then with a new `since`, by which older flow entries are known to be stale (identity.ts has the same for services).
 *
 * A piece never changes: a claim makes another one, or none when the pool has the backends that it had, which is found out place by place, without a text made of
 * anything. So a thousand pools of two hundred backends cost a thousand pieces, and a backend that goes down and comes back none.
 */
import { formatAddress, sameAddress } from '../base/address.ts';
import { IdentityTransaction } from './identity-transaction.ts';

/** A backend as its pool's piece knows it. */
export interface Member {
  readonly name: string;
  /** 4 or 16 bytes. */
  readonly address: Uint8Array;
}

/** In the order of a pool's backends: their ids, and the seconds when each was given. */
export interface Numbers {
  readonly ids: Int32Array;
  readonly sinces: Int32Array;
}

/** Whom the pool had once. `gone`: seconds when it was last part of a snapshot. */
export interface GoneMember extends Member {
  readonly id: number;
  readonly since: number;
  readonly gone: number;
}

/** What is known of one pool; plain data but for its columns. */
export interface PoolPiece extends Numbers {
  readonly pool: string;
  /** Part of the last snapshot, in step with the columns; each once. */
  readonly present: readonly Member[];
  readonly gone: readonly GoneMember[];
}

export interface SavedPieces {
  /** One above the highest id given. */
  readonly next: number;
  readonly pools: readonly PoolPiece[];
}

/** What changed between two of them: pieces that are new or another, and pools of which nothing is known any more. */
export interface SavedPieceChanges extends SavedPieces {
  readonly forgotten: readonly string[];
}

const NOBODY: readonly never[] = [];
const NO_NUMBERS = new Int32Array(0);

/** A `claim` for each pool that is part of the build, or after `change` for each that is new or another. Ids that were taken are told by themselves. */
export class BackendIdentities extends IdentityTransaction<PoolPiece, number> {
  constructor(limit: number) {
    super(limit, 'backends');
  }

  /** Everything that is known, for `restore`. The pieces are those in use, which never change. */
  save(): SavedPieces {
    return { next: this.next, pools: [...this.kept.values()] };
  }

  /** What `save` would say otherwise than when this was last asked. */
  takeChanges(): SavedPieceChanges {
    const { kept, forgotten } = this.takeTouched();
    return { next: this.next, pools: kept.map(([, piece]) => piece), forgotten };
  }

  /**
   * Begins with what an earlier one knew; before the first `begin`. Throws RangeError when it can not be true: then nothing is
   * known.
   */
  restore({ next, pools }: SavedPieces): void {
    const taken = new Set<number>();
    let given = 0;
    const isRight = (id: number, since: number) => {
      taken.add(id);
      given++;
      return Number.isInteger(id) && id >= 0 && id < next && Number.isInteger(since) && since >= 0;
    };
    const areRight = ({ present, ids, sinces, gone }: PoolPiece) =>
      ids.length === present.length &&
      sinces.length === present.length &&
      ids.every((id, i) => isRight(id, sinces[i])) &&
      gone.every(({ id, since }) => isRight(id, since));
    const fits = Number.isInteger(next) && next >= 0 && next <= this.most && pools.every(areRight);
    const names = new Set(pools.map(({ pool }) => pool));
    if (!fits || taken.size !== given || names.size !== pools.length) {
      throw new RangeError('the identities of backends contradict themselves');
    }
    this.next = next;
    this.kept.clear();
    for (const piece of pools) this.kept.set(piece.pool, piece);
  }

  /**
   * The numbers of a pool's backends, new or known; the same columns while they are the same backends. Throws GD_SNAPSHOT_IDS when more than `limit` are alive
   * or recently gone.
   */
  claim(pool: string, backends: readonly Member[], now: number): Numbers {
    const known = this.kept.get(pool);
    const stays = known !== undefined && areSame(known.present, backends);
    if (stays) {
      this.claimed.set(pool, known);
      return known;
    }
    return known === undefined ? this.#first(pool, backends, now) : this.#another(known, backends, now);
  }

  #first(pool: string, backends: readonly Member[], now: number): Numbers {
    const piece = { pool, present: NOBODY, ids: NO_NUMBERS, sinces: NO_NUMBERS, gone: NOBODY };
    const names = new Set<string>();
    for (const { name } of backends) names.add(name);
    // Of the same name twice it may be the same twice.
    if (names.size < backends.length) return this.#another(piece, backends, now);
    const ids = new Int32Array(backends.length);
    for (let i = 0; i < ids.length; i++) ids[i] = this.give(now);
    const first = { ...piece, present: backends, ids, sinces: new Int32Array(ids.length).fill(now) };
    this.claimed.set(pool, first);
    return first;
  }

  /** The pool has other backends than it had, or in another order. */
  #another(before: PoolPiece, backends: readonly Member[], now: number): Numbers {
    const left = new Map<string, GoneMember>();
    for (const one of before.gone) if (!this.recycled.has(one.id)) left.set(keyOf(one), one);
    before.present.forEach(({ name, address }, i) => {
      left.set(keyOf({ name, address }), { name, address, id: before.ids[i], since: before.sinces[i], gone: now });
    });
    const present = new Map<string, { readonly member: Member; readonly id: number; readonly since: number }>();
    const numbers = { ids: new Int32Array(backends.length), sinces: new Int32Array(backends.length) };
    const keys = backends.map(keyOf);
    const known = keys.map((key) => {
      const one = left.get(key);
      left.delete(key);
      return one;
    });
    // Before an id is taken from anybody: who is left is gone, who was claimed is not.
    this.claimed.set(before.pool, { ...before, gone: [...left.values()] });
    backends.forEach((member, i) => {
      const same = present.get(keys[i]);
      const { id, since } = same ?? known[i] ?? { id: this.give(now), since: now };
      if (same === undefined) present.set(keys[i], { member, id, since });
      numbers.ids[i] = id;
      numbers.sinces[i] = since;
    });
    const each = [...present.values()];
    const isEach = each.length === backends.length;
    this.claimed.set(before.pool, {
      pool: before.pool,
      present: isEach ? backends : each.map(({ member }) => member),
      ids: isEach ? numbers.ids : Int32Array.from(each, ({ id }) => id),
      sinces: isEach ? numbers.sinces : Int32Array.from(each, ({ since }) => since),
      gone: [...left.values()].filter(({ id }) => !this.recycled.has(id)),
    });
    return numbers;
  }

  protected longestGone(): { id: number; gone: number; taken: number } | null {
    let oldest: GoneMember | null = null;
    const look = ({ gone }: PoolPiece) => {
      for (const one of gone) {
        if (this.recycled.has(one.id)) continue;
        if (oldest === null || one.gone < oldest.gone) oldest = one;
      }
    };
    for (const piece of this.kept.values()) look(this.claimed.get(piece.pool) ?? piece);
    const found = oldest as GoneMember | null;
    return found === null ? null : { id: found.id, gone: found.gone, taken: found.id };
  }

  /** The build succeeded: who was not claimed is gone since `now`. */
  commit(now: number): void {
    const leaving = this.leaving ?? this.kept.keys();
    for (const pool of [...leaving]) {
      const piece = this.kept.get(pool);
      if (piece !== undefined && piece.present.length > 0 && !this.claimed.has(pool)) this.#put(allGone(piece, now));
    }
    for (const piece of this.claimed.values()) if (this.kept.get(piece.pool) !== piece) this.#put(piece);
    if (this.recycled.size > 0) for (const piece of [...this.kept.values()]) this.#put(this.#withoutRecycled(piece));
    this.settle();
  }

  #put(piece: PoolPiece): void {
    const before = this.kept.get(piece.pool);
    const isEmpty = piece.present.length + piece.gone.length === 0;
    if (before === piece || (before === undefined && isEmpty)) return;
    this.touched.add(piece.pool);
    if (isEmpty) this.kept.delete(piece.pool);
    else this.kept.set(piece.pool, piece);
  }

  #withoutRecycled(piece: PoolPiece): PoolPiece {
    const gone = piece.gone.filter(({ id }) => !this.recycled.has(id));
    return gone.length === piece.gone.length ? piece : { ...piece, gone };
  }
}

function keyOf({ name, address }: Member): string {
  return `${name}\0${formatAddress(address)}`;
}

/** The same backends in the same order. */
function areSame(a: readonly Member[], b: readonly Member[]): boolean {
  if (a === b) return true;
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) {
    if (a[i] === b[i]) continue;
    if (a[i].name !== b[i].name || !sameAddress(a[i].address, b[i].address)) return false;
  }
  return true;
}

function allGone({ pool, present, ids, sinces, gone }: PoolPiece, now: number): PoolPiece {
  const left = present.map(({ name, address }, i): GoneMember => ({ name, address, id: ids[i], since: sinces[i], gone: now }));
  return { pool, present: NOBODY, ids: NO_NUMBERS, sinces: NO_NUMBERS, gone: [...gone, ...left] };
}
