/** What leaves, as bytes of their own: for files, tests and people. */
import { RECORD_STRIDE } from './arena.ts';
import type { Batch } from './batch.ts';

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
