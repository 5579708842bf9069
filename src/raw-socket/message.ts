/**
 * Arrays of messages for sendmmsg and recvmmsg: one block of memory that JavaScript writes as 32-bit words and the kernel reads.
 * Pointers are stored as two halves, so nothing is allocated per packet.
 *
 *     block:  | mmsghdr × messages | iovec × messages × segments | name × messages | control × messages |
 *
 * Message i's pieces are iovecs i × segments and following, or, where one message needs many and another few, any that `gather` says.
 *
 *     struct mmsghdr, 64 bytes (LP64):            struct iovec, 16 bytes:
 *      0 name*    8 namelen  (12 pad)              0 base*
 *     16 iov*    24 iovlen                         8 length
 *     32 control* 40 controllen
 *     48 flags  (52 pad)  56 transferred (60 pad)
 */
import { libc } from './library.ts';
import type { Pinned } from './memory.ts';
import { pin, storeAddress } from './memory.ts';

const sendmmsgCall = libc<(fd: number, at: number, count: number, flags: number) => number>(
  'int sendmmsg(int fd, uintptr_t at, unsigned int count, int flags)',
);
const recvmmsgCall = libc<(fd: number, at: number, count: number, flags: number, timeout: number) => number>(
  'int recvmmsg(int fd, uintptr_t at, unsigned int count, int flags, uintptr_t timeout)',
);
const readvCall = libc<(fd: number, at: number, count: number) => number>('intptr_t readv(int fd, uintptr_t at, int count)');
const writevCall = libc<(fd: number, at: number, count: number) => number>('intptr_t writev(int fd, uintptr_t at, int count)');

const HEADER = 64;
const IOVEC = 16;
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
const MSG_ERRQUEUE = 0x2000;
/** In `flags` after receiving: the packet was longer than its segments. */
export const MSG_TRUNC = 0x20;
/** The kernel takes no more messages than this in one call (UIO_MAXIOV). */
export const MAX_MESSAGES = 1024;

export interface MessageShape {
  /** At most MAX_MESSAGES. */
  readonly messages: number;
  /** Pieces of memory that one message is gathered from or scattered to; with `gather`, how many there are for each on average. */
  readonly segments: number;
  /** Bytes of socket address per message, a multiple of 8; 0 for none. */
  readonly nameBytes: number;
  /** Bytes of control data per message, a multiple of 8; 0 for none. */
  readonly controlBytes: number;
}

export class MessageVector {
  readonly messages: number;
  readonly segments: number;
  readonly controlBytes: number;
  readonly #memory: Pinned;
  readonly #nameBytes: number;
  readonly #iovecAt: number;
  readonly #nameAt: number;
  readonly #controlAt: number;

  constructor(shape: MessageShape) {
    const { messages, segments, nameBytes, controlBytes } = shape;
    if (messages > MAX_MESSAGES) throw new RangeError(`at most ${MAX_MESSAGES} messages, not ${messages}`);
    this.messages = messages;
    this.segments = segments;
    this.controlBytes = controlBytes;
    this.#nameBytes = nameBytes;
    this.#iovecAt = messages * HEADER;
    this.#nameAt = this.#iovecAt + messages * segments * IOVEC;
    this.#controlAt = this.#nameAt + messages * nameBytes;
    this.#memory = pin(this.#controlAt + messages * controlBytes);
    const { int32, address } = this.#memory;
    for (let i = 0; i < messages; i++) {
      const at = (i * HEADER) >> 2;
      if (nameBytes > 0) storeAddress(int32, at, address + this.nameAt(i));
      int32[at + 2] = nameBytes;
      storeAddress(int32, at + 4, address + this.#iovecAt + i * segments * IOVEC);
      int32[at + 6] = segments;
      if (controlBytes > 0) storeAddress(int32, at + 8, address + this.controlAt(i));
      int32[at + 10] = controlBytes;
    }
  }

  /** The block as 32-bit words and bytes: for names and control data, at the offsets below. */
  get int32(): Int32Array {
    return this.#memory.int32;
  }

  get uint16(): Uint16Array {
    return this.#memory.uint16;
  }

  get bytes(): Uint8Array {
    return this.#memory.bytes;
  }

  /** Byte offset of message `i`'s socket address in the block. */
  nameAt(i: number): number {
    return this.#nameAt + i * this.#nameBytes;
  }

  /** Byte offset of message `i`'s control data in the block. */
  controlAt(i: number): number {
    return this.#controlAt + i * this.controlBytes;
  }

  setNameLength(i: number, bytes: number): void {
    this.#memory.int32[i * 16 + 2] = bytes;
  }

  setControlLength(i: number, bytes: number): void {
    this.#memory.int32[i * 16 + 10] = bytes;
  }

  controlLength(i: number): number {
    return this.#memory.int32[i * 16 + 10];
  }

  /** Message `i` is gathered from its first `segments` segments only. */
  useSegments(i: number, segments: number): void {
    this.#memory.int32[i * 16 + 6] = segments;
  }

  setSegment(i: number, segment: number, address: number, bytes: number): void {
    this.setPiece(i * this.segments + segment, address, bytes);
  }

  /** Piece `piece` of all messages' pieces. */
  setPiece(piece: number, address: number, bytes: number): void {
    const at = (this.#iovecAt + piece * IOVEC) >> 2;
    const words = this.#memory.int32;
    words[at] = address;
    words[at + 1] = address / 4294967296;
    words[at + 2] = bytes;
  }

  /**
   * A function that makes message `i` one piece of memory: the `bytes` bytes that begin `at` bytes behind `base`. Writes what `setSegment` and `useSegments` write, with no more than
   * a few additions for each message, where what it is given is known when it is compiled (a closure that is made once).
   */
  wholeMessages(base: number): (i: number, at: number, bytes: number) => void {
    const words = this.#memory.int32;
    const first = this.#iovecAt >> 2;
    const stride = (this.segments * IOVEC) >> 2;
    const high = Math.floor(base / 4294967296);
    const low = base - high * 4294967296;
    return (i, at, bytes) => {
      const piece = first + i * stride;
      const address = low + at;
      words[piece] = address;
      words[piece + 1] = address < 4294967296 ? high : high + 1;
      words[piece + 2] = bytes;
      words[i * 16 + 6] = 1;
    };
  }

  /** Message `i` is gathered from pieces `first` to `first + count − 1`, whoever's they were. */
  gather(i: number, first: number, count: number): void {
    const at = i * 16;
    storeAddress(this.#memory.int32, at + 4, this.#memory.address + this.#iovecAt + first * IOVEC);
    this.#memory.int32[at + 6] = count;
  }

  /**
   * Message `i` becomes part of message `j` of another vector: the same name, the first `controlBytes` of its control data, and of its
   * pieces `count` from `first` on. Nothing is copied; the other vector must stay as it is until this one has been sent.
   */
  borrow(i: number, other: MessageVector, j: number, first: number, count: number, controlBytes: number): void {
    const words = this.#memory.int32;
    const at = i * 16;
    const base = other.#memory.address;
    storeAddress(words, at, base + other.nameAt(j));
    words[at + 2] = other.#memory.int32[j * 16 + 2];
    storeAddress(words, at + 4, base + other.#iovecAt + first * IOVEC);
    words[at + 6] = count;
    if (controlBytes > 0) storeAddress(words, at + 8, base + other.controlAt(j));
    words[at + 10] = controlBytes;
  }

  /** msg_flags after receiving. */
  flags(i: number): number {
    return this.#memory.int32[i * 16 + 12];
  }

  /** Bytes received or sent by message `i` in the last call that reached it. */
  transferred(i: number): number {
    return this.#memory.int32[i * 16 + 14];
  }

  /** sendmmsg from message `from`: how many were taken, −1 with `errno()` set when the first was refused. Never blocks. */
  send(descriptor: number, from: number, count: number): number {
    const { address } = this.#memory;
    // Nearly always all of them, from an address that is a number already.
    return sendmmsgCall(descriptor, from === 0 ? address : address + from * HEADER, count, MSG_DONTWAIT | MSG_NOSIGNAL);
  }

  /** recvmmsg into messages from 0: how many arrived, −1 with `errno()` set (EAGAIN: none). Never blocks. */
  receive(descriptor: number, count: number): number {
    return recvmmsgCall(descriptor, this.#memory.address, count, MSG_DONTWAIT, 0);
  }

  /** The same of the socket's queue of errors (IP_RECVERR): each with what the kernel says of it as control data. */
  receiveErrors(descriptor: number, count: number): number {
    return recvmmsgCall(descriptor, this.#memory.address, count, MSG_DONTWAIT | MSG_ERRQUEUE, 0);
  }

  /**
   * A function that makes one readv from `descriptor` into message `i`'s segments (devices know no recvmmsg): bytes, −1 with `errno()` set. The vector must stay referenced
   * while it is in use. Its addresses are numbers made once: one that is computed for each call is garbage (16 bytes), and takes longer to hand over.
   */
  reader(descriptor: number): (i: number) => number {
    const { segments } = this;
    const first = this.#memory.address + this.#iovecAt;
    // As in `pin`: beside null they are kept as they were made, where an array of nothing but numbers would make each anew when it is read.
    const pieces: (number | null)[] = [null];
    for (let i = 0; i < this.messages; i++) pieces.push(first + i * segments * IOVEC);
    const readv = readvCall;
    return (i) => readv(descriptor, pieces[i + 1] as number, segments);
  }

  /** One writev from the first `segments` of message `i`'s segments: bytes, −1 with `errno()` set. */
  writeFrom(descriptor: number, i: number, segments = this.segments): number {
    return writevCall(descriptor, this.#memory.address + this.#iovecAt + i * this.segments * IOVEC, segments);
  }
}
