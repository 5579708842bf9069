/** The segments of a train on their way out: each is two pieces of memory, its header record and its part of the received payload. */
import { RECORD_STRIDE } from '../base/arena.ts';
import type { Batch } from '../base/batch.ts';
import type { MessageVector } from '../raw-socket/message.ts';

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
  vector.setSegment(message, 0, base + record + k * RECORD_STRIDE + skip, batch.pieceHeader[number] - skip);
  vector.setSegment(message, 1, base + batch.pieceAt[number], batch.pieceLength[number]);
  vector.useSegments(message, 2);
}

/** Bytes of segment `k` of packet `i`, headers and payload together: for drivers that write files, and tests. */
export function segmentBytes(batch: Batch, i: number, k: number): Uint8Array {
  const { bytes } = batch.arena;
  const record = batch.recordAt[i];
  if (record < 0) return bytes.slice(batch.outAt[i], batch.outAt[i] + batch.outLength[i]);
  const number = batch.recordOf(i, k);
  const header = batch.pieceHeader[number];
  const payload = batch.pieceLength[number];
  const segment = new Uint8Array(header + payload);
  const headerAt = record + k * RECORD_STRIDE;
  const payloadAt = batch.pieceAt[number];
  segment.set(bytes.subarray(headerAt, headerAt + header));
  segment.set(bytes.subarray(payloadAt, payloadAt + payload), header);
  return segment;
}
