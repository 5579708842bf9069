// Our side of the comparison: a frame with its virtio-net facts goes through the same checks and functions as on the packet path, and
// comes out as whole packets or as a refusal.

import { Arena } from '../../src/base/arena.ts';
import { Batch, LINK_RAW_IP } from '../../src/base/batch.ts';
import { HEADER_STRIDE, segmentTcp, segmentUdp } from '../../src/pipeline/segment.ts';
import { checkSuperPacket } from '../../src/pipeline/super-packet.ts';
import { MAX_SEGMENTS, REFUSALS } from '../../src/pipeline/train.ts';
import { decrementTtl } from '../../src/wire/ipv4.ts';
import * as ipv6 from '../../src/wire/ipv6.ts';
import type { Facts } from './kernel.ts';

export interface Outcome {
  /** Word of the refusal (train.ts), null when there are segments. */
  readonly refused: string | null;
  readonly segments: readonly Uint8Array[];
}

const NEEDS_CSUM = 1;

export class OurSegmenter {
  readonly #batch = new Batch(Arena.inProcess(1), { link: LINK_RAW_IP, hopDone: false, canPass: false, headerVerified: false });
  readonly #area = new Uint8Array(MAX_SEGMENTS * HEADER_STRIDE);
  readonly #areaView = new DataView(this.#area.buffer);

  /** `outer`: writes the outer headers of segment k in front of its inner ones, when the packet is to be encapsulated. */
  segment(
    facts: Facts,
    packet: Uint8Array,
    outerLength = 0,
    outer?: (view: DataView, at: number, k: number, innerLength: number) => void,
  ): Outcome {
    const batch = this.#batch;
    const { bytes, view } = batch.arena;
    const at = batch.frameAt[0];
    bytes.set(packet, at);
    const isIpv4 = packet[0] >> 4 === 4;
    const found = isIpv4 ? 0 : ipv6.findTransport6(view, at, at + packet.length);
    const transport = isIpv4 ? (packet[0] & 15) * 4 : ipv6.transportOffset(found);
    const protocol = isIpv4 ? packet[9] : ipv6.transportProtocol(found);
    batch.frameLength[0] = packet.length;
    batch.networkAt[0] = at;
    batch.networkLength[0] = packet.length;
    batch.transportAt[0] = at + transport;
    batch.family[0] = packet[0] >> 4;
    batch.protocol[0] = protocol;
    batch.virtioFlags[0] = facts.flags;
    batch.gsoType[0] = facts.gsoType;
    batch.gsoSize[0] = facts.gsoSize;
    batch.headerLength[0] = facts.headerLength;
    batch.csumStart[0] = facts.csumStart;
    batch.csumOffset[0] = facts.csumOffset;
    const state = checkSuperPacket(batch, 0);
    if (state < 0) return { refused: wordOf(state), segments: [] };

    if (isIpv4) decrementTtl(view, at);
    else ipv6.decrementHopLimit(view, at);
    const partial = (facts.flags & NEEDS_CSUM) !== 0;
    const end = at + packet.length;
    const cut = protocol === 6 ? segmentTcp : segmentUdp;
    const area = this.#areaView;
    const count = cut(view, at, at + transport, end, facts.gsoSize, partial, area, 0, HEADER_STRIDE, outerLength);
    if (count < 0) return { refused: wordOf(count), segments: [] };
    const headers = transport + (protocol === 6 ? (packet[transport + 12] >> 4) * 4 : 8);
    const segments: Uint8Array[] = [];
    for (let k = 0; k < count; k++) {
      const record = k * HEADER_STRIDE;
      const from = at + headers + k * facts.gsoSize;
      const payload = bytes.subarray(from, Math.min(end, from + facts.gsoSize));
      outer?.(area, record, k, headers + payload.length);
      const segment = new Uint8Array(outerLength + headers + payload.length);
      segment.set(this.#area.subarray(record, record + outerLength + headers));
      segment.set(payload, outerLength + headers);
      segments.push(segment);
    }
    return { refused: null, segments };
  }
}

function wordOf(code: number): string {
  const entry = REFUSALS.find((refusal) => refusal.code === code);
  if (entry === undefined) throw new Error(`refusal ${code} has no word`);
  return entry.word;
}

/** Null when both are the same packets in the same order; otherwise the first difference in words. */
export function difference(ours: readonly Uint8Array[], theirs: readonly Uint8Array[]): string | null {
  if (ours.length !== theirs.length) return `${ours.length} segments, the kernel made ${theirs.length}`;
  for (let k = 0; k < ours.length; k++) {
    if (Buffer.compare(ours[k], theirs[k]) === 0) continue;
    const at = ours[k].findIndex((byte, place) => byte !== theirs[k][place]);
    const where = at < 0 ? `lengths ${ours[k].length} and ${theirs[k].length}` : `byte ${at}`;
    const text = (bytes: Uint8Array) => Buffer.from(bytes.subarray(0, 120)).toString('hex');
    return `segment ${k} of ${ours.length}, ${where}\n ours   ${text(ours[k])}\n kernel ${text(theirs[k])}`;
  }
  return null;
}
