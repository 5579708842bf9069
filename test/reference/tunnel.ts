// What the director sends, written and read here from the RFCs and the kernel's sources, sharing nothing with src/: the slow twin of
// every encapsulation. It reads every length twice (from the header and from what is there) and every checksum byte by byte. It throws
// with a sentence at the first thing that is wrong.
//
//     gue     | outer IPv4 20 / IPv6 40 | UDP 8 | GUE 4 | private flags 4, remote checksum 4 | private data | inner IP packet |
//     gue-v1  | outer IPv4 20 / IPv6 40 | UDP 8 | inner IP packet, whose first two bits are the variant, 01 |
//     fou     | outer IPv4 20 / IPv6 40 | UDP 8 | inner IP packet, of the one family that the port is for |
//     gre     | outer IPv4 20 / IPv6 40 | GRE 4, or 8 with a checksum | inner IP packet |
//     ipip    | outer IPv4 20 / IPv6 40 | inner IP packet |
//
// draft-ietf-intarea-gue-09, Linux include/net/gue.h and net/ipv4/fou_core.c (GUE, FOU); RFC 2784 (GRE); RFC 2003, RFC 2473, RFC 4213 (IP
// in IP); Linux net/netfilter/ipvs/ip_vs_xmit.c ipvs_gue_encap and ipvs_gre_encap (which of it a director sends).

import { naiveChecksum, naivePseudoSum, naiveSum } from './checksum.ts';

export type TunnelKind = 'gue' | 'gue-v1' | 'fou' | 'ipip' | 'gre';

/** Fields of the outer IP header that a policy decides. */
export interface OuterFields {
  /** TTL or hop limit. */
  readonly ttl: number;
  /** DSCP and ECN, one byte. */
  readonly trafficClass: number;
  /** IPv4 alone. */
  readonly dontFragment: boolean;
  /** IPv4 alone. */
  readonly identification: number;
  /** IPv6 alone, 20 bits. */
  readonly flowLabel: number;
}

/** Where the inner transport's checksum begins to be summed and where it is put: bytes from the inner IP header on. */
export interface RemoteChecksum {
  readonly start: number;
  readonly offset: number;
}

export interface Tunnel {
  readonly kind: TunnelKind;
  readonly outerFamily: 4 | 6;
  readonly outer: OuterFields;
  /** Addresses as bytes, 4 or 16. */
  readonly source: Uint8Array;
  readonly destination: Uint8Array;
  /** −1 where there is no UDP. */
  readonly sourcePort: number;
  readonly destinationPort: number;
  /** False when the UDP checksum field is zero, or GRE has none. */
  readonly hasChecksum: boolean;
  /** Set when the inner checksum was left to the receiver. */
  readonly remoteChecksum: RemoteChecksum | null;
  /** GUE: what its header length covers behind the fields it names. */
  readonly privateData: Uint8Array;
  /** The inner packet as the receiver takes it out, link padding not included, a remote checksum filled in. */
  readonly inner: Uint8Array;
  readonly innerFamily: 4 | 6;
}

/** What a reader may meet; anything that is not named is refused. */
export interface Expected {
  /** Default `gue`. */
  readonly kind?: TunnelKind;
  /** A remote checksum may be there. */
  readonly remoteChecksum?: boolean;
  /** Private data may be there. */
  readonly privateData?: boolean;
}

function demand(condition: boolean, sentence: string): asserts condition {
  if (!condition) throw new Error(sentence);
}

function word(bytes: Uint8Array, at: number): number {
  return bytes[at] * 256 + bytes[at + 1];
}

function setWord(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = Math.floor(value / 256);
  bytes[at + 1] = value % 256;
}

/** RFC 768 and RFC 8200 §8.1: the sum over pseudo-header, header and data must be all ones. */
function udpVerifies(source: Uint8Array, destination: Uint8Array, udp: Uint8Array): boolean {
  return naiveSum(udp, 0, udp.length, naivePseudoSum(source, destination, 17, udp.length)) === 0xffff;
}

/** Decodes a whole outer IP packet. Throws an Error that says what is wrong. */
export function decodeTunnel(packet: Uint8Array, expected: Expected = {}): Tunnel {
  demand(packet.length >= 20, `outer packet of ${packet.length} bytes`);
  const outerFamily = packet[0] >> 4;
  demand(outerFamily === 4 || outerFamily === 6, `outer IP version ${outerFamily}`);
  if (outerFamily === 4) {
    demand(packet[0] === 0x45, `outer IPv4 first byte ${packet[0].toString(16)}`);
    demand(word(packet, 2) === packet.length, `outer IPv4 total length ${word(packet, 2)}, there are ${packet.length}`);
    demand((word(packet, 6) & 0x3fff) === 0, 'the outer packet is a fragment');
    demand(word(packet, 6) < 0x8000, 'the reserved bit of the outer packet is set');
    demand(packet[8] > 0, 'outer TTL 0');
    demand(naiveSum(packet, 0, 20, 0) === 0xffff, 'outer IPv4 header checksum wrong');
    const outer: OuterFields = {
      ttl: packet[8],
      trafficClass: packet[1],
      dontFragment: word(packet, 6) === 0x4000,
      identification: word(packet, 4),
      flowLabel: 0,
    };
    const addresses = [packet.subarray(12, 16), packet.subarray(16, 20)] as const;
    return decodeBehindIp(
      { outerFamily, outer, source: addresses[0], destination: addresses[1] },
      packet[9],
      packet.subarray(20),
      expected,
    );
  }
  demand(packet.length >= 40, `outer IPv6 packet of ${packet.length} bytes`);
  demand(word(packet, 4) === packet.length - 40, `outer IPv6 payload length ${word(packet, 4)}, there are ${packet.length - 40}`);
  demand(packet[7] > 0, 'outer hop limit 0');
  const outer: OuterFields = {
    ttl: packet[7],
    trafficClass: (packet[0] & 15) * 16 + (packet[1] >> 4),
    dontFragment: false,
    identification: 0,
    flowLabel: (packet[1] & 15) * 65536 + word(packet, 2),
  };
  const ends = { outerFamily, outer, source: packet.subarray(8, 24), destination: packet.subarray(24, 40) } as const;
  return decodeBehindIp(ends, packet[6], packet.subarray(40), expected);
}

type Ends = Pick<Tunnel, 'outerFamily' | 'outer' | 'source' | 'destination'>;
type Between = Pick<Tunnel, 'sourcePort' | 'destinationPort' | 'hasChecksum' | 'remoteChecksum' | 'privateData'>;

const NO_DATA = new Uint8Array(0);
const NO_PORTS: Between = { sourcePort: -1, destinationPort: -1, hasChecksum: false, remoteChecksum: null, privateData: NO_DATA };

function decodeBehindIp(ends: Ends, protocol: number, rest: Uint8Array, expected: Expected): Tunnel {
  const kind = expected.kind ?? 'gue';
  const finish = (between: Between, inner: Uint8Array, protocolInside: number): Tunnel => {
    const innerFamily = checkInner(inner, protocolInside, kind);
    return { kind, ...ends, ...between, inner, innerFamily };
  };
  if (kind === 'ipip') {
    demand(protocol === 4 || protocol === 41, `outer protocol ${protocol}`);
    return finish(NO_PORTS, rest, protocol);
  }
  if (kind === 'gre') {
    demand(protocol === 47, `outer protocol ${protocol}`);
    return decodeGre(rest, finish);
  }
  demand(protocol === 17, `outer protocol ${protocol}`);
  demand(rest.length >= 8, `UDP datagram of ${rest.length} bytes`);
  demand(word(rest, 4) === rest.length, `UDP length ${word(rest, 4)}, there are ${rest.length}`);
  const hasChecksum = word(rest, 6) !== 0;
  demand(!hasChecksum || udpVerifies(ends.source, ends.destination, rest), 'outer UDP checksum wrong');
  const ports = { ...NO_PORTS, sourcePort: word(rest, 0), destinationPort: word(rest, 2), hasChecksum };
  const payload = rest.subarray(8);
  if (kind === 'gue') return decodeGue(payload, ports, expected, finish);
  // Variant 1's two bits are those of the IP version's nibble: what is neither 4 nor 6 is refused by checkInner.
  return finish(ports, payload, payload.length > 0 && payload[0] >> 4 === 6 ? 41 : 4);
}

type Finish = (between: Between, inner: Uint8Array, protocol: number) => Tunnel;

/** RFC 2784 §2.1: flags and version, protocol as an EtherType, and behind the bit C a checksum over GRE header and payload, and 16 bits of 0. */
function decodeGre(gre: Uint8Array, finish: Finish): Tunnel {
  demand(gre.length >= 4, `GRE packet of ${gre.length} bytes`);
  demand(word(gre, 0) === 0 || word(gre, 0) === 0x8000, `GRE flags and version ${word(gre, 0).toString(16)}`);
  const hasChecksum = word(gre, 0) === 0x8000;
  if (hasChecksum) {
    demand(gre.length >= 8, `GRE packet of ${gre.length} bytes with a checksum`);
    demand(naiveSum(gre, 0, gre.length, 0) === 0xffff, 'GRE checksum wrong');
    demand(word(gre, 6) === 0, `GRE reserved field ${word(gre, 6).toString(16)}`);
  }
  const type = word(gre, 2);
  demand(type === 0x0800 || type === 0x86dd, `GRE protocol type ${type.toString(16)}`);
  return finish({ ...NO_PORTS, hasChecksum }, gre.subarray(hasChecksum ? 8 : 4), type === 0x0800 ? 4 : 41);
}

/** draft-ietf-intarea-gue-09 §3: version 0, no control bit, the header's length in words, the protocol number, flags. */
function decodeGue(gue: Uint8Array, ports: Between, expected: Expected, finish: Finish): Tunnel {
  demand(gue.length >= 4, `GUE header of ${gue.length} bytes`);
  demand(gue[0] < 0x20, `GUE version and control bit are ${(gue[0] >> 5).toString(16)}, not 0`);
  const length = 4 + gue[0] * 4;
  demand(length <= gue.length, `GUE header of ${length} bytes in ${gue.length}`);
  const flags = word(gue, 2);
  let known = 4;
  let remoteChecksum: RemoteChecksum | null = null;
  if (expected.remoteChecksum === true && flags !== 0) {
    // include/net/gue.h: flag 1 says that 4 bytes of private flags follow; the private flag 80000000, that start and offset do.
    demand(flags === 1, `GUE flags ${flags.toString(16)}`);
    demand(length >= 12, `GUE header of ${length} bytes has no room for private flags and a remote checksum`);
    demand(
      word(gue, 4) === 0x8000 && word(gue, 6) === 0,
      `GUE private flags ${word(gue, 4).toString(16)} ${word(gue, 6).toString(16)}`,
    );
    remoteChecksum = { start: word(gue, 8), offset: word(gue, 10) };
    known = 12;
  } else {
    demand(flags === 0, `GUE flags ${flags.toString(16)}`);
  }
  const privateData = gue.subarray(known, length);
  demand(
    expected.privateData === true || privateData.length === 0,
    `${privateData.length} bytes of private data in the GUE header`,
  );
  const inner = remoteChecksum === null ? gue.subarray(length) : completed(gue.subarray(length), remoteChecksum);
  return finish({ ...ports, remoteChecksum, privateData }, inner, gue[1]);
}

/**
 * What the receiver does (net/ipv4/fou_core.c gue_remcsum, then net/core/dev.c skb_checksum_help): the sum from `start` to the end, whose
 * field holds the pseudo-header's sum, goes to `offset`, 0 as ffff.
 */
export function completed(packet: Uint8Array, { start, offset }: RemoteChecksum): Uint8Array {
  demand(
    start + 2 <= packet.length && offset + 2 <= packet.length,
    `remote checksum from ${start} to ${offset} in ${packet.length}`,
  );
  demand(offset >= start, `remote checksum at ${offset}, before its start ${start}`);
  // Not slice: a Buffer’s shares its memory.
  const whole = Uint8Array.from(packet);
  setWord(whole, offset, naiveChecksum(packet, start, packet.length - start) || 0xffff);
  return whole;
}

function checkInner(inner: Uint8Array, protocol: number, kind: TunnelKind): 4 | 6 {
  const innerFamily = inner.length === 0 ? 0 : inner[0] >> 4;
  demand(innerFamily === 4 || innerFamily === 6, `inner IP version ${innerFamily}`);
  demand(protocol === (innerFamily === 4 ? 4 : 41), `${kind} protocol ${protocol} for an inner IPv${innerFamily} packet`);
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
  return innerFamily;
}
