/**
 * segment: cuts super-packets into trains, and what is too big for its tunnel as its service's policy says (oversize.ts). Only headers are
 * written, a record for each segment behind the slots of the arena; payload stays where it was received (segment.ts). Packets that are
 * neither are not looked at.
 *
 *     record k:  | room for the outer headers | inner IP | TCP or UDP |      payload k: in the frame
 *                ^ recordAt + k × RECORD_STRIDE
 */
import { RECORD_STRIDE } from '../base/arena.ts';
import { type Batch, VIRTIO_NEEDS_CSUM } from '../base/batch.ts';
import { VERDICT_DROP, VERDICT_FORWARD } from '../base/verdict.ts';
import * as ipv4 from '../wire/ipv4.ts';
import * as ipv6 from '../wire/ipv6.ts';
import * as tcp from '../wire/tcp.ts';
import * as udp from '../wire/udp.ts';
import { B_OVERHEAD, BACKEND_WORDS, H_BACKENDS, H_SERVICES, OVERSIZE_SEGMENT, S_OVERSIZE, SERVICE_WORDS } from './layout.ts';
import { GUE_LENGTH, OUTER6, UDP_LENGTH } from './outer-template.ts';
import { mayCut, refuseOversize } from './oversize.ts';
import { refusalReason } from './refusal.ts';
import type { ReplyRate } from './reply-rate.ts';
import { segmentTcp, segmentUdp } from './segment.ts';
import type { Snapshot } from './snapshot.ts';
import { evenSegmentSize, REFUSED_ROOM } from './train.ts';
import { leaveWhole } from './whole-train.ts';

// Module-local: an imported constant is loaded from its module at every use (src/wire/README.md, "Constants").
const FORWARD = VERDICT_FORWARD;
const TCP = ipv4.PROTOCOL_TCP;
const STRIDE = RECORD_STRIDE;
/** What any tunnel adds at most: a packet that leaves so much room fits, whatever its tunnel is. */
const MOST_OVERHEAD = OUTER6 + UDP_LENGTH + GUE_LENGTH;
const UNLIMITED = 0x7fffffff;
/** Where the hop count lies, in a word that is saved and restored whole: with IPv4 the header checksum is in it. */
const HOP_WORD4 = ipv4.TTL_AT;
const HOP_WORD6 = ipv6.HOP_LIMIT_AT - 3;

/** What the stage did in one batch about packets too big for their tunnel; added to the thread's counters. */
export interface SegmentTally {
  resegmented: number;
  answered: number;
}

/**
 * The segmentation of one batch: forwards with a gso type become trains, or drops with a reason. `pathMtu`: bytes of the largest outer
 * packet for each backend id, 0 for no limit; null: no limit for any. What is larger becomes a train, a reply or a drop. `whole`: the
 * egress takes super-packets uncut (whole-train.ts).
 */
export function segmentStage(
  batch: Batch,
  pathMtu: Int32Array | null,
  rate: ReplyRate,
  whole = false,
): (snapshot: Snapshot, now: number, tally: SegmentTally) => void {
  const { verdict, reason, backend, service, gsoType, gsoSize, virtioFlags, family, protocol } = batch;
  const { networkAt, transportAt, networkLength } = batch;
  const { segmentSize, segmentCount, recordAt, pieceHeader, pieceAt, pieceLength } = batch;
  const { view, recordsAt, records } = batch.arena;
  const { hopDone } = batch.ingress;

  /**
   * Segments of packet `i` with `size` bytes of payload each, their inner headers written to records from `at`; or a refusal when it can
   * not be cut: then its headers are as they came.
   */
  function cut(i: number, size: number, at: number, left: number, overhead: number): number {
    if (left === 0) return REFUSED_ROOM;
    const network = networkAt[i];
    const transport = transportAt[i];
    const end = (network + networkLength[i]) | 0;
    // What came as a single packet has its checksum completed already (classify).
    const partial = gsoType[i] !== 0 && (virtioFlags[i] & VIRTIO_NEEDS_CSUM) !== 0;
    const hopAt = network + (family[i] === 4 ? HOP_WORD4 : HOP_WORD6);
    const hop = view.getInt32(hopAt);
    // Each segment carries the packet's headers, so the hop is counted before.
    if (!hopDone) {
      if (family[i] === 4) ipv4.decrementTtl(view, network);
      else ipv6.decrementHopLimit(view, network);
    }
    const isTcp = protocol[i] === TCP;
    const count = isTcp
      ? segmentTcp(view, network, transport, end, size, partial, view, at, STRIDE, overhead)
      : segmentUdp(view, network, transport, end, size, partial, view, at, STRIDE, overhead);
    if (count < 0) {
      view.setInt32(hopAt, hop);
      return count;
    }
    const payload = transport + (isTcp ? tcp.headerLength(view, transport) : udp.HEADER_LENGTH);
    const each = count === 1 ? end - payload : size;
    recordAt[i] = at;
    segmentSize[i] = each;
    segmentCount[i] = count;
    const first = ((at - recordsAt) / STRIDE) | 0;
    for (let k = 0; k < count; k++) {
      const from = payload + k * each;
      pieceHeader[first + k] = overhead + payload - network;
      pieceAt[first + k] = from;
      pieceLength[first + k] = k === count - 1 ? end - from : each;
    }
    return count;
  }

  /** Packet `i`, a super-packet or perhaps too big; `used` records are taken. Returns how many it takes: 0 when it is no train. */
  function judge(i: number, words: Int32Array, used: number, now: number, tally: SegmentTally): number {
    const overhead = words[words[H_BACKENDS] + backend[i] * BACKEND_WORDS + B_OVERHEAD];
    const at = recordsAt + used * STRIDE;
    const isSuper = gsoType[i] !== 0;
    const limit = pathMtu === null ? 0 : pathMtu[backend[i]];
    const innerMtu = limit === 0 ? UNLIMITED : limit - overhead;
    const transport = transportAt[i];
    const isTcp = protocol[i] === TCP;
    const headers = transport - networkAt[i] + (isTcp ? tcp.headerLength(view, transport) : udp.HEADER_LENGTH);
    const largest = isSuper ? Math.min(headers + gsoSize[i], networkLength[i]) : networkLength[i];
    if (largest <= innerMtu) {
      if (!isSuper || (whole && leaveWhole(batch, i, gsoSize[i], overhead) > 0)) return 0;
      const segments = cut(i, gsoSize[i], at, records - used, overhead);
      if (segments >= 0) return segments;
      verdict[i] = VERDICT_DROP;
      reason[i] = refusalReason(segments);
      return 0;
    }
    const policy = words[words[H_SERVICES] + service[i] * SERVICE_WORDS + S_OVERSIZE];
    if (policy === OVERSIZE_SEGMENT && isTcp && innerMtu > headers && mayCut(view, transport)) {
      const size = evenSegmentSize(networkLength[i] - headers, innerMtu - headers);
      if (whole && isSuper && leaveWhole(batch, i, size, overhead) > 0) {
        tally.resegmented++;
        return 0;
      }
      const segments = cut(i, size, at, records - used, overhead);
      if (segments >= 0) {
        tally.resegmented++;
        return segments;
      }
      if (isSuper) {
        verdict[i] = VERDICT_DROP;
        reason[i] = refusalReason(segments);
        return 0;
      }
    }
    if (refuseOversize(batch, i, largest, innerMtu, policy, rate, now)) tally.answered++;
    return 0;
  }

  return function segment(snapshot: Snapshot, now: number, tally: SegmentTally): void {
    const words = snapshot.words;
    const count = batch.count;
    let used = 0;
    let trains = 0;
    if (batch.trains > 0) {
      // What the batch before left. Without trains the columns stay as they were made: no packet is one.
      recordAt.fill(-1);
      segmentCount.fill(1);
      segmentSize.fill(0);
    }
    for (let i = 0; i < count; i++) {
      if (verdict[i] !== FORWARD) continue;
      if (gsoType[i] === 0 && (pathMtu === null || networkLength[i] + MOST_OVERHEAD <= pathMtu[backend[i]])) continue;
      const segments = judge(i, words, used, now, tally);
      used += segments;
      if (segments > 0 || segmentCount[i] > 1) trains++;
    }
    batch.trains = trains;
  };
}
