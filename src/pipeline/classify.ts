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

const VLAN_LENGTH = 4;
/** 802.1ad: an outer service tag and an inner customer tag. */
const MAX_VLANS = 2;

/** What classification did in one batch; added to the thread's counters. */
export interface ClassifyTally {
  completedChecksums: number;
}

function drop(batch: Batch, i: number, reason: number): void {
  batch.verdict[i] = VERDICT_DROP;
  batch.reason[i] = reason;
}

/** For what is not for us: the kernel may have it where the driver can leave it there. */
function leave(batch: Batch, i: number, reason: number): void {
  batch.verdict[i] = batch.ingress.canPass ? VERDICT_PASS : VERDICT_DROP;
  batch.reason[i] = batch.ingress.canPass ? 0 : reason;
}

/** Drops with `reason` what is addressed to a service address, leaves the rest. */
function judge4(batch: Batch, i: number, words: Int32Array, reason: number): void {
  const ours = findService4(words, ipv4.destination(batch.arena.view, batch.networkAt[i]), 0, 0) >= 0;
  if (ours) drop(batch, i, reason);
  else leave(batch, i, NOT_A_SERVICE);
}

function judge6(batch: Batch, i: number, words: Int32Array, reason: number): void {
  const ours = findService6(words, batch.arena.view, batch.networkAt[i] + ipv6.DESTINATION_AT, 0, 0) >= 0;
  if (ours) drop(batch, i, reason);
  else leave(batch, i, NOT_A_SERVICE);
}

/** Sets `networkAt` and returns the EtherType, 0 when the frame ends before it. */
function networkType(batch: Batch, i: number): number {
  const view = batch.arena.view;
  const at = batch.frameAt[i];
  const end = at + batch.frameLength[i];
  if (batch.ingress.link !== LINK_ETHERNET) {
    batch.networkAt[i] = at;
    if (end === at) return 0;
    const version = view.getUint8(at) >> 4;
    return version === 4 ? ethernet.ETHERTYPE_IPV4 : version === 6 ? ethernet.ETHERTYPE_IPV6 : -1;
  }
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
 * Checks the transport header and completes a partial checksum. Returns 0, or the reason to drop.
 * `transportAt`, `protocol` and `networkLength` are set.
 */
function checkTransport(batch: Batch, i: number, tally: ClassifyTally): number {
  const view = batch.arena.view;
  const at = batch.transportAt[i];
  const end = batch.networkAt[i] + batch.networkLength[i];
  if (batch.protocol[i] === ipv4.PROTOCOL_TCP) {
    if (tcp.check(view, at, end) !== WIRE_OK) return MALFORMED_TRANSPORT;
    batch.tcpFlags[i] = tcp.flags(view, at);
  } else {
    if (udp.check(view, at, end) !== WIRE_OK) return MALFORMED_TRANSPORT;
    batch.tcpFlags[i] = 0;
  }
  if (batch.gsoType[i] !== 0) return SUPER_PACKET;
  if ((batch.virtioFlags[i] & VIRTIO_NEEDS_CSUM) !== 0) {
    // The sum must cover exactly this packet's transport: anything else is a lie or another layer's business.
    const start = batch.frameAt[i] + batch.csumStart[i];
    const field = batch.protocol[i] === ipv4.PROTOCOL_TCP ? tcp.CHECKSUM_AT : udp.CHECKSUM_AT;
    if (start !== at || batch.csumOffset[i] !== field) return BAD_VIRTIO_HEADER;
    if (!checksum.completePartial(view, start, field, end)) return BAD_VIRTIO_HEADER;
    tally.completedChecksums++;
  }
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

function classify4(batch: Batch, i: number, words: Int32Array, tally: ClassifyTally): void {
  const view = batch.arena.view;
  const at = batch.networkAt[i];
  const end = batch.frameAt[i] + batch.frameLength[i];
  const state = ipv4.check(view, at, end);
  if (state !== WIRE_OK) {
    if (end - at < ipv4.HEADER_LENGTH) drop(batch, i, TRUNCATED);
    else judge4(batch, i, words, state === WIRE_TRUNCATED ? TRUNCATED : MALFORMED_IP);
    return;
  }
  batch.family[i] = 4;
  batch.networkLength[i] = ipv4.totalLength(view, at);
  batch.transportAt[i] = at + ipv4.headerLength(view, at);
  const protocol = ipv4.protocol(view, at);
  batch.protocol[i] = protocol;
  if (!batch.ingress.headerVerified && !ipv4.verifyChecksum(view, at)) return judge4(batch, i, words, IP_CHECKSUM);
  if (ipv4.isFragment(view, at)) return judge4(batch, i, words, FRAGMENT);
  if (protocol !== ipv4.PROTOCOL_TCP && protocol !== ipv4.PROTOCOL_UDP) {
    if (findService4(words, ipv4.destination(view, at), 0, 0) < 0) return leave(batch, i, NOT_A_SERVICE);
    if (protocol === ipv4.PROTOCOL_ICMP) return answerEcho(batch, i);
    return leave(batch, i, NOT_A_SERVICE);
  }
  if (batch.transportAt[i] + 4 > at + batch.networkLength[i]) return judge4(batch, i, words, MALFORMED_TRANSPORT);
  const ports = view.getInt32(batch.transportAt[i]);
  const destination = ipv4.destination(view, at);
  const service = findService4(words, destination, protocol, ports & 0xffff);
  if (service < 0) return leave(batch, i, NOT_A_SERVICE);
  const reason = checkTransport(batch, i, tally);
  if (reason !== 0) return drop(batch, i, reason);
  const ttl = ipv4.ttl(view, at);
  if (batch.ingress.hopDone ? ttl === 0 : ttl <= 1) return drop(batch, i, TTL_EXPIRED);
  if (protocol === ipv4.PROTOCOL_UDP && isOwnTunnel(batch, i, words, service)) return drop(batch, i, ENCAPSULATION_LOOP);
  batch.service[i] = service;
  batch.flowHash[i] = hashTuple4(ipv4.source(view, at), destination, ports, protocol);
}

function classify6(batch: Batch, i: number, words: Int32Array, tally: ClassifyTally): void {
  const view = batch.arena.view;
  const at = batch.networkAt[i];
  const end = batch.frameAt[i] + batch.frameLength[i];
  const state = ipv6.check(view, at, end);
  if (state !== WIRE_OK) {
    if (end - at < ipv6.HEADER_LENGTH) drop(batch, i, TRUNCATED);
    else judge6(batch, i, words, state === WIRE_TRUNCATED ? TRUNCATED : MALFORMED_IP);
    return;
  }
  const length = ipv6.HEADER_LENGTH + ipv6.payloadLength(view, at);
  batch.family[i] = 6;
  batch.networkLength[i] = length;
  let protocol = ipv6.nextHeader(view, at);
  let transportAt = at + ipv6.HEADER_LENGTH;
  if (ipv6.isExtension(protocol)) {
    const found = ipv6.findTransport6(view, at, at + length);
    if (found < 0) return judge6(batch, i, words, found === ipv6.TRANSPORT_TRUNCATED ? TRUNCATED : IPV6_EXTENSION);
    if (ipv6.isFragment(found)) return judge6(batch, i, words, FRAGMENT);
    protocol = ipv6.transportProtocol(found);
    transportAt = at + ipv6.transportOffset(found);
  }
  batch.protocol[i] = protocol;
  batch.transportAt[i] = transportAt;
  const destinationAt = at + ipv6.DESTINATION_AT;
  if (protocol !== ipv4.PROTOCOL_TCP && protocol !== ipv4.PROTOCOL_UDP) {
    if (findService6(words, view, destinationAt, 0, 0) < 0) return leave(batch, i, NOT_A_SERVICE);
    if (protocol === ipv6.NEXT_ICMPV6) return answerEcho(batch, i);
    return leave(batch, i, NOT_A_SERVICE);
  }
  if (transportAt + 4 > at + length) return judge6(batch, i, words, MALFORMED_TRANSPORT);
  const ports = view.getInt32(transportAt);
  const service = findService6(words, view, destinationAt, protocol, ports & 0xffff);
  if (service < 0) return leave(batch, i, NOT_A_SERVICE);
  const reason = checkTransport(batch, i, tally);
  if (reason !== 0) return drop(batch, i, reason);
  const hops = ipv6.hopLimit(view, at);
  if (batch.ingress.hopDone ? hops === 0 : hops <= 1) return drop(batch, i, TTL_EXPIRED);
  if (protocol === ipv4.PROTOCOL_UDP && isOwnTunnel(batch, i, words, service)) return drop(batch, i, ENCAPSULATION_LOOP);
  batch.service[i] = service;
  batch.flowHash[i] = hashTuple6(view, at + ipv6.SOURCE_AT, destinationAt, ports, protocol);
}

/** Frames that the driver already gave a reason keep it. */
export function classify(batch: Batch, snapshot: Snapshot, tally: ClassifyTally): void {
  const words = snapshot.words;
  const { count, reason, service, segmentCount, segmentSize, backend } = batch;
  for (let i = 0; i < count; i++) {
    service[i] = -1;
    backend[i] = -1;
    segmentSize[i] = 0;
    segmentCount[i] = 1;
    if (reason[i] !== 0) continue;
    const type = networkType(batch, i);
    if (type === ethernet.ETHERTYPE_IPV4) classify4(batch, i, words, tally);
    else if (type === ethernet.ETHERTYPE_IPV6) classify6(batch, i, words, tally);
    else if (type === 0) drop(batch, i, TRUNCATED);
    else leave(batch, i, NOT_IP);
  }
}
