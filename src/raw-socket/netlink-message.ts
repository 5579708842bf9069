/**
 * Netlink messages as bytes: a header, a fixed structure, then attributes. Native byte order (linux/netlink.h, netlink(7)).
 *
 *     0        4      6       8          12       16
 *     | length | type | flags | sequence | port  | fixed structure | attribute | attribute | …
 *
 *     attribute:  | length (4 + payload) u16 | type u16 | payload | padding to 4 |
 */

export const LITTLE_ENDIAN = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1;

export const HEADER_LENGTH = 16;

/** nlmsghdr types. */
export const NLMSG_ERROR = 2;
export const NLMSG_DONE = 3;

/** nlmsghdr flags of requests. */
export const NLM_F_REQUEST = 0x1;
export const NLM_F_ACK = 0x4;
export const NLM_F_DUMP = 0x300;
export const NLM_F_EXCL = 0x200;
export const NLM_F_CREATE = 0x400;
/** nlmsghdr flags of answers. */
export const NLM_F_MULTI = 0x2;
export const NLM_F_DUMP_INTR = 0x10;
const NLM_F_CAPPED = 0x100;
const NLM_F_ACK_TLVS = 0x200;
/** Attribute types carry two flags in their top bits. */
const NLA_TYPE_MASK = 0x3fff;
export const NLA_F_NESTED = 0x8000;
const NLMSGERR_ATTR_MSG = 1;

/** One message as received; `body` starts after the header and is a view of the receive buffer's copy. */
export interface Message {
  readonly type: number;
  readonly flags: number;
  readonly sequence: number;
  readonly body: Uint8Array;
}

/** Rounds up to the 4-byte alignment of netlink. */
function aligned(length: number): number {
  return (length + 3) & ~3;
}

function viewOver(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** Unsigned 32-bit value at `at`, native byte order. */
export function readU32(bytes: Uint8Array, at = 0): number {
  return viewOver(bytes).getUint32(at, LITTLE_ENDIAN);
}

export function readU16(bytes: Uint8Array, at = 0): number {
  return viewOver(bytes).getUint16(at, LITTLE_ENDIAN);
}

export function readI32(bytes: Uint8Array, at = 0): number {
  return viewOver(bytes).getInt32(at, LITTLE_ENDIAN);
}

/** A C string attribute: up to its terminating zero. */
export function readText(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  return new TextDecoder().decode(end < 0 ? bytes : bytes.subarray(0, end));
}

/** One attribute. A number becomes an unsigned 32-bit value, a text a zero-terminated string. */
export function attribute(type: number, value: Uint8Array | number | string): Uint8Array {
  let payload: Uint8Array;
  if (typeof value === 'number') {
    payload = new Uint8Array(4);
    viewOver(payload).setUint32(0, value, LITTLE_ENDIAN);
  } else if (typeof value === 'string') {
    payload = new TextEncoder().encode(`${value}\0`);
  } else {
    payload = value;
  }
  const bytes = new Uint8Array(aligned(4 + payload.length));
  const view = viewOver(bytes);
  view.setUint16(0, 4 + payload.length, LITTLE_ENDIAN);
  view.setUint16(2, type, LITTLE_ENDIAN);
  bytes.set(payload, 4);
  return bytes;
}

/** An attribute whose payload is attributes. */
export function nested(type: number, ...attributes: Uint8Array[]): Uint8Array {
  return attribute(type | NLA_F_NESTED, concatenate(attributes));
}

function concatenate(parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

/** A whole request. `fixed` is the structure of the message type, already a multiple of 4 bytes long. */
export function encodeMessage(
  type: number,
  flags: number,
  sequence: number,
  fixed: Uint8Array,
  attributes: readonly Uint8Array[],
): Uint8Array {
  const bytes = concatenate([new Uint8Array(HEADER_LENGTH), fixed, ...attributes]);
  const view = viewOver(bytes);
  view.setUint32(0, bytes.length, LITTLE_ENDIAN);
  view.setUint16(4, type, LITTLE_ENDIAN);
  view.setUint16(6, flags, LITTLE_ENDIAN);
  view.setUint32(8, sequence, LITTLE_ENDIAN);
  return bytes;
}

/** The messages of one datagram. Throws RangeError when a length contradicts the datagram. */
export function decodeMessages(datagram: Uint8Array): Message[] {
  const messages: Message[] = [];
  for (let at = 0; at + HEADER_LENGTH <= datagram.length; ) {
    const length = readU32(datagram, at);
    if (length < HEADER_LENGTH || at + length > datagram.length) {
      throw new RangeError(`netlink message of ${length} bytes in a datagram with ${datagram.length - at} left`);
    }
    messages.push({
      type: readU16(datagram, at + 4),
      flags: readU16(datagram, at + 6),
      sequence: readU32(datagram, at + 8),
      body: datagram.subarray(at + HEADER_LENGTH, at + length),
    });
    at += aligned(length);
  }
  return messages;
}

/** Attributes from `at` to the end, by type without its flag bits; of equal types the last. Throws RangeError on a wrong length. */
export function decodeAttributes(bytes: Uint8Array, at = 0): Map<number, Uint8Array> {
  const attributes = new Map<number, Uint8Array>();
  while (at + 4 <= bytes.length) {
    const length = readU16(bytes, at);
    if (length < 4 || at + length > bytes.length)
      throw new RangeError(`netlink attribute of ${length} bytes with ${bytes.length - at} left`);
    attributes.set(readU16(bytes, at + 2) & NLA_TYPE_MASK, bytes.subarray(at + 4, at + length));
    at += aligned(length);
  }
  return attributes;
}

/**
 * An NLMSG_ERROR message: errno (0 is success) and the kernel's own explanation, empty when it gave none.
 *
 *     | −errno i32 | header of the request | the request's body, unless CAPPED | attributes, when ACK_TLVS |
 */
export function decodeError(message: Message): { errno: number; explanation: string } {
  const errno = -readI32(message.body);
  if ((message.flags & NLM_F_ACK_TLVS) === 0) return { errno, explanation: '' };
  const echoed = (message.flags & NLM_F_CAPPED) !== 0 ? HEADER_LENGTH : aligned(readU32(message.body, 4));
  const text = decodeAttributes(message.body, 4 + echoed).get(NLMSGERR_ATTR_MSG);
  return { errno, explanation: text === undefined ? '' : readText(text) };
}
