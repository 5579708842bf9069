/** What every ingress does to a batch's columns for one frame. */

import { HEADROOM } from '../base/arena.ts';
import type { Batch } from '../base/batch.ts';
import { dropReason } from '../base/drop-reason.ts';
import { VERDICT_DROP } from '../base/verdict.ts';

const NONE = dropReason('none');
const TRUNCATED = dropReason('truncated');

/**
 * Columns of packet `i` as a fresh frame has them: at its slot's usual place, no virtio-net facts, verdict drop without a reason
 * (a packet that no stage decides about must not leave).
 */
export function clearFrame(batch: Batch, i: number): void {
  batch.frameAt[i] = batch.slotAt[i] + HEADROOM;
  batch.virtioFlags[i] = 0;
  batch.gsoType[i] = 0;
  batch.gsoSize[i] = 0;
  batch.headerLength[i] = 0;
  batch.csumStart[i] = 0;
  batch.csumOffset[i] = 0;
  batch.verdict[i] = VERDICT_DROP;
  batch.reason[i] = NONE;
}

/** Marks packet `i` as longer than its slot: delivered with what fits, dropped with its reason. */
export function markTruncated(batch: Batch, i: number): void {
  batch.verdict[i] = VERDICT_DROP;
  batch.reason[i] = TRUNCATED;
}

/** Copies a frame into slot `i` and sets its length; one that does not fit is cut and marked truncated. */
export function placeFrame(batch: Batch, i: number, frame: Uint8Array): void {
  const at = batch.frameAt[i];
  const room = batch.frameCapacity;
  if (frame.length <= room) {
    batch.arena.bytes.set(frame, at);
    batch.frameLength[i] = frame.length;
    return;
  }
  batch.arena.bytes.set(frame.subarray(0, room), at);
  batch.frameLength[i] = room;
  markTruncated(batch, i);
}
