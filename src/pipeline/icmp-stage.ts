/**
 * The part of classify that looks at ICMP and ICMPv6 to a service address (docs/icmp.md):
 *
 *     echo request     answered here (echo.ts), or forwarded by its addresses, or dropped: header word H_ICMP_ECHO
 *     error            forwarded to the backend of the flow in the packet that it quotes (icmp-quote.ts), or dropped: H_ICMP_ERRORS
 *     everything else  dropped as icmp-not-steered
 *
 * What is forwarded leaves with `lookup` LOOKUP_QUOTE: quote-steering.ts finds its backend. An ICMP error is not believed before it is known
 * to quote a packet of a service, from the very address that it came to, and to have a right checksum: a worker's kernel would drop it
 * otherwise (icmp_rcv, icmpv6_rcv), and whoever sends such things may as well be told by the counters here.
 */
import { type Batch, LOOKUP_QUOTE, VIRTIO_NEEDS_CSUM } from '../base/batch.ts';
import { dropReason } from '../base/drop-reason.ts';
import { hashAddresses4, hashAddresses6, hashTuple4, hashTuple6 } from '../maglev-hash/index.ts';
import * as checksum from '../wire/checksum.ts';
import * as icmpv4 from '../wire/icmpv4.ts';
import * as icmpv6 from '../wire/icmpv6.ts';
import * as ipv4 from '../wire/ipv4.ts';
import * as ipv6 from '../wire/ipv6.ts';
import { answerEcho } from './echo.ts';
import {
  beginsWithPorts,
  ERROR_NONE,
  errorKind4,
  errorKind6,
  quoteHasPorts,
  quoteProtocol,
  quoteTransport,
  readQuote4,
  readQuote6,
  turnPorts,
} from './icmp-quote.ts';
import {
  AFFINITY_ADDRESSES,
  AFFINITY_SOURCE,
  H_ICMP_ECHO,
  H_ICMP_ERRORS,
  H_SERVICES,
  ICMP_ANSWER,
  ICMP_DROP,
  S_AFFINITY,
  SERVICE_WORDS,
} from './layout.ts';
import { findService4, findService6, findSoleService4, findSoleService6 } from './service-index.ts';

const TRUNCATED = dropReason('truncated');
const SUPER_PACKET = dropReason('super-packet');
const TTL_EXPIRED = dropReason('ttl-expired');
const ICMP_NOT_STEERED = dropReason('icmp-not-steered');
const ICMP_CHECKSUM = dropReason('icmp-checksum');
const ICMP_QUOTE = dropReason('icmp-quote');
const ICMP_QUOTE_UNKNOWN = dropReason('icmp-quote-not-a-service');
const ICMP_QUOTE_FRAGMENT = dropReason('icmp-quote-fragment');
const BAD_VIRTIO_HEADER = dropReason('bad-virtio-header');
/** Of both ICMPs. */
const CHECKSUM_AT = icmpv4.CHECKSUM_AT;
const ECHO_DROPPED = dropReason('echo-dropped');

/** The packet is a reply now, or dropped: verdict and reason are set. Any other answer but 0 is a drop reason. */
export const ICMP_ANSWERED = -2;

/** By which the service index finds an address alone: no quoted packet may ask for it. */
const ANY_PROTOCOL = 0;

/** True when the service's affinity chooses by addresses alone. */
function needsNoPorts(words: Int32Array, service: number): boolean {
  const affinity = words[words[H_SERVICES] + service * SERVICE_WORDS + S_AFFINITY];
  return affinity === AFFINITY_ADDRESSES || affinity === AFFINITY_SOURCE;
}

const sameWord = (view: DataView, a: number, b: number) => view.getInt32(a) === view.getInt32(b);

/**
 * For one batch: packet `i`, whose IP header is parsed and whose destination has `addressService` for a service, is ICMP of its family.
 * Answers 0 when it is to be steered (its columns are set), ICMP_ANSWERED, or the reason to drop it.
 */
export function icmpStage(batch: Batch): (i: number, words: Int32Array, addressService: number) => number {
  const { networkAt, transportAt, networkLength, family, protocol, frameAt, virtioFlags, csumStart, csumOffset } = batch;
  const { gsoType, tcpFlags, flowHash, service, lookup } = batch;
  const { view } = batch.arena;
  const minimumTtl = batch.ingress.hopDone ? 1 : 2;

  function isExpired(i: number): boolean {
    const at = networkAt[i];
    return view.getUint8(at + (family[i] === 4 ? ipv4.TTL_AT : ipv6.HOP_LIMIT_AT)) < minimumTtl;
  }

  function become(i: number, found: number, hash: number): number {
    service[i] = found;
    lookup[i] = LOOKUP_QUOTE;
    tcpFlags[i] = 0;
    flowHash[i] = hash;
    return 0;
  }

  function forwardEcho(i: number, addressService: number): number {
    const at = networkAt[i];
    const hash =
      family[i] === 4
        ? hashAddresses4(view.getInt32(at + ipv4.SOURCE_AT), view.getInt32(at + ipv4.DESTINATION_AT), protocol[i])
        : hashAddresses6(view, at + ipv6.SOURCE_AT, at + ipv6.DESTINATION_AT, protocol[i]);
    return become(i, addressService, hash);
  }

  function steerError4(i: number, words: Int32Array, icmpAt: number, end: number): number {
    const answer = readQuote4(view, icmpAt, end);
    if (answer < 0) return ICMP_QUOTE;
    const quote = icmpAt + icmpv4.QUOTE_AT;
    if (!sameWord(view, quote + ipv4.SOURCE_AT, networkAt[i] + ipv4.DESTINATION_AT)) return ICMP_QUOTE;
    const kind = quoteProtocol(answer);
    const vip = view.getInt32(quote + ipv4.SOURCE_AT);
    const client = view.getInt32(quote + ipv4.DESTINATION_AT);
    if (kind === ANY_PROTOCOL) return ICMP_QUOTE_UNKNOWN;
    const hasPorts = beginsWithPorts(kind);
    const ports = hasPorts && quoteHasPorts(answer) ? turnPorts(view.getInt32(quote + quoteTransport(answer))) : 0;
    let found: number;
    if (hasPorts && !quoteHasPorts(answer)) {
      found = findSoleService4(words, vip, kind);
      if (found < 0 || !needsNoPorts(words, found)) return ICMP_QUOTE_FRAGMENT;
    } else found = findService4(words, vip, kind, ports & 0xffff);
    if (found < 0) return ICMP_QUOTE_UNKNOWN;
    if (!icmpv4.verifyChecksum(view, icmpAt, end)) return ICMP_CHECKSUM;
    return become(i, found, hashTuple4(client, vip, ports, kind));
  }

  function steerError6(i: number, words: Int32Array, icmpAt: number, end: number): number {
    const answer = readQuote6(view, icmpAt, end);
    if (answer < 0) return ICMP_QUOTE;
    const quote = icmpAt + icmpv6.QUOTE_AT;
    const vipAt = quote + ipv6.SOURCE_AT;
    const clientAt = quote + ipv6.DESTINATION_AT;
    for (let w = 0; w < 16; w += 4) if (!sameWord(view, vipAt + w, networkAt[i] + ipv6.DESTINATION_AT + w)) return ICMP_QUOTE;
    const kind = quoteProtocol(answer);
    if (kind === ANY_PROTOCOL) return ICMP_QUOTE_UNKNOWN;
    const hasPorts = beginsWithPorts(kind);
    const ports = hasPorts && quoteHasPorts(answer) ? turnPorts(view.getInt32(quote + quoteTransport(answer))) : 0;
    let found: number;
    if (hasPorts && !quoteHasPorts(answer)) {
      found = findSoleService6(words, view, vipAt, kind);
      if (found < 0 || !needsNoPorts(words, found)) return ICMP_QUOTE_FRAGMENT;
    } else found = findService6(words, view, vipAt, kind, ports & 0xffff);
    if (found < 0) return ICMP_QUOTE_UNKNOWN;
    if (!icmpv6.verifyChecksum(view, networkAt[i] + ipv6.SOURCE_AT, icmpAt, end)) return ICMP_CHECKSUM;
    return become(i, found, hashTuple6(view, clientAt, vipAt, ports, kind));
  }

  return function classifyIcmp(i: number, words: Int32Array, addressService: number): number {
    const icmpAt = transportAt[i];
    const end = (networkAt[i] + networkLength[i]) | 0;
    // ICMP and ICMPv6 have headers of one length.
    if (icmpAt + icmpv4.HEADER_LENGTH > end) return TRUNCATED;
    if (gsoType[i] !== 0) return SUPER_PACKET;
    const is4 = family[i] === 4;
    const isEcho = is4 ? icmpv4.isEchoRequest(view, icmpAt) : icmpv6.isEchoRequest(view, icmpAt);
    const policy = words[isEcho ? H_ICMP_ECHO : H_ICMP_ERRORS];
    if (isEcho) {
      if (policy === ICMP_DROP) return ECHO_DROPPED;
    } else {
      const kind = is4 ? errorKind4(view, icmpAt) : errorKind6(view, icmpAt);
      if (kind === ERROR_NONE || policy === ICMP_DROP) return ICMP_NOT_STEERED;
    }
    // What is answered ends here, whatever its TTL; what goes on needs a hop more. The answer to what has none quotes it as it came.
    if (policy !== ICMP_ANSWER && isExpired(i)) return TTL_EXPIRED;
    // The kernel leaves only ICMPv6's checksum to the device, and only with the pseudo-header sum in place.
    const partial = (virtioFlags[i] & VIRTIO_NEEDS_CSUM) !== 0 && frameAt[i] + csumStart[i] === icmpAt;
    if (partial && (csumOffset[i] !== CHECKSUM_AT || !checksum.completePartial(view, icmpAt, CHECKSUM_AT, end)))
      return BAD_VIRTIO_HEADER;
    if (isEcho) {
      if (policy !== ICMP_ANSWER) return forwardEcho(i, addressService);
      answerEcho(batch, i);
      return ICMP_ANSWERED;
    }
    return is4 ? steerError4(i, words, icmpAt, end) : steerError6(i, words, icmpAt, end);
  };
}
