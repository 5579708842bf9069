/**
 * segment: cuts super-packets into trains. Only headers are written, a record for each segment behind the slots of the arena; payload
 * stays where it was received (segment.ts). Packets that are none are not looked at.
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
import { B_OVERHEAD, BACKEND_WORDS, H_BACKENDS } from './layout.ts';
import { refusalReason } from './refusal.ts';
import { segmentTcp, segmentUdp } from './segment.ts';
import type { Snapshot } from './snapshot.ts';
import { REFUSED_ROOM } from './train.ts';

/** The segmentation of one batch: forwards with a gso type become trains, or drops with a reason. */
export function segmentStage(batch: Batch): (snapshot: Snapshot) => void {
  const { verdict, reason, backend, gsoType, gsoSize, virtioFlags, family, protocol, networkAt, transportAt, networkLength } =
    batch;
  const { segmentSize, segmentCount, recordAt, recordLength, payloadAt } = batch;
  const { view, recordsAt, records } = batch.arena;
  const { hopDone } = batch.ingress;

  /** Segments of packet `i`, their inner headers written to records from `at`; a refusal when it can not be cut. */
  function cut(i: number, at: number, left: number, overhead: number): number {
    if (left === 0) return REFUSED_ROOM;
    const network = networkAt[i];
    const transport = transportAt[i];
    const end = (network + networkLength[i]) | 0;
    const partial = (virtioFlags[i] & VIRTIO_NEEDS_CSUM) !== 0;
    // Each segment carries the packet's headers, so the hop is counted before.
    if (!hopDone) {
      if (family[i] === 4) ipv4.decrementTtl(view, network);
      else ipv6.decrementHopLimit(view, network);
    }
    const isTcp = protocol[i] === ipv4.PROTOCOL_TCP;
    const count = isTcp
      ? segmentTcp(view, network, transport, end, gsoSize[i], partial, view, at, RECORD_STRIDE, overhead)
      : segmentUdp(view, network, transport, end, gsoSize[i], partial, view, at, RECORD_STRIDE, overhead);
    if (count < 0) return count;
    const payload = transport + (isTcp ? tcp.headerLength(view, transport) : udp.HEADER_LENGTH);
    recordAt[i] = at;
    recordLength[i] = overhead + payload - network;
    payloadAt[i] = payload;
    segmentSize[i] = count === 1 ? end - payload : gsoSize[i];
    segmentCount[i] = count;
    return count;
  }

  return function segment(snapshot: Snapshot): void {
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
      if (gsoType[i] === 0 || verdict[i] !== VERDICT_FORWARD) continue;
      const overhead = words[words[H_BACKENDS] + backend[i] * BACKEND_WORDS + B_OVERHEAD];
      const segments = cut(i, recordsAt + used * RECORD_STRIDE, records - used, overhead);
      if (segments < 0) {
        verdict[i] = VERDICT_DROP;
        reason[i] = refusalReason(segments);
        continue;
      }
      used += segments;
      trains++;
    }
    batch.trains = trains;
  };
}
