/**
 * What a received UDP payload must be before its inner packet may enter the host: GUE variant 0 around one whole IP packet.
 *
 *      0                   1                   2                   3
 *     +---+-+---------+---------------+-------------------------------+
 *     |Ver|C|  Hlen   |  Proto/ctype  |             Flags             |   draft-ietf-intarea-gue-09 §3.2
 *     +---+-+---------+---------------+-------------------------------+
 *     |  Hlen × 4 bytes: fields named by flags, then private data     |
 *     +---------------------------------------------------------------+
 *     |  inner IPv4 (protocol 4) or IPv6 (protocol 41) packet         |
 *     +---------------------------------------------------------------+
 *
 * Private data is skipped, as Linux does (net/ipv4/fou_core.c, gue_udp_recv); a flag we do not know could change the meaning
 * of the packet, so any flag refuses it. Bytes behind the inner packet are cut off, as ip_rcv does.
 */

/** Reasons for which a datagram is not unwrapped; the index is the number in `Decapsulated.refusal`. */
export const REFUSALS = [
  'none',
  'truncated',
  'gue-variant',
  'gue-control',
  'gue-header-length',
  'gue-flags',
  'gue-protocol',
  'inner-version',
  'inner-length',
] as const;

const TRUNCATED = 1;
const VARIANT = 2;
const CONTROL = 3;
const HEADER_LENGTH = 4;
const FLAGS = 5;
const PROTOCOL = 6;
const INNER_VERSION = 7;
const INNER_LENGTH = 8;

const GUE_HEADER = 4;
const IPV4_HEADER = 20;
const IPV6_HEADER = 40;
const PROTOCOL_IPIP = 4;
const PROTOCOL_IPV6 = 41;

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
}

export function createDecapsulated(): Decapsulated {
  return { refusal: 0, innerAt: 0, innerLength: 0, family: 0 };
}

/**
 * Reads the UDP payload at `bytes[at … at + length)`. Returns true and fills `out` when an inner packet can be injected, else
 * false with `out.refusal` set. Never throws and never reads outside the payload, whatever the bytes are.
 */
export function decapsulate(bytes: Uint8Array, at: number, length: number, out: Decapsulated): boolean {
  out.refusal = refusalOf(bytes, at, length, out);
  return out.refusal === 0;
}

function refusalOf(bytes: Uint8Array, at: number, length: number, out: Decapsulated): number {
  if (length < GUE_HEADER) return TRUNCATED;
  const first = bytes[at];
  if (first >> 6 !== 0) return VARIANT;
  if ((first & 0x20) !== 0) return CONTROL;
  const header = GUE_HEADER + ((first & 0x1f) << 2);
  if (header > length) return HEADER_LENGTH;
  if ((bytes[at + 2] | bytes[at + 3]) !== 0) return FLAGS;

  const protocol = bytes[at + 1];
  const innerAt = at + header;
  const room = length - header;
  if (protocol !== PROTOCOL_IPIP && protocol !== PROTOCOL_IPV6) return PROTOCOL;
  const family = protocol === PROTOCOL_IPIP ? 4 : 6;
  if (room < (family === 4 ? IPV4_HEADER : IPV6_HEADER)) return TRUNCATED;
  if (bytes[innerAt] >> 4 !== family) return INNER_VERSION;

  let innerLength: number;
  if (family === 4) {
    const ipHeader = (bytes[innerAt] & 0x0f) << 2;
    innerLength = (bytes[innerAt + 2] << 8) | bytes[innerAt + 3];
    if (ipHeader < IPV4_HEADER || innerLength < ipHeader) return INNER_LENGTH;
  } else {
    innerLength = IPV6_HEADER + ((bytes[innerAt + 4] << 8) | bytes[innerAt + 5]);
  }
  if (innerLength > room) return INNER_LENGTH;
  out.innerAt = innerAt;
  out.innerLength = innerLength;
  out.family = family;
  return 0;
}
