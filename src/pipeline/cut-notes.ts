/**
 * Notes about packets that were cut because they were too big for their tunnel: what main needs to say which MTU would spare it. One
 * memory for all forwarding threads:
 *
 *     | id 0: times, largest | id 1: times, largest | …      `largest`: bytes of the largest one with its outer headers
 *
 * Main reads both and sets `largest` back to 0. Who loses a race over `largest` is right again with the next packet.
 */

export const NOTE_WORDS = 2;
/** Packets cut, a super-packet as one; wraps around at 2^32. */
export const NOTE_TIMES = 0;
export const NOTE_LARGEST = 1;

/** A packet of `bytes`, outer headers included, was cut for backend id `backend`. `notes` is shared memory. */
export function noteCut(notes: Int32Array, backend: number, bytes: number): void {
  const at = backend * NOTE_WORDS;
  Atomics.add(notes, at + NOTE_TIMES, 1);
  if (notes[at + NOTE_LARGEST] < bytes) Atomics.store(notes, at + NOTE_LARGEST, bytes);
}
