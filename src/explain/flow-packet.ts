/** The packet that a question about a flow stands for: its addresses, ports and flags, as a client would send it. */
import * as checksum from '../wire/checksum.ts';
import { type IpPacket, ipPacket, transportSum } from '../wire/ip-packet.ts';
import * as ipv4 from '../wire/ipv4.ts';
import * as ipv6 from '../wire/ipv6.ts';
import * as tcp from '../wire/tcp.ts';
import * as udp from '../wire/udp.ts';

/** A flow, and which of its packets is meant. */
export interface FlowPacket {
  /** 4 or 16 bytes, both of one family. */
  readonly source: Uint8Array;
  readonly destination: Uint8Array;
  /** IP protocol number. */
  readonly protocol: number;
  /** 0 for protocols without ports. */
  readonly sourcePort: number;
  readonly destinationPort: number;
  /** TCP flag byte; without meaning for others. */
  readonly tcpFlags: number;
  /** Bytes of the IP packet; what is less than its headers need is made as much as they need. */
  readonly length: number;
}

const HOPS = 64;
const WINDOW = 65535;

/** The IP packet, zeros for payload, every checksum right. Throws RangeError when the families differ or it is longer than 65,535 bytes. */
export function flowPacket(flow: FlowPacket): Uint8Array {
  const { source, destination, protocol } = flow;
  const is4 = source.length === 4;
  if (source.length !== destination.length) throw new RangeError('source and destination are of one family');
  const network = is4 ? ipv4.HEADER_LENGTH : ipv6.HEADER_LENGTH;
  const transport = protocol === ipv4.PROTOCOL_TCP ? tcp.HEADER_LENGTH : udp.HEADER_LENGTH;
  const length = Math.max(flow.length, network + transport);
  if (length > 65535 + (is4 ? 0 : ipv6.HEADER_LENGTH)) throw new RangeError(`a packet has at most 65,535 bytes, not ${length}`);
  const packet = ipPacket(source, destination, protocol, length - network, HOPS);
  writeTransport(packet, flow);
  return packet.bytes;
}

function writeTransport(packet: IpPacket, { protocol, sourcePort, destinationPort, tcpFlags }: FlowPacket): void {
  const { bytes, view, at } = packet;
  if (protocol === ipv4.PROTOCOL_TCP) {
    tcp.setSourcePort(view, at, sourcePort);
    tcp.setDestinationPort(view, at, destinationPort);
    tcp.setSequence(view, at, 1);
    view.setUint8(at + tcp.DATA_OFFSET_AT, (tcp.HEADER_LENGTH / 4) << 4);
    tcp.setFlags(view, at, tcpFlags);
    view.setUint16(at + tcp.WINDOW_AT, WINDOW);
    tcp.setChecksum(view, at, checksum.finish(transportSum(packet, protocol)));
  } else if (protocol === ipv4.PROTOCOL_UDP) {
    udp.setSourcePort(view, at, sourcePort);
    udp.setDestinationPort(view, at, destinationPort);
    udp.setLength(view, at, bytes.length - at);
    udp.setChecksum(view, at, checksum.finishUdp(transportSum(packet, protocol)));
  } else {
    // Where other protocols have ports, they are the first four bytes (SCTP).
    view.setUint16(at, sourcePort);
    view.setUint16(at + 2, destinationPort);
  }
}
