/**
 * classify: parses each frame and finds its service. What may be forwarded leaves with `service` ≥ 0, its offsets, and its flow
 * hash; everything else leaves with service −1 and a final verdict: drop with its reason, pass, or reply.
 *
 * A packet that is not for a service is never judged further: whatever else is odd about it is not our business.
 */
import { type Batch, LINK_ETHERNET, VIRTIO_NEEDS_CSUM } from '../base/batch.ts';
import { dropReason } from '../base/drop-reason.ts';
import { VERDICT_DROP, VERDICT_PASS } from '../base/verdict.ts';
import { hashTuple4, hashTuple6 } from '../maglev-hash/index.ts';
import { WIRE_OK, WIRE_TRUNCATED } from '../wire/check.ts';
import * as checksum from '../wire/checksum.ts';
import * as ethernet from '../wire/ethernet.ts';
import * as ipv4 from '../wire/ipv4.ts';
import * as ipv6 from '../wire/ipv6.ts';
import * as tcp from '../wire/tcp.ts';
import * as udp from '../wire/udp.ts';
import { answerEcho } from './echo.ts';
import { H_POOLS, H_SERVICES, P_SOURCE4, P_SOURCE6, P_TUNNEL_PORT, POOL_WORDS, S_POOL, SERVICE_WORDS } from './layout.ts';
import { findService4, findService6 } from './service-index.ts';
import type { Snapshot } from './snapshot.ts';

const NOT_A_SERVICE = dropReason('not-a-service');
const NOT_IP = dropReason('not-ip');
const TRUNCATED = dropReason('truncated');
const MALFORMED_IP = dropReason('malformed-ip');
const IP_CHECKSUM = dropReason('ip-checksum');
const MALFORMED_TRANSPORT = dropReason('malformed-transport');
const IPV6_EXTENSION = dropReason('ipv6-extension');
const FRAGMENT = dropReason('fragment');
const TTL_EXPIRED = dropReason('ttl-expired');
const BAD_VIRTIO_HEADER = dropReason('bad-virtio-header');
const SUPER_PACKET = dropReason('super-packet');
const ENCAPSULATION_LOOP = dropReason('encapsulation-loop');

// Local names: an imported constant is loaded from its module at every use.
const TCP = ipv4.PROTOCOL_TCP;
const UDP = ipv4.PROTOCOL_UDP;
const ICMP = ipv4.PROTOCOL_ICMP;
const ICMPV6 = ipv6.NEXT_ICMPV6;
const IPV4 = ethernet.ETHERTYPE_IPV4;
const IPV6 = ethernet.ETHERTYPE_IPV6;
const NEEDS_CSUM = VIRTIO_NEEDS_CSUM;

const VLAN_LENGTH = 4;
/** 802.1ad: an outer service tag and an inner customer tag. */
const MAX_VLANS = 2;

/** What classification did in one batch; added to the thread's counters. */
export interface ClassifyTally {
  completedChecksums: number;
}

/**
 * What the parsers of a family answer: 0 for a packet to steer, a drop reason, or one of these.
 * NOT_OURS: the kernel may have it where the driver can leave it there. ANSWERED: verdict and reason are set.
 */
const NOT_OURS = -1;
const ANSWERED = -2;

/** `reason` for what is addressed to a service address, NOT_OURS for the rest. */
function judge4(view: DataView, at: number, words: Int32Array, reason: number): number {
  return findService4(words, ipv4.destination(view, at), 0, 0) >= 0 ? reason : NOT_OURS;
}

function judge6(view: DataView, at: number, words: Int32Array, reason: number): number {
  return findService6(words, view, at + ipv6.DESTINATION_AT, 0, 0) >= 0 ? reason : NOT_OURS;
}

/** EtherType of a raw IP packet by its version; 0 when it is empty, −1 for no IP. */
function ipType(view: DataView, at: number, end: number): number {
  if (end <= at) return 0;
  const version = view.getUint8(at) >> 4;
  return version === 4 ? IPV4 : version === 6 ? IPV6 : -1;
}

/** Sets `networkAt` behind Ethernet and VLAN tags and returns the EtherType, 0 when the frame ends before it. */
function networkType(batch: Batch, i: number, view: DataView, at: number, end: number): number {
  let typeAt = at + ethernet.TYPE_AT;
  for (let tags = 0; ; tags++) {
    if (typeAt + 2 > end) return 0;
    const type = view.getUint16(typeAt);
    batch.networkAt[i] = typeAt + 2;
    if (type !== ethernet.ETHERTYPE_VLAN && type !== ethernet.ETHERTYPE_SERVICE_VLAN) return type;
    if (tags === MAX_VLANS) return -1;
    typeAt += VLAN_LENGTH;
  }
}

/**
 * Checks the transport header between `at` and `end` and completes a partial checksum. Returns 0, or the reason to drop.
 */
function checkTransport(batch: Batch, i: number, view: DataView, protocol: number, at: number, end: number): number {
  if (protocol === TCP) {
    if (tcp.check(view, at, end) !== WIRE_OK) return MALFORMED_TRANSPORT;
    batch.tcpFlags[i] = tcp.flags(view, at);
  } else {
    if (udp.check(view, at, end) !== WIRE_OK) return MALFORMED_TRANSPORT;
    batch.tcpFlags[i] = 0;
  }
  return batch.gsoType[i] === 0 ? 0 : SUPER_PACKET;
}

/** Completes the checksum that the sender left to its device. Returns 0, or the reason to drop. */
function completeChecksum(batch: Batch, i: number, protocol: number, at: number, end: number, tally: ClassifyTally): number {
  // The sum must cover exactly this packet's transport: anything else is a lie or another layer's business.
  const start = batch.frameAt[i] + batch.csumStart[i];
  const field = protocol === TCP ? tcp.CHECKSUM_AT : udp.CHECKSUM_AT;
  if (start !== at || batch.csumOffset[i] !== field) return BAD_VIRTIO_HEADER;
  if (!checksum.completePartial(batch.arena.view, start, field, end)) return BAD_VIRTIO_HEADER;
  tally.completedChecksums++;
  return 0;
}

/** Our own tunnel traffic come back as if it were a client's: source is the pool's tunnel source, destination port its tunnel port. */
function isOwnTunnel(batch: Batch, i: number, words: Int32Array, service: number): boolean {
  const pool = words[H_POOLS] + words[words[H_SERVICES] + service * SERVICE_WORDS + S_POOL] * POOL_WORDS;
  const view = batch.arena.view;
  if (udp.destinationPort(view, batch.transportAt[i]) !== words[pool + P_TUNNEL_PORT]) return false;
  const at = batch.networkAt[i];
  if (batch.family[i] === 4) return words[pool + P_SOURCE4] !== 0 && ipv4.source(view, at) === words[pool + P_SOURCE4];
  let same = true;
  for (let w = 0; w < 4; w++) same = same && view.getInt32(at + ipv6.SOURCE_AT + w * 4) === words[pool + P_SOURCE6 + w];
  return same;
}

function classify4(
  batch: Batch,
  i: number,
  view: DataView,
  at: number,
  end: number,
  words: Int32Array,
  tally: ClassifyTally,
): number {
  const state = ipv4.check(view, at, end);
  if (state !== WIRE_OK) {
    if (end - at < ipv4.HEADER_LENGTH) return TRUNCATED;
    return judge4(view, at, words, state === WIRE_TRUNCATED ? TRUNCATED : MALFORMED_IP);
  }
  const length = ipv4.totalLength(view, at);
  const packetEnd = at + length;
  const transportAt = at + ipv4.headerLength(view, at);
  const protocol = ipv4.protocol(view, at);
  const destination = ipv4.destination(view, at);
  batch.family[i] = 4;
  batch.networkLength[i] = length;
  batch.transportAt[i] = transportAt;
  batch.protocol[i] = protocol;
  if (!batch.ingress.headerVerified && !ipv4.verifyChecksum(view, at)) return judge4(view, at, words, IP_CHECKSUM);
  if (ipv4.isFragment(view, at)) return judge4(view, at, words, FRAGMENT);
  if (protocol !== TCP && protocol !== UDP) {
    if (protocol === ICMP && findService4(words, destination, 0, 0) >= 0) {
      answerEcho(batch, i);
      return ANSWERED;
    }
    return NOT_OURS;
  }
  if (transportAt + 4 > packetEnd) return judge4(view, at, words, MALFORMED_TRANSPORT);
  const ports = view.getInt32(transportAt);
  const service = findService4(words, destination, protocol, ports & 0xffff);
  if (service < 0) return NOT_OURS;
  let reason = checkTransport(batch, i, view, protocol, transportAt, packetEnd);
  if (reason !== 0) return reason;
  if ((batch.virtioFlags[i] & NEEDS_CSUM) !== 0) {
    reason = completeChecksum(batch, i, protocol, transportAt, packetEnd, tally);
    if (reason !== 0) return reason;
  }
  if (ipv4.ttl(view, at) <= (batch.ingress.hopDone ? 0 : 1)) return TTL_EXPIRED;
  if (protocol === UDP && isOwnTunnel(batch, i, words, service)) return ENCAPSULATION_LOOP;
  batch.service[i] = service;
  batch.flowHash[i] = hashTuple4(ipv4.source(view, at), destination, ports, protocol);
  return 0;
}

function classify6(
  batch: Batch,
  i: number,
  view: DataView,
  at: number,
  end: number,
  words: Int32Array,
  tally: ClassifyTally,
): number {
  const state = ipv6.check(view, at, end);
  if (state !== WIRE_OK) {
    if (end - at < ipv6.HEADER_LENGTH) return TRUNCATED;
    return judge6(view, at, words, state === WIRE_TRUNCATED ? TRUNCATED : MALFORMED_IP);
  }
  const length = ipv6.HEADER_LENGTH + ipv6.payloadLength(view, at);
  const packetEnd = at + length;
  let protocol = ipv6.nextHeader(view, at);
  let transportAt = at + ipv6.HEADER_LENGTH;
  batch.family[i] = 6;
  batch.networkLength[i] = length;
  if (protocol !== TCP && protocol !== UDP && ipv6.isExtension(protocol)) {
    const found = ipv6.findTransport6(view, at, packetEnd);
    if (found < 0) return judge6(view, at, words, found === ipv6.TRANSPORT_TRUNCATED ? TRUNCATED : IPV6_EXTENSION);
    if (ipv6.isFragment(found)) return judge6(view, at, words, FRAGMENT);
    protocol = ipv6.transportProtocol(found);
    transportAt = at + ipv6.transportOffset(found);
  }
  const destinationAt = at + ipv6.DESTINATION_AT;
  batch.protocol[i] = protocol;
  batch.transportAt[i] = transportAt;
  if (protocol !== TCP && protocol !== UDP) {
    if (protocol === ICMPV6 && findService6(words, view, destinationAt, 0, 0) >= 0) {
      answerEcho(batch, i);
      return ANSWERED;
    }
    return NOT_OURS;
  }
  if (transportAt + 4 > packetEnd) return judge6(view, at, words, MALFORMED_TRANSPORT);
  const ports = view.getInt32(transportAt);
  const service = findService6(words, view, destinationAt, protocol, ports & 0xffff);
  if (service < 0) return NOT_OURS;
  let reason = checkTransport(batch, i, view, protocol, transportAt, packetEnd);
  if (reason !== 0) return reason;
  if ((batch.virtioFlags[i] & NEEDS_CSUM) !== 0) {
    reason = completeChecksum(batch, i, protocol, transportAt, packetEnd, tally);
    if (reason !== 0) return reason;
  }
  if (ipv6.hopLimit(view, at) <= (batch.ingress.hopDone ? 0 : 1)) return TTL_EXPIRED;
  if (protocol === UDP && isOwnTunnel(batch, i, words, service)) return ENCAPSULATION_LOOP;
  batch.service[i] = service;
  batch.flowHash[i] = hashTuple6(view, at + ipv6.SOURCE_AT, destinationAt, ports, protocol);
  return 0;
}

/** Frames that the driver already gave a reason keep it. */
export function classify(batch: Batch, snapshot: Snapshot, tally: ClassifyTally): void {
  const words = snapshot.words;
  const view = batch.arena.view;
  const isEthernet = batch.ingress.link === LINK_ETHERNET;
  const { canPass } = batch.ingress;
  const { count, frameAt, frameLength, networkAt, verdict, reason, service, segmentCount, segmentSize, backend } = batch;
  for (let i = 0; i < count; i++) {
    service[i] = -1;
    backend[i] = -1;
    segmentSize[i] = 0;
    segmentCount[i] = 1;
    if (reason[i] !== 0) continue;
    const from = frameAt[i];
    const end = from + frameLength[i];
    const type = isEthernet ? networkType(batch, i, view, from, end) : ipType(view, from, end);
    if (!isEthernet) networkAt[i] = from;
    let answer = type === 0 ? TRUNCATED : NOT_IP;
    if (type === IPV4) answer = classify4(batch, i, view, networkAt[i], end, words, tally);
    else if (type === IPV6) answer = classify6(batch, i, view, networkAt[i], end, words, tally);
    if (answer === 0 || answer === ANSWERED) continue;
    const notOurs = answer === NOT_OURS || answer === NOT_IP;
    if (notOurs && canPass) verdict[i] = VERDICT_PASS;
    else {
      verdict[i] = VERDICT_DROP;
      reason[i] = answer === NOT_OURS ? NOT_A_SERVICE : answer;
    }
  }
}
