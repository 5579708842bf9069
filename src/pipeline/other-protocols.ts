/**
 * Services of other protocols than TCP and UDP (docs/protocols.md): SCTP, whose ports lie where TCP has them, and protocols without ports,
 * which are steered by addresses. Part of classify, for the packets that are neither TCP nor UDP.
 */
import { type Batch, LOOKUP_ADDRESSES, LOOKUP_FRAGMENT, LOOKUP_PORTS, VIRTIO_NEEDS_CSUM } from '../base/batch.ts';
import { dropReason } from '../base/drop-reason.ts';
import { hashTuple4, hashTuple6 } from '../maglev-hash/index.ts';
import { WIRE_OK } from '../wire/check.ts';
import * as checksum from '../wire/checksum.ts';
import * as ipv4 from '../wire/ipv4.ts';
import * as ipv6 from '../wire/ipv6.ts';
import * as sctp from '../wire/sctp.ts';
import { checkFirst, isByAddress } from './fragment-facts.ts';
import { AFFINITY_PORTS, H_PROTOCOLS, H_SERVICES, S_AFFINITY, SERVICE_WORDS, USES_PORTS } from './layout.ts';
import { isOwnTunnel } from './own-tunnel.ts';
import { findService4, findService6 } from './service-index.ts';
import { PROTOCOL_ANY } from './spec.ts';

const MALFORMED_TRANSPORT = dropReason('malformed-transport');
const BAD_VIRTIO_HEADER = dropReason('bad-virtio-header');
const ENCAPSULATION_LOOP = dropReason('encapsulation-loop');
const TTL_EXPIRED = dropReason('ttl-expired');

// Local names: an imported constant is loaded from its module at every use.
const SCTP = sctp.PROTOCOL_SCTP;
const NEEDS_CSUM = VIRTIO_NEEDS_CSUM;
const ANY = PROTOCOL_ANY;

/** What `otherProtocols` answers for a packet of no service: classify's own number. */
const NOT_OURS = -1;

/**
 * Answers for one packet whose network header is parsed: 0 with service, hash and lookup set; a drop reason; or −1 when no service takes its
 * protocol. `minimumTtl`: the least that the hop may still have.
 */
export function otherProtocols(
  batch: Batch,
  minimumTtl: number,
): (i: number, words: Int32Array, tally: { completedChecksums: number }) => number {
  const { frameAt, networkAt, transportAt, networkLength, family, protocol, tcpFlags, flowHash, service, lookup, fragment } =
    batch;
  const { virtioFlags, gsoType, csumStart, csumOffset } = batch;
  const { view } = batch.arena;
  const checksumsUnknown = batch.ingress.checksumsUnknown === true;

  /** Completes what the sender left to its device; 0, or the reason to drop. */
  function complete(i: number, at: number, end: number, tally: { completedChecksums: number }): number {
    const start = frameAt[i] + csumStart[i];
    if (start < at || start > end) return BAD_VIRTIO_HEADER;
    if (protocol[i] === SCTP) {
      // Linux leaves a CRC32c to the device in the same words as a sum (skb->csum_not_inet): the field is where SCTP has it.
      if (start !== at || csumOffset[i] !== sctp.CHECKSUM_AT) return BAD_VIRTIO_HEADER;
      sctp.setChecksum(view, at, sctp.computeChecksum(view, at, end));
    } else if (!checksum.completePartial(view, start, csumOffset[i], end)) return BAD_VIRTIO_HEADER;
    tally.completedChecksums++;
    return 0;
  }

  return function match(i, words, tally) {
    const at = networkAt[i];
    const kind = protocol[i];
    const transport = transportAt[i];
    const end = (at + networkLength[i]) | 0;
    const isInner4 = family[i] === 4;
    const hasPorts = kind === SCTP && transport + 4 <= end;
    const ports = hasPorts ? view.getInt32(transport) : 0;
    // Under 0 the index has addresses as such; IPv4 with that protocol (an IPv6 header's number) is for whoever takes any.
    const asked = kind === 0 ? ANY : kind;
    const found = isInner4
      ? findService4(words, view.getInt32(at + ipv4.DESTINATION_AT), asked, ports & 0xffff)
      : findService6(words, view, at + ipv6.DESTINATION_AT, asked, ports & 0xffff);
    if (found < 0) return NOT_OURS;
    const isPart = batch.fragments > 0 && fragment[i] !== 0;
    if (isPart) {
      const wrong = checkFirst(batch, i, words, found);
      if (wrong !== 0) return wrong;
    }
    if (kind === SCTP && sctp.check(view, transport, end) !== WIRE_OK) return MALFORMED_TRANSPORT;
    // No super-packet that the kernel hands out is of another protocol (virtio_net_hdr_from_skb).
    if (gsoType[i] !== 0) return BAD_VIRTIO_HEADER;
    if ((virtioFlags[i] & NEEDS_CSUM) !== 0) {
      const wrong = complete(i, transport, end, tally);
      if (wrong !== 0) return wrong;
    } else if (checksumsUnknown && kind === SCTP && !isPart && sctp.checksum(view, transport) === 0) {
      // Left to a device, SCTP's field is zero; where zero is the right value this changes nothing.
      sctp.setChecksum(view, transport, sctp.computeChecksum(view, transport, end));
      tally.completedChecksums++;
    }
    if (view.getUint8(at + (isInner4 ? ipv4.TTL_AT : ipv6.HOP_LIMIT_AT)) < minimumTtl) return TTL_EXPIRED;
    // IP in IP and GRE are tunnels of ours too.
    if (isOwnTunnel(batch, i, words)) return ENCAPSULATION_LOOP;
    tcpFlags[i] = 0;
    service[i] = found;
    flowHash[i] = isInner4
      ? hashTuple4(view.getInt32(at + ipv4.SOURCE_AT), view.getInt32(at + ipv4.DESTINATION_AT), ports, kind)
      : hashTuple6(view, at + ipv6.SOURCE_AT, at + ipv6.DESTINATION_AT, ports, kind);
    if (kind !== SCTP) lookup[i] = LOOKUP_ADDRESSES;
    else if ((words[H_PROTOCOLS] & USES_PORTS) !== 0) {
      if (words[words[H_SERVICES] + found * SERVICE_WORDS + S_AFFINITY] === AFFINITY_PORTS) lookup[i] = LOOKUP_PORTS;
    }
    if (isPart && isByAddress(words, found)) lookup[i] = LOOKUP_FRAGMENT;
    return 0;
  };
}
