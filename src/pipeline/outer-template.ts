/**
 * The outer headers of a backend, written once when a snapshot is built and copied in front of every packet. Per packet only
 * lengths, source port, inner protocol and checksums change.
 *
 *     0               4               8              12              16              20
 *     |45 tc len  len |id  id  DF  00 |64 17 sum sum |  source       |  destination  |        IPv4
 *     |6 tc flow label|plen plen 17 64|  source (16)                 ...  destination (16)    IPv6
 *     then  |sport    dport |length  checksum|  UDP       |0 proto  flags |  GUE variant 0
 *
 * This is the plain tunnel; of every other one the template is the IP header, and the rest outer-headers.ts writes.
 *
 * Outer TTL 64, unless the header policy has another; DF set and ID 0 over IPv4: an atomic datagram (RFC 6864 §4), so that a too small path is told, not hidden by
 * fragments. The traffic class (DSCP and ECN) is copied per packet: RFC 6040 §4.1, normal mode.
 */
import { DEFAULT_HEADERS, type TunnelSpec } from './spec.ts';
import { hasUdp, outerPorts, outerProtocols, overheadOf } from './tunnel-kind.ts';

export const OUTER4 = 20;
export const OUTER6 = 40;
export const UDP_LENGTH = 8;
export const GUE_LENGTH = 4;
export const TEMPLATE_BYTES = 64;

const DEFAULT_TTL = 64;

export interface OuterTemplate {
  readonly family: 4 | 6;
  readonly overhead: number;
  /** It is the plain tunnel: all that is sent stands in the template. */
  readonly plain: boolean;
  /** Which packets get an outer checksum: all; trains, where the way out can not cut them without; none. `remote`: all, and it may be left to the worker. */
  readonly checksum: 'all' | 'trains' | 'none' | 'remote';
  /** TEMPLATE_BYTES bytes, the rest zero. */
  readonly bytes: Uint8Array;
  /** Sum of the IPv4 header's 16-bit words with total length, checksum and traffic class 0; 0 for IPv6. */
  readonly headerSum: number;
  /** Sum of outer addresses, protocol, UDP destination port: what all packets to this backend share of the UDP checksum. */
  readonly datagramSum: number;
}

function sum16(bytes: Uint8Array, from: number, to: number): number {
  let sum = 0;
  for (let i = from; i < to; i += 2) sum += (bytes[i] << 8) | bytes[i + 1];
  return sum;
}

/** `source` and `destination` are of one family, 4 or 16 bytes. */
export function outerTemplate(tunnel: TunnelSpec, source: Uint8Array, destination: Uint8Array): OuterTemplate {
  const family = destination.length === 4 ? 4 : 6;
  const network = family === 4 ? OUTER4 : OUTER6;
  const bytes = new Uint8Array(TEMPLATE_BYTES);
  const view = new DataView(bytes.buffer);
  const { ttl } = tunnel.headers ?? DEFAULT_HEADERS;
  // What a policy copies, it writes over this.
  const hops = ttl === 'copy' ? DEFAULT_TTL : ttl;
  const [protocol] = outerProtocols(tunnel.encapsulation);
  const [port = 0] = outerPorts(tunnel);
  if (family === 4) {
    bytes[0] = 0x45;
    bytes[6] = 0x40;
    bytes[8] = hops;
    bytes[9] = protocol;
    bytes.set(source, 12);
    bytes.set(destination, 16);
  } else {
    bytes[0] = 0x60;
    bytes[6] = protocol;
    bytes[7] = hops;
    bytes.set(source, 8);
    bytes.set(destination, 24);
  }
  view.setUint16(network + 2, port);
  const addresses = family === 4 ? sum16(bytes, 12, 20) : sum16(bytes, 8, 40);
  return {
    family,
    overhead: overheadOf(tunnel, destination.length),
    plain: tunnel.encapsulation === 'gue' && tunnel.checksum !== 'remcsum' && tunnel.hops === undefined,
    checksum: checksumOf(tunnel, family),
    bytes,
    headerSum: family === 4 ? sum16(bytes, 0, OUTER4) : 0,
    datagramSum: addresses + protocol + port,
  };
}

function checksumOf(tunnel: TunnelSpec, family: 4 | 6): OuterTemplate['checksum'] {
  if (tunnel.encapsulation === 'ipip') return 'none';
  if (tunnel.checksum === 'full') return 'all';
  if (tunnel.checksum === 'remcsum') return 'remote';
  if (tunnel.checksum === 'none' || !hasUdp(tunnel.encapsulation)) return 'none';
  // Over IPv6 a receiver drops what has none (RFC 8200 §8.1), unless told otherwise.
  return family === 6 ? 'all' : 'trains';
}
