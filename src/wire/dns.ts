/**
 * DNS messages (RFC 1035 §4): one question, and as much of the answer as says whether a server works.
 *
 *     0            2       4          6         8           10           12
 *     | identifier | flags | questions | answers | authority | additional | question: name, type 2, class 2 | …
 *
 *     flags:  | QR | opcode 4 | AA | TC | RD | RA | Z | AD | CD | rcode 4 |
 */

const HEADER = 12;
const FLAGS = 2;
const QUESTIONS = 4;
const RESPONSE = 0x8000;
const RECURSION_DESIRED = 0x0100;
const OPCODE_MASK = 0x7800;
const CLASS_IN = 1;

/** Greatest question: a name of 255 bytes, type and class (RFC 1035 §2.3.4). */
export const LONGEST_QUERY = HEADER + 255 + 4;

/**
 * Writes a query with recursion desired at `at`; returns its end. `name`: labels with dots between, ASCII, each of 1–63 characters, with or without the
 * last dot; "." is the root. `type` as in RFC 1035 §3.2.2. The view has room for LONGEST_QUERY bytes. Throws RangeError for another name.
 */
export function writeQuery(view: DataView, at: number, identifier: number, name: string, type: number): number {
  view.setUint16(at, identifier);
  view.setUint16(at + FLAGS, RECURSION_DESIRED);
  view.setUint16(at + QUESTIONS, 1);
  view.setUint16(at + 6, 0);
  view.setInt32(at + 8, 0);
  let end = at + HEADER;
  const labels = name.endsWith('.') ? name.slice(0, -1) : name;
  for (const label of labels === '' ? [] : labels.split('.')) {
    if (label.length < 1 || label.length > 63 || end + label.length + 2 - at - HEADER > 255) {
      throw new RangeError(`"${name}" is not a DNS name`);
    }
    view.setUint8(end++, label.length);
    for (let i = 0; i < label.length; i++) view.setUint8(end++, label.charCodeAt(i) & 0x7f);
  }
  view.setUint8(end++, 0);
  view.setUint16(end, type);
  view.setUint16(end + 2, CLASS_IN);
  return end + 4;
}

/**
 * The response code, 0–15, of the message from `at` to `end` when it is the response to the query from `queryAt` to `queryEnd` in the same view: same
 * identifier and question, whatever the case of its letters (RFC 4343). −1 when it is not.
 */
export function responseCode(
  view: DataView,
  at: number,
  end: number,
  query: DataView,
  queryAt: number,
  queryEnd: number,
): number {
  const length = queryEnd - queryAt;
  if (end - at < HEADER || view.getUint16(at) !== query.getUint16(queryAt)) return -1;
  const flags = view.getUint16(at + FLAGS);
  if ((flags & RESPONSE) === 0 || (flags & OPCODE_MASK) !== 0) return -1;
  const rcode = flags & 0xf;
  // A server that could not read the question does not repeat it (FORMERR).
  if (view.getUint16(at + QUESTIONS) === 0) return rcode === 0 ? -1 : rcode;
  if (view.getUint16(at + QUESTIONS) !== 1 || end - at < length) return -1;
  for (let i = HEADER; i < length; i++) {
    if (lower(view.getUint8(at + i)) !== lower(query.getUint8(queryAt + i))) return -1;
  }
  return rcode;
}

/** Lengths of labels are below 64 and stay as they are. */
function lower(byte: number): number {
  return byte >= 0x41 && byte <= 0x5a ? byte + 32 : byte;
}
