/**
 * The guard on the way out. Every header's offset is its own column; here they are held against each other and against the bytes
 * before a packet may leave. In the incident behind this project one offset was stale by an Ethernet header: the tunnel header's
 * length came out as 0x44 − 0x46 = −2, and the kernel dropped the packet in silence. Such a packet is dropped here with the
 * reason `tunnel-length`, and counted.
 */
import type { Batch } from '../base/batch.ts';
import { dropReason } from '../base/drop-reason.ts';
import { VERDICT_DROP, VERDICT_FORWARD } from '../base/verdict.ts';
import * as gue from '../wire/gue.ts';
import { GUE_LENGTH, OUTER4, OUTER6, UDP_LENGTH } from './outer-template.ts';

const TUNNEL_LENGTH = dropReason('tunnel-length');

/** True when the five offsets and the lengths of packet `i` describe one well-formed encapsulated packet inside its slot. */
export function offsetsAgree(batch: Batch, i: number): boolean {
  const view = batch.arena.view;
  const outAt = batch.outAt[i];
  const outerNetworkAt = batch.outerNetworkAt[i];
  const outerTransportAt = batch.outerTransportAt[i];
  const tunnelAt = batch.tunnelAt[i];
  const innerNetworkAt = batch.networkAt[i];
  const innerTransportAt = batch.transportAt[i];
  const outEnd = outAt + batch.outLength[i];
  const outer = batch.outerFamily[i] === 4 ? OUTER4 : OUTER6;

  // The incident's own quantity: from the outer transport header to the inner network header. At least UDP and GUE.
  const tunnelLength = innerNetworkAt - outerTransportAt;
  if (tunnelLength < UDP_LENGTH + GUE_LENGTH) return false;
  if (outAt < batch.slotAt[i] || outEnd > batch.slotAt[i] + batch.arena.stride) return false;
  if (outerNetworkAt < outAt || outerTransportAt - outerNetworkAt !== outer) return false;
  if (tunnelAt - outerTransportAt !== UDP_LENGTH) return false;
  if (innerNetworkAt - tunnelAt !== gue.headerLength(view, tunnelAt)) return false;
  if (innerTransportAt <= innerNetworkAt || innerTransportAt > outEnd) return false;
  if (innerNetworkAt + batch.networkLength[i] !== outEnd) return false;
  // The bytes agree with the columns: IP versions outside and inside, and GUE's protocol.
  if (view.getUint8(outerNetworkAt) >> 4 !== batch.outerFamily[i]) return false;
  const inner = view.getUint8(innerNetworkAt) >> 4;
  return inner === batch.family[i] && gue.protocol(view, tunnelAt) === (inner === 4 ? gue.PROTOCOL_IPV4 : gue.PROTOCOL_IPV6);
}

/** Turns every forward whose offsets contradict each other into a drop. The last stage before the egress. */
export function guardOffsets(batch: Batch): void {
  const { count, verdict, reason } = batch;
  for (let i = 0; i < count; i++) {
    if (verdict[i] === VERDICT_FORWARD && !offsetsAgree(batch, i)) {
      verdict[i] = VERDICT_DROP;
      reason[i] = TUNNEL_LENGTH;
    }
  }
}
