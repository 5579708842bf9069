/**
 * The server id in a QUIC packet's destination connection id (docs/quic.md).
 *
 *     QUIC-LB without a key (draft-ietf-quic-load-balancers-21 §3.4, §5.4):
 *       | rotation 3 bits · 5 bits that mean nothing here | server id, 1–15 bytes | nonce, 4 bytes or more |
 *
 *     Katran (lib/bpf/pckt_parsing.h, parse_quic), by the first two bits:
 *       | 01 · server id 16 bits | …     | 10 · 6 bits | server id 24 bits | …     | 11 · 6 bits | server id 32 bits | …
 *
 * Initial and 0-RTT packets have a connection id of the client's making, and are not looked into: a client may not choose its backend, and a
 * draining one gets no new connection.
 */

import * as quic from '../wire/quic.ts';
import { isClientChosen, isLong, version } from '../wire/quic.ts';
import { QUIC_KATRAN, QUIC_LENGTH_SHIFT, QUIC_ROTATION_SHIFT, QUIC_SCHEME_MASK } from './layout.ts';

const destinationAt = quic.destinationAt;
const destinationLength = quic.destinationLength;
const KATRAN = QUIC_KATRAN;
const SCHEME = QUIC_SCHEME_MASK;
const ROTATIONS = QUIC_ROTATION_SHIFT;
const LENGTH = QUIC_LENGTH_SHIFT;
/** The shortest nonce (draft §5.3). */
const LEAST_NONCE = 4;
/** The shortest connection id that Katran reads (QUIC_MIN_CONNID_LEN). */
const LEAST_KATRAN = 8;

/** A connection id was found, and the words hold its server id. */
export const ID_FOUND = 1;
/** The packet names no server: the client made its id up, it is of another kind or too short, or there is none. */
export const ID_NONE = 0;

/** Reads at most `length` bytes of a big-endian number at `at` into four words, right-aligned. */
function readNumber(view: DataView, at: number, length: number, into: Int32Array): void {
  into[0] = 0;
  into[1] = 0;
  into[2] = 0;
  into[3] = 0;
  for (let k = 0; k < length; k++) {
    const right = length - 1 - k;
    into[3 - (right >> 2)] |= view.getUint8(at + k) << ((right & 3) << 3);
  }
}

/** Katran's three versions; its fourth, 0, has no server id. */
function readKatran(view: DataView, id: number, into: Int32Array): number {
  const kind = view.getUint8(id) >> 6;
  into[0] = 0;
  into[1] = 0;
  into[2] = 0;
  if (kind === 1) into[3] = ((view.getUint8(id) & 0x3f) << 10) | (view.getUint8(id + 1) << 2) | (view.getUint8(id + 2) >> 6);
  else if (kind === 2) into[3] = view.getInt32(id) & 0xffffff;
  else if (kind === 3) into[3] = view.getInt32(id + 1);
  // Its numbers start at 1: 0 is an empty place in its map.
  return kind === 0 || into[3] === 0 ? ID_NONE : ID_FOUND;
}

/**
 * Reads the server id of the QUIC packet from `at` to `end` (behind the UDP header) into four words, most significant first. `quic`: the
 * service's word S_QUIC. Returns ID_FOUND, or ID_NONE with the words as they may be. Reads nothing outside the packet.
 */
export function readServerId(view: DataView, at: number, end: number, settings: number, into: Int32Array): number {
  if (isClientChosen(view, at, end)) return ID_NONE;
  const length = destinationLength(view, at, end);
  if ((settings & SCHEME) === KATRAN) {
    if (length < LEAST_KATRAN) return ID_NONE;
    return readKatran(view, destinationAt(view, at, end), into);
  }
  const serverLength = (settings >> LENGTH) & 0xf;
  if (length < 1 + serverLength + LEAST_NONCE) return ID_NONE;
  // Version negotiation is a server's word; no client says it.
  if (isLong(view, at, end) && version(view, at, end) === 0) return ID_NONE;
  const id = destinationAt(view, at, end);
  const rotation = view.getUint8(id) >> 5;
  if (((settings >> ROTATIONS) & (1 << rotation)) === 0) return ID_NONE;
  readNumber(view, id + 1, serverLength, into);
  return ID_FOUND;
}
