/**
 * fragment-outer: tunnel packets that are longer than their path leave as fragments of the tunnel packet, which the worker's kernel puts
 * together before it looks for the tunnel (policy `fragment-outer`, docs/oversize.md). It runs on complete tunnel packets that have passed the guard,
 * single ones and trains; payload stays where it is. Over IPv4, DF is taken away and a fresh identification given (RFC 6864 §4.1) to what has none.
 */
import { RECORD_STRIDE } from '../base/arena.ts';
import type { Batch } from '../base/batch.ts';
import { dropReason } from '../base/drop-reason.ts';
import { VERDICT_DROP, VERDICT_FORWARD } from '../base/verdict.ts';
import * as ipv4 from '../wire/ipv4.ts';
import { fragmentTrain } from './fragment-train.ts';
import type { Identifiers } from './identifiers.ts';
import { OUTER4, OUTER6 } from './outer-template.ts';
import { REFUSED_ROOM } from './train.ts';

const STRIDE = RECORD_STRIDE;
const TOO_BIG = dropReason('too-big');
const SUPER_PACKET = dropReason('super-packet');

/** Adds to its thread's counters how many packets left in fragments. */
export interface FragmentTally {
  fragmentedOuter: number;
}

/** The fragmentation of one batch's marked packets (`fragmentsOuter`). `pathMtu`: as for the segment stage. */
export function fragmentOuterStage(
  batch: Batch,
  pathMtu: Int32Array | null,
  identifiers: Identifiers,
): (tally: FragmentTally) => void {
  const { verdict, reason, backend, fragmentsOuter, outAt, outLength, outerNetworkAt, outerFamily } = batch;
  const { recordAt, segmentCount, segmentSize, pieceHeader, pieceAt, pieceLength } = batch;
  const { view, recordsAt, records } = batch.arena;
  const { fragments4, fragments6 } = fragmentTrain(batch);

  /** One tunnel packet whose `headers` bytes at `at` are followed on the wire by the `bytes` bytes at `from`. */
  function fragment(
    isOuter4: boolean,
    at: number,
    headers: number,
    from: number,
    bytes: number,
    mtu: number,
    to: number,
  ): number {
    if (to + STRIDE > recordsAt + records * STRIDE) return REFUSED_ROOM;
    if (headers + bytes <= mtu) {
      // One of a train that fits: as it is.
      const number = ((to - recordsAt) / STRIDE) | 0;
      for (let w = 0; w < headers; w += 4) view.setInt32(to + w, view.getInt32(at + w, true), true);
      pieceHeader[number] = headers;
      pieceAt[number] = from;
      pieceLength[number] = bytes;
      return 1;
    }
    if (!isOuter4) return fragments6(at, headers, from, bytes, mtu, identifiers.next6(), to, 0);
    ipv4.setFragment(view, at, 0);
    // A policy without DF has given it one already.
    const own = ipv4.identification(view, at);
    const identification = own !== 0 ? own : identifiers.between4(ipv4.destination(view, at));
    return fragments4(at, headers, from, bytes, mtu, identification, to, 0);
  }

  /** All tunnel packets of packet `i`, to records from `to` on: how many records, or a refusal. */
  function fragmentAll(i: number, mtu: number, to: number): number {
    const isOuter4 = outerFamily[i] === 4;
    if (recordAt[i] < 0) {
      const network = isOuter4 ? OUTER4 : OUTER6;
      return fragment(isOuter4, outAt[i], network, outAt[i] + network, outLength[i] - network, mtu, to);
    }
    const first = batch.recordOf(i, 0);
    let made = 0;
    for (let k = 0; k < segmentCount[i]; k++) {
      const at = recordAt[i] + k * STRIDE;
      const number = first + k;
      const count = fragment(isOuter4, at, pieceHeader[number], pieceAt[number], pieceLength[number], mtu, to + made * STRIDE);
      if (count < 0) return count;
      made += count;
    }
    return made;
  }

  return function fragmentOuter(tally: FragmentTally): void {
    const count = batch.count;
    for (let i = 0; i < count; i++) {
      if (fragmentsOuter[i] === 0 || verdict[i] !== VERDICT_FORWARD) continue;
      const limit = pathMtu === null ? 0 : pathMtu[backend[i]];
      // Others write the path MTU at any time: it may just have been raised.
      if (limit === 0) continue;
      const to = recordsAt + batch.recordsUsed * STRIDE;
      const made = fragmentAll(i, limit, to);
      if (made < 0) {
        verdict[i] = VERDICT_DROP;
        reason[i] = recordAt[i] < 0 ? TOO_BIG : SUPER_PACKET;
        continue;
      }
      const number = ((to - recordsAt) / STRIDE) | 0;
      let total = 0;
      for (let k = 0; k < made; k++) total += pieceHeader[number + k] + pieceLength[number + k];
      if (recordAt[i] < 0) batch.trains++;
      recordAt[i] = to;
      segmentCount[i] = made;
      segmentSize[i] = 0;
      outAt[i] = to;
      outerNetworkAt[i] = to;
      outLength[i] = total;
      batch.recordsUsed += made;
      tally.fragmentedOuter++;
    }
  };
}
