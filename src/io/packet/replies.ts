/** Replies through a packet socket: whole Ethernet frames out of the interface it is bound to, all of a batch in one call. */
import type { Batch } from '../../base/batch.ts';
import { dropReason } from '../../base/drop-reason.ts';
import { VERDICT_REPLY } from '../../base/verdict.ts';
import { pin } from '../../raw-socket/memory.ts';
import { PACKET_VNET_HEADER } from '../../raw-socket/packet-socket.ts';
import { NO_PACKET, SendQueue } from '../send-queue.ts';

const REPLY_FAILED = dropReason('reply-failed');

export class PacketReplies {
  readonly #descriptor: number;
  /** A virtio-net header that says nothing: the socket wants one in front of every frame. */
  readonly #zeroHeader = pin(PACKET_VNET_HEADER);
  readonly #queue: SendQueue;

  /** For batches of up to `capacity` packets. */
  constructor(descriptor: number, capacity: number) {
    this.#descriptor = descriptor;
    this.#queue = new SendQueue({ messages: capacity, segments: 2, nameBytes: 0, controlBytes: 0 });
    for (let k = 0; k < capacity; k++) this.#queue.vector.setSegment(k, 0, this.#zeroHeader.address, PACKET_VNET_HEADER);
  }

  /** errno of the last reply that was given up; 0 when none was. */
  get lastErrno(): number {
    return this.#queue.lastErrno;
  }

  /** Sends each reply, then the answers. One that can not be sent becomes drop, reason `reply-failed`; an answer is counted in `answersLost`. */
  send(batch: Batch): void {
    const queue = this.#queue;
    for (let i = 0; i < batch.count; i++) {
      if (batch.verdict[i] !== VERDICT_REPLY) continue;
      this.#push(batch, i, batch.outAt[i], batch.outLength[i]);
    }
    for (let a = 0; a < batch.answers; a++) {
      // As many replies as packets fit the queue; answers come on top.
      if (queue.full) queue.flush(this.#descriptor, batch, REPLY_FAILED);
      this.#push(batch, NO_PACKET, batch.answerAt[a], batch.answerLength[a]);
    }
    if (queue.count > 0) queue.flush(this.#descriptor, batch, REPLY_FAILED);
  }

  #push(batch: Batch, owner: number, at: number, length: number): void {
    const queue = this.#queue;
    const message = queue.count++;
    queue.owner[message] = owner;
    queue.vector.setSegment(message, 1, batch.arena.address + at, length);
  }
}
