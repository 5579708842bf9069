/**
 * Service addresses as neighbours on an Ethernet link that is ours (TAP): nobody else answers there for who has them. An ARP request
 * or a neighbour solicitation for one becomes its answer, where it lies. Nothing is remembered and nothing is announced: answers alone,
 * one for each question, so there is nothing to fill and nothing to flood.
 *
 * A solicitation from :: (duplicate address detection, RFC 4862 §5.4.3) is not answered: its answer would go to all nodes, and a second
 * director may well hold the same service address. ARP from 0.0.0.0 is: a host that routes IPv4 without having an address asks like that.
 */
import { type Batch, type LinkAddress, VIRTIO_NEEDS_CSUM } from '../base/batch.ts';
import { dropReason } from '../base/drop-reason.ts';
import { VERDICT_REPLY } from '../base/verdict.ts';
import * as arp from '../wire/arp.ts';
import { WIRE_OK, WIRE_TRUNCATED } from '../wire/check.ts';
import * as ethernet from '../wire/ethernet.ts';
import * as icmpv6 from '../wire/icmpv6.ts';
import * as ipv6 from '../wire/ipv6.ts';
import * as ndp from '../wire/ndp.ts';
import { findService4, findService6 } from './service-index.ts';

const NOT_IP = dropReason('not-ip');
const TRUNCATED = dropReason('truncated');

/** Not a question to us: whoever asked goes on judging the packet. The numbers are those of classify's own answers. */
export const NEIGHBOUR_NOT_OURS = -1;
/** Verdict, outAt and outLength are set. */
export const NEIGHBOUR_ANSWERED = -2;

// Local names: an imported constant is loaded from its module at every use.
const NOT_OURS = NEIGHBOUR_NOT_OURS;
const ANSWERED = NEIGHBOUR_ANSWERED;
const FLAGS = ndp.FLAG_SOLICITED | ndp.FLAG_OVERRIDE;
const GROUP = 1;

/** True for a frame that a host with this address takes: its own, or a group's. `at`: the Ethernet header, 14 bytes are there. */
export function isAddressedTo(view: DataView, at: number, address: LinkAddress): boolean {
  if (ethernet.isGroup(view, at)) return true;
  return ethernet.destinationHigh(view, at) === address.high && ethernet.destinationLow(view, at) === address.low;
}

/** The frame of packet `i`, up to `end`, is the answer: its Ethernet header goes back, with `address` as source. */
function replyWith(batch: Batch, i: number, end: number, address: LinkAddress): number {
  const frameAt = batch.frameAt[i];
  ethernet.setSource(batch.arena.view, frameAt, address.high, address.low);
  batch.verdict[i] = VERDICT_REPLY;
  batch.outAt[i] = frameAt;
  batch.outLength[i] = end - frameAt;
  return ANSWERED;
}

/**
 * Packet `i` has EtherType ARP and begins at `networkAt`. A request for a service address becomes its reply and NEIGHBOUR_ANSWERED is
 * returned; otherwise the reason to drop it, nothing changed: `truncated`, or `not-ip` for replies, gratuitous requests, other
 * hardware, other addresses. `words`: the snapshot's.
 */
export function answerArp(batch: Batch, i: number, words: Int32Array): number {
  const address = batch.ingress.linkAddress;
  if (address === undefined) return NOT_IP;
  const view = batch.arena.view;
  const at = batch.networkAt[i];
  const state = arp.check(view, at, batch.frameAt[i] + batch.frameLength[i]);
  if (state !== WIRE_OK) return state === WIRE_TRUNCATED ? TRUNCATED : NOT_IP;
  if (arp.operation(view, at) !== arp.OPERATION_REQUEST) return NOT_IP;
  const target = arp.targetAddress(view, at);
  if (arp.senderAddress(view, at) === target || findService4(words, target, 0, 0) < 0) return NOT_IP;
  // To the sender's hardware address, as RFC 826 has it; an answer to a group would be an amplifier.
  const senderAt = at + arp.SENDER_MAC_AT;
  if ((view.getUint8(senderAt) & GROUP) !== 0) return NOT_IP;
  ethernet.setDestination(view, batch.frameAt[i], view.getInt32(senderAt), view.getUint16(senderAt + 4));
  arp.requestToReply(view, at, address.high, address.low);
  return replyWith(batch, i, at + arp.PACKET_LENGTH, address);
}

function isUnspecified(view: DataView, at: number): boolean {
  return (view.getInt32(at) | view.getInt32(at + 4) | view.getInt32(at + 8) | view.getInt32(at + 12)) === 0;
}

/** The sum is right, or the sender left it to its device, which is us. */
function isIntact(batch: Batch, i: number, view: DataView, icmpAt: number, end: number): boolean {
  if ((batch.virtioFlags[i] & VIRTIO_NEEDS_CSUM) !== 0) return batch.frameAt[i] + batch.csumStart[i] === icmpAt;
  return icmpv6.verifyChecksum(view, batch.networkAt[i] + ipv6.SOURCE_AT, icmpAt, end);
}

/**
 * Packet `i` has protocol 58 and is classified as far as its family and offsets (`networkAt`, `transportAt`, `networkLength`). A valid solicitation (RFC 4861
 * §7.1.1) for an address inside a service prefix becomes its advertisement and NEIGHBOUR_ANSWERED is returned; otherwise
 * NEIGHBOUR_NOT_OURS, nothing changed.
 *
 *     before:  | Ethernet (tags) | IPv6: client → target or its group | NS, target, options …      |
 *     after:   | turned around   | IPv6: target → client              | NA 24 | option: our MAC 8  |
 */
export function answerSolicitation(batch: Batch, i: number, words: Int32Array): number {
  const address = batch.ingress.linkAddress;
  if (address === undefined || batch.family[i] !== 6) return NOT_OURS;
  const view = batch.arena.view;
  const at = batch.networkAt[i];
  const icmpAt = batch.transportAt[i];
  const end = at + batch.networkLength[i];
  // Neighbour discovery needs no extension headers; an off-link sender can not make the hop limit 255.
  if (icmpAt !== at + ipv6.HEADER_LENGTH || ipv6.hopLimit(view, at) !== ndp.HOP_LIMIT || batch.gsoType[i] !== 0) return NOT_OURS;
  if (ndp.check(view, icmpAt, end) !== WIRE_OK || icmpv6.type(view, icmpAt) !== ndp.TYPE_SOLICITATION) return NOT_OURS;
  const sourceAt = at + ipv6.SOURCE_AT;
  const targetAt = icmpAt + ndp.TARGET_AT;
  if (findService6(words, view, targetAt, 0, 0) < 0) return NOT_OURS;
  if (isUnspecified(view, sourceAt) || view.getUint8(sourceAt) === 0xff) return NOT_OURS;
  if (!isIntact(batch, i, view, icmpAt, end)) return NOT_OURS;
  const frameAt = batch.frameAt[i];
  const advertisementEnd = icmpAt + ndp.ADVERTISEMENT_LENGTH;
  if (advertisementEnd > batch.slotAt[i] + batch.arena.stride) return NOT_OURS;
  const given = ndp.sourceLinkLayerAt(view, icmpAt, end);
  const clientAt = given < 0 ? frameAt + ethernet.SOURCE_AT : given;
  if ((view.getUint8(clientAt) & GROUP) !== 0) return NOT_OURS;
  ethernet.setDestination(view, frameAt, view.getInt32(clientAt), view.getUint16(clientAt + 4));
  ipv6.writeStart(view, at, 0, 0, ndp.ADVERTISEMENT_LENGTH, ipv6.NEXT_ICMPV6, ndp.HOP_LIMIT);
  ipv6.copyAddress(view, at + ipv6.DESTINATION_AT, view, sourceAt);
  ipv6.copyAddress(view, sourceAt, view, targetAt);
  ndp.writeAdvertisement(view, sourceAt, icmpAt, targetAt, FLAGS, address.high, address.low);
  return replyWith(batch, i, advertisementEnd, address);
}
