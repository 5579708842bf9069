/**
 * A fluent packet builder, independent of src/wire: layers from the outside in, as they lie on the wire.
 *
 *     packet().ethernet().ipv4({ dst: '198.51.100.1', ttl: 5 }).tcp({ dport: 443, flags: 'SYN' }).payload(100).bytes()
 *
 * Lengths, protocol numbers and checksums are filled in; every one can be forced to a wrong value. Addresses are text or bytes; the defaults are documentation
 * addresses: client 192.0.2.1 / 2001:db8:1::1, service 198.51.100.1 / 2001:db8:2::1.
 */
import { naiveChecksum, naivePseudoSum } from '../reference/checksum.ts';
import { ip, mac } from './addresses.ts';

type Address = string | Uint8Array;

export interface EthernetFields {
  src?: Address;
  dst?: Address;
  type?: number;
}

export interface Ipv4Fields {
  src?: Address;
  dst?: Address;
  ttl?: number;
  tos?: number;
  id?: number;
  /** Don't fragment; default true. */
  df?: boolean;
  /** More fragments. */
  more?: boolean;
  /** Fragment offset in bytes, a multiple of 8. */
  offset?: number;
  /** A multiple of 4 bytes, at most 40. */
  options?: Uint8Array;
  version?: number;
  /** In 32-bit words. */
  ihl?: number;
  totalLength?: number;
  protocol?: number;
  checksum?: number;
}

export interface Ipv6Fields {
  src?: Address;
  dst?: Address;
  hopLimit?: number;
  trafficClass?: number;
  flowLabel?: number;
  version?: number;
  payloadLength?: number;
  nextHeader?: number;
}

export type ExtensionKind = 'hop-by-hop' | 'routing' | 'destination' | 'authentication' | 'mobility' | 'hip' | 'shim6';

export interface TcpFields {
  sport?: number;
  dport?: number;
  seq?: number;
  ack?: number;
  /** Names joined by commas (`SYN,ACK`) or the flag byte; default `ACK`. */
  flags?: string | number;
  window?: number;
  /** A multiple of 4 bytes, at most 40. */
  options?: Uint8Array;
  /** In 32-bit words. */
  dataOffset?: number;
  /** `partial`: the folded pseudo-header sum, as virtio-net's NEEDS_CSUM leaves it. */
  checksum?: number | 'partial';
}

export interface UdpFields {
  sport?: number;
  dport?: number;
  length?: number;
  checksum?: number | 'partial' | 'none';
}

export interface IcmpFields {
  type?: number;
  code?: number;
  /** Bytes 4–7: echo identifier and sequence, or the MTU. */
  rest?: number;
  checksum?: number;
}

export interface GueFields {
  variant?: number;
  control?: boolean;
  /** In 32-bit words. */
  hlen?: number;
  protocol?: number;
  flags?: number;
  extension?: Uint8Array;
}

export interface ArpFields {
  operation?: number;
  senderMac?: Address;
  sender?: Address;
  targetMac?: Address;
  target?: Address;
}

interface Place {
  readonly src: Uint8Array;
  readonly dst: Uint8Array;
}

interface Layer {
  /** EtherType or IP protocol by which the layer outside names this one; −1 for payload. */
  readonly name: number;
  readonly etherType: number;
  /** Set for IP layers: what a checksum inside covers. */
  readonly place?: Place;
  encode(inner: Uint8Array, next: Layer | undefined, place: Place | undefined): Uint8Array;
}

const EXTENSIONS: Record<ExtensionKind, number> = {
  'hop-by-hop': 0,
  routing: 43,
  destination: 60,
  authentication: 51,
  mobility: 135,
  hip: 139,
  shim6: 140,
};
const FLAGS = ['FIN', 'SYN', 'RST', 'PSH', 'ACK', 'URG', 'ECE', 'CWR'];

const u16 = (value: number) => [(value >> 8) & 0xff, value & 0xff];
const u32 = (value: number) => [...u16(value >>> 16), ...u16(value)];

function join(header: ArrayLike<number>, ...rest: ArrayLike<number>[]): Uint8Array {
  const parts = [header, ...rest];
  const out = new Uint8Array(parts.reduce((total, part) => total + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

/** `length` bytes that differ from their neighbours, so that a shift by any small number is seen. */
export function patternBytes(length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => (i * 7 + (i >> 8)) & 0xff);
}

export function packet(): PacketBuilder {
  return new PacketBuilder();
}

export class PacketBuilder {
  readonly #layers: Layer[] = [];

  ethernet(fields: EthernetFields = {}): this {
    const addresses = join(mac(fields.dst ?? '02:00:00:00:00:02'), mac(fields.src ?? '02:00:00:00:00:01'));
    return this.#add(-1, -1, (inner, next) => join(addresses, u16(fields.type ?? next?.etherType ?? 0x0800), inner));
  }

  /** A tag behind `ethernet` or another tag. `type`: EtherType of what follows. */
  vlan(fields: { id?: number; priority?: number; service?: boolean; type?: number } = {}): this {
    const control = ((fields.priority ?? 0) << 13) | (fields.id ?? 1);
    const name = fields.service === true ? 0x88a8 : 0x8100;
    return this.#add(-1, name, (inner, next) => join(u16(control), u16(fields.type ?? next?.etherType ?? 0x0800), inner));
  }

  arp(fields: ArpFields = {}): this {
    const header = [0, 1, 8, 0, 6, 4, ...u16(fields.operation ?? 1)];
    const sender = join(mac(fields.senderMac ?? '02:00:00:00:00:01'), ip(fields.sender ?? '192.0.2.1'));
    const target = join(mac(fields.targetMac ?? '00:00:00:00:00:00'), ip(fields.target ?? '198.51.100.1'));
    return this.#add(-1, 0x0806, (inner) => join(header, sender, target, inner));
  }

  ipv4(fields: Ipv4Fields = {}): this {
    const place = { src: ip(fields.src ?? '192.0.2.1'), dst: ip(fields.dst ?? '198.51.100.1') };
    const options = fields.options ?? new Uint8Array(0);
    const words = fields.ihl ?? 5 + options.length / 4;
    const flags = ((fields.df ?? true) ? 0x4000 : 0) | (fields.more === true ? 0x2000 : 0) | ((fields.offset ?? 0) >> 3);
    const encode = (inner: Uint8Array, next?: Layer) => {
      const total = fields.totalLength ?? 20 + options.length + inner.length;
      const start = [((fields.version ?? 4) << 4) | words, fields.tos ?? 0, ...u16(total), ...u16(fields.id ?? 0), ...u16(flags)];
      const middle = [fields.ttl ?? 64, fields.protocol ?? next?.name ?? 59, 0, 0];
      const header = join(start, middle, place.src, place.dst, options);
      header.set(u16(fields.checksum ?? naiveChecksum(header, 0, header.length)), 10);
      return join(header, inner);
    };
    return this.#add(4, 0x0800, encode, place);
  }

  ipv6(fields: Ipv6Fields = {}): this {
    const place = { src: ip(fields.src ?? '2001:db8:1::1'), dst: ip(fields.dst ?? '2001:db8:2::1') };
    const first = ((fields.version ?? 6) << 28) | ((fields.trafficClass ?? 0) << 20) | (fields.flowLabel ?? 0);
    const encode = (inner: Uint8Array, next?: Layer) => {
      const lengths = [
        ...u16(fields.payloadLength ?? inner.length),
        fields.nextHeader ?? next?.name ?? 59,
        fields.hopLimit ?? 64,
      ];
      return join(u32(first), lengths, place.src, place.dst, inner);
    };
    return this.#add(41, 0x86dd, encode, place);
  }

  /** An IPv6 extension header of `units` × 8 bytes (authentication: multiples of 4 bytes, at least 3 words, `units` counts 8 bytes too). */
  extension(kind: ExtensionKind, fields: { units?: number; length?: number; nextHeader?: number } = {}): this {
    const bytes = (fields.units ?? 1) * 8;
    const length = fields.length ?? (kind === 'authentication' ? bytes / 4 - 2 : bytes / 8 - 1);
    // PadN fills an options header; the others carry zeros.
    const body = new Uint8Array(bytes - 2);
    if (kind === 'hop-by-hop' || kind === 'destination') body.set([1, bytes - 4]);
    return this.#add(EXTENSIONS[kind], -1, (inner, next) => join([fields.nextHeader ?? next?.name ?? 59, length], body, inner));
  }

  /** The IPv6 fragment header. `offset` in bytes, a multiple of 8. */
  fragment(fields: { offset?: number; more?: boolean; id?: number; nextHeader?: number } = {}): this {
    const field = (fields.offset ?? 0) | (fields.more === true ? 1 : 0);
    return this.#add(44, -1, (inner, next) =>
      join([fields.nextHeader ?? next?.name ?? 59, 0], u16(field), u32(fields.id ?? 0x1234), inner),
    );
  }

  tcp(fields: TcpFields = {}): this {
    const options = fields.options ?? new Uint8Array(0);
    const names = typeof fields.flags === 'string' ? fields.flags.split(',') : [];
    const flags =
      typeof fields.flags === 'number' ? fields.flags : names.reduce((byte, name) => byte | (1 << FLAGS.indexOf(name)), 0);
    const encode = (inner: Uint8Array, _next?: Layer, place?: Place) => {
      const numbers = [...u32(fields.seq ?? 0x01020304), ...u32(fields.ack ?? 0x05060708)];
      const offset = ((fields.dataOffset ?? 5 + options.length / 4) & 15) << 4;
      const tail = [offset, fields.flags === undefined ? 0x10 : flags, ...u16(fields.window ?? 65535), 0, 0, 0, 0];
      const bytes = join(u16(fields.sport ?? 40000), u16(fields.dport ?? 80), numbers, tail, options, inner);
      bytes.set(u16(transportChecksum(bytes, 6, place, fields.checksum)), 16);
      return bytes;
    };
    return this.#add(6, -1, encode);
  }

  udp(fields: UdpFields = {}): this {
    const encode = (inner: Uint8Array, _next?: Layer, place?: Place) => {
      const ports = [...u16(fields.sport ?? 40000), ...u16(fields.dport ?? 53)];
      const bytes = join(ports, u16(fields.length ?? inner.length + 8), [0, 0], inner);
      const forced = fields.checksum === 'none' ? 0 : fields.checksum;
      const value = transportChecksum(bytes, 17, place, forced);
      bytes.set(u16(forced === undefined && value === 0 ? 0xffff : value), 6);
      return bytes;
    };
    return this.#add(17, -1, encode);
  }

  /** Echo request by default. */
  icmp4(fields: IcmpFields = {}): this {
    return this.#add(1, -1, (inner) => {
      const bytes = join([fields.type ?? 8, fields.code ?? 0, 0, 0], u32(fields.rest ?? 0x00010001), inner);
      bytes.set(u16(fields.checksum ?? naiveChecksum(bytes, 0, bytes.length)), 2);
      return bytes;
    });
  }

  /** Echo request by default. */
  icmp6(fields: IcmpFields = {}): this {
    return this.#add(58, -1, (inner, _next, place) => {
      const bytes = join([fields.type ?? 128, fields.code ?? 0, 0, 0], u32(fields.rest ?? 0x00010001), inner);
      bytes.set(u16(transportChecksum(bytes, 58, place, fields.checksum)), 2);
      return bytes;
    });
  }

  /** A neighbour solicitation, behind `ipv6({ hopLimit: 255 })`. `source`: link-layer option, left out when null. */
  ns(fields: { target?: Address; source?: Address | null } = {}): this {
    const option = fields.source === null ? [] : [1, 1, ...mac(fields.source ?? '02:00:00:00:00:01')];
    return this.icmp6({ type: 135, rest: 0 }).payload(join(ip(fields.target ?? '2001:db8:2::1'), option));
  }

  gue(fields: GueFields = {}): this {
    const extension = fields.extension ?? new Uint8Array(0);
    const hlen = fields.hlen ?? extension.length / 4;
    const first = ((fields.variant ?? 0) << 6) | (fields.control === true ? 0x20 : 0) | hlen;
    return this.#add(-1, -1, (inner, next) =>
      join([first, fields.protocol ?? next?.name ?? 59], u16(fields.flags ?? 0), extension, inner),
    );
  }

  /** So many pattern bytes, or these bytes. */
  payload(content: number | Uint8Array): this {
    const bytes = typeof content === 'number' ? patternBytes(content) : content;
    return this.#add(-1, -1, (inner) => join(bytes, inner));
  }

  /** The whole packet, with `padding` zero bytes behind it as a link layer adds them. */
  bytes(padding = 0): Uint8Array {
    let inner = new Uint8Array(0);
    for (let i = this.#layers.length - 1; i >= 0; i--) {
      const place = this.#layers.slice(0, i).findLast((layer) => layer.place !== undefined)?.place;
      const next = this.#layers[i + 1];
      inner = Uint8Array.from(
        this.#layers[i].encode(inner, next !== undefined && next.name < 0 && next.etherType < 0 ? undefined : next, place),
      );
    }
    return padding === 0 ? inner : join(inner, new Uint8Array(padding));
  }

  #add(name: number, etherType: number, encode: Layer['encode'], place?: Place): this {
    this.#layers.push(place === undefined ? { name, etherType, encode } : { name, etherType, encode, place });
    return this;
  }
}

function transportChecksum(
  bytes: Uint8Array,
  protocol: number,
  place: Place | undefined,
  forced: number | 'partial' | undefined,
): number {
  if (typeof forced === 'number') return forced;
  if (place === undefined) throw new Error('a transport header needs an IP header before it');
  const pseudo = naivePseudoSum(place.src, place.dst, protocol, bytes.length);
  return forced === 'partial' ? pseudo : naiveChecksum(bytes, 0, bytes.length, pseudo);
}
