/**
 * Backend records in memory of the thread's own, copied from the snapshot when the first packet needs them. The snapshot's memory is another one with
 * each generation, so V8 asks for its place, length and kind at every word that is read (ten instructions); of this it knows them when it
 * compiles (three). Measured: 6 of 50 ns a packet.
 *
 *     backend id ──& 4095──► place; ids[place] says whose record lies there, words[place × BACKEND_WORDS …] is it
 *
 * More backends than places share them, and then a record is copied again when its neighbour was there: as dear as reading it from the snapshot.
 */
import type { Arena } from '../base/arena.ts';
import {
  B_CHECKSUM,
  B_FAMILY,
  B_GENERAL,
  B_POOL,
  B_STATE,
  BACKEND_WORDS,
  CHECKSUM_ALL,
  H_BACKEND_LIMIT,
  H_BACKENDS,
  STATE_DRAINING,
  STATE_SERVING,
} from './layout.ts';

const PLACES = 4096;
const PLACE = PLACES - 1;
const RECORD = BACKEND_WORDS;
const BACKENDS = H_BACKENDS;
/** No id, and not the −1 that stands for none elsewhere. */
const NOBODY = -2;

export const NEAR_PLACE = PLACE;
/** The plain tunnel: GUE variant 0, nothing in its header policy. With it: over IPv6; with a checksum in every packet. */
export const PLAIN = 1;
export const PLAIN_OUTER6 = 2;
export const PLAIN_CHECKSUM = 4;

export interface NearBackends {
  /** The records: that of backend `id` begins at `(id & NEAR_PLACE) × BACKEND_WORDS`, once `ids[id & NEAR_PLACE]` is `id`. */
  readonly words: Int32Array;
  readonly ids: Int32Array;
  /** Whether the tunnel of the record at that place is the plain one: 0, or the PLAIN_ bits. */
  readonly kinds: Int32Array;
  /** To be called before the first packet of a batch: forgets everything when `snapshot` (its words) is another one. */
  readonly follow: (snapshot: Int32Array) => void;
  /**
   * Copies the record of `id` to its place; its pool is −1 there unless it serves or drains. False, with nothing copied, for what is no id of
   * `snapshot`.
   */
  readonly fetch: (snapshot: Int32Array, id: number) => boolean;
}

function plainKind(words: Int32Array, record: number): number {
  if (words[record + B_GENERAL] !== 0) return 0;
  const outer = words[record + B_FAMILY] === 4 ? 0 : PLAIN_OUTER6;
  return PLAIN | outer | (words[record + B_CHECKSUM] === CHECKSUM_ALL ? PLAIN_CHECKSUM : 0);
}

/** In the memory of `arena`, where that has room, so that plain-tunnel.ts reaches them. */
export function nearBackends(arena: Arena): NearBackends {
  // Over buffers of their own otherwise: see base/batch.ts.
  const int32 = (length: number) => {
    const at = arena.take(length * 4);
    return at < 0 ? new Int32Array(new ArrayBuffer(length * 4)) : new Int32Array(arena.memory, at, length);
  };
  const words = int32(PLACES * RECORD);
  const ids = int32(PLACES).fill(NOBODY);
  const kinds = int32(PLACES);
  let followed: Int32Array | null = null;

  return {
    words,
    ids,
    kinds,

    follow(snapshot) {
      if (snapshot === followed) return;
      followed = snapshot;
      ids.fill(NOBODY);
    },

    fetch(snapshot, id) {
      if (id < 0 || id >= snapshot[H_BACKEND_LIMIT]) return false;
      const from = snapshot[BACKENDS] + id * RECORD;
      const to = (id & PLACE) * RECORD;
      for (let w = 0; w < RECORD; w++) words[to + w] = snapshot[from + w];
      const state = words[to + B_STATE];
      if (state !== STATE_SERVING && state !== STATE_DRAINING) words[to + B_POOL] = -1;
      kinds[id & PLACE] = plainKind(words, to);
      ids[id & PLACE] = id;
      return true;
    },
  };
}
