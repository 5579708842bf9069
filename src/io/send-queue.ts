/**
 * Sends a prepared vector of messages through one socket and settles what became of each: the policy that every socket driver
 * shares. A refused message is retried once, then dropped with its reason, and those behind it are still sent. A train that the kernel
 * will not cut is sent again in its place, segment by segment.
 */
import type { Batch } from '../base/batch.ts';
import { counterAt, SEND_ERRORS_AT } from '../base/counters.ts';
import { dropReason } from '../base/drop-reason.ts';
import { OTHER_SEND_ERROR, SEND_ERRORS } from '../base/send-error.ts';
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

const { EAGAIN, ENOBUFS, ENOMEM, EMSGSIZE, ENETUNREACH, EHOSTUNREACH, ENETDOWN, EPERM, EACCES, EINVAL, EIO, EOPNOTSUPP } = E;

const REFUSED_TRAINS = counterAt('refused_trains_total');
/** errno of each send error that has a name; −1 for `other`. */
const SEND_ERRNOS = Int32Array.from(SEND_ERRORS, (name) => E[name] ?? -1);

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

/** Place of an errno in SEND_ERRORS. */
export function sendErrorAt(number: number): number {
  for (let at = 0; at < OTHER_SEND_ERROR; at++) if (SEND_ERRNOS[at] === number) return at;
  return OTHER_SEND_ERROR;
}

/**
 * Errors by which a kernel, or a device's way out, refuses to cut a message, though it may take the segments: no checksum offload before
 * Linux 6.11 and IPsec (EIO), more segments than it knows or checksums off (EINVAL), too many pieces of memory (EMSGSIZE).
 */
function refusesTrain(number: number): boolean {
  return number === EIO || number === EINVAL || number === EMSGSIZE || number === EOPNOTSUPP;
}

/** Errors that the next message of the same packet may not meet: room, and nothing else. */
function isPassing(number: number): boolean {
  return number === EAGAIN || number === ENOBUFS || number === ENOMEM;
}

export interface SendQueueOptions extends MessageShape {
  /** Where refused trains and given up messages are counted (base/counters.ts); absent: nowhere. */
  readonly bank?: Float64Array;
  /** Bytes of a train's control data that hold without its segment size. */
  readonly singleControlBytes?: number;
}

/** Most segments of one train. */
const MOST_SEGMENTS = 64;

export class SendQueue {
  readonly vector: MessageVector;
  /** Packet (index in the batch) that each message carries, or NO_PACKET; of a train that several packets share, the first. */
  readonly owner: Int32Array;
  /** Segments that each message carries; more than 1: a train, two pieces for each. */
  readonly segments: Int32Array;
  /** First piece of each train. */
  readonly firstPiece: Int32Array;
  /** Packet that each piece of a train is of. */
  readonly pieceOwner: Int32Array;
  /** Messages prepared since the last flush. */
  count = 0;
  /** Pieces taken since the last flush, where messages are gathered from any (`MessageVector.gather`). */
  pieces = 0;
  /** How often it was emptied: what somebody remembers of a message holds until this changes. */
  flushes = 0;
  /** errno of the last message that was given up; 0 when none was. */
  lastErrno = 0;
  readonly #bank: Float64Array | null;
  readonly #singleControlBytes: number;
  /** The segments of one refused train; made when the first is refused. */
  #apart: SendQueue | null = null;

  constructor(options: SendQueueOptions) {
    this.vector = new MessageVector(options);
    this.owner = new Int32Array(options.messages);
    this.segments = new Int32Array(options.messages).fill(1);
    this.firstPiece = new Int32Array(options.messages);
    this.pieceOwner = new Int32Array(options.messages * options.segments);
    this.#bank = options.bank ?? null;
    this.#singleControlBytes = options.singleControlBytes ?? 0;
  }

  /** True when no further message fits before a flush. */
  get full(): boolean {
    return this.count === this.vector.messages;
  }

  /** True when a message of `pieces` pieces fits before a flush. */
  takes(pieces: number): boolean {
    return this.count < this.vector.messages && this.pieces + pieces <= this.vector.messages * this.vector.segments;
  }

  /**
   * Sends messages 0 to `count − 1` through `descriptor` and empties the queue. What the kernel refuses twice becomes verdict drop;
   * its reason is `reason`, or the one its errno means when `reason` is 0. What else such a packet has in the queue is then not
   * sent, unless only room was missing: the same error would meet it. Where packets share a message, all of them are dropped.
   */
  flush(descriptor: number, batch: Batch, reason: number): void {
    const count = this.count;
    this.count = 0;
    this.pieces = 0;
    this.flushes++;
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
      if (this.segments[at] > 1 && refusesTrain(number)) {
        this.#sendApart(descriptor, batch, at, reason);
        at++;
        continue;
      }
      if (retried !== at) {
        retried = at;
        if ((number === EAGAIN || number === ENOBUFS) && !waited) {
          waited = true;
          waitForRoom(descriptor);
        }
        continue;
      }
      const i = this.owner[at];
      this.#note(number);
      if (i === NO_PACKET) {
        batch.answersLost++;
        at++;
        continue;
      }
      const why = reason === 0 ? sendReason(number) : reason;
      const last = this.#lastOwner(at);
      if (this.segments[at] === 1) drop(batch, i, why);
      else {
        const from = this.firstPiece[at];
        for (let piece = from; piece < from + 2 * this.segments[at]; piece += 2) drop(batch, this.pieceOwner[piece], why);
      }
      at++;
      if (!isPassing(number)) while (at < count && this.owner[at] === last && this.#lastOwner(at) === last) at++;
    }
  }

  /** Packet of the last segment of message `at`. */
  #lastOwner(at: number): number {
    const segments = this.segments[at];
    return segments === 1 ? this.owner[at] : this.pieceOwner[this.firstPiece[at] + 2 * segments - 2];
  }

  #note(number: number): void {
    this.lastErrno = number;
    if (this.#bank !== null) this.#bank[SEND_ERRORS_AT + sendErrorAt(number)]++;
  }

  /** Sends the segments of train `at` as messages of their own, out of the pieces it was gathered from. */
  #sendApart(descriptor: number, batch: Batch, at: number, reason: number): void {
    if (this.#bank !== null) this.#bank[REFUSED_TRAINS]++;
    this.#apart ??= new SendQueue({
      messages: MOST_SEGMENTS,
      segments: 0,
      nameBytes: 0,
      controlBytes: 0,
      ...(this.#bank === null ? {} : { bank: this.#bank }),
    });
    const apart = this.#apart;
    const segments = this.segments[at];
    for (let k = 0; k < segments; k++) {
      apart.owner[k] = this.pieceOwner[this.firstPiece[at] + 2 * k];
      apart.vector.borrow(k, this.vector, at, this.firstPiece[at] + 2 * k, 2, this.#singleControlBytes);
    }
    apart.count = segments;
    apart.flush(descriptor, batch, reason);
    if (apart.lastErrno !== 0) this.lastErrno = apart.lastErrno;
  }
}

function drop(batch: Batch, i: number, reason: number): void {
  batch.verdict[i] = VERDICT_DROP;
  batch.reason[i] = reason;
}

/** Only a full send buffer comes here, at most once per flush, so the allocation is off the packet path. */
function waitForRoom(descriptor: number): void {
  const poll = new PollSet(1);
  poll.add(descriptor, POLLOUT);
  poll.wait(ROOM_WAIT_MS);
}
