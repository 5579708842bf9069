/**
 * Backend records in memory of the thread's own, copied from the snapshot when the first packet needs them. The snapshot's memory is another one with
 * each generation, so V8 asks for its place, length and kind at every word that is read (ten instructions); of this it knows them when it
 * compiles (three). Measured: 6 of 50 ns a packet.
 *
 *     backend id ──& 4095──► place; ids[place] says whose record lies there, words[place × BACKEND_WORDS …] is it
 *
 * More backends than places share them, and then a record is copied again when its neighbour was there: as dear as reading it from the snapshot.
 */
import { B_POOL, B_STATE, BACKEND_WORDS, H_BACKEND_LIMIT, H_BACKENDS, STATE_DRAINING, STATE_SERVING } from './layout.ts';

const PLACES = 4096;
const PLACE = PLACES - 1;
const RECORD = BACKEND_WORDS;
const BACKENDS = H_BACKENDS;
/** No id, and not the −1 that stands for none elsewhere. */
const NOBODY = -2;

export const NEAR_PLACE = PLACE;

export interface NearBackends {
  /** The records: that of backend `id` begins at `(id & NEAR_PLACE) × BACKEND_WORDS`, once `ids[id & NEAR_PLACE]` is `id`. */
  readonly words: Int32Array;
  readonly ids: Int32Array;
  /** To be called before the first packet of a batch: forgets everything when `snapshot` (its words) is another one. */
  readonly follow: (snapshot: Int32Array) => void;
  /**
   * Copies the record of `id` to its place; its pool is −1 there unless it serves or drains. False, with nothing copied, for what is no id of
   * `snapshot`.
   */
  readonly fetch: (snapshot: Int32Array, id: number) => boolean;
}

export function nearBackends(): NearBackends {
  // Over buffers of their own: see base/batch.ts.
  const words = new Int32Array(new ArrayBuffer(PLACES * RECORD * 4));
  const ids = new Int32Array(new ArrayBuffer(PLACES * 4)).fill(NOBODY);
  let followed: Int32Array | null = null;

  return {
    words,
    ids,

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
      ids[id & PLACE] = id;
      return true;
    },
  };
}
