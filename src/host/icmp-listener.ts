/**
 * ICMP errors about our outer packets, from one raw socket per family, whichever egress sent the packets. The error queue of a sending
 * socket (IP_RECVERR) would not do: an error about one backend makes the next send to another fail.
 *
 * A raw socket can not join Node's event loop, so somebody calls `poll` every 100–250 ms. An empty poll is one system call per family;
 * a full one reads `messagesPerPoll` messages of each, whatever the flood: what waits longer is dropped by the kernel, at the
 * receive buffer, and counted.
 */
import { sameAddress } from '../base/address.ts';
import { closeDescriptor } from '../raw-socket/file.ts';
import { attachFilter, KEEP_NOTHING } from '../raw-socket/filter.ts';
import { E, errno, must } from '../raw-socket/library.ts';
import { pin, retain } from '../raw-socket/memory.ts';
import { MessageVector, MSG_TRUNC } from '../raw-socket/message.ts';
import {
  AF_INET,
  AF_INET6,
  getStructOption,
  openSocket,
  SOCK_RAW,
  SOL_SOCKET,
  setReceiveBuffer,
  setStructOption,
} from '../raw-socket/socket.ts';
import * as icmpv6 from '../wire/icmpv6.ts';
import { PROTOCOL_ICMP, PROTOCOL_UDP } from '../wire/ipv4.ts';
import { NEXT_ICMPV6 } from '../wire/ipv6.ts';
import { icmp4Filter, icmp6Filter, type Quoted } from './icmp-filter.ts';
import {
  type IcmpReport,
  IGNORE_REASONS,
  type IgnoreReason,
  readIcmp4,
  readIcmp6,
  type SourcePorts,
  type Tunnel,
  TunnelIndex,
} from './icmp-quote.ts';

/** Messages of each family that one poll reads at most: up to a millisecond of work. */
const MESSAGES_PER_POLL = 128;
const BATCH = 32;
/** struct sockaddr_in or sockaddr_in6, padded. */
const NAME_BYTES = 32;
/** Errors quote at most 576 bytes (RFC 1812 §4.3.2.3) or fill 1,280 (RFC 4443 §2.4 c). */
const SLOT = 2048;
const RECEIVE_BUFFER = 256 * 1024;

/** linux/icmpv6.h: a bit for each type, set for those that are not delivered. */
const ICMPV6_FILTER = 1;
/** linux/sock_diag.h: SO_MEMINFO gives nine u32, the last counts what found no room in the receive buffer. */
const SO_MEMINFO = 55;
const SK_MEMINFO_DROPS = 8;

export interface IcmpListenerOptions {
  /** Of each family; default 128. */
  readonly messagesPerPoll?: number;
  /** Bytes of each socket's receive buffer; default 256 KiB. */
  readonly receiveBuffer?: number;
}

/**
 * `own-route`: our own kernel refused the packet before it left, because the route is smaller than was believed. Not a router's word
 * with a lease, but a reason to read the route again.
 */
export type ListenerReport =
  | Exclude<IcmpReport, { readonly kind: 'unreachable' }>
  | (Extract<IcmpReport, { readonly kind: 'unreachable' }> & { /** Who said so: 4 or 16 bytes. */ readonly by: Uint8Array })
  | { readonly kind: 'own-route'; readonly tunnel: Tunnel };

/** Listens in the network namespace in which `listen` was called. Needs CAP_NET_RAW. */
export class IcmpListener {
  /** `tooBig` (said by routers), `ownRoute` (said by our own kernel) and `unreachable`: believed. `ignored`: by reason. */
  readonly counts = {
    tooBig: 0,
    ownRoute: 0,
    unreachable: 0,
    ignored: Object.fromEntries(IGNORE_REASONS.map((reason) => [reason, 0])) as Record<IgnoreReason, number>,
  };
  readonly #perPoll: number;
  readonly #receiveBuffer: number;
  readonly #memory = pin(BATCH * SLOT);
  readonly #view = new DataView(this.#memory.bytes.buffer);
  readonly #vector = new MessageVector({ messages: BATCH, segments: 1, nameBytes: NAME_BYTES, controlBytes: 0 });
  readonly #drops = pin((SK_MEMINFO_DROPS + 1) * 4);
  #descriptor4 = -1;
  #descriptor6 = -1;
  #tunnels = new TunnelIndex([], { base: 0, count: 0 });

  constructor(options: IcmpListenerOptions = {}) {
    this.#perPoll = options.messagesPerPoll ?? MESSAGES_PER_POLL;
    this.#receiveBuffer = options.receiveBuffer ?? RECEIVE_BUFFER;
    for (let i = 0; i < BATCH; i++) this.#vector.setSegment(i, 0, this.#memory.address + i * SLOT, SLOT);
  }

  /**
   * From now on, errors about packets in these tunnels from these source ports are reported. Opens a socket for a family that is needed
   * for the first time. Throws CodedError, EXIT.PRIVILEGE without CAP_NET_RAW.
   */
  listen(tunnels: readonly Tunnel[], sourcePorts: SourcePorts): void {
    const [four, six] = [4, 16].map((length) => tunnels.filter(({ address }) => address.length === length));
    if (four.length > 0 && this.#descriptor4 < 0) this.#descriptor4 = this.#open(AF_INET);
    if (six.length > 0 && this.#descriptor6 < 0) this.#descriptor6 = this.#open(AF_INET6);
    this.#tunnels = new TunnelIndex(tunnels, sourcePorts);
    if (this.#descriptor4 >= 0) attachFilter(this.#descriptor4, four.length === 0 ? KEEP_NOTHING : icmp4Filter(quotedOf(four)));
    if (this.#descriptor6 >= 0) attachFilter(this.#descriptor6, six.length === 0 ? KEEP_NOTHING : icmp6Filter(quotedOf(six)));
  }

  /** What arrived since the last call, oldest first within a family, never blocking. Throws CodedError when a socket fails. */
  poll(): ListenerReport[] {
    const reports: ListenerReport[] = [];
    if (this.#descriptor4 >= 0) this.#receive(this.#descriptor4, readIcmp4, reports);
    if (this.#descriptor6 >= 0) this.#receive(this.#descriptor6, readIcmp6, reports);
    return reports;
  }

  /** Messages that were lost because the receive buffer was full (over IPv6 also those with a wrong checksum), since the start. */
  overflows(): number {
    return [this.#descriptor4, this.#descriptor6].reduce((sum, descriptor) => {
      if (descriptor < 0) return sum;
      getStructOption(descriptor, SOL_SOCKET, SO_MEMINFO, this.#drops.address, (SK_MEMINFO_DROPS + 1) * 4, 'SO_MEMINFO');
      return sum + (this.#drops.int32[SK_MEMINFO_DROPS] >>> 0);
    }, 0);
  }

  close(): void {
    for (const descriptor of [this.#descriptor4, this.#descriptor6]) if (descriptor >= 0) closeDescriptor(descriptor);
    this.#descriptor4 = -1;
    this.#descriptor6 = -1;
  }

  #open(family: number): number {
    const six = family === AF_INET6;
    const descriptor = openSocket(
      family,
      SOCK_RAW,
      six ? NEXT_ICMPV6 : PROTOCOL_ICMP,
      `ICMP${six ? 'v6' : ''} about tunnel packets`,
    );
    try {
      attachFilter(descriptor, KEEP_NOTHING);
      if (six) passErrorsOnly(descriptor);
      setReceiveBuffer(descriptor, this.#receiveBuffer);
      return descriptor;
    } catch (error) {
      closeDescriptor(descriptor);
      throw error;
    }
  }

  #receive(descriptor: number, read: typeof readIcmp4, reports: ListenerReport[]): void {
    for (let left = this.#perPoll; left > 0; ) {
      const asked = Math.min(left, BATCH);
      // The kernel writes back how long each sender's address was.
      for (let i = 0; i < asked; i++) this.#vector.setNameLength(i, NAME_BYTES);
      const received = this.#vector.receive(descriptor, asked);
      if (received < 0) {
        const number = errno();
        // An interrupted call is made up for by the next poll.
        if (number === E.EAGAIN || number === E.EINTR) return;
        must(received, 'recvmmsg of ICMP');
      }
      for (let i = 0; i < received; i++) this.#take(i, read, reports);
      if (received < asked) return;
      left -= received;
    }
  }

  #take(i: number, read: typeof readIcmp4, reports: ListenerReport[]): void {
    const at = i * SLOT;
    const cut = (this.#vector.flags(i) & MSG_TRUNC) !== 0;
    const found = cut ? 'truncated' : read(this.#view, at, at + this.#vector.transferred(i), this.#tunnels);
    if (typeof found === 'string') {
      this.counts.ignored[found]++;
      return;
    }
    if (found.kind === 'unreachable') {
      this.counts.unreachable++;
      reports.push({ ...found, by: this.#sender(i, found.tunnel.address.length) });
    } else if (this.#isFrom(i, found.tunnel.source)) {
      this.counts.ownRoute++;
      reports.push({ kind: 'own-route', tunnel: found.tunnel });
    } else {
      this.counts.tooBig++;
      reports.push(found);
    }
  }

  /** A sender refused by its own host is told by the address it sent from (icmp_route_lookup picks it, as the way is local). */
  #isFrom(i: number, address: Uint8Array): boolean {
    return sameAddress(this.#sender(i, address.length), address);
  }

  #sender(i: number, length: number): Uint8Array {
    const at = this.#vector.nameAt(i) + (length === 4 ? 4 : 8);
    return this.#vector.bytes.slice(at, at + length);
  }
}

function quotedOf(tunnels: readonly Tunnel[]): Quoted {
  const protocols = new Set(tunnels.flatMap((tunnel) => tunnel.protocols));
  protocols.delete(PROTOCOL_UDP);
  return { ports: [...new Set(tunnels.flatMap(({ ports }) => ports))], protocols: [...protocols] };
}

/** Spares us neighbour discovery, listener reports and echoes before any filter program runs (RFC 3542 §3.2). */
function passErrorsOnly(descriptor: number): void {
  const blocked = pin(32);
  blocked.int32.fill(-1);
  for (const type of [icmpv6.TYPE_DESTINATION_UNREACHABLE, icmpv6.TYPE_PACKET_TOO_BIG, icmpv6.TYPE_PARAMETER_PROBLEM]) {
    blocked.int32[type >> 5] &= ~(1 << (type & 31));
  }
  setStructOption(descriptor, NEXT_ICMPV6, ICMPV6_FILTER, blocked.address, 32, 'ICMPV6_FILTER');
  retain(blocked);
}
