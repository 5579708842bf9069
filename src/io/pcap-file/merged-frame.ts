/**
 * What a capture leaves out about a frame that never was on a wire: captured behind GRO or before TSO, as one long packet with the checksum
 * left to a device. A capture file has no virtio-net header to say so; the frame itself shows it (docs/replay.md).
 *
 *     | IP, total length right or 0 | TCP, checksum = folded pseudo-header sum | 2 KB … 64 KB, how it was or will be cut is not known |
 *
 * The frame lies in our own memory: lengths that are missing are filled in there, and what was found goes into the virtio-net columns.
 */
import { type Batch, LINK_ETHERNET, VIRTIO_NEEDS_CSUM } from '../../base/batch.ts';
import * as checksum from '../../wire/checksum.ts';
import * as ethernet from '../../wire/ethernet.ts';
import * as ipv4 from '../../wire/ipv4.ts';
import * as ipv6 from '../../wire/ipv6.ts';
import * as tcp from '../../wire/tcp.ts';
import * as udp from '../../wire/udp.ts';
import { GSO_TCPV4, GSO_TCPV6 } from '../../wire/virtio-net.ts';

const TCP = ipv4.PROTOCOL_TCP;
const UDP = ipv4.PROTOCOL_UDP;
/** Ethernet pads to this: a shorter frame says nothing about a length that is missing. */
const SHORTEST_FRAME = 60;
const LONGEST_LENGTH = 65535;
/** IP packets up to here are on every wire. */
const USUAL_MTU = 1500;
/** And longer ones on none: the largest MTU of Ethernet switches and cards, but for a few. */
const LARGEST_MTU = 9216;
/**
 * Where a merged TCP packet is cut when nobody says where: what a tunnel over IPv6 can carry on links of 1,500 bytes
 * (less 40 + 8 + 4).
 */
export const USUAL_INNER_MTU = USUAL_MTU - 52;

/** Fills in a total length of 0, as senders leave it to a device that cuts; the header checksum follows. True when it was so. */
function fillLength4(view: DataView, network: number, end: number): boolean {
  const length = end - network;
  if (ipv4.totalLength(view, network) !== 0 || ipv4.protocol(view, network) !== TCP || length > LONGEST_LENGTH) return false;
  // The header checksum is the device's business too, or it was computed over the 0. Any other stays as wrong as it is.
  const before = ipv4.checksum(view, network);
  const isRight = ipv4.verifyChecksum(view, network);
  ipv4.setTotalLength(view, network, length);
  if (isRight) ipv4.setChecksum(view, network, checksum.update16(before, 0, length));
  else if (before === 0) ipv4.setChecksum(view, network, ipv4.computeChecksum(view, network));
  return true;
}

function fillLength6(view: DataView, network: number, end: number): boolean {
  const length = end - network - ipv6.HEADER_LENGTH;
  if (ipv6.payloadLength(view, network) !== 0 || ipv6.nextHeader(view, network) !== TCP || length > LONGEST_LENGTH) return false;
  ipv6.setPayloadLength(view, network, length);
  return true;
}

/**
 * True when the checksum field at `field` was left to a device: it holds the folded sum of the pseudo-header, with the length (Linux) or
 * without (other systems' segmentation), and is not by chance right. Then it is written with the length. Costs one sum of the addresses for
 * every other packet.
 */
function isPartial(view: DataView, network: number, transport: number, end: number, protocol: number, field: number): boolean {
  const length = end - transport;
  const isIpv4 = ipv4.version(view, network) === 4;
  const bare = isIpv4
    ? checksum.pseudoSum4(view, network + ipv4.SOURCE_AT, protocol, 0)
    : checksum.pseudoSum6(view, network + ipv6.SOURCE_AT, protocol, 0);
  const pseudo = checksum.fold(bare + length);
  const value = view.getUint16(field);
  if (value !== pseudo && value !== checksum.fold(bare)) return false;
  if (checksum.verifies(checksum.sum(view, transport, length, pseudo))) return false;
  view.setUint16(field, pseudo);
  return true;
}

/**
 * Fills in what frame `i` leaves out, and its virtio-net columns: a checksum to complete; for merged TCP a segment size by which no packet
 * exceeds `innerMtu` bytes, IP header included. Merged UDP is never cut: where one datagram ended is not to be known. Frames that were on a
 * wire keep their bytes and get no facts.
 */
export function inferFacts(batch: Batch, i: number, innerMtu: number): void {
  const { view } = batch.arena;
  const from = batch.frameAt[i];
  const frameEnd = from + batch.frameLength[i];
  const network = batch.ingress.link === LINK_ETHERNET ? ethernet.findNetwork(view, from, frameEnd) : from;
  if (network < 0 || frameEnd - network < ipv4.HEADER_LENGTH) return;
  const version = ipv4.version(view, network);
  if (version !== 4 && (version !== 6 || frameEnd - network < ipv6.HEADER_LENGTH)) return;
  const mayFill = batch.frameLength[i] > SHORTEST_FRAME;
  const wasEmpty = mayFill && (version === 4 ? fillLength4(view, network, frameEnd) : fillLength6(view, network, frameEnd));
  const end =
    network + (version === 4 ? ipv4.totalLength(view, network) : ipv6.HEADER_LENGTH + ipv6.payloadLength(view, network));
  if (end > frameEnd) return;
  let protocol: number;
  let transport: number;
  if (version === 4) {
    if (ipv4.isFragment(view, network)) return;
    protocol = ipv4.protocol(view, network);
    transport = network + Math.max(ipv4.headerLength(view, network), ipv4.HEADER_LENGTH);
  } else {
    const found = ipv6.findTransport6(view, network, end);
    if (found < 0 || ipv6.isFragment(found)) return;
    protocol = ipv6.transportProtocol(found);
    transport = network + ipv6.transportOffset(found);
  }
  const isTcp = protocol === TCP && transport + tcp.HEADER_LENGTH <= end;
  const isUdp = protocol === UDP && transport + udp.HEADER_LENGTH <= end;
  if (!isTcp && !isUdp) return;
  const field = isTcp ? tcp.CHECKSUM_AT : udp.CHECKSUM_AT;
  const partial = isPartial(view, network, transport, end, protocol, transport + field);
  if (partial) {
    batch.virtioFlags[i] = VIRTIO_NEEDS_CSUM;
    batch.csumStart[i] = transport - from;
    batch.csumOffset[i] = field;
  }
  const length = end - network;
  if (!isTcp || length <= USUAL_MTU || length <= innerMtu) return;
  if (!partial && !wasEmpty && length <= LARGEST_MTU) return;
  const headers = transport - network + tcp.headerLength(view, transport);
  if (innerMtu <= headers) return;
  batch.gsoType[i] = version === 4 ? GSO_TCPV4 : GSO_TCPV6;
  batch.gsoSize[i] = innerMtu - headers;
  batch.headerLength[i] = network - from + headers;
}
