/**
 * Pings: one raw socket for each family, because the ones that need no privilege (net.ipv4.ping_group_range) are switched off on most servers.
 * Requests of one opener bear one identifier, and what comes back with another is filtered out by the kernel. Polled, never blocking.
 *
 *     | type 8 / 128 | code 0 | checksum | identifier | token | 8 random bytes, the same for the opener's life |
 */
import { randomBytes } from 'node:crypto';
import { closeDescriptor } from '../raw-socket/file.ts';
import {
  attachFilter,
  type Instruction,
  jumpEqual,
  keep,
  loadByte,
  loadHalf,
  loadHalfIndexed,
  loadHeaderLength,
} from '../raw-socket/filter.ts';
import { E, errno, errnoName, must } from '../raw-socket/library.ts';
import { type Pinned, pin } from '../raw-socket/memory.ts';
import { MessageVector } from '../raw-socket/message.ts';
import {
  AF_INET,
  AF_INET6,
  openSocket,
  PMTUDISC_PROBE,
  SOCK_RAW,
  setPathMtuDiscovery,
  setReceiveBuffer,
} from '../raw-socket/socket.ts';
import * as icmpv4 from '../wire/icmpv4.ts';
import * as icmpv6 from '../wire/icmpv6.ts';
import { headerLength, HEADER_LENGTH as IPV4_HEADER, PROTOCOL_ICMP } from '../wire/ipv4.ts';
import { HEADER_LENGTH as IPV6_HEADER, NEXT_ICMPV6 } from '../wire/ipv6.ts';

const SECRET = 8;
const REQUEST = icmpv4.HEADER_LENGTH + SECRET;
/** An IPv4 header with options, and the reply. */
const SLOT = 128;
const BATCH = 32;
/** Batches that one look reads at most. */
const BATCHES = 8;
const NAME_BYTES = 32;
const RECEIVE_BUFFER = 128 * 1024;

export interface EchoSocketOptions {
  /** Bytes of the largest request with its IP header that `ask` may be asked for. Absent: only the shortest. */
  readonly largest?: number;
  /** With DF, whatever the path MTU is believed to be: what is too big for the interface is refused with EMSGSIZE. Absent: as the kernel likes. */
  readonly dontFragment?: boolean;
}

export class EchoSocket {
  readonly #identifier = randomBytes(2).readUInt16BE(0);
  readonly #secret = randomBytes(SECRET);
  readonly #dontFragment: boolean;
  readonly #receiveBuffer: number;
  /** Where replies are read to, behind the request. */
  readonly #replies: number;
  readonly #memory: Pinned;
  readonly #view: DataView;
  readonly #out = new MessageVector({ messages: 1, segments: 1, nameBytes: NAME_BYTES, controlBytes: 0 });
  readonly #in = new MessageVector({ messages: BATCH, segments: 1, nameBytes: 0, controlBytes: 0 });
  #descriptor4 = -1;
  #descriptor6 = -1;

  constructor({ largest = REQUEST, dontFragment = false }: EchoSocketOptions = {}) {
    this.#dontFragment = dontFragment;
    this.#receiveBuffer = largest > REQUEST ? 16 * RECEIVE_BUFFER : RECEIVE_BUFFER;
    this.#replies = Math.ceil(Math.max(largest, REQUEST) / 8) * 8;
    this.#memory = pin(this.#replies + BATCH * SLOT);
    this.#view = new DataView(this.#memory.bytes.buffer);
    for (let i = 0; i < BATCH; i++) this.#in.setSegment(i, 0, this.#memory.address + this.#replies + i * SLOT, SLOT);
  }

  /**
   * Sends an echo request to `address` (4 or 16 bytes). `token`, 0–65535, comes back with the reply. `bytes`: of the whole IP packet; absent or less than
   * that: the shortest. Returns the name of the kernel's error
   * (`EHOSTUNREACH`), null when it was sent. Opens the socket of a family when it is needed for the first time: throws CodedError,
   * EXIT.PRIVILEGE without CAP_NET_RAW.
   */
  ask(address: Uint8Array, token: number, bytes = 0): string | null {
    const six = address.length === 16;
    const length = Math.max(REQUEST, bytes - (six ? IPV6_HEADER : IPV4_HEADER));
    if (length > this.#replies) throw new RangeError(`a request of ${bytes} bytes: the largest is shorter`);
    const view = this.#view;
    if (six) icmpv6.writeStart(view, 0, icmpv6.TYPE_ECHO_REQUEST, 0);
    else icmpv4.writeStart(view, 0, icmpv4.TYPE_ECHO_REQUEST, 0);
    view.setUint16(4, this.#identifier);
    view.setUint16(6, token);
    this.#memory.bytes.set(this.#secret, icmpv4.HEADER_LENGTH);
    // Over IPv6 the kernel fills it in: the pseudo-header needs the source address (RFC 3542 §3.1).
    if (!six) icmpv4.fillChecksum(view, 0, length);
    this.#out.setSegment(0, 0, this.#memory.address, length);
    this.#name(address);
    if (this.#out.send(this.#descriptor(six), 0, 1) === 1) return null;
    return errnoName(errno());
  }

  /** Tokens of the replies that came since the last call. Throws CodedError when a socket fails. */
  heard(): number[] {
    const tokens: number[] = [];
    if (this.#descriptor4 >= 0) this.#receive(this.#descriptor4, false, tokens);
    if (this.#descriptor6 >= 0) this.#receive(this.#descriptor6, true, tokens);
    return tokens;
  }

  close(): void {
    for (const descriptor of [this.#descriptor4, this.#descriptor6]) if (descriptor >= 0) closeDescriptor(descriptor);
    this.#descriptor4 = -1;
    this.#descriptor6 = -1;
  }

  #descriptor(six: boolean): number {
    if (six) {
      if (this.#descriptor6 < 0) this.#descriptor6 = this.#open(AF_INET6);
      return this.#descriptor6;
    }
    if (this.#descriptor4 < 0) this.#descriptor4 = this.#open(AF_INET);
    return this.#descriptor4;
  }

  #open(family: number): number {
    const six = family === AF_INET6;
    const descriptor = openSocket(family, SOCK_RAW, six ? NEXT_ICMPV6 : PROTOCOL_ICMP, 'pings');
    try {
      attachFilter(descriptor, repliesTo(this.#identifier, six));
      setReceiveBuffer(descriptor, this.#receiveBuffer);
      if (this.#dontFragment) setPathMtuDiscovery(descriptor, six, PMTUDISC_PROBE);
      return descriptor;
    } catch (error) {
      closeDescriptor(descriptor);
      throw error;
    }
  }

  #name(address: Uint8Array): void {
    const at = this.#out.nameAt(0);
    const six = address.length === 16;
    this.#out.bytes.fill(0, at, at + NAME_BYTES);
    this.#out.uint16[at >> 1] = six ? AF_INET6 : AF_INET;
    this.#out.bytes.set(address, at + (six ? 8 : 4));
    this.#out.setNameLength(0, six ? 28 : 16);
  }

  #receive(descriptor: number, six: boolean, tokens: number[]): void {
    for (let left = BATCHES; left > 0; left--) {
      const received = this.#in.receive(descriptor, BATCH);
      if (received < 0) {
        const number = errno();
        if (number === E.EAGAIN || number === E.EINTR) return;
        must(received, 'recvmmsg of echo replies');
      }
      for (let i = 0; i < received; i++) {
        const start = this.#replies + i * SLOT;
        const at = start + (six ? 0 : headerLength(this.#view, start));
        if (start + this.#in.transferred(i) < at + REQUEST) continue;
        const secret = this.#memory.bytes.subarray(at + icmpv4.HEADER_LENGTH, at + REQUEST);
        if (this.#secret.equals(secret)) tokens.push(this.#view.getUint16(at + 6));
      }
      if (received < BATCH) return;
    }
  }
}

/** A raw IPv4 socket sees the packet from its IP header on, an IPv6 one from its ICMPv6 header. */
function repliesTo(identifier: number, six: boolean): Instruction[] {
  const kept = [keep(0xffff), keep(0)];
  if (six) {
    return [loadByte(0), jumpEqual(icmpv6.TYPE_ECHO_REPLY, 0, 3), loadHalf(4), jumpEqual(identifier, 0, 1), ...kept];
  }
  return [loadHeaderLength(0), loadHalfIndexed(0), jumpEqual(0, 0, 3), loadHalfIndexed(4), jumpEqual(identifier, 0, 1), ...kept];
}
