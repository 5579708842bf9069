/**
 * The general writer of outer headers: every encapsulation, in front of a single packet or in the record of one part of a train. The plain tunnel
 * (GUE variant 0) has a way of its own for single packets, written out in encapsulate.ts; whatever is not plain goes through here, and whatever is to be
 * said about outer headers is said here once.
 *
 *     at             transport    tunnel            inner
 *     | IPv4 or IPv6 | UDP        | GUE             | inner packet        gue
 *     | IPv4 or IPv6 | UDP        |                 | inner packet        gue-v1, fou
 *     | IPv4 or IPv6 |            | GRE             | inner packet        gre
 *     | IPv4 or IPv6 |            |                 | inner packet        ipip
 *
 * Checksums are those of the bytes that stand there: sums of what was written, not of what was meant to be.
 */
import type { Batch } from '../base/batch.ts';
import * as checksum from '../wire/checksum.ts';
import * as ethernet from '../wire/ethernet.ts';
import * as gre from '../wire/gre.ts';
import * as gue from '../wire/gue.ts';
import * as ipv4 from '../wire/ipv4.ts';
import * as ipv6 from '../wire/ipv6.ts';
import * as udp from '../wire/udp.ts';
import type { Identifiers } from './identifiers.ts';
import {
  B_CHECKSUM,
  B_FAMILY,
  B_KIND,
  B_OVERHEAD,
  B_PORTS,
  B_TEMPLATE,
  CHECKSUM_ALL,
  CHECKSUM_REMOTE,
  CHECKSUM_TRAINS,
} from './layout.ts';
import { outerPolicy } from './outer-policy.ts';
import { OUTER4, OUTER6 } from './outer-template.ts';
import { writeExtra } from './tunnel-extra.ts';
import { KIND_FOU, KIND_GRE, KIND_GUE, KIND_IPIP } from './tunnel-kind.ts';

// Module-local: an imported constant is loaded from its module at every use (src/wire/README.md, "Constants").
const CHECKSUM = B_CHECKSUM;
const FAMILY = B_FAMILY;
const KIND = B_KIND;
const OVERHEAD = B_OVERHEAD;
const PORTS = B_PORTS;
const TEMPLATE = B_TEMPLATE;
const ALL = CHECKSUM_ALL;
const REMOTE = CHECKSUM_REMOTE;
const TRAINS = CHECKSUM_TRAINS;
const HEADER4 = OUTER4;
const HEADER6 = OUTER6;
const SOURCE4 = ipv4.SOURCE_AT;
const SOURCE6 = ipv6.SOURCE_AT;
const UDP = udp.HEADER_LENGTH;
const GUE = KIND_GUE;
const LAST_WITH_UDP = KIND_FOU;
const GRE = KIND_GRE;
const IPIP = KIND_IPIP;
const PROTOCOL_UDP = ipv4.PROTOCOL_UDP;
const PROTOCOL_GRE = 47;
const INNER4 = gue.PROTOCOL_IPV4;
const INNER6 = gue.PROTOCOL_IPV6;
const ETHERTYPE4 = ethernet.ETHERTYPE_IPV4;
const ETHERTYPE6 = ethernet.ETHERTYPE_IPV6;

/** Partial of the 20 bytes of an IPv4 header at `at`: five loads, which a general sum would loop over. */
function headerSum(view: DataView, at: number): number {
  const a = view.getInt32(at);
  const b = view.getInt32(at + 4);
  const c = view.getInt32(at + 8);
  const d = view.getInt32(at + 12);
  const e = view.getInt32(at + 16);
  const high = (a >>> 16) + (b >>> 16) + (c >>> 16) + (d >>> 16) + (e >>> 16);
  return high + (a & 0xffff) + (b & 0xffff) + (c & 0xffff) + (d & 0xffff) + (e & 0xffff);
}

/** In place of a sum: no outer checksum is wanted. */
export const NO_CHECKSUM = -1;

/** True when a single packet toward this backend, or with `trains` a part of a train whose way out needs it, gets an outer checksum. */
export function wantsChecksum(words: Int32Array, record: number, trains: boolean): boolean {
  const wanted = words[record + CHECKSUM];
  return wanted === ALL || wanted === REMOTE || (trains && wanted === TRAINS);
}

export interface OuterHeaders {
  /** Bytes in front of packet `i` toward the backend of `record`. */
  overhead(i: number, words: Int32Array, record: number): number;
  /** Outer UDP source port of packet `i`; 0 where the backend's tunnel has no UDP. */
  port(i: number, words: Int32Array, record: number): number;
  /**
   * Writes the outer headers at `at` in front of an inner packet of `innerLength` bytes whose IP header, hop counted, stands behind them; the rest of it may
   * lie elsewhere. `innerSum`: folded partial of the whole inner packet as it is sent, or NO_CHECKSUM.
   */
  write(i: number, words: Int32Array, record: number, at: number, innerLength: number, port: number, innerSum: number): void;
  /** Fills the columns of packet `i`, whose first outer header stands at `at`; `bytes` in all. */
  describe(i: number, words: Int32Array, record: number, at: number, bytes: number, port: number): void;
}

/**
 * The writer of one batch. Outer source ports of the rule `default` are `portBase` + (hash & `portMask`), which are those that the egress's sockets have
 * where it has some. `identifiers`: for outer IPv4 packets that may be fragmented.
 */
export function outerHeaders(batch: Batch, identifiers: Identifiers, portBase: number, portMask: number): OuterHeaders {
  const { family, tunnelExtra, encapsulation, sourcePort, rawOnly, recordAt, segmentCount } = batch;
  const { outAt, outLength, outerNetworkAt, outerTransportAt, tunnelAt, outerFamily } = batch;
  const { view } = batch.arena;
  const policy = outerPolicy(batch, identifiers, portBase, portMask);

  function overhead(i: number, words: Int32Array, record: number): number {
    return words[record + OVERHEAD] + tunnelExtra[i];
  }

  function port(i: number, words: Int32Array, record: number): number {
    return words[record + KIND] > LAST_WITH_UDP ? 0 : policy.port(i, words, record);
  }

  /** The outer IP header: the template's addresses, and what the policy makes of the inner header at `inner`. `length`: bytes behind it. */
  function writeNetwork(
    i: number,
    words: Int32Array,
    record: number,
    at: number,
    length: number,
    protocol: number,
    inner: number,
  ): void {
    const template = record + TEMPLATE;
    if (words[record + FAMILY] === 4) {
      for (let w = 0; w < HEADER4 >> 2; w++) view.setInt32(at + (w << 2), words[template + w], true);
      // A super-packet that leaves whole becomes several datagrams, each with the next identification.
      policy.write4(i, words, record, at, inner, recordAt[i] < 0 ? segmentCount[i] : 1);
      ipv4.setTotalLength(view, at, HEADER4 + length);
      view.setUint8(at + ipv4.PROTOCOL_AT, protocol);
      ipv4.setChecksum(view, at, 0);
      ipv4.setChecksum(view, at, checksum.finish(headerSum(view, at)));
    } else {
      for (let w = 0; w < HEADER6 >> 2; w++) view.setInt32(at + (w << 2), words[template + w], true);
      policy.write6(i, words, record, at, inner);
      ipv6.setPayloadLength(view, at, length);
      view.setUint8(at + ipv6.NEXT_HEADER_AT, protocol);
    }
  }

  function write(
    i: number,
    words: Int32Array,
    record: number,
    at: number,
    innerLength: number,
    port: number,
    innerSum: number,
  ): void {
    const kind = words[record + KIND];
    const isOuter4 = words[record + FAMILY] === 4;
    const isInner4 = family[i] === 4;
    const transport = at + (isOuter4 ? HEADER4 : HEADER6);
    const inner = at + overhead(i, words, record);
    const length = inner + innerLength - transport;
    const carried = isInner4 ? INNER4 : INNER6;
    if (kind <= LAST_WITH_UDP) {
      writeNetwork(i, words, record, at, length, PROTOCOL_UDP, inner);
      const ports = words[record + PORTS];
      udp.write(view, transport, port, isInner4 ? ports >>> 16 : ports & 0xffff, length, 0);
      if (kind === GUE) {
        gue.write(view, transport + UDP, carried);
        if (tunnelExtra[i] > 0) writeExtra(batch, i, words, record, transport + UDP, inner);
      }
      if (innerSum === NO_CHECKSUM) return;
      const headers = checksum.sum(view, transport, inner - transport, innerSum);
      const pseudo = isOuter4
        ? checksum.pseudoSum4(view, at + SOURCE4, PROTOCOL_UDP, length)
        : checksum.pseudoSum6(view, at + SOURCE6, PROTOCOL_UDP, length);
      udp.setChecksum(view, transport, checksum.finishUdp(pseudo + headers));
    } else if (kind === GRE) {
      writeNetwork(i, words, record, at, length, PROTOCOL_GRE, inner);
      const hasChecksum = inner - transport > gre.HEADER_LENGTH;
      gre.write(view, transport, isInner4 ? ETHERTYPE4 : ETHERTYPE6, hasChecksum);
      // RFC 2784 §2.4: header and payload, no pseudo-header.
      if (hasChecksum)
        gre.setChecksum(view, transport, checksum.finish(checksum.sum(view, transport, inner - transport, innerSum)));
    } else if (kind === IPIP) {
      writeNetwork(i, words, record, at, length, carried, inner);
    }
  }

  function describe(i: number, words: Int32Array, record: number, at: number, bytes: number, port: number): void {
    const kind = words[record + KIND];
    const isOuter4 = words[record + FAMILY] === 4;
    const transport = at + (isOuter4 ? HEADER4 : HEADER6);
    const hasUdp = kind <= LAST_WITH_UDP;
    outAt[i] = at;
    outLength[i] = bytes;
    outerNetworkAt[i] = at;
    outerTransportAt[i] = transport;
    tunnelAt[i] = hasUdp ? transport + UDP : transport;
    outerFamily[i] = isOuter4 ? 4 : 6;
    encapsulation[i] = kind;
    sourcePort[i] = port;
    if (hasUdp && policy.suitsSockets(words, record, at, port)) return;
    rawOnly[i] = 1;
    batch.rawOnlyPackets++;
  }

  return { overhead, port, write, describe };
}
