/**
 * QUIC packet headers, as far as somebody between client and server can read them (RFC 8999, the properties that every version keeps; packet
 * types of versions 1 and 2: RFC 9000 §17.2, RFC 9369 §3.2).
 *
 *     long:   | 1 · type · … | version (4) | DCID length | DCID … | SCID length | SCID … | …
 *     short:  | 0 · …        | DCID … : its length stands nowhere; only who issued it knows | protected …
 *
 * Nothing here reads at or behind `end`. `at` is the first byte behind the UDP header.
 */

// Module-local for speed; see "Constants" in README.md.
const LONG_BIT = 0x80;
const TYPE_BITS = 0x30;
const VERSION = 1;
const LENGTH = 5;
const LONG_ID = 6;
const SHORT_ID = 1;
const VERSION_2 = 0x6b3343cf;
/** Type bits of the two packets whose destination id the client may have made up. */
const INITIAL_1 = 0x00;
const ZERO_RTT_1 = 0x10;
const INITIAL_2 = 0x10;
const ZERO_RTT_2 = 0x20;
const NONE = -1;

/** Where the connection id lies, counted from the packet's first byte: behind a long header's fixed part, and a short one's first byte. */
export const LONG_ID_AT = LONG_ID;
export const SHORT_ID_AT = SHORT_ID;
/** The longest connection id of versions 1 and 2 (RFC 9000 §17.2). */
export const MAX_ID_LENGTH = 20;
export const VERSION_QUIC2 = VERSION_2;

/** True for a long header; false too for no byte at all. */
export function isLong(view: DataView, at: number, end: number): boolean {
  return at < end && (view.getUint8(at) & LONG_BIT) !== 0;
}

/** Version of a long header as int32; 0 (version negotiation, which no client sends) when the packet ends before it. */
export function version(view: DataView, at: number, end: number): number {
  return at + LENGTH > end ? 0 : view.getInt32(at + VERSION);
}

/**
 * Offset of the destination connection id from the start of the arena, −1 when the packet ends before it. With `destinationLength`.
 */
export function destinationAt(view: DataView, at: number, end: number): number {
  if (at >= end) return NONE;
  const from = at + ((view.getUint8(at) & LONG_BIT) !== 0 ? LONG_ID : SHORT_ID);
  return from > end ? NONE : from;
}

/**
 * Bytes that the destination connection id has (long header), or may have at most (short header: all that is left of the packet). −1 when a
 * long header's id does not end inside the packet.
 */
export function destinationLength(view: DataView, at: number, end: number): number {
  if (at >= end) return NONE;
  if ((view.getUint8(at) & LONG_BIT) === 0) return end - at - SHORT_ID;
  if (at + LONG_ID > end) return NONE;
  const length = view.getUint8(at + LENGTH);
  return at + LONG_ID + length > end ? NONE : length;
}

/**
 * True when the destination connection id may be of the client's making: Initial and 0-RTT packets. The type bits are read as version 2 has
 * them, or as version 1 (and the drafts before it) has them for every other version.
 */
export function isClientChosen(view: DataView, at: number, end: number): boolean {
  if (!isLong(view, at, end)) return false;
  const type = view.getUint8(at) & TYPE_BITS;
  if (version(view, at, end) === VERSION_2) return type === INITIAL_2 || type === ZERO_RTT_2;
  return type === INITIAL_1 || type === ZERO_RTT_1;
}
