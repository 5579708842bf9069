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
import { dropReason } from '../base/drop-reason.ts';
import { VERDICT_DROP, VERDICT_FORWARD } from '../base/verdict.ts';
import * as ipv4 from '../wire/ipv4.ts';
import * as ipv6 from '../wire/ipv6.ts';
import * as tcp from '../wire/tcp.ts';
import * as udp from '../wire/udp.ts';
import { noteCut } from './cut-notes.ts';
import { fragmentTrain } from './fragment-train.ts';
import type { Identifiers } from './identifiers.ts';
import {
  B_CHECKSUM,
  B_FAMILY,
  B_KIND,
  B_OVERHEAD,
  BACKEND_WORDS,
  CHECKSUM_REMOTE,
  H_BACKENDS,
  H_MOST_OVERHEAD,
  H_SERVICES,
  OVERSIZE_DROP,
  OVERSIZE_FRAGMENT_INNER,
  OVERSIZE_FRAGMENT_OUTER,
  OVERSIZE_ICMP,
  OVERSIZE_SEGMENT_AND_TELL,
  S_OVERSIZE,
  SERVICE_WORDS,
} from './layout.ts';
import { OUTER6 } from './outer-template.ts';
import { mayCut, refuseOversize } from './oversize.ts';
import { refusalReason } from './refusal.ts';
import { type ReplyRate, replyKey } from './reply-rate.ts';
import { segmentTcp, segmentUdp } from './segment.ts';
import type { Snapshot } from './snapshot.ts';
import { copyTooBig, LONGEST_ANSWER, toldMtu, tooBigLength } from './too-big.ts';
import { evenSegmentSize, REFUSED_LENGTH, REFUSED_ROOM } from './train.ts';
import { extraOfFragments } from './tunnel-extra.ts';
import { KIND_GUE } from './tunnel-kind.ts';
import { leaveWhole } from './whole-train.ts';

const TOO_BIG = dropReason('too-big');

// Module-local: an imported constant is loaded from its module at every use (src/wire/README.md, "Constants").
const FORWARD = VERDICT_FORWARD;
const TCP = ipv4.PROTOCOL_TCP;
const STRIDE = RECORD_STRIDE;
/** The longest IP packet without its header, for IPv6; with it, for IPv4. */
const LONGEST = 65535;
/** Records that an answer takes. */
const ANSWER_RECORDS = Math.ceil(LONGEST_ANSWER / RECORD_STRIDE);
/** Where the hop count lies, in a word that is saved and restored whole: with IPv4 the header checksum is in it. */
const HOP_WORD4 = ipv4.TTL_AT;
const HOP_WORD6 = ipv6.HOP_LIMIT_AT - 3;

/** Bytes of the longest inner packet that a tunnel with so much `overhead` can carry at all: IPv6 counts its header apart. */
function longestInner(overhead: number, isOuter4: boolean): number {
  return LONGEST - overhead + (isOuter4 ? 0 : OUTER6);
}

/** The kernel behind egress tap-offload can cut a super-packet in this tunnel: it knows UDP tunnels, and no remote checksum by a virtio-net header. */
function isCutByKernel(words: Int32Array, record: number): boolean {
  return words[record + B_KIND] === KIND_GUE && words[record + B_CHECKSUM] !== CHECKSUM_REMOTE;
}

/** What the stage did in one batch about packets too big for their tunnel; added to the thread's counters. */
export interface SegmentTally {
  resegmented: number;
  answered: number;
  fragmentedInner: number;
}

/**
 * The segmentation of one batch: forwards with a gso type become trains, or drops with a reason. `pathMtu`: bytes of the largest outer
 * packet for each backend id, 0 for no limit; null: no limit for any. What is larger becomes a train, a reply or a drop.
 * `notes`: where packets that were cut for their size are noted for main (cut-notes.ts); null: nowhere. `wholeTrains`: the egress takes
 * super-packets uncut (whole-train.ts); `outerFragments`: it takes fragments of outer packets.
 */
export function segmentStage(
  batch: Batch,
  pathMtu: Int32Array | null,
  rate: ReplyRate,
  identifiers: Identifiers,
  notes: Int32Array | null,
  egress: { readonly wholeTrains: boolean; readonly outerFragments: boolean },
): (snapshot: Snapshot, now: number, tally: SegmentTally) => void {
  const { verdict, reason, backend, service, gsoType, gsoSize, virtioFlags, family, protocol } = batch;
  const { networkAt, transportAt, networkLength, tunnelExtra } = batch;
  const { segmentSize, segmentCount, recordAt, pieceHeader, pieceAt, pieceLength } = batch;
  const { fragment: partOf, fragmentsOuter, answerAt, answerLength, answerTo } = batch;
  const { view, recordsAt, records } = batch.arena;
  const { hopDone } = batch.ingress;
  const { wholeTrains: whole, outerFragments } = egress;
  const { fragments4 } = fragmentTrain(batch);

  /**
   * Segments of packet `i` with `size` bytes of payload each, their inner headers written to records from `at`; or a refusal when it can
   * not be cut. The packet's own headers are as they came.
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
    view.setInt32(hopAt, hop);
    if (count < 0) return count;
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

  /**
   * Fragments of packet `i`, IPv4 without DF, which can all be carried; of each of its segments, when it is a super-packet. Returns the records
   * taken, or a refusal: then its headers are as they came.
   */
  function fragment(i: number, innerMtu: number, at: number, left: number, overhead: number): number {
    if (left === 0) return REFUSED_ROOM;
    const network = networkAt[i];
    if (gsoType[i] === 0) {
      const header = transportAt[i] - network;
      const hop = view.getInt32(network + HOP_WORD4);
      if (!hopDone) ipv4.decrementTtl(view, network);
      const payload = networkLength[i] - header;
      const count = fragments4(network, header, network + header, payload, innerMtu, identifiers.next4(), at, overhead);
      view.setInt32(network + HOP_WORD4, hop);
      if (count > 0) becomeFragments(i, at, count);
      return count;
    }
    const segments = cut(i, gsoSize[i], at, left, overhead);
    if (segments < 0) return segments;
    const first = batch.recordOf(i, 0);
    let taken = segments;
    for (let k = 0; k < segments; k++) {
      const headers = pieceHeader[first + k] - overhead;
      const from = at + k * STRIDE + overhead;
      const to = at + taken * STRIDE;
      const made = fragments4(
        from,
        headers,
        pieceAt[first + k],
        pieceLength[first + k],
        innerMtu,
        identifiers.next4(),
        to,
        overhead,
      );
      if (made < 0) {
        recordAt[i] = -1;
        segmentCount[i] = 1;
        segmentSize[i] = 0;
        return made;
      }
      taken += made;
    }
    becomeFragments(i, at + segments * STRIDE, taken - segments);
    return taken;
  }

  function becomeFragments(i: number, at: number, count: number): void {
    recordAt[i] = at;
    segmentCount[i] = count;
    segmentSize[i] = 0;
  }

  /**
   * Marks packet `i` for fragmentation of its tunnel packets, if these can exist. Returns the records taken: those of its segments, when it is a
   * super-packet; or a refusal.
   */
  function fragmentTunnel(i: number, largest: number, longest: number, at: number, left: number, overhead: number): number {
    if (largest > longest) return REFUSED_LENGTH;
    let taken = 0;
    if (gsoType[i] !== 0) {
      taken = cut(i, gsoSize[i], at, left, overhead);
      if (taken < 0) return taken;
    }
    fragmentsOuter[i] = 1;
    batch.outerFragmented++;
    return taken;
  }

  /** Tells the sender of packet `i`, which was cut, what fits. Returns the records that the answer takes, 0 when there is none. */
  function tell(
    i: number,
    largest: number,
    innerMtu: number,
    at: number,
    left: number,
    now: number,
    tally: SegmentTally,
  ): number {
    const network = networkAt[i];
    if (left < ANSWER_RECORDS || largest <= toldMtu(family[i], innerMtu)) return 0;
    if (tooBigLength(view, network, networkLength[i], family[i], innerMtu) === 0) return 0;
    if (!rate.allow(replyKey(view, network, family[i]), now)) return 0;
    const length = copyTooBig(batch, i, innerMtu, view, at);
    if (length === 0) return 0;
    const a = batch.answers++;
    answerAt[a] = at;
    answerLength[a] = length;
    answerTo[a] = i;
    tally.answered++;
    return ANSWER_RECORDS;
  }

  function refuse(i: number, refusal: number): number {
    verdict[i] = VERDICT_DROP;
    reason[i] = refusalReason(refusal);
    return 0;
  }

  /** Packet `i`, a super-packet or perhaps too big; `used` records are taken. Returns how many it takes: 0 when it is no train. */
  function judge(i: number, words: Int32Array, used: number, now: number, tally: SegmentTally): number {
    const record = words[H_BACKENDS] + backend[i] * BACKEND_WORDS;
    const extra = tunnelExtra[i];
    const overhead = words[record + B_OVERHEAD] + extra;
    const at = recordsAt + used * STRIDE;
    const left = records - used;
    const isSuper = gsoType[i] !== 0;
    const limit = pathMtu === null ? 0 : pathMtu[backend[i]];
    const longest = longestInner(overhead, words[record + B_FAMILY] === 4);
    const mayLeaveWhole = whole && isCutByKernel(words, record);
    const innerMtu = limit === 0 ? longest : Math.min(longest, limit - overhead);
    const transport = transportAt[i];
    // A fragment is cut as IP allows, whatever it is a part of: a later one holds no transport header at all.
    const isPart = batch.fragments > 0 && partOf[i] !== 0;
    const isTcp = !isPart && protocol[i] === TCP;
    const headers = transport - networkAt[i] + (isTcp ? tcp.headerLength(view, transport) : udp.HEADER_LENGTH);
    const largest = isSuper ? Math.min(headers + gsoSize[i], networkLength[i]) : networkLength[i];
    if (largest <= innerMtu) {
      if (!isSuper || (mayLeaveWhole && leaveWhole(batch, i, gsoSize[i], overhead) > 0)) return 0;
      const segments = cut(i, gsoSize[i], at, left, overhead);
      return segments < 0 ? refuse(i, segments) : segments;
    }
    const policy = words[words[H_SERVICES] + service[i] * SERVICE_WORDS + S_OVERSIZE];
    const mayFragment = policy !== OVERSIZE_DROP && family[i] === 4 && !ipv4.dontFragment(view, networkAt[i]);
    const fragmentsFirst = mayFragment && (policy === OVERSIZE_FRAGMENT_INNER || policy === OVERSIZE_FRAGMENT_OUTER);
    const cuts = policy !== OVERSIZE_ICMP && policy !== OVERSIZE_DROP && !fragmentsFirst;
    if (cuts && isTcp && innerMtu > headers && mayCut(view, transport)) {
      const size = evenSegmentSize(networkLength[i] - headers, innerMtu - headers);
      // Whole it takes no records.
      const isLeftWhole = mayLeaveWhole && isSuper && leaveWhole(batch, i, size, overhead) > 0;
      const segments = isLeftWhole ? 0 : cut(i, size, at, left, overhead);
      if (segments >= 0) {
        tally.resegmented++;
        if (notes !== null) noteCut(notes, backend[i], largest + overhead);
        if (policy !== OVERSIZE_SEGMENT_AND_TELL) return segments;
        return segments + tell(i, largest, innerMtu, at + segments * STRIDE, left - segments, now, tally);
      }
      if (isSuper) return refuse(i, segments);
    }
    if (mayFragment) {
      if (policy === OVERSIZE_FRAGMENT_OUTER) {
        const taken = fragmentTunnel(i, largest, longest, at, left, overhead);
        if (taken >= 0) {
          if (notes !== null) noteCut(notes, backend[i], largest + overhead);
          return taken;
        }
      }
      tunnelExtra[i] = extraOfFragments(words, record, extra);
      const taken = fragment(i, innerMtu, at, left, overhead - extra + tunnelExtra[i]);
      if (taken < 0) tunnelExtra[i] = extra;
      else {
        tally.fragmentedInner++;
        if (notes !== null) noteCut(notes, backend[i], largest + overhead);
        return taken;
      }
      if (isSuper) return refuse(i, taken);
    }
    if (refuseOversize(batch, i, largest, innerMtu, policy, rate, now)) {
      tally.answered++;
      return 0;
    }
    // Nobody may be told of it, or was told too often. What the tunnel's own fragments can carry is not lost; nor is, unless nothing is to
    // be done, what no answer can make smaller: an IPv6 packet of 1,280 bytes or less (RFC 2473 §7.1).
    // Nor is a fragment of which nobody may be told (RFC 1122 §3.2.2), and without which the rest of its packet is worth nothing.
    const isUntold = largest <= toldMtu(family[i], innerMtu) || (isPart && reason[i] === TOO_BIG);
    const isHopeless = outerFragments && policy !== OVERSIZE_DROP && isUntold;
    if (policy !== OVERSIZE_FRAGMENT_OUTER && !isHopeless) return 0;
    const taken = fragmentTunnel(i, largest, longest, at, left, overhead);
    if (taken < 0) return 0;
    verdict[i] = FORWARD;
    reason[i] = 0;
    if (notes !== null) noteCut(notes, backend[i], largest + overhead);
    return taken;
  }

  return function segment(snapshot: Snapshot, now: number, tally: SegmentTally): void {
    const words = snapshot.words;
    // What any tunnel adds at most: a packet that leaves so much room fits, whatever its tunnel is.
    const mostOverhead = words[H_MOST_OVERHEAD];
    const count = batch.count;
    let used = 0;
    let trains = 0;
    if (batch.trains > 0) {
      // What the batch before left. Without trains the columns stay as they were made: no packet is one.
      recordAt.fill(-1);
      segmentCount.fill(1);
      segmentSize.fill(0);
    }
    if (batch.outerFragmented > 0) {
      fragmentsOuter.fill(0);
      batch.outerFragmented = 0;
    }
    batch.answers = 0;
    batch.answersLost = 0;
    for (let i = 0; i < count; i++) {
      if (verdict[i] !== FORWARD) continue;
      if (gsoType[i] === 0 && (pathMtu === null || networkLength[i] + mostOverhead <= pathMtu[backend[i]])) continue;
      const segments = judge(i, words, used, now, tally);
      used += segments;
      if (segments > 0 || segmentCount[i] > 1) trains++;
    }
    batch.trains = trains;
    batch.recordsUsed = used;
  };
}
