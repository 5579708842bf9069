/**
 * Generic UDP Encapsulation (draft-ietf-intarea-gue-09; Linux include/net/gue.h, net/ipv4/fou_core.c), inside UDP, port 6080.
 *
 *     0                1            2         4
 *     | vv C hhhhh     | protocol   | flags   | extension fields, hlen × 4 bytes | payload
 *       │  │ └ hlen    └ of the payload (4 = IPv4, 41 = IPv6, 59 = none); control type when C is set
 *       │  └ control message
 *       └ variant: 0 = this header; 1 = no header, an IP packet follows at once (its version nibble 0100 or 0110 begins with 01);
 *                  2 and 3 = reserved
 */
import { WIRE_MALFORMED, WIRE_OK, WIRE_TRUNCATED } from './check.ts';

// Module-local for speed; see "Constants" in README.md.
const OK = WIRE_OK;
const TRUNCATED = WIRE_TRUNCATED;
const MALFORMED = WIRE_MALFORMED;
const CONTROL = 0;
const PROTOCOL = 1;
const FLAGS = 2;
/** Length without extension fields; the longest is 4 + 31 × 4 = 128. */
const HEADER = 4;

export const HEADER_LENGTH = HEADER;
export const PROTOCOL_AT = PROTOCOL;
export const FLAGS_AT = FLAGS;

/** IANA's UDP port. */
export const PORT = 6080;

export const PROTOCOL_IPV4 = 4;
export const PROTOCOL_IPV6 = 41;
export const PROTOCOL_NONE = 59;

/** Flag: four bytes of private flags follow the header (GUE_FLAG_PRIV). The only public flag Linux knows: it drops a packet with another. */
export const FLAG_PRIVATE = 0x0001;
/** Private flag (first bit of the four bytes): remote checksum offload, whose field is u16 start, u16 offset behind the header (GUE_PFLAG_REMCSUM). */
export const PRIVATE_REMOTE_CHECKSUM = 0x80000000 | 0;

/** 0–3, from the two top bits of the first byte of the UDP payload. */
export function variant(view: DataView, at: number): number {
  return view.getUint8(at + CONTROL) >> 6;
}

/** WIRE_OK for a variant 0 header, data or control, that lies before `end` with all its extension fields. Variants 1–3 are WIRE_MALFORMED. */
export function check(view: DataView, at: number, end: number): number {
  if (end - at < HEADER) return TRUNCATED;
  const first = view.getUint8(at + CONTROL);
  if (first >> 6 !== 0) return MALFORMED;
  return headerLength(view, at) > end - at ? TRUNCATED : OK;
}

/** True for a control message (`protocol` is then a control type). */
export function isControl(view: DataView, at: number): boolean {
  return (view.getUint8(at + CONTROL) & 0x20) !== 0;
}

/** Bytes of header with extension fields: 4–128. The payload starts there. */
export function headerLength(view: DataView, at: number): number {
  return HEADER + ((view.getUint8(at + CONTROL) & 0x1f) << 2);
}

/** Protocol of the payload, or the control type. */
export function protocol(view: DataView, at: number): number {
  return view.getUint8(at + PROTOCOL);
}

export function flags(view: DataView, at: number): number {
  return view.getUint16(at + FLAGS);
}

/** Private flags as int32, 0 when there are none. Only after `check`. */
export function privateFlags(view: DataView, at: number): number {
  if ((flags(view, at) & FLAG_PRIVATE) === 0 || headerLength(view, at) < HEADER + 4) return 0;
  return view.getInt32(at + HEADER);
}

/** Writes the four bytes of a variant 0 data header without extension fields. */
export function write(view: DataView, at: number, protocolNumber: number): void {
  view.setInt32(at + CONTROL, protocolNumber << 16);
}

export interface Gue {
  readonly variant: number;
  readonly control: boolean;
  readonly headerLength: number;
  readonly protocol: number;
  readonly flags: number;
}

/**
 * The header as a plain object, null when it is not whole or of a reserved variant. Variant 1 has no header: length 0 and the protocol that the
 * IP version tells. Slow: for people and tests.
 */
export function parse(view: DataView, at: number, end: number): Gue | null {
  if (end > at && variant(view, at) === 1) {
    const version = view.getUint8(at + CONTROL) >> 4;
    if (version !== 4 && version !== 6) return null;
    return { variant: 1, control: false, headerLength: 0, protocol: version === 4 ? PROTOCOL_IPV4 : PROTOCOL_IPV6, flags: 0 };
  }
  if (check(view, at, end) !== OK) return null;
  return {
    variant: 0,
    control: isControl(view, at),
    headerLength: headerLength(view, at),
    protocol: protocol(view, at),
    flags: flags(view, at),
  };
}

export function text(header: Gue): string {
  const flagText = header.flags === 0 ? '' : ` flags 0x${header.flags.toString(16)}`;
  return `GUE variant ${header.variant} ${header.control ? 'control' : 'protocol'} ${header.protocol} header ${header.headerLength}${flagText}`;
}
