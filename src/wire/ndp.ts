/**
 * IPv6 neighbour discovery (RFC 4861 §4.3, §4.4): the solicitation we answer and the advertisement we answer with. `at` is the ICMPv6 header.
 *
 *     0      1      2          4                    8             24
 *     | type | code | checksum | NA: R S O flags, 0 | target (16) | options: | type | length in 8 bytes | value |
 */
import { WIRE_MALFORMED, WIRE_OK, WIRE_TRUNCATED } from './check.ts';
import { addressText as macText } from './ethernet.ts';
import { fillChecksum } from './icmpv6.ts';
import { copyAddress, addressText as ipText } from './ipv6.ts';

// Module-local for speed; see "Constants" in README.md.
const OK = WIRE_OK;
const TRUNCATED = WIRE_TRUNCATED;
const MALFORMED = WIRE_MALFORMED;
const TYPE = 0;
const FLAGS = 4;
const TARGET = 8;
const OPTIONS = 24;
const SOLICITATION = 135;
const ADVERTISEMENT = 136;
const OPTION_SOURCE_LINK_LAYER = 1;
const OPTION_TARGET_LINK_LAYER = 2;
/** Message without options, and an Ethernet link-layer option of one unit of 8 bytes. */
const MESSAGE = OPTIONS;
const ADVERTISED = MESSAGE + 8;

export const TARGET_AT = TARGET;
export const OPTIONS_AT = OPTIONS;
export const TYPE_SOLICITATION = SOLICITATION;
export const TYPE_ADVERTISEMENT = ADVERTISEMENT;
/** Bytes that `writeAdvertisement` writes. */
export const ADVERTISEMENT_LENGTH = ADVERTISED;
/** The sender is a router. */
export const FLAG_ROUTER = 0x80000000 | 0;
/** The advertisement answers a solicitation. */
export const FLAG_SOLICITED = 0x40000000;
/** The receiver should replace what it has cached. Off for anycast and proxied targets (RFC 4861 §7.2.4). */
export const FLAG_OVERRIDE = 0x20000000;

/** Neighbour messages must arrive with this hop limit: nobody off the link can forge it (RFC 4861 §7.1.1). */
export const HOP_LIMIT = 255;

/**
 * WIRE_OK for a solicitation or advertisement with code 0 whose options all have a length and end at or before `end`. Hop limit 255 and the ICMPv6
 * checksum are the caller's to check.
 */
export function check(view: DataView, at: number, end: number): number {
  if (end - at < MESSAGE) return TRUNCATED;
  const typeAndCode = view.getUint16(at + TYPE);
  if (typeAndCode !== SOLICITATION << 8 && typeAndCode !== ADVERTISEMENT << 8) return MALFORMED;
  for (let option = at + OPTIONS; option < end; ) {
    if (option + 8 > end) return MALFORMED;
    const length = view.getUint8(option + 1) << 3;
    if (length === 0 || option + length > end) return MALFORMED;
    option += length;
  }
  return OK;
}

/** Where the six bytes of the link-layer address of option `kind` (1 source, 2 target) lie, −1 when there is none. Only after `check`. */
export function linkLayerAt(view: DataView, at: number, end: number, kind: number): number {
  for (let option = at + OPTIONS; option < end; option += view.getUint8(option + 1) << 3) {
    if (view.getUint8(option) === kind) return option + 2;
  }
  return -1;
}

/** Where the link-layer address of who solicits lies, −1 when it gives none (duplicate address detection). Only after `check`. */
export function sourceLinkLayerAt(view: DataView, at: number, end: number): number {
  return linkLayerAt(view, at, end, OPTION_SOURCE_LINK_LAYER);
}

/**
 * Writes a neighbour advertisement of ADVERTISEMENT_LENGTH bytes at `at` with the target link-layer option, checksum included. The IPv6 header (its
 * addresses at `addressesAt`, header + 8) must hold its final addresses. `targetAt`: where the 16 bytes of the target lie (may be the
 * solicitation's own, in place). `flags`: FLAG_ bits. `high`/`low`: our MAC, first four bytes as int32, last two.
 */
export function writeAdvertisement(
  view: DataView,
  addressesAt: number,
  at: number,
  targetAt: number,
  flags: number,
  high: number,
  low: number,
): void {
  copyAddress(view, at + TARGET, view, targetAt);
  view.setInt32(at + TYPE, ADVERTISEMENT << 24);
  view.setInt32(at + FLAGS, flags);
  view.setUint16(at + OPTIONS, (OPTION_TARGET_LINK_LAYER << 8) | 1);
  view.setInt32(at + OPTIONS + 2, high);
  view.setUint16(at + OPTIONS + 6, low);
  fillChecksum(view, addressesAt, at, at + ADVERTISED);
}

export interface Neighbour {
  readonly type: number;
  /** FLAG_ bits as int32, 0 for a solicitation. */
  readonly flags: number;
  readonly target: string;
  /** Of the source (solicitation) or target (advertisement), '' when not given. */
  readonly linkLayer: string;
}

/** The message as a plain object, null when `check` refuses it. Slow: for people and tests. */
export function parse(view: DataView, at: number, end: number): Neighbour | null {
  if (check(view, at, end) !== OK) return null;
  const type = view.getUint8(at + TYPE);
  const kind = type === SOLICITATION ? OPTION_SOURCE_LINK_LAYER : OPTION_TARGET_LINK_LAYER;
  const linkLayer = linkLayerAt(view, at, end, kind);
  return {
    type,
    flags: type === ADVERTISEMENT ? view.getInt32(at + FLAGS) : 0,
    target: ipText(view, at + TARGET),
    linkLayer: linkLayer < 0 ? '' : macText(view, linkLayer),
  };
}

export function text(message: Neighbour): string {
  if (message.type === SOLICITATION) return `neighbour solicitation who has ${message.target}`;
  return `neighbour advertisement ${message.target} is at ${message.linkLayer || 'unknown'}`;
}
