/**
 * Sends a prepared vector of messages through one socket and settles what became of each: the policy that every socket driver
 * shares. A refused message is retried once, then dropped with its reason, and those behind it are still sent.
 */
import type { Batch } from '../base/batch.ts';
import { dropReason } from '../base/drop-reason.ts';
import { VERDICT_DROP } from '../base/verdict.ts';
import { E, errno } from '../raw-socket/library.ts';
import type { MessageShape } from '../raw-socket/message.ts';
import { MessageVector } from '../raw-socket/message.ts';
import { POLLOUT, PollSet } from '../raw-socket/poll.ts';

const TOO_BIG = dropReason('send-too-big');
const UNREACHABLE = dropReason('send-unreachable');
const REFUSED = dropReason('send-refused');
const NO_BUFFER = dropReason('send-no-buffer');
const FAILED = dropReason('send-failed');

const { EAGAIN, ENOBUFS, ENOMEM, EMSGSIZE, ENETUNREACH, EHOSTUNREACH, ENETDOWN, EPERM, EACCES } = E;

/** Owner of a message that is not a packet of the batch but an answer to one. */
export const NO_PACKET = -1;

/** Longest wait for room in a full send buffer, once per flush. */
const ROOM_WAIT_MS = 1;

/** The drop reason that an errno of a send means. */
export function sendReason(number: number): number {
  switch (number) {
    case EMSGSIZE:
      return TOO_BIG;
    case ENETUNREACH:
    case EHOSTUNREACH:
    case ENETDOWN:
      return UNREACHABLE;
    case EPERM:
    case EACCES:
      return REFUSED;
    case EAGAIN:
    case ENOBUFS:
    case ENOMEM:
      return NO_BUFFER;
    default:
      return FAILED;
  }
}

export class SendQueue {
  readonly vector: MessageVector;
  /** Packet (index in the batch) that each message carries, or NO_PACKET. */
  readonly owner: Int32Array;
  /** Messages prepared since the last flush. */
  count = 0;
  /** errno of the last message that was given up; 0 when none was. */
  lastErrno = 0;

  constructor(shape: MessageShape) {
    this.vector = new MessageVector(shape);
    this.owner = new Int32Array(shape.messages);
  }

  /** True when no further message fits before a flush. */
  get full(): boolean {
    return this.count === this.vector.messages;
  }

  /**
   * Sends messages 0 to `count − 1` through `descriptor` and empties the queue. What the kernel refuses twice becomes verdict drop;
   * its reason is `reason`, or the one its errno means when `reason` is 0.
   */
  flush(descriptor: number, batch: Batch, reason: number): void {
    const count = this.count;
    this.count = 0;
    let at = 0;
    let retried = -1;
    let waited = false;
    while (at < count) {
      const sent = this.vector.send(descriptor, at, count - at);
      if (sent > 0) {
        at += sent;
        continue;
      }
      const number = errno();
      if (retried !== at) {
        retried = at;
        if ((number === EAGAIN || number === ENOBUFS) && !waited) {
          waited = true;
          waitForRoom(descriptor);
        }
        continue;
      }
      const i = this.owner[at];
      this.lastErrno = number;
      if (i === NO_PACKET) {
        batch.answersLost++;
        at++;
        continue;
      }
      batch.verdict[i] = VERDICT_DROP;
      batch.reason[i] = reason === 0 ? sendReason(number) : reason;
      at++;
    }
  }
}

/** Only a full send buffer comes here, at most once per flush, so the allocation is off the packet path. */
function waitForRoom(descriptor: number): void {
  const poll = new PollSet(1);
  poll.add(descriptor, POLLOUT);
  poll.wait(ROOM_WAIT_MS);
}
