/**
 * The guard on the way out. Every header's offset is its own column; here they are held against each other and against the bytes
 * before a packet may leave. In the incident behind this project one offset was stale by an Ethernet header: the tunnel header's
 * length came out as 0x44 − 0x46 = −2, and the kernel dropped the packet in silence. Such a packet is dropped here with the
 * reason `tunnel-length`, and counted.
 */
import { RECORD_STRIDE } from '../base/arena.ts';
import type { Batch } from '../base/batch.ts';
import { dropReason } from '../base/drop-reason.ts';
import { VERDICT_DROP, VERDICT_FORWARD } from '../base/verdict.ts';
import * as gue from '../wire/gue.ts';
import * as ipv6 from '../wire/ipv6.ts';
import { FRAGMENT_HEADER } from './fragment6.ts';
import { GUE_LENGTH, OUTER4, OUTER6, UDP_LENGTH } from './outer-template.ts';
import type { PlainTunnel } from './plain-tunnel.ts';
import { KIND_GUE } from './tunnel-kind.ts';
import { leastDistance, otherBytesWrong, rightDistance, transportLength } from './tunnel-offsets.ts';

const TUNNEL_LENGTH = dropReason('tunnel-length');

// Module-local: an imported constant is loaded from its module at every use (src/wire/README.md, "Constants").
const FORWARD = VERDICT_FORWARD;
const STRIDE = RECORD_STRIDE;
const DROP = VERDICT_DROP;
const HEADER4 = OUTER4;
const HEADER6 = OUTER6;
const GUE = KIND_GUE;
const INNER4 = gue.PROTOCOL_IPV4;
const INNER6 = gue.PROTOCOL_IPV6;
const GUE_UDP = UDP_LENGTH;
const GUE_LEAST = UDP_LENGTH + GUE_LENGTH;
const GUE_HEADER = GUE_LENGTH;
const lengthOf = transportLength;
const leastOf = leastDistance;
const otherWrong = otherBytesWrong;
const FRAGMENT = ipv6.NEXT_FRAGMENT;
const SIGN = 0x80000000 | 0;

// Functions that are constants: V8 need not ask at each call whether a declaration still means the same (src/wire/README.md, "Constants").

/**
 * 0 when the columns of a packet agree among themselves, given as the numbers that they hold. Differences are OR-ed: a branch each
 * would cost more.
 */
const columnsWrong = (
  slotAt: number,
  slotEnd: number,
  outAt: number,
  outEnd: number,
  outerNetworkAt: number,
  outerTransportAt: number,
  outerLength: number,
  tunnelAt: number,
  innerNetworkAt: number,
  innerTransportAt: number,
  innerEnd: number,
  udpLength: number,
  least: number,
): number => {
  // What must not be negative. First the incident's own quantity: from the outer transport header to the inner network header there
  // are at least as many bytes as the encapsulation needs, for GUE those of UDP and GUE. Then: the packet lies in its slot, the inner headers in order.
  const negative =
    (innerNetworkAt - outerTransportAt - least) |
    0 |
    ((outAt - slotAt) | 0) |
    ((slotEnd - outEnd) | 0) |
    ((innerTransportAt - innerNetworkAt - 1) | 0) |
    ((outEnd - innerTransportAt) | 0);
  // Distances that have exactly one right value. What is sent begins at outAt: with the outer header, and nothing in front of it.
  const unequal =
    (outAt ^ outerNetworkAt) |
    ((outerTransportAt - outerNetworkAt) ^ outerLength) |
    ((tunnelAt - outerTransportAt) ^ udpLength) |
    (innerEnd ^ outEnd);
  return (negative & SIGN) | unequal;
};

/**
 * 0 when the bytes agree with columns that agree: IP versions outside and inside, GUE's length and protocol; of other encapsulations what they have
 * instead (tunnel-offsets.ts).
 */
const bytesWrong = (
  view: DataView,
  kind: number,
  outerNetworkAt: number,
  outerFamily: number,
  tunnelAt: number,
  innerNetworkAt: number,
  family: number,
): number => {
  const versions = ((view.getUint8(outerNetworkAt) >> 4) ^ outerFamily) | ((view.getUint8(innerNetworkAt) >> 4) ^ family);
  if (kind !== GUE) return versions | otherWrong(view, kind, outerNetworkAt, outerFamily, tunnelAt, innerNetworkAt, family);
  // One load: control bit and length (gue.headerLength), protocol.
  const word = view.getUint16(tunnelAt);
  return (
    versions |
    ((innerNetworkAt - tunnelAt) ^ (GUE_HEADER + ((word >> 6) & 0x7c))) |
    ((word & 0xff) ^ (family === 4 ? INNER4 : INNER6))
  );
};

/**
 * 0 when the inner transport header is where the inner IP header says that it may be: behind exactly its own length (IPv4); behind the fixed
 * header and whole words (IPv6; which extension headers these are, classify has read, and an authentication header counts in words of 4
 * bytes). An egress that lets the kernel finish the checksum tells it this place. `distance`: from the inner network header, bytes.
 */
const transportWrong = (view: DataView, innerNetworkAt: number, family: number, distance: number): number => {
  if (family === 4) return (view.getUint8(innerNetworkAt) ^ (0x40 | (distance >> 2))) | (distance & 3);
  return ((distance - HEADER6) & SIGN) | (distance & 3);
};

/** True when the five offsets and the lengths of packet `i` describe one well-formed encapsulated packet inside its slot. */
export type OffsetsAgree = (i: number) => boolean;

export function offsetsOf(batch: Batch): OffsetsAgree {
  const { slotAt, outAt, outLength, outerNetworkAt, outerTransportAt, tunnelAt, outerFamily } = batch;
  const { networkAt, networkLength, transportAt, family, encapsulation } = batch;
  const { view, stride } = batch.arena;

  return function offsetsAgree(i: number): boolean {
    const slot = slotAt[i];
    const out = outAt[i];
    const outerNetwork = outerNetworkAt[i];
    const tunnel = tunnelAt[i];
    const innerNetwork = networkAt[i];
    const innerTransport = transportAt[i];
    const inner = family[i];
    const outer = outerFamily[i];
    const kind = encapsulation[i];
    const wrong = columnsWrong(
      slot,
      (slot + stride) | 0,
      out,
      (out + outLength[i]) | 0,
      outerNetwork,
      outerTransportAt[i],
      outer === 4 ? HEADER4 : HEADER6,
      tunnel,
      innerNetwork,
      innerTransport,
      (innerNetwork + networkLength[i]) | 0,
      kind === GUE ? GUE_UDP : lengthOf(kind),
      kind === GUE ? GUE_LEAST : leastOf(kind),
    );
    // Offsets that lie outside the packet are not followed to its bytes.
    return (
      wrong === 0 &&
      (bytesWrong(view, kind, outerNetwork, outer, tunnel, innerNetwork, inner) |
        transportWrong(view, innerNetwork, inner, (innerTransport - innerNetwork) | 0)) ===
        0
    );
  };
}

/**
 * As `offsetsOf` for a train: every part's record describes one well-formed packet; the payloads lie in the received packet, from behind its
 * headers to its end, one behind the other, none left out.
 */
export function trainOffsetsOf(batch: Batch): OffsetsAgree {
  const { view, recordsAt, records } = batch.arena;
  const { recordAt, segmentCount, pieceHeader, pieceAt, pieceLength } = batch;
  const { networkAt, transportAt, networkLength, family, outerFamily } = batch;
  const { outAt, outLength, outerNetworkAt, outerTransportAt, tunnelAt, encapsulation } = batch;

  return function trainOffsetsAgree(i: number): boolean {
    const outer = outerFamily[i] === 4 ? HEADER4 : HEADER6;
    const kind = encapsulation[i];
    const udpLength = transportLength(kind);
    // The columns are those of the first record. Drivers take from them what all segments share: addresses, port, how much the kernel writes.
    const misplaced =
      (outAt[i] ^ recordAt[i]) |
      (outerNetworkAt[i] ^ recordAt[i]) |
      ((outerTransportAt[i] - recordAt[i]) ^ outer) |
      ((tunnelAt[i] - recordAt[i]) ^ (outer + udpLength));
    if (misplaced !== 0) return false;
    if (recordAt[i] < recordsAt || recordAt[i] + segmentCount[i] * STRIDE > recordsAt + records * STRIDE) return false;
    // The length of the tunnel header as the first record itself says; every other one must say the same.
    const overhead = outer + rightDistance(view, kind, recordAt[i] + outer);
    const least = overhead + (family[i] === 4 ? HEADER4 : HEADER6);
    const end = networkAt[i] + networkLength[i];
    const first = batch.recordOf(i, 0);
    let from = networkAt[i] + pieceHeader[first] - overhead;
    if (transportAt[i] <= networkAt[i] || from < transportAt[i] || from > end) return false;
    if (transportWrong(view, networkAt[i], family[i], transportAt[i] - networkAt[i]) !== 0) return false;
    let total = 0;
    for (let k = 0; k < segmentCount[i]; k++) {
      const at = recordAt[i] + k * STRIDE;
      const inner = at + overhead;
      const header = pieceHeader[first + k];
      const bytes = pieceLength[first + k];
      if (header < least || header > STRIDE || pieceAt[first + k] !== from) return false;
      from += bytes;
      total += header + bytes;
      // The lengths that the headers claim, from the outside in: each is the next one and what lies between.
      const outerLength = outer === HEADER4 ? view.getUint16(at + 2) : view.getUint16(at + 4) + HEADER6;
      const datagram = udpLength === 0 ? outerLength - outer : view.getUint16(at + outer + 4);
      const innerLength = family[i] === 4 ? view.getUint16(inner + 2) : view.getUint16(inner + 4) + HEADER6;
      const unequal =
        (outerLength ^ (header + bytes)) | (datagram ^ (outerLength - outer)) | (innerLength ^ (header - overhead + bytes));
      if (unequal !== 0 || bytesWrong(view, kind, at, outerFamily[i], at + outer + udpLength, inner, family[i]) !== 0)
        return false;
    }
    return from === end && total === outLength[i];
  };
}

/**
 * True when the records of packet `i`, a train of tunnel packets of which some are fragments, describe whole tunnel packets: every length is that
 * of its headers and payload, each fragment begins where the one before it ended, the last one says so; and the payloads lie one behind the other up to the
 * end of the packet. What is in the tunnel was looked at before it was cut (`offsetsOf`, `trainOffsetsOf`).
 */
export function fragmentOffsetsOf(batch: Batch): OffsetsAgree {
  const { view, recordsAt, records } = batch.arena;
  const { recordAt, segmentCount, pieceHeader, pieceAt, pieceLength } = batch;
  const { networkAt, transportAt, networkLength, outerTransportAt, outerFamily } = batch;
  const { outAt, outLength, outerNetworkAt } = batch;

  return function fragmentOffsetsAgree(i: number): boolean {
    const isOuter4 = outerFamily[i] === 4;
    if (outAt[i] !== recordAt[i] || outerNetworkAt[i] !== recordAt[i]) return false;
    const last = recordAt[i] + segmentCount[i] * STRIDE;
    if (recordAt[i] < recordsAt || last > recordsAt + records * STRIDE) return false;
    const first = batch.recordOf(i, 0);
    let from = pieceAt[first];
    // A single packet's payload begins behind its outer header, where it was encapsulated; that of segments behind the inner ones.
    const udp = outerTransportAt[i];
    if (udp < recordsAt ? from !== udp : from <= transportAt[i]) return false;
    // Bytes of the tunnel packet that earlier fragments have carried.
    let carried = 0;
    let total = 0;
    for (let k = 0; k < segmentCount[i]; k++) {
      const at = recordAt[i] + k * STRIDE;
      const header = pieceHeader[first + k];
      const bytes = pieceLength[first + k];
      let network = isOuter4 ? HEADER4 : HEADER6;
      let offset = 0;
      let more = false;
      if (isOuter4) {
        const field = view.getUint16(at + 6);
        offset = (field & 0x1fff) << 3;
        more = (field & 0x2000) !== 0;
      } else if (view.getUint8(at + 6) === FRAGMENT) {
        const field = view.getUint16(at + HEADER6 + 2);
        offset = field & 0xfff8;
        more = (field & 1) !== 0;
        network += FRAGMENT_HEADER;
      }
      const length = isOuter4 ? view.getUint16(at + 2) : view.getUint16(at + 4) + HEADER6;
      if (header < network || header > STRIDE || pieceAt[first + k] !== from) return false;
      if (length !== header + bytes || offset !== carried || view.getUint8(at) >> 4 !== outerFamily[i]) return false;
      carried = more ? carried + length - network : 0;
      from += bytes;
      total += header + bytes;
    }
    return carried === 0 && total === outLength[i] && from === networkAt[i] + networkLength[i];
  };
}

/** The guard of what `fragmentOuterStage` made: the last stage before the egress, in batches that have some. */
export function guardFragmentsStage(batch: Batch): () => void {
  const { verdict, reason, fragmentsOuter, recordAt } = batch;
  const fragmentOffsetsAgree = fragmentOffsetsOf(batch);

  return function guardFragments(): void {
    const count = batch.count;
    for (let i = 0; i < count; i++) {
      if (verdict[i] !== FORWARD || fragmentsOuter[i] === 0 || recordAt[i] < 0 || fragmentOffsetsAgree(i)) continue;
      verdict[i] = DROP;
      reason[i] = TUNNEL_LENGTH;
    }
  };
}

/** The guard of one batch: turns every forward whose offsets contradict each other into a drop. The last stage before the egress,
 * but for batches in which tunnel packets are fragmented. `plain`: looks at what it can of the batch faster; null: nobody does. */
export function guardStage(batch: Batch, plain: PlainTunnel | null = null): () => void {
  const { verdict, reason, recordAt } = batch;
  const check = plain === null ? null : plain.check;
  const offsetsAgree = offsetsOf(batch);
  const trainOffsetsAgree = trainOffsetsOf(batch);

  return function guard(): void {
    const count = batch.count;
    const trains = batch.trains > 0;
    // From the first packet on that is not plain, or not right: it is looked at here too, and the rest with it.
    const first = check === null || trains ? 0 : check(0, count);
    for (let i = first; i < count; i++) {
      if (verdict[i] !== FORWARD) continue;
      if (trains && recordAt[i] >= 0 ? trainOffsetsAgree(i) : offsetsAgree(i)) continue;
      verdict[i] = DROP;
      reason[i] = TUNNEL_LENGTH;
    }
  };
}
