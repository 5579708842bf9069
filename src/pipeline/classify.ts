/**
 * classify: parses each frame and finds its service. What may be forwarded leaves with `service` ≥ 0, its offsets, and its flow
 * hash; everything else leaves with service −1 and a final verdict: drop with its reason, pass, or reply.
 *
 * A packet that is not for a service is never judged further: whatever else is odd about it is not our business.
 */
import {
  type Batch,
  FRAGMENT_FIRST,
  FRAGMENT_LATER,
  LINK_ETHERNET,
  LOOKUP_FLOW,
  LOOKUP_FRAGMENT,
  VIRTIO_NEEDS_CSUM,
} from '../base/batch.ts';
import { dropReason } from '../base/drop-reason.ts';
import { VERDICT_DROP, VERDICT_PASS } from '../base/verdict.ts';
import { type FlowLanes, TAIL4, TAIL6 } from '../maglev-hash/index.ts';
import { WIRE_OK } from '../wire/check.ts';
import * as checksum from '../wire/checksum.ts';
import * as ethernet from '../wire/ethernet.ts';
import * as ipv4 from '../wire/ipv4.ts';
import * as ipv6 from '../wire/ipv6.ts';
import * as tcp from '../wire/tcp.ts';
import * as udp from '../wire/udp.ts';
import { checkFirst, checkRange, isByAddress } from './fragment-facts.ts';
import { ICMP_ANSWERED, icmpStage } from './icmp-stage.ts';
import { H_PROTOCOLS, USES_AH } from './layout.ts';
import { answerArp, answerSolicitation, isAddressedTo } from './neighbour.ts';
import { otherProtocols } from './other-protocols.ts';
import { isOwnTunnel } from './own-tunnel.ts';
import { completeChecksum as completeBegun, isChecksumBegun } from './partial-checksum.ts';
import type { PlainPackets } from './plain-packets.ts';
import type { RecentServices } from './recent-services.ts';
import { refusalReason } from './refusal.ts';
import { findService4, findService6 } from './service-index.ts';
import type { Snapshot } from './snapshot.ts';
import { checkSuperPacket } from './super-packet.ts';

const NOT_A_SERVICE = dropReason('not-a-service');
const NOT_IP = dropReason('not-ip');
const TRUNCATED = dropReason('truncated');
const MALFORMED_IP = dropReason('malformed-ip');
const IP_CHECKSUM = dropReason('ip-checksum');
const MALFORMED_TRANSPORT = dropReason('malformed-transport');
const IPV6_EXTENSION = dropReason('ipv6-extension');
const FRAGMENT = dropReason('fragment');
const FRAGMENT_TINY = dropReason('fragment-tiny');
const TTL_EXPIRED = dropReason('ttl-expired');
const BAD_VIRTIO_HEADER = dropReason('bad-virtio-header');
const ENCAPSULATION_LOOP = dropReason('encapsulation-loop');
const WRONG_HOST = dropReason('wrong-host');

// Local names: an imported constant is loaded from its module at every use.
const TCP = ipv4.PROTOCOL_TCP;
const UDP = ipv4.PROTOCOL_UDP;
const ICMP = ipv4.PROTOCOL_ICMP;
const ICMPV6 = ipv6.NEXT_ICMPV6;
const AH = ipv6.NEXT_AUTHENTICATION;
const IPV4 = ethernet.ETHERTYPE_IPV4;
const IPV6 = ethernet.ETHERTYPE_IPV6;
const ARP = ethernet.ETHERTYPE_ARP;
const NEEDS_CSUM = VIRTIO_NEEDS_CSUM;
const BY_FLOW = LOOKUP_FLOW;
const BY_FRAGMENT = LOOKUP_FRAGMENT;
const FIRST = FRAGMENT_FIRST;
const LATER = FRAGMENT_LATER;
const OFFSET_BITS = ipv4.FRAGMENT_OFFSET;
const DROP = VERDICT_DROP;
const PASS = VERDICT_PASS;
const HEADER4 = ipv4.HEADER_LENGTH;
const HEADER6 = ipv6.HEADER_LENGTH;
const PROTOCOL_AT = ipv4.PROTOCOL_AT;
const FRAGMENT_AT = ipv4.FRAGMENT_AT;
/** Every fragment, the first included. */
const FRAGMENT_BITS = ipv4.MORE_FRAGMENTS | ipv4.FRAGMENT_OFFSET;
const TTL_AT = ipv4.TTL_AT;
const HOP_LIMIT_AT = ipv6.HOP_LIMIT_AT;
const PAYLOAD_LENGTH_AT = ipv6.PAYLOAD_LENGTH_AT;
const NEXT_HEADER_AT = ipv6.NEXT_HEADER_AT;
const SOURCE4 = ipv4.SOURCE_AT;
const SOURCE6 = ipv6.SOURCE_AT;
const DESTINATION4 = ipv4.DESTINATION_AT;
const DESTINATION6 = ipv6.DESTINATION_AT;
const TCP_HEADER = tcp.HEADER_LENGTH;
const UDP_HEADER = udp.HEADER_LENGTH;
const TCP_OFFSET_AT = tcp.DATA_OFFSET_AT;
const LANE4 = TAIL4;
const LANE6 = TAIL6;

/** First bit of a destination MAC address that names a group (IEEE 802). */
const GROUP_BIT = 1;
const VLAN_LENGTH = 4;
/** 802.1ad: an outer service tag and an inner customer tag. */
const MAX_VLANS = 2;

/** What classification did in one batch; added to the thread's counters. */
export interface ClassifyTally {
  completedChecksums: number;
  /** Packets dropped as ttl-expired, which may be answered (time-exceeded.ts). */
  expired: number;
}

/**
 * What the parsers of a family answer: 0 for a packet to steer, a drop reason, or one of these.
 * NOT_OURS: the kernel may have it where the driver can leave it there. ANSWERED: verdict and reason are set.
 */
const NOT_OURS = -1;
const ANSWERED = ICMP_ANSWERED;

/** Packets that are looked at one by one after four that were not all plain. */
const ONE_BY_ONE = 4;
/** Times in a row that fours are looked at in vain before a batch's other packets are no longer tried. */
const PATIENCE = 3;
const NOBODY: PlainPackets = { classify4: (from) => from, classify6: (from) => from, keepHashes() {} };

/** `reason` for what is addressed to a service address, NOT_OURS for the rest. */
function judge4(view: DataView, at: number, words: Int32Array, reason: number): number {
  return findService4(words, ipv4.destination(view, at), 0, 0) >= 0 ? reason : NOT_OURS;
}

function judge6(view: DataView, at: number, words: Int32Array, reason: number): number {
  return findService6(words, view, at + ipv6.DESTINATION_AT, 0, 0) >= 0 ? reason : NOT_OURS;
}

/** EtherType of a raw IP packet by its version; 0 when it is empty, −1 for no IP. */
const ipType = (view: DataView, at: number, end: number): number => {
  if (end <= at) return 0;
  const version = view.getUint8(at) >> 4;
  return version === 4 ? IPV4 : version === 6 ? IPV6 : -1;
};

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

/** Completes the checksum that the sender left to its device. Returns 0, or the reason to drop. */
function completeChecksum(batch: Batch, i: number, protocol: number, at: number, end: number, tally: ClassifyTally): number {
  // The sum must cover exactly this packet's transport: anything else is a lie or another layer's business.
  const start = batch.frameAt[i] + batch.csumStart[i];
  const field = protocol === TCP ? tcp.CHECKSUM_AT : udp.CHECKSUM_AT;
  if (start !== at || batch.csumOffset[i] !== field) return BAD_VIRTIO_HEADER;
  if (start + field + 2 <= end) batch.partialChecksum[i] = batch.arena.view.getUint16(start + field);
  if (!checksum.completePartial(batch.arena.view, start, field, end)) return BAD_VIRTIO_HEADER;
  tally.completedChecksums++;
  return 0;
}

/**
 * The classification of one batch. `lanes`: where flows are laid out to be hashed, all at once at the end of the batch: of packets with ports that are
 * looked up by their flow; steer finds their fingerprints there. Frames that the driver
 * already gave a reason keep it. `plain`: does what it can of the batch faster; null: nobody does.
 */
export function classifyStage(
  batch: Batch,
  lanes: FlowLanes,
  recent: RecentServices,
  plain: PlainPackets | null = null,
): (snapshot: Snapshot, tally: ClassifyTally) => void {
  const { frameAt, frameLength, virtioFlags, gsoType, networkAt, transportAt, networkLength, family, protocol } = batch;
  const { tcpFlags, flowHash, service, lookup, fragment, backend, verdict, reason } = batch;
  const { view } = batch.arena;
  const isEthernet = batch.ingress.link === LINK_ETHERNET;
  const { canPass, hopDone, headerVerified, linkAddress } = batch.ingress;
  /** Nobody else answers on the link for who has a service address. */
  const isOurLink = linkAddress !== undefined;
  const checksumsUnknown = batch.ingress.checksumsUnknown === true;
  const minimumTtl = hopDone ? 1 : 2;
  const { ports: lanePorts, tail, hash, run4, run6 } = lanes;
  const [word0, word1, word2, word3, word4, word5, word6, word7] = lanes.addresses;
  const classifyIcmp = icmpStage(batch);
  const matchOther = otherProtocols(batch, minimumTtl);
  const { find4: recent4, find6: recent6, forget } = recent;
  const { classify4: plain4, classify6: plain6, keepHashes } = plain ?? NOBODY;
  const isFast = plain !== null;
  const versionAt = isEthernet ? ethernet.HEADER_LENGTH : 0;
  /** The snapshot whose services are remembered. */
  let answered: Int32Array | null = null;

  function markFragment(i: number, isLater: boolean): void {
    fragment[i] = isLater ? LATER : FIRST;
    batch.fragments++;
  }

  /** The service that stands for the destination address of packet `i`, whatever its protocol; −1 when no service has it. */
  function addressService(i: number, at: number, words: Int32Array): number {
    return family[i] === 4
      ? findService4(words, view.getInt32(at + DESTINATION4), 0, 0)
      : findService6(words, view, at + DESTINATION6, 0, 0);
  }

  /** A fragment without ports: whose it is, the fragment stage finds (fragment-stage.ts); its service is open until then. */
  function matchLater(i: number, at: number, words: Int32Array): number {
    if (addressService(i, at, words) < 0) return NOT_OURS;
    const wrong = checkRange(batch, i);
    if (wrong !== 0) return wrong;
    if (view.getUint8(at + (family[i] === 4 ? TTL_AT : HOP_LIMIT_AT)) < minimumTtl) return TTL_EXPIRED;
    lookup[i] = BY_FRAGMENT;
    tcpFlags[i] = 0;
    return 0;
  }

  /** The first fragment of a packet of service `found`, which is open until now. */
  function matchFirst(i: number, words: Int32Array, found: number): number {
    const wrong = checkFirst(batch, i, words, found);
    if (wrong === 0 && isByAddress(words, found)) lookup[i] = BY_FRAGMENT;
    return wrong;
  }

  /** A packet with ports: its flow goes to lane `i`. */
  const layOut = (i: number, at: number, ports: number): void => {
    lanePorts[i] = ports;
    if (family[i] === 4) {
      word0[i] = view.getInt32(at + SOURCE4);
      word1[i] = view.getInt32(at + DESTINATION4);
      tail[i] = LANE4 | protocol[i];
      return;
    }
    word0[i] = view.getInt32(at + SOURCE6);
    word1[i] = view.getInt32(at + SOURCE6 + 4);
    word2[i] = view.getInt32(at + SOURCE6 + 8);
    word3[i] = view.getInt32(at + SOURCE6 + 12);
    word4[i] = view.getInt32(at + DESTINATION6);
    word5[i] = view.getInt32(at + DESTINATION6 + 4);
    word6[i] = view.getInt32(at + DESTINATION6 + 8);
    word7[i] = view.getInt32(at + DESTINATION6 + 12);
    tail[i] = LANE6 | protocol[i];
  };

  const classify4 = (i: number, at: number, end: number, words: Int32Array): number => {
    if (end - at < HEADER4) return TRUNCATED;
    // One load: version, header length, traffic class, total length.
    const first = view.getInt32(at);
    const header = (first >>> 22) & 0x3c;
    const total = first & 0xffff;
    if (first >>> 28 !== 4 || header < HEADER4 || total < header) return judge4(view, at, words, MALFORMED_IP);
    if (total > end - at) return judge4(view, at, words, TRUNCATED);
    family[i] = 4;
    networkLength[i] = total;
    transportAt[i] = at + header;
    protocol[i] = view.getUint8(at + PROTOCOL_AT);
    if (!headerVerified && !ipv4.verifyChecksum(view, at)) return judge4(view, at, words, IP_CHECKSUM);
    const field = view.getUint16(at + FRAGMENT_AT);
    if ((field & FRAGMENT_BITS) !== 0) markFragment(i, (field & OFFSET_BITS) !== 0);
    return 0;
  };

  const classify6 = (i: number, at: number, end: number, words: Int32Array): number => {
    if (end - at < HEADER6) return TRUNCATED;
    const total = HEADER6 + view.getUint16(at + PAYLOAD_LENGTH_AT);
    if (view.getUint8(at) >> 4 !== 6) return judge6(view, at, words, MALFORMED_IP);
    if (total > end - at) return judge6(view, at, words, TRUNCATED);
    family[i] = 6;
    networkLength[i] = total;
    let next = view.getUint8(at + NEXT_HEADER_AT);
    let offset = HEADER6;
    if (next !== TCP && next !== UDP && ipv6.isExtension(next)) {
      const found = ipv6.findTransport6(view, at, at + total);
      if (found < 0) return judge6(view, at, words, found === ipv6.TRANSPORT_TRUNCATED ? TRUNCATED : IPV6_EXTENSION);
      if (ipv6.isFragment(found)) markFragment(i, ipv6.isLaterFragment(found));
      next = ipv6.transportProtocol(found);
      offset = ipv6.transportOffset(found);
      if ((words[H_PROTOCOLS] & USES_AH) !== 0 && findService6(words, view, at + DESTINATION6, AH, 0) >= 0) {
        const header = ipv6.findAuthentication6(view, at, at + total);
        if (header > 0) {
          next = AH;
          offset = header;
        }
      }
    }
    protocol[i] = next;
    transportAt[i] = at + offset;
    return 0;
  };

  /** Neither TCP nor UDP: of ICMP to a service address icmp-stage.ts knows, another protocol may have a service; the rest is not ours. */
  function classifyOther(i: number, at: number, words: Int32Array, tally: ClassifyTally): number {
    if (protocol[i] !== ICMP && protocol[i] !== ICMPV6) {
      const wrong = matchOther(i, words, tally);
      // SCTP by its own 5-tuple.
      if (wrong === 0 && lookup[i] === BY_FLOW) layOut(i, at, view.getInt32(transportAt[i]));
      return wrong;
    }
    if (protocol[i] !== (family[i] === 4 ? ICMP : ICMPV6)) return NOT_OURS;
    const found = addressService(i, at, words);
    return found < 0 ? NOT_OURS : classifyIcmp(i, words, found);
  }

  /** The TTL of a packet to a service address ran out, though no service has its port: a router's answer is due all the same. */
  function isExpiredHere(i: number, at: number, words: Int32Array): boolean {
    const hops = view.getUint8(at + (family[i] === 4 ? TTL_AT : HOP_LIMIT_AT));
    return hops < minimumTtl && addressService(i, at, words) >= 0;
  }

  /** A packet of a service whose transport header is whole: what else may speak against it. */
  const checkRest = (i: number, transport: number, packetEnd: number, words: Int32Array, tally: ClassifyTally): number => {
    // First: an answer quotes the packet as it came, its checksum finished or not.
    const hops = view.getUint8(networkAt[i] + (family[i] === 4 ? TTL_AT : HOP_LIMIT_AT));
    if (hops < minimumTtl) return TTL_EXPIRED;
    if (gsoType[i] !== 0) {
      // Its checksum is each segment's business.
      const refused = checkSuperPacket(batch, i);
      if (refused !== 0) return refusalReason(refused);
    } else if ((virtioFlags[i] & NEEDS_CSUM) !== 0) {
      const wrong = completeChecksum(batch, i, protocol[i], transport, packetEnd, tally);
      if (wrong !== 0) return wrong;
    } else if (checksumsUnknown && (batch.fragments === 0 || fragment[i] === 0)) {
      if (isChecksumBegun(view, family[i], protocol[i], networkAt[i], transport, packetEnd)) {
        batch.partialChecksum[i] = completeBegun(view, protocol[i], transport, packetEnd);
        tally.completedChecksums++;
      }
    }
    return protocol[i] === UDP && isOwnTunnel(batch, i, words) ? ENCAPSULATION_LOOP : 0;
  };

  /** From a parsed network header to a service: 0, a reason, NOT_OURS or ANSWERED. */
  const match = (i: number, at: number, words: Int32Array, tally: ClassifyTally): number => {
    const kind = protocol[i];
    const part = batch.fragments > 0 ? fragment[i] : 0;
    if (part === LATER) return matchLater(i, at, words);
    if (kind !== TCP && kind !== UDP) {
      if (part !== 0 && (kind === ICMP || kind === ICMPV6)) return addressService(i, at, words) >= 0 ? FRAGMENT : NOT_OURS;
      return classifyOther(i, at, words, tally);
    }
    const isInner4 = family[i] === 4;
    const transport = transportAt[i];
    const packetEnd = (at + networkLength[i]) | 0;
    if (transport + 4 > packetEnd) {
      const reason = part === 0 ? MALFORMED_TRANSPORT : FRAGMENT_TINY;
      return isInner4 ? judge4(view, at, words, reason) : judge6(view, at, words, reason);
    }
    const ports = view.getInt32(transport);
    const found = isInner4
      ? recent4(words, view.getInt32(at + DESTINATION4), kind, ports & 0xffff)
      : recent6(words, view, at + DESTINATION6, kind, ports & 0xffff);
    if (found < 0) return NOT_OURS;
    if (part !== 0) {
      const wrong = matchFirst(i, words, found);
      if (wrong !== 0) return wrong;
    }
    if (kind === TCP) {
      if (packetEnd - transport < TCP_HEADER) return MALFORMED_TRANSPORT;
      const word = view.getUint16(transport + TCP_OFFSET_AT);
      const header = (word >>> 10) & 0x3c;
      if (header < TCP_HEADER || header > packetEnd - transport) return MALFORMED_TRANSPORT;
      tcpFlags[i] = word & 0xff;
    } else {
      // The length is the datagram's, of which a first fragment holds the beginning: it has room for the header at least.
      if (part === 0 ? udp.check(view, transport, packetEnd) !== WIRE_OK : udp.length(view, transport) < UDP_HEADER) {
        return MALFORMED_TRANSPORT;
      }
      tcpFlags[i] = 0;
    }
    const wrong = checkRest(i, transport, packetEnd, words, tally);
    if (wrong !== 0) return wrong;
    service[i] = found;
    layOut(i, at, ports);
    return 0;
  };

  return function classify(snapshot: Snapshot, tally: ClassifyTally): void {
    const words = snapshot.words;
    if (words !== answered) {
      forget();
      answered = words;
    }
    const count = batch.count;
    // Bits of the families that may lie in the lanes: 4 and 6 differ by the second one.
    let some6 = 0;
    let some4 = 0;
    if (batch.fragments > 0) {
      fragment.fill(0);
      batch.fragments = 0;
    }
    let tryAt = isFast ? 0 : count;
    let patience = PATIENCE;
    for (let i = 0; i < count; i++) {
      if (i === tryAt) {
        const is6 = view.getUint8(frameAt[i] + versionAt) >> 4 === 6;
        const from = i;
        i = is6 ? plain6(i, count) : plain4(i, count);
        if (i > from) {
          if (is6) some6 = 2;
          else some4 = 2;
          if (i >= count) break;
          patience = PATIENCE;
        } else patience--;
        tryAt = patience > 0 ? i + ONE_BY_ONE : count;
      }
      service[i] = -1;
      lookup[i] = BY_FLOW;
      backend[i] = -1;
      tail[i] = 0;
      if (reason[i] !== 0) continue;
      const from = frameAt[i];
      const end = (from + frameLength[i]) | 0;
      const type = isEthernet ? networkType(batch, i, view, from, end) : ipType(view, from, end);
      if (!isEthernet) networkAt[i] = from;
      const at = isEthernet ? networkAt[i] : from;
      let answer = type === 0 ? TRUNCATED : NOT_IP;
      if (isOurLink && type !== 0 && !isAddressedTo(view, from, linkAddress)) answer = WRONG_HOST;
      else if (type === IPV4) answer = classify4(i, at, end, words);
      else if (type === IPV6) answer = classify6(i, at, end, words);
      else if (isOurLink && type === ARP) answer = answerArp(batch, i, words);
      // Who asks for a neighbour asks a group: this comes before the next question.
      const asks = isOurLink && answer === 0 && protocol[i] === ICMPV6;
      if (asks && answerSolicitation(batch, i, words) === ANSWERED) continue;
      // A copy for every host on the link: answering or forwarding it would multiply it.
      if (answer === 0 && isEthernet && (view.getUint8(from) & GROUP_BIT) !== 0) answer = WRONG_HOST;
      if (answer === 0) {
        answer = match(i, at, words, tally);
        if (answer === NOT_OURS && !canPass && isExpiredHere(i, at, words)) answer = TTL_EXPIRED;
      }
      if (answer === 0) {
        some6 |= family[i] & 2;
        some4 |= ~family[i] & 2;
        continue;
      }
      if (answer === ANSWERED) continue;
      if (answer === TTL_EXPIRED) tally.expired++;
      if (batch.fragments > 0) fragment[i] = 0;
      if ((answer === NOT_OURS || answer === NOT_IP || answer === WRONG_HOST) && canPass) verdict[i] = PASS;
      else {
        verdict[i] = DROP;
        reason[i] = answer === NOT_OURS ? NOT_A_SERVICE : answer;
      }
    }
    if (some4 !== 0) run4(count);
    if (some6 !== 0) run6(count);
    if (isFast) keepHashes(count);
    else for (let i = 0; i < count; i++) if (tail[i] !== 0) flowHash[i] = hash[i];
  };
}
