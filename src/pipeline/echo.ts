/**
 * A ping to a service address is answered by the director itself: the address lives here as much as anywhere, and an operator who
 * pings it asks whether the director is there. The request is turned into its reply in place; checksums are updated, not recomputed,
 * so a request damaged on the way stays damaged. What else ICMP to a service address may be, icmp-stage.ts says.
 */
import { type Batch, LINK_ETHERNET } from '../base/batch.ts';
import { dropReason } from '../base/drop-reason.ts';
import { VERDICT_DROP, VERDICT_REPLY } from '../base/verdict.ts';
import * as ethernet from '../wire/ethernet.ts';
import * as icmpv4 from '../wire/icmpv4.ts';
import * as icmpv6 from '../wire/icmpv6.ts';
import * as ipv4 from '../wire/ipv4.ts';
import * as ipv6 from '../wire/ipv6.ts';

const ICMP_NOT_STEERED = dropReason('icmp-not-steered');

/** TTL of what the director says itself; Linux's default. */
const REPLY_TTL = 64;

/** Never answer what claims to come from nowhere, loopback, or a group (RFC 1122 §3.2.1.3): the answer could multiply. */
function mayAnswer4(source: number): boolean {
  const first = source >>> 24;
  return first !== 0 && first !== 127 && first < 224;
}

function mayAnswer6(view: DataView, sourceAt: number): boolean {
  if (view.getUint8(sourceAt) === 0xff) return false;
  const high = view.getInt32(sourceAt) | view.getInt32(sourceAt + 4) | view.getInt32(sourceAt + 8);
  return high !== 0 || view.getInt32(sourceAt + 12) >>> 0 > 1;
}

function answer4(view: DataView, at: number, icmpAt: number): boolean {
  const source = ipv4.source(view, at);
  if (!mayAnswer4(source)) return false;
  ipv4.setSource(view, at, ipv4.destination(view, at));
  ipv4.setDestination(view, at, source);
  ipv4.setTtl(view, at, REPLY_TTL);
  ipv4.setChecksum(view, at, ipv4.computeChecksum(view, at));
  icmpv4.requestToReply(view, icmpAt);
  return true;
}

function answer6(view: DataView, at: number, icmpAt: number): boolean {
  const sourceAt = at + ipv6.SOURCE_AT;
  if (!mayAnswer6(view, sourceAt)) return false;
  for (let w = 0; w < 16; w += 4) {
    const word = view.getInt32(sourceAt + w);
    view.setInt32(sourceAt + w, view.getInt32(at + ipv6.DESTINATION_AT + w));
    view.setInt32(at + ipv6.DESTINATION_AT + w, word);
  }
  ipv6.setHopLimit(view, at, REPLY_TTL);
  // The pseudo-header's sum does not change when its two addresses change places.
  icmpv6.requestToReply(view, icmpAt);
  return true;
}

/** Packet `i` is an echo request to a service address, its header whole and its checksum finished: makes it a reply, or drops it. */
export function answerEcho(batch: Batch, i: number): void {
  const view = batch.arena.view;
  const at = batch.networkAt[i];
  const icmpAt = batch.transportAt[i];
  batch.verdict[i] = VERDICT_DROP;
  if (!(batch.family[i] === 4 ? answer4(view, at, icmpAt) : answer6(view, at, icmpAt))) {
    batch.reason[i] = ICMP_NOT_STEERED;
    return;
  }
  batch.verdict[i] = VERDICT_REPLY;
  batch.outAt[i] = at;
  batch.outLength[i] = batch.networkLength[i];
  if (batch.ingress.link === LINK_ETHERNET) {
    const frameAt = batch.frameAt[i];
    const high = ethernet.destinationHigh(view, frameAt);
    const low = ethernet.destinationLow(view, frameAt);
    ethernet.turnAround(view, frameAt, high, low);
    batch.outAt[i] = frameAt;
    batch.outLength[i] = at - frameAt + batch.networkLength[i];
  }
}
