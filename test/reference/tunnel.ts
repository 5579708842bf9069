// A decoder of what the director sends, written from the RFCs and sharing nothing with src/: it reads every length twice (from the
// header and from what is there) and every checksum byte by byte. It throws with a sentence at the first thing that is wrong.
//
//     | outer IPv4 20 / IPv6 40 | UDP 8 | GUE 4 | inner IP packet |

import { naivePseudoSum, naiveSum } from './checksum.ts';

export interface Tunnel {
  readonly outerFamily: 4 | 6;
  /** Addresses as bytes, 4 or 16. */
  readonly source: Uint8Array;
  readonly destination: Uint8Array;
  readonly sourcePort: number;
  readonly destinationPort: number;
  /** False when the UDP checksum field is zero. */
  readonly hasChecksum: boolean;
  /** The inner packet as it lies in the tunnel, link padding not included. */
  readonly inner: Uint8Array;
  readonly innerFamily: 4 | 6;
}

function demand(condition: boolean, sentence: string): asserts condition {
  if (!condition) throw new Error(sentence);
}

function word(bytes: Uint8Array, at: number): number {
  return bytes[at] * 256 + bytes[at + 1];
}

/** RFC 768 and RFC 8200 §8.1: the sum over pseudo-header, header and data must be all ones. */
function udpVerifies(source: Uint8Array, destination: Uint8Array, udp: Uint8Array): boolean {
  return naiveSum(udp, 0, udp.length, naivePseudoSum(source, destination, 17, udp.length)) === 0xffff;
}

/** Decodes a whole outer IP packet. Throws an Error that says what is wrong. */
export function decodeTunnel(packet: Uint8Array): Tunnel {
  demand(packet.length >= 20, `outer packet of ${packet.length} bytes`);
  const outerFamily = packet[0] >> 4;
  demand(outerFamily === 4 || outerFamily === 6, `outer IP version ${outerFamily}`);
  if (outerFamily === 4) {
    demand(packet[0] === 0x45, `outer IPv4 first byte ${packet[0].toString(16)}`);
    demand(word(packet, 2) === packet.length, `outer IPv4 total length ${word(packet, 2)}, there are ${packet.length}`);
    demand((word(packet, 6) & 0x3fff) === 0, 'the outer packet is a fragment');
    demand(packet[8] > 0, 'outer TTL 0');
    demand(packet[9] === 17, `outer protocol ${packet[9]}`);
    demand(naiveSum(packet, 0, 20, 0) === 0xffff, 'outer IPv4 header checksum wrong');
    return decodeUdp(4, packet.subarray(12, 16), packet.subarray(16, 20), packet.subarray(20));
  }
  demand(packet.length >= 40, `outer IPv6 packet of ${packet.length} bytes`);
  demand(word(packet, 4) === packet.length - 40, `outer IPv6 payload length ${word(packet, 4)}, there are ${packet.length - 40}`);
  demand(packet[6] === 17, `outer next header ${packet[6]}`);
  demand(packet[7] > 0, 'outer hop limit 0');
  return decodeUdp(6, packet.subarray(8, 24), packet.subarray(24, 40), packet.subarray(40));
}

function decodeUdp(outerFamily: 4 | 6, source: Uint8Array, destination: Uint8Array, udp: Uint8Array): Tunnel {
  demand(udp.length >= 12, `UDP datagram of ${udp.length} bytes`);
  demand(word(udp, 4) === udp.length, `UDP length ${word(udp, 4)}, there are ${udp.length}`);
  const hasChecksum = word(udp, 6) !== 0;
  demand(!hasChecksum || udpVerifies(source, destination, udp), 'outer UDP checksum wrong');
  // draft-ietf-intarea-gue §3: version 0, no control bit, no optional words; the protocol number; no flags.
  demand(udp[8] === 0, `GUE version, control bit and header length are ${udp[8].toString(16)}, not 0`);
  demand(word(udp, 10) === 0, `GUE flags ${word(udp, 10).toString(16)}`);
  const inner = udp.subarray(12);
  const innerFamily = inner.length === 0 ? 0 : inner[0] >> 4;
  demand(innerFamily === 4 || innerFamily === 6, `inner IP version ${innerFamily}`);
  demand(udp[9] === (innerFamily === 4 ? 4 : 41), `GUE protocol ${udp[9]} for an inner IPv${innerFamily} packet`);
  if (innerFamily === 4) {
    const header = (inner[0] & 15) * 4;
    demand(header >= 20 && header <= inner.length, `inner IPv4 header of ${header} bytes in ${inner.length}`);
    demand(word(inner, 2) === inner.length, `inner IPv4 total length ${word(inner, 2)}, there are ${inner.length}`);
    demand(naiveSum(inner, 0, header, 0) === 0xffff, 'inner IPv4 header checksum wrong');
    demand(inner[8] > 0, 'inner TTL 0');
  } else {
    demand(inner.length >= 40, `inner IPv6 packet of ${inner.length} bytes`);
    demand(word(inner, 4) === inner.length - 40, `inner IPv6 payload length ${word(inner, 4)}, there are ${inner.length - 40}`);
    demand(inner[7] > 0, 'inner hop limit 0');
  }
  return {
    outerFamily,
    source,
    destination,
    sourcePort: word(udp, 0),
    destinationPort: word(udp, 2),
    hasChecksum,
    inner,
    innerFamily,
  };
}
