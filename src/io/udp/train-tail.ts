/**
 * The last message of a queue, while it may grow: a train whose segments are all of one length ends in a message that is seldom full, and the
 * next train of the same flow can begin in it. To the kernel they are one train; its receiver sees the same datagrams.
 *
 *     super-packets of 45 segments, 43 to a message:   43 | 2 + 41 | 4 + 39 | 6 + …      instead of 43 | 2 | 43 | 2 | 43 | 2
 */
import type { Batch } from '../../base/batch.ts';
import type { SendQueue } from '../send-queue.ts';
import { equalSegments, gatherPieces } from '../train.ts';
import { writeControl4, writeControl6 } from './control.ts';

export class TrainTail {
  readonly #queue: SendQueue;
  readonly #mostSegments: number;
  readonly #mostBytes: number;
  #message = -1;
  /** `flushes` of the queue when the message was added. */
  #flush = 0;
  /** A packet of the message: the way it goes. */
  #packet = 0;
  /** Bytes of each of its segments, and of all. */
  #size = 0;
  #bytes = 0;

  constructor(queue: SendQueue, mostSegments: number, mostBytes: number) {
    this.#queue = queue;
    this.#mostSegments = mostSegments;
    this.#mostBytes = mostBytes;
  }

  /** Remembers the queue's last message, which holds the last segments of train `i` and no other's. */
  leave(batch: Batch, i: number, skip: number): void {
    const queue = this.#queue;
    const message = queue.count - 1;
    const segments = queue.segments[message];
    const last = batch.recordOf(i, batch.segmentCount[i] - 1);
    const first = last + 1 - segments;
    const size = batch.pieceHeader[first] - skip + batch.pieceLength[first];
    // A shorter segment ends what the kernel can cut.
    const isWhole = batch.pieceHeader[last] - skip + batch.pieceLength[last] === size;
    this.#message = isWhole ? message : -1;
    this.#flush = queue.flushes;
    this.#packet = i;
    this.#size = size;
    this.#bytes = segments * size;
  }

  /** Puts as many segments of train `i`, from its first on, into the remembered message as may go with it. Returns how many; 0: none. */
  join(batch: Batch, i: number, skip: number, six: boolean): number {
    const queue = this.#queue;
    const message = this.#message;
    if (message < 0 || message !== queue.count - 1 || this.#flush !== queue.flushes) return 0;
    const first = batch.recordOf(i, 0);
    const each = batch.pieceHeader[first] - skip + batch.pieceLength[first];
    const room = this.#mostSegments - queue.segments[message];
    const bytes = this.#mostBytes - this.#bytes;
    if (each !== this.#size || room < 1 || bytes < each || !sameWay(batch, this.#packet, i, six)) return 0;
    const segments = equalSegments(batch, i, 0, skip, room, bytes);
    if (!queue.takes(2 * segments)) return 0;
    const piece = queue.pieces;
    const { vector } = queue;
    gatherPieces(vector, piece, batch, i, 0, segments, skip);
    queue.pieceOwner.fill(i, piece, piece + 2 * segments);
    queue.pieces = piece + 2 * segments;
    queue.segments[message] += segments;
    vector.useSegments(message, 2 * queue.segments[message]);
    // It may have been a single segment, which needs no size.
    if (six) writeControl6(vector, message, batch.arena.view, batch.outAt[i], each);
    else writeControl4(vector, message, batch.arena.view, batch.outAt[i], each);
    const last = first + segments - 1;
    if (batch.pieceHeader[last] - skip + batch.pieceLength[last] !== each) this.#message = -1;
    this.#bytes += segments * each;
    return segments;
  }
}

/** Outer addresses, traffic class, hop limit and UDP destination port of two packets from one socket are the same. */
function sameWay(batch: Batch, i: number, j: number, six: boolean): boolean {
  const { view } = batch.arena;
  const a = batch.outAt[i];
  const b = batch.outAt[j];
  let differ = view.getUint16(batch.outerTransportAt[i] + 2) ^ view.getUint16(batch.outerTransportAt[j] + 2);
  if (six) {
    for (let at = 8; at < 40; at += 4) differ |= view.getInt32(a + at) ^ view.getInt32(b + at);
    return (differ | (view.getInt32(a) ^ view.getInt32(b)) | (view.getUint8(a + 7) ^ view.getUint8(b + 7))) === 0;
  }
  differ |= (view.getInt32(a + 12) ^ view.getInt32(b + 12)) | (view.getInt32(a + 16) ^ view.getInt32(b + 16));
  return (differ | (view.getUint8(a + 1) ^ view.getUint8(b + 1)) | (view.getUint8(a + 8) ^ view.getUint8(b + 8))) === 0;
}
