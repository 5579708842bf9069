/**
 * What a tunnel packet must be before its inner packet may enter the host. Where it came in says what it is: a UDP port is for GUE or, as
 * FOU, for one IP protocol; a raw socket is for one IP protocol.
 *
 *     GUE      draft-ietf-intarea-gue-09 §3.2, variant 0:
 *      0                   1                   2                   3
 *     +---+-+---------+---------------+-------------------------------+
 *     |Ver|C|  Hlen   |  Proto/ctype  |             Flags             |
 *     +---+-+---------+---------------+-------------------------------+
 *     |  Hlen × 4 bytes: fields named by flags, then private data     |
 *     +---------------------------------------------------------------+
 *     |  inner IPv4 (protocol 4) or IPv6 (protocol 41) packet         |
 *     +---------------------------------------------------------------+
 *     variant 1: the inner packet at once; its version's first two bits are the variant, 01
 *
 *     GRE      RFC 2784 §2.1:
 *     |C|     0     | Ver 0 | EtherType 0800 or 86dd | checksum, 0 when C is set | inner packet |
 *
 *     FOU, IP in IP:  the inner packet at once
 *
 * Linux is the model (net/ipv4/fou_core.c gue_udp_recv, fou_udp_recv; net/ipv4/gre_demux.c): private data is skipped, a flag that is not
 * known could change the meaning of the packet, so any refuses it. Bytes behind the inner packet are cut off, as ip_rcv does.
 */
import * as checksum from '../wire/checksum.ts';

/** Reasons for which a packet is not unwrapped; the index is the number in `Decapsulated.refusal`. */
export const REFUSALS = [
  'none',
  'truncated',
  'gue-variant',
  'gue-control',
  'gue-header-length',
  'gue-flags',
  'gue-protocol',
  'gue-remote-checksum',
  'gre-flags',
  'gre-checksum',
  'gre-protocol',
  'inner-version',
  'inner-length',
] as const;

const TRUNCATED = 1;
const VARIANT = 2;
const CONTROL = 3;
const HEADER_LENGTH = 4;
const FLAGS = 5;
const PROTOCOL = 6;
const REMOTE_CHECKSUM = 7;
const GRE_FLAGS = 8;
const GRE_CHECKSUM = 9;
const GRE_PROTOCOL = 10;
const INNER_VERSION = 11;
const INNER_LENGTH = 12;

/** What a payload is: GUE, or an IP protocol's number. */
export const GUE = 0;
export const IPV4 = 4;
export const IPV6 = 41;
export const GRE = 47;
export type Payload = typeof GUE | typeof IPV4 | typeof IPV6 | typeof GRE;

// Module-local: an exported constant is loaded from its module at every use (src/wire/README.md, "Constants").
const PAYLOAD_GUE = GUE;
const PAYLOAD_IPV4 = IPV4;
const PAYLOAD_IPV6 = IPV6;
const PAYLOAD_GRE = GRE;
const GUE_HEADER = 4;
/** Private flags, and the field of the one that is known: where summing starts and where the sum goes (include/net/gue.h). */
const PRIVATE_FLAGS = 4;
const REMOTE_FIELD = 4;
const FLAG_PRIVATE = 0x0001;
const PRIVATE_REMOTE_CHECKSUM = 0x80000000 | 0;
const GRE_HEADER = 4;
const GRE_HEADER_SUMMED = 8;
const GRE_FLAG_CHECKSUM = 0x8000;
const ETHERTYPE_IPV4 = 0x0800;
const ETHERTYPE_IPV6 = 0x86dd;
const IPV4_HEADER = 20;
const IPV6_HEADER = 40;

/** The answer of `decapsulate`, written in place so that a batch allocates nothing. */
export interface Decapsulated {
  /** Index in REFUSALS; 0 when the packet is good, and only then do the other fields mean anything. */
  refusal: number;
  /** First byte of the inner IP packet, counted like `at`. */
  innerAt: number;
  /** Length of the inner packet as its own header says, bytes. */
  innerLength: number;
  /** 4 or 6. */
  family: number;
  /** Where the checksum that the sender left to us begins to be summed, and how far behind that it goes; −1: none was left. */
  sumFrom: number;
  sumField: number;
}

export function createDecapsulated(): Decapsulated {
  return { refusal: 0, innerAt: 0, innerLength: 0, family: 0, sumFrom: -1, sumField: 0 };
}

/**
 * Reads what lies at `view[at … at + length)`: a UDP payload, or what follows an outer IP header. Returns true and fills `out` when an
 * inner packet can be injected, else false with `out.refusal` set. Never throws and never reads outside, whatever the bytes are. Changes
 * nothing: `completeChecksum` does.
 */
export function decapsulate(view: DataView, at: number, length: number, out: Decapsulated, payload: Payload = GUE): boolean {
  out.sumFrom = -1;
  out.refusal = refusalOf(view, at, length, out, payload);
  return out.refusal === 0;
}

/**
 * Fills in the checksum that the sender left to us, if it did: the sum from `sumFrom` to the packet's end, whose field holds the
 * pseudo-header's sum. `decapsulate` has seen that the field lies in the packet.
 */
export function completeChecksum(view: DataView, { sumFrom, sumField, innerAt, innerLength }: Decapsulated): void {
  if (sumFrom >= 0) checksum.completePartial(view, sumFrom, sumField, innerAt + innerLength);
}

function refusalOf(view: DataView, at: number, length: number, out: Decapsulated, payload: Payload): number {
  switch (payload) {
    case PAYLOAD_IPV4:
      return innerRefusal(view, at, length, 4, out);
    case PAYLOAD_IPV6:
      return innerRefusal(view, at, length, 6, out);
    case PAYLOAD_GRE:
      return greRefusal(view, at, length, out);
    case PAYLOAD_GUE:
      return gueRefusal(view, at, length, out);
  }
}

function gueRefusal(view: DataView, at: number, length: number, out: Decapsulated): number {
  if (length < GUE_HEADER) return TRUNCATED;
  const first = view.getUint8(at);
  if (first >> 6 === 1) {
    const version = first >> 4;
    return version === 4 || version === 6 ? innerRefusal(view, at, length, version, out) : INNER_VERSION;
  }
  if (first >> 6 !== 0) return VARIANT;
  if ((first & 0x20) !== 0) return CONTROL;
  const fields = (first & 0x1f) << 2;
  if (GUE_HEADER + fields > length) return HEADER_LENGTH;

  const flags = view.getUint16(at + 2);
  let isRemote = false;
  if (flags !== 0) {
    if (flags !== FLAG_PRIVATE || fields < PRIVATE_FLAGS) return FLAGS;
    const privateFlags = view.getInt32(at + GUE_HEADER);
    if ((privateFlags & ~PRIVATE_REMOTE_CHECKSUM) !== 0) return FLAGS;
    isRemote = privateFlags !== 0;
    if (isRemote && fields < PRIVATE_FLAGS + REMOTE_FIELD) return FLAGS;
  }

  const protocol = view.getUint8(at + 1);
  if (protocol !== PAYLOAD_IPV4 && protocol !== PAYLOAD_IPV6) return PROTOCOL;
  const innerAt = at + GUE_HEADER + fields;
  const refusal = innerRefusal(view, innerAt, length - GUE_HEADER - fields, protocol === PAYLOAD_IPV4 ? 4 : 6, out);
  if (refusal !== 0 || !isRemote) return refusal;
  const start = view.getUint16(at + GUE_HEADER + PRIVATE_FLAGS);
  const field = view.getUint16(at + GUE_HEADER + PRIVATE_FLAGS + 2);
  // The field is under the sum, so it lies behind its start. The headers of the inner packet may not be written to.
  const header = out.family === 4 ? IPV4_HEADER : IPV6_HEADER;
  if (start < header || field < start || field + 2 > out.innerLength) return REMOTE_CHECKSUM;
  out.sumFrom = innerAt + start;
  out.sumField = field - start;
  return 0;
}

function greRefusal(view: DataView, at: number, length: number, out: Decapsulated): number {
  if (length < GRE_HEADER) return TRUNCATED;
  // A key, a sequence number or a routing field (RFC 2890, RFC 1701) would be one that nobody has agreed upon.
  const flags = view.getUint16(at);
  if ((flags & ~GRE_FLAG_CHECKSUM) !== 0) return GRE_FLAGS;
  const header = flags === 0 ? GRE_HEADER : GRE_HEADER_SUMMED;
  if (length < header) return TRUNCATED;
  if (flags !== 0 && !checksum.verifies(checksum.sum(view, at, length, 0))) return GRE_CHECKSUM;
  const type = view.getUint16(at + 2);
  if (type !== ETHERTYPE_IPV4 && type !== ETHERTYPE_IPV6) return GRE_PROTOCOL;
  return innerRefusal(view, at + header, length - header, type === ETHERTYPE_IPV4 ? 4 : 6, out);
}

function innerRefusal(view: DataView, at: number, room: number, family: number, out: Decapsulated): number {
  if (room < (family === 4 ? IPV4_HEADER : IPV6_HEADER)) return TRUNCATED;
  const first = view.getUint8(at);
  if (first >> 4 !== family) return INNER_VERSION;
  let length: number;
  if (family === 4) {
    const header = (first & 0x0f) << 2;
    length = view.getUint16(at + 2);
    if (header < IPV4_HEADER || length < header) return INNER_LENGTH;
  } else {
    length = IPV6_HEADER + view.getUint16(at + 4);
  }
  if (length > room) return INNER_LENGTH;
  out.innerAt = at;
  out.innerLength = length;
  out.family = family;
  return 0;
}
