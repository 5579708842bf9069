/**
 * The conversation with the kernel's routing side (AF_NETLINK, NETLINK_ROUTE): requests with acknowledgement, dumps, and change
 * notifications. Synchronous: an answer takes microseconds, and start-up code reads best in a straight line.
 */
import { CodedError, EXIT } from '../base/errors.ts';
import { addressOf, E, errno, errnoName, libc, must } from './library.ts';
import {
  decodeError,
  decodeMessages,
  encodeMessage,
  type Message,
  NLM_F_ACK,
  NLM_F_DUMP,
  NLM_F_DUMP_INTR,
  NLM_F_REQUEST,
  NLMSG_DONE,
  NLMSG_ERROR,
  readI32,
  readU32,
} from './netlink-message.ts';

type FileCall = (...parameters: number[]) => number;
const socket = libc<FileCall>('int socket(int domain, int type, int protocol)');
const bind = libc<(fd: number, address: Uint8Array, length: number) => number>(
  'int bind(int fd, const void *address, uint32_t length)',
);
const setsockopt = libc<(fd: number, level: number, name: number, value: Uint8Array, length: number) => number>(
  'int setsockopt(int fd, int level, int name, const void *value, uint32_t length)',
);
const send = libc<(fd: number, bytes: Uint8Array, length: number, flags: number) => number>(
  'long send(int fd, const void *bytes, size_t length, int flags)',
);
const recvfrom = libc<(fd: number, bytes: number, length: number, flags: number, from: number, fromLength: number) => number>(
  'long recvfrom(int fd, uintptr_t bytes, size_t length, int flags, uintptr_t from, uintptr_t fromLength)',
);
const close = libc<(fd: number) => number>('int close(int fd)');

const AF_NETLINK = 16;
const SOCK_RAW = 3;
const SOCK_CLOEXEC = 0o2000000;
const NETLINK_ROUTE = 0;
const SOL_SOCKET = 1;
const SO_RCVTIMEO = 20;
const SOL_NETLINK = 270;
const NETLINK_ADD_MEMBERSHIP = 1;
const NETLINK_CAP_ACK = 10;
const NETLINK_EXT_ACK = 11;
const NETLINK_GET_STRICT_CHK = 12;
const MSG_DONTWAIT = 0x40;
const MSG_TRUNC = 0x20;

/** The kernel builds dump datagrams of at most 32 KiB; one message (a link with many virtual functions) may be larger. */
const RECEIVE_BYTES = 256 * 1024;
/** Shared by all sockets of this thread: a receive copies what it got before anything else runs. */
const receiveBuffer = new Uint8Array(RECEIVE_BYTES);
/** A dump that a change interrupted is repeated this often before its last, possibly mixed, result is an error. */
const DUMP_ATTEMPTS = 5;

/** The kernel refused a request. `errno` tells which way; `explanation` is the kernel's own sentence, often empty. */
export class NetlinkError extends CodedError {
  readonly errno: number;
  readonly explanation: string;

  constructor(object: string, number: number, explanation: string) {
    const privilege = number === E.EPERM || number === E.EACCES;
    super('GD_RAW_SOCKET_NETLINK', `${object}: ${errnoName(number)}${explanation === '' ? '' : ` (${explanation})`}`, {
      exitCode: privilege ? EXIT.PRIVILEGE : EXIT.FAILED,
      hint: privilege ? 'run as root, or give the process CAP_NET_ADMIN and CAP_NET_RAW' : '',
    });
    this.errno = number;
    this.explanation = explanation;
  }
}

/** One netlink socket of the calling thread's network namespace. */
export class NetlinkSocket {
  readonly #fd: number;
  // Given to the kernel by address: memory of an explicit ArrayBuffer never moves.
  readonly #from = new Uint8Array(new ArrayBuffer(12));
  readonly #fromLength = new Uint32Array(new ArrayBuffer(4));
  #sequence = 0;

  /** `groups`: RTNLGRP_* numbers whose changes `drain` will deliver. An unanswered request fails after `timeoutMs`. */
  constructor(options: { groups?: readonly number[]; timeoutMs?: number } = {}) {
    this.#fd = must(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE), 'socket(AF_NETLINK)');
    try {
      const address = new Uint8Array(12);
      new Uint16Array(address.buffer)[0] = AF_NETLINK;
      must(bind(this.#fd, address, address.length), 'bind(AF_NETLINK)');
      const timeout = options.timeoutMs ?? 5000;
      const timeval = new BigInt64Array([BigInt(Math.floor(timeout / 1000)), BigInt((timeout % 1000) * 1000)]);
      must(setsockopt(this.#fd, SOL_SOCKET, SO_RCVTIMEO, new Uint8Array(timeval.buffer), 16), 'setsockopt(SO_RCVTIMEO)');
      for (const name of [NETLINK_CAP_ACK, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK]) this.#option(name, 1);
      for (const group of options.groups ?? []) this.#option(NETLINK_ADD_MEMBERSHIP, group);
    } catch (error) {
      this.close();
      throw error;
    }
  }

  #option(name: number, value: number): void {
    must(
      setsockopt(this.#fd, SOL_NETLINK, name, new Uint8Array(Uint32Array.of(value).buffer), 4),
      `setsockopt(SOL_NETLINK, ${name})`,
    );
  }

  /**
   * Asks for a change and waits for the acknowledgement. `object` names what is changed, for the error text.
   * Throws NetlinkError when the kernel refuses.
   */
  change(object: string, type: number, flags: number, fixed: Uint8Array, attributes: readonly Uint8Array[]): void {
    this.#exchange(object, type, flags | NLM_F_REQUEST | NLM_F_ACK, fixed, attributes);
  }

  /** Asks for one thing; the answers in front of the acknowledgement. Throws NetlinkError when the kernel refuses. */
  get(object: string, type: number, fixed: Uint8Array, attributes: readonly Uint8Array[]): Message[] {
    return this.#exchange(object, type, NLM_F_REQUEST | NLM_F_ACK, fixed, attributes).messages;
  }

  /** Asks for everything that matches. A dump that a change interrupted is asked again. */
  dump(object: string, type: number, fixed: Uint8Array, attributes: readonly Uint8Array[] = []): Message[] {
    for (let attempt = 1; ; attempt++) {
      const { messages, interrupted } = this.#exchange(object, type, NLM_F_REQUEST | NLM_F_DUMP, fixed, attributes);
      if (!interrupted) return messages;
      if (attempt === DUMP_ATTEMPTS) throw new NetlinkError(object, E.EAGAIN, 'the list kept changing while it was read');
    }
  }

  /**
   * Change notifications that wait, without blocking. `overrun` is true when the kernel had to throw some away (ENOBUFS): then
   * anything may have changed.
   */
  drain(): { messages: Message[]; overrun: boolean } {
    const messages: Message[] = [];
    let overrun = false;
    for (;;) {
      const result = this.#receive(MSG_DONTWAIT);
      if (result === 'empty') return { messages, overrun };
      if (result === 'overrun') overrun = true;
      else messages.push(...result);
    }
  }

  close(): void {
    close(this.#fd);
  }

  #exchange(
    object: string,
    type: number,
    flags: number,
    fixed: Uint8Array,
    attributes: readonly Uint8Array[],
  ): { messages: Message[]; interrupted: boolean } {
    this.#sequence = (this.#sequence + 1) >>> 0;
    const request = encodeMessage(type, flags, this.#sequence, fixed, attributes);
    must(send(this.#fd, request, request.length, 0), `send(AF_NETLINK) for ${object}`);
    const messages: Message[] = [];
    let interrupted = false;
    for (;;) {
      const received = this.#receive(0);
      if (received === 'empty') throw new NetlinkError(object, E.ETIMEDOUT, 'no answer from the kernel');
      if (received === 'overrun') throw new NetlinkError(object, E.ENOBUFS, 'the answer did not fit the receive queue');
      for (const message of received) {
        // A notification, or the rest of an earlier request that failed half-way.
        if (message.sequence !== this.#sequence) continue;
        if ((message.flags & NLM_F_DUMP_INTR) !== 0) interrupted = true;
        if (message.type === NLMSG_ERROR) {
          const { errno: number, explanation } = decodeError(message);
          if (number !== 0) throw new NetlinkError(object, number, explanation);
          return { messages, interrupted };
        }
        if (message.type === NLMSG_DONE) {
          // A dump that fails after its first datagram says so here.
          const number = message.body.length >= 4 ? -readI32(message.body) : 0;
          if (number > 0) throw new NetlinkError(object, number, '');
          return { messages, interrupted };
        }
        messages.push(message);
      }
    }
  }

  #receive(flags: number): Message[] | 'empty' | 'overrun' {
    for (;;) {
      this.#fromLength[0] = this.#from.length;
      const from = addressOf(this.#from);
      const length = recvfrom(
        this.#fd,
        addressOf(receiveBuffer),
        RECEIVE_BYTES,
        flags | MSG_TRUNC,
        from,
        addressOf(this.#fromLength),
      );
      if (length < 0) {
        const number = errno();
        if (number === E.EINTR) continue;
        if (number === E.EAGAIN) return 'empty';
        if (number === E.ENOBUFS) return 'overrun';
        must(length, 'recv(AF_NETLINK)');
      }
      // Another process may write to this socket; only the kernel (port 0) speaks the truth.
      if (readU32(this.#from, 4) !== 0) continue;
      if (length > RECEIVE_BYTES) throw new NetlinkError('recv(AF_NETLINK)', E.EMSGSIZE, `an answer of ${length} bytes`);
      return decodeMessages(receiveBuffer.slice(0, length));
    }
  }
}

/** Runs `work` with a socket of the current network namespace and closes it, whatever happens. */
export function withNetlink<T>(work: (socket: NetlinkSocket) => T): T {
  const opened = new NetlinkSocket();
  try {
    return work(opened);
  } finally {
    opened.close();
  }
}
