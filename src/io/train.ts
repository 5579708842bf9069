/** The segments of a train on their way out: each is two pieces of memory, its header record and its part of the received payload. */
import { RECORD_STRIDE } from '../base/arena.ts';
import type { Batch } from '../base/batch.ts';
import type { MessageVector } from '../raw-socket/message.ts';

// Module-local: an imported constant is loaded from its module at every use (src/wire/README.md, "Constants").
const STRIDE = RECORD_STRIDE;

/**
 * Segment `k` of packet `i` as message `message`, without the first `skip` bytes of its headers (what the kernel writes itself). A
 * packet that is no train has one segment: itself.
 */
export function gatherSegment(vector: MessageVector, message: number, batch: Batch, i: number, k: number, skip: number): void {
  const base = batch.arena.address;
  const record = batch.recordAt[i];
  if (record < 0) {
    vector.setSegment(message, 0, base + batch.outAt[i] + skip, batch.outLength[i] - skip);
    vector.useSegments(message, 1);
    return;
  }
  const number = batch.recordOf(i, k);
  vector.setSegment(message, 0, base + record + k * STRIDE + skip, batch.pieceHeader[number] - skip);
  vector.setSegment(message, 1, base + batch.pieceAt[number], batch.pieceLength[number]);
  vector.useSegments(message, 2);
}

/**
 * Segments `k` to `k + count − 1` of train `i` as pieces from `piece` on, two for each; `skip` as above. A packet that is no train is one
 * piece. Returns how many pieces these are.
 *
 *     | header record k | payload k | header record k + 1 | payload k + 1 | …
 */
export function gatherPieces(
  vector: MessageVector,
  piece: number,
  batch: Batch,
  i: number,
  k: number,
  count: number,
  skip: number,
): number {
  const base = batch.arena.address;
  if (batch.recordAt[i] < 0) {
    vector.setPiece(piece, base + batch.outAt[i] + skip, batch.outLength[i] - skip);
    return 1;
  }
  const { pieceHeader, pieceAt, pieceLength } = batch;
  const first = batch.recordOf(i, k);
  let record = base + batch.recordAt[i] + k * STRIDE + skip;
  let at = piece;
  for (let number = first; number < first + count; number++) {
    vector.setPiece(at, record, pieceHeader[number] - skip);
    vector.setPiece(at + 1, base + pieceAt[number], pieceLength[number]);
    record += STRIDE;
    at += 2;
  }
  return 2 * count;
}

/**
 * How many segments of train `i` from `k` on one message may hold that the kernel cuts into equal datagrams: all equally long, the last
 * one no longer; `most` segments and `bytes` bytes at most. At least 1. `skip`: bytes of the headers that the kernel writes itself.
 *
 * Where a longer one follows (a train whose parts are unequal) the message ends before it.
 */
export function equalSegments(batch: Batch, i: number, k: number, skip: number, most: number, bytes: number): number {
  const left = batch.segmentCount[i] - k;
  if (left === 1) return 1;
  const { pieceHeader, pieceLength } = batch;
  const first = batch.recordOf(i, k);
  const each = pieceHeader[first] - skip + pieceLength[first];
  const limit = Math.min(left, most);
  let total = each;
  for (let n = 1; n < limit; n++) {
    const length = pieceHeader[first + n] - skip + pieceLength[first + n];
    total += length;
    if (length > each || total > bytes) return n;
    if (length < each) return n + 1;
  }
  return limit;
}
