/**
 * Outer headers of trains: in front of each segment's inner headers, in its record. Not as fast as the single packet's way and need not
 * be: one super-packet carries dozens of kilobytes.
 *
 *     record k:  | IPv4 20 or IPv6 40 | UDP 8 | GUE 4 | inner headers |
 */
import { RECORD_STRIDE } from '../base/arena.ts';
import type { Batch } from '../base/batch.ts';
import { dropReason } from '../base/drop-reason.ts';
import { VERDICT_DROP, VERDICT_FORWARD } from '../base/verdict.ts';
import * as checksum from '../wire/checksum.ts';
import * as gue from '../wire/gue.ts';
import * as ipv4 from '../wire/ipv4.ts';
import * as ipv6 from '../wire/ipv6.ts';
import * as udp from '../wire/udp.ts';
import {
  B_CHECKSUM,
  B_DATAGRAM_SUM,
  B_FAMILY,
  B_HEADER_SUM,
  B_OVERHEAD,
  B_TEMPLATE,
  BACKEND_WORDS,
  CHECKSUM_NONE,
  CHECKSUM_TRAINS,
  H_BACKENDS,
} from './layout.ts';
import { innerSum } from './local-checksum.ts';
import { OUTER4, OUTER6, UDP_LENGTH } from './outer-template.ts';
import { copyHeaders } from './segment-headers.ts';
import type { Snapshot } from './snapshot.ts';
import { sourcePortOf } from './source-port.ts';

const TOO_BIG = dropReason('too-big');
const MAX_DATAGRAM = 65535;
// Module-local: an imported constant is loaded from its module at every use (src/wire/README.md, "Constants").
const STRIDE = RECORD_STRIDE;

/**
 * The encapsulation of a batch's trains. A segment's outer checksum comes from headers alone, because its own checksum is right
 * (local-checksum.ts); a fragment's from its bytes. `trainsNeedChecksum`: backends with checksum `auto` get it over IPv4 too.
 */
export function trainStage(
  batch: Batch,
  portBase: number,
  portMask: number,
  trainsNeedChecksum = false,
): (snapshot: Snapshot) => void {
  const { verdict, reason, backend, networkAt, transportAt, family, protocol, flowHash, sourcePort } = batch;
  const { outAt, outLength, outerNetworkAt, outerTransportAt, tunnelAt, outerFamily } = batch;
  const { recordAt, segmentCount, pieceHeader, pieceAt, pieceLength } = batch;
  const { view, recordsAt } = batch.arena;

  /** Partial of the inner packet at `inner`, in the record at `at`. */
  function sumOf(i: number, at: number, inner: number, innerLength: number): number {
    if (family[i] !== 4 || !ipv4.isFragment(view, inner))
      return innerSum(view, inner, inner + transportAt[i] - networkAt[i], innerLength, protocol[i]);
    // Its transport checksum, if it has one at all, is that of the whole datagram: these bytes are to be summed. A right IPv4 header is zero.
    const number = ((at - recordsAt) / STRIDE) | 0;
    const header = ipv4.headerLength(view, inner);
    const start = checksum.sum(view, inner + header, at + pieceHeader[number] - inner - header, 0);
    return checksum.sum(view, pieceAt[number], pieceLength[number], start);
  }

  function writeOuter(i: number, words: Int32Array, record: number, at: number, innerLength: number, port: number): void {
    const isOuter4 = words[record + B_FAMILY] === 4;
    const overhead = words[record + B_OVERHEAD];
    const transport = at + (isOuter4 ? OUTER4 : OUTER6);
    const tunnel = transport + UDP_LENGTH;
    const inner = at + overhead;
    const trafficClass = family[i] === 4 ? ipv4.trafficClass(view, inner) : ipv6.trafficClass(view, inner);
    const datagram = innerLength + inner - transport;
    const carried = family[i] === 4 ? gue.PROTOCOL_IPV4 : gue.PROTOCOL_IPV6;
    for (let w = 0; w < overhead >> 2; w++) view.setInt32(at + (w << 2), words[record + B_TEMPLATE + w], true);
    if (isOuter4) {
      ipv4.setTrafficClass(view, at, trafficClass);
      ipv4.setTotalLength(view, at, overhead + innerLength);
      ipv4.setChecksum(view, at, checksum.finish(words[record + B_HEADER_SUM] + trafficClass + overhead + innerLength));
    } else {
      ipv6.setTrafficClass(view, at, trafficClass);
      ipv6.setPayloadLength(view, at, datagram);
    }
    udp.setSourcePort(view, transport, port);
    udp.setLength(view, transport, datagram);
    gue.write(view, tunnel, carried);
    const wanted = words[record + B_CHECKSUM];
    if (wanted === CHECKSUM_NONE || (wanted === CHECKSUM_TRAINS && !trainsNeedChecksum)) return;
    const fixed = words[record + B_DATAGRAM_SUM] + datagram + datagram + port + carried;
    udp.setChecksum(view, transport, checksum.finishUdp(fixed + sumOf(i, at, inner, innerLength)));
  }

  return function encapsulateTrains(snapshot: Snapshot): void {
    const words = snapshot.words;
    const count = batch.count;
    for (let i = 0; i < count; i++) {
      if (recordAt[i] < 0 || verdict[i] !== VERDICT_FORWARD) continue;
      const record = words[H_BACKENDS] + backend[i] * BACKEND_WORDS;
      const overhead = words[record + B_OVERHEAD];
      const first = recordAt[i];
      const segments = segmentCount[i];
      const number = batch.recordOf(i, 0);
      const isOuter4 = words[record + B_FAMILY] === 4;
      let largest = 0;
      let total = 0;
      for (let k = 0; k < segments; k++) {
        const bytes = pieceHeader[number + k] + pieceLength[number + k];
        largest = Math.max(largest, bytes);
        total += bytes;
      }
      // IPv6 counts its header apart.
      if ((isOuter4 ? largest : largest - OUTER6) > MAX_DATAGRAM) {
        verdict[i] = VERDICT_DROP;
        reason[i] = TOO_BIG;
        continue;
      }
      const port = sourcePortOf(flowHash[i], portBase, portMask);
      const isFragment = family[i] === 4 && ipv4.isFragment(view, first + overhead);
      let written = -1;
      for (let k = 0; k < segments; k++) {
        const at = first + k * STRIDE;
        const inner = pieceHeader[number + k] - overhead + pieceLength[number + k];
        // Equally long segments have one and the same outer header: their checksums, being right, say nothing about their content.
        if (inner === written && !isFragment) copyHeaders(view, at - STRIDE, view, at, overhead);
        else writeOuter(i, words, record, at, inner, port);
        written = inner;
      }
      outAt[i] = first;
      outLength[i] = total;
      outerNetworkAt[i] = first;
      outerTransportAt[i] = first + (isOuter4 ? OUTER4 : OUTER6);
      tunnelAt[i] = outerTransportAt[i] + UDP_LENGTH;
      outerFamily[i] = isOuter4 ? 4 : 6;
      sourcePort[i] = port;
    }
  };
}
