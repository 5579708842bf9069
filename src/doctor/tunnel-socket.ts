/**
 * One UDP socket toward one tunnel port, for what ICMP says about it. Each target has its own: with IP_RECVERR the kernel gives an error about any packet of a
 * socket to its next call, so a shared one could not tell whom it is about.
 */
import { closeDescriptor } from '../raw-socket/file.ts';
import { E, errno, errnoName } from '../raw-socket/library.ts';
import { type Pinned, pin } from '../raw-socket/memory.ts';
import { MessageVector } from '../raw-socket/message.ts';
import {
  AF_INET,
  AF_INET6,
  IP_TTL,
  IPPROTO_IP,
  IPPROTO_IPV6,
  IPV6_UNICAST_HOPS,
  openSocket,
  PMTUDISC_PROBE,
  SOCK_DGRAM,
  setOption,
  setPathMtuDiscovery,
} from '../raw-socket/socket.ts';
import * as icmpv4 from '../wire/icmpv4.ts';
import * as icmpv6 from '../wire/icmpv6.ts';
import { HEADER_LENGTH as IPV4_HEADER } from '../wire/ipv4.ts';
import { HEADER_LENGTH as IPV6_HEADER } from '../wire/ipv6.ts';
import { HEADER_LENGTH as UDP_HEADER } from '../wire/udp.ts';

/** linux/in.h, linux/in6.h */
const IP_RECVERR = 11;
const IPV6_RECVERR = 25;

/**
 * Version 0, the control bit, no length, control type 0: a kernel's GUE port takes it and throws it away (net/ipv4/fou_core.c gue_control_message), and so does our
 * worker. A FOU port finds an IP version that is none.
 *
 *     | 0 0 1 0 0 0 0 0 | type 0 | flags 0 |
 */
const GUE_CONTROL = 0x20;

/**
 * Control data of an error: struct sock_extended_err and who told us.
 *
 *     | cmsghdr 16 | errno u32 | origin | type | code | 0 | info u32 | data u32 | sockaddr_in: family, port, address
 *     0            16          20       21     22                               | sockaddr_in6: family, port, flow, address
 *                                                                               32
 */
const ERROR_CONTROL = 72;
const ERROR_TYPE_AT = 21;
const ERROR_SENDER_AT = 32;

export class TunnelSocket {
  readonly #descriptor: number;
  readonly #memory: Pinned;
  readonly #out = new MessageVector({ messages: 1, segments: 1, nameBytes: 32, controlBytes: 0 });
  readonly #in = new MessageVector({ messages: 1, segments: 1, nameBytes: 0, controlBytes: 0 });
  readonly #errors = new MessageVector({ messages: 1, segments: 1, nameBytes: 0, controlBytes: ERROR_CONTROL });
  readonly #headers: number;
  readonly #six: boolean;

  /** `address`: 4 or 16 bytes. `largest`: bytes of the largest IP packet that is sent. `hops`: its TTL; absent: the kernel's. Throws CodedError when the kernel gives no socket. */
  constructor(address: Uint8Array, port: number, largest: number, hops: number | null = null) {
    const six = address.length === 16;
    this.#six = six;
    this.#headers = (six ? IPV6_HEADER : IPV4_HEADER) + UDP_HEADER;
    this.#memory = pin(Math.ceil(largest / 8) * 8);
    this.#memory.bytes[0] = GUE_CONTROL;
    this.#descriptor = openSocket(six ? AF_INET6 : AF_INET, SOCK_DGRAM, 0, 'a look at a tunnel port');
    try {
      setPathMtuDiscovery(this.#descriptor, six, PMTUDISC_PROBE);
      if (six) setOption(this.#descriptor, IPPROTO_IPV6, IPV6_RECVERR, 1, 'IPV6_RECVERR');
      else setOption(this.#descriptor, IPPROTO_IP, IP_RECVERR, 1, 'IP_RECVERR');
      if (hops !== null && six) setOption(this.#descriptor, IPPROTO_IPV6, IPV6_UNICAST_HOPS, hops, 'IPV6_UNICAST_HOPS');
      else if (hops !== null) setOption(this.#descriptor, IPPROTO_IP, IP_TTL, hops, 'IP_TTL');
    } catch (error) {
      closeDescriptor(this.#descriptor);
      throw error;
    }
    this.#out.uint16[this.#out.nameAt(0) >> 1] = six ? AF_INET6 : AF_INET;
    const at = this.#out.nameAt(0);
    this.#out.bytes[at + 2] = port >> 8;
    this.#out.bytes[at + 3] = port;
    this.#out.bytes.set(address, at + (six ? 8 : 4));
    this.#out.setNameLength(0, six ? 28 : 16);
    this.#in.setSegment(0, 0, this.#memory.address, 8);
    this.#errors.setSegment(0, 0, this.#memory.address, 8);
  }

  /** Sends an IP packet of `bytes` bytes with DF. The name of the error: of this call, or one that ICMP brought before; null when it left. */
  send(bytes: number): string | null {
    this.#out.setSegment(0, 0, this.#memory.address, bytes - this.#headers);
    return this.#out.send(this.#descriptor, 0, 1) === 1 ? null : errnoName(errno());
  }

  /** What ICMP has said since, as the name of an error (`ECONNREFUSED`: port unreachable); null while nobody has said anything. */
  heard(): string | null {
    if (this.#in.receive(this.#descriptor, 1) >= 0) return null;
    const number = errno();
    return number === E.EAGAIN || number === E.EINTR ? null : errnoName(number);
  }

  /** The router at which a packet's hops ran out, as it has told since; null while none has. */
  expired(): Uint8Array | null {
    this.#errors.setControlLength(0, ERROR_CONTROL);
    if (this.#errors.receiveErrors(this.#descriptor, 1) < 1) return null;
    const at = this.#errors.controlAt(0);
    const { bytes } = this.#errors;
    if (bytes[at + ERROR_TYPE_AT] !== (this.#six ? icmpv6.TYPE_TIME_EXCEEDED : icmpv4.TYPE_TIME_EXCEEDED)) return null;
    return bytes.slice(at + ERROR_SENDER_AT + (this.#six ? 8 : 4), at + ERROR_SENDER_AT + (this.#six ? 24 : 8));
  }

  close(): void {
    closeDescriptor(this.#descriptor);
  }
}
