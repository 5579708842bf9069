/**
 * The reference decoder of what the director sends: outer IPv4 or IPv6, UDP, GUE variant 0, inner IP packet. Independent of src/wire; every length
 * and checksum is looked at, and each fault is a complaint in words.
 */
import assert from 'node:assert/strict';
import { naiveChecksum, naivePseudoSum, naiveSum } from '../reference/checksum.ts';

export interface Encapsulation {
  readonly outer: {
    readonly family: 4 | 6;
    readonly source: Uint8Array;
    readonly destination: Uint8Array;
    readonly ttl: number;
    readonly trafficClass: number;
    /** IPv4 only; false and 0 for IPv6. */
    readonly dontFragment: boolean;
    readonly identification: number;
    /** IPv6 only. */
    readonly flowLabel: number;
  };
  readonly udp: {
    readonly sourcePort: number;
    readonly destinationPort: number;
    readonly length: number;
    readonly checksum: number;
  };
  readonly gue: { readonly headerLength: number; readonly protocol: number; readonly flags: number };
  /** The inner IP packet, a view into the output. */
  readonly inner: Uint8Array;
  /** Everything that is wrong; empty when all is well. */
  readonly complaints: string[];
}

export interface DecodeOptions {
  /** The inner TCP, UDP and ICMPv6 checksums are looked at; default true. (A client may send a wrong one, which must pass through as it is.) */
  readonly innerTransport?: boolean;
}

const word = (bytes: Uint8Array, at: number) => bytes[at] * 256 + bytes[at + 1];

/** Decodes one outer IP packet, nothing before or behind it. Throws only when the packet is too short to be decoded at all. */
export function decodeOuter(output: Uint8Array, options: DecodeOptions = {}): Encapsulation {
  const complaints: string[] = [];
  const complain = (wrong: boolean, text: string) => {
    if (wrong) complaints.push(text);
  };
  const family = output[0] >> 4;
  if (family !== 4 && family !== 6) throw new Error(`outer version ${family}`);
  const headerLength = family === 4 ? 20 : 40;
  if (output.length < headerLength + 12) throw new Error(`${output.length} bytes hold no outer header`);
  const outer = decodeIp(output, family);
  if (family === 4) {
    complain(output[0] !== 0x45, 'outer IPv4 header has options');
    complain(word(output, 2) !== output.length, `outer total length ${word(output, 2)}, the packet has ${output.length}`);
    complain(naiveSum(output, 0, 20, 0) !== 0xffff, 'outer IPv4 checksum is wrong');
    complain((word(output, 6) & 0xbfff) !== 0, 'outer IPv4 packet is a fragment or has the reserved bit');
    complain(output[9] !== 17, `outer protocol ${output[9]} is not UDP`);
  } else {
    complain(
      word(output, 4) !== output.length - 40,
      `outer payload length ${word(output, 4)}, the packet has ${output.length - 40}`,
    );
    complain(output[6] !== 17, `outer next header ${output[6]} is not UDP`);
  }
  complain(outer.ttl === 0, 'outer TTL is 0');
  const at = headerLength;
  const udp = {
    sourcePort: word(output, at),
    destinationPort: word(output, at + 2),
    length: word(output, at + 4),
    checksum: word(output, at + 6),
  };
  complain(udp.length !== output.length - at, `UDP length ${udp.length}, the datagram has ${output.length - at}`);
  complain(udp.sourcePort === 0, 'UDP source port is 0');
  if (udp.checksum !== 0) {
    const pseudo = naivePseudoSum(outer.source, outer.destination, 17, output.length - at);
    complain(naiveSum(output, at, output.length - at, pseudo) !== 0xffff, 'outer UDP checksum is wrong');
  }
  const tunnel = at + 8;
  const gue = { headerLength: 4 + (output[tunnel] & 31) * 4, protocol: output[tunnel + 1], flags: word(output, tunnel + 2) };
  complain(output[tunnel] >> 6 !== 0, `GUE variant ${output[tunnel] >> 6} is not 0`);
  complain((output[tunnel] & 32) !== 0, 'GUE control bit is set');
  const inner = output.subarray(tunnel + gue.headerLength);
  complaints.push(...checkInner(inner, gue.protocol, options.innerTransport ?? true));
  return { outer: { family, ...outer }, udp, gue, inner, complaints };
}

function decodeIp(bytes: Uint8Array, family: 4 | 6) {
  const four = family === 4;
  return {
    source: four ? bytes.subarray(12, 16) : bytes.subarray(8, 24),
    destination: four ? bytes.subarray(16, 20) : bytes.subarray(24, 40),
    ttl: four ? bytes[8] : bytes[7],
    trafficClass: four ? bytes[1] : (word(bytes, 0) >> 4) & 0xff,
    dontFragment: four && (bytes[6] & 0x40) !== 0,
    identification: four ? word(bytes, 4) : 0,
    flowLabel: four ? 0 : (bytes[1] & 15) * 65536 + word(bytes, 2),
  };
}

/** Complaints about an IP packet that must end exactly where the bytes end. */
export function checkInner(inner: Uint8Array, protocol: number, transport = true): string[] {
  if (protocol !== 4 && protocol !== 41) return [`GUE protocol ${protocol} is neither IPv4 nor IPv6`];
  const family = protocol === 4 ? 4 : 6;
  if (inner.length < (family === 4 ? 20 : 40)) return [`inner packet of ${inner.length} bytes`];
  if (inner[0] >> 4 !== family) return [`inner version ${inner[0] >> 4} under GUE protocol ${protocol}`];
  const complaints: string[] = [];
  const { source, destination } = decodeIp(inner, family);
  if (family === 4) {
    const header = (inner[0] & 15) * 4;
    if (word(inner, 2) !== inner.length) complaints.push(`inner total length ${word(inner, 2)}, the packet has ${inner.length}`);
    if (naiveSum(inner, 0, header, 0) !== 0xffff) complaints.push('inner IPv4 checksum is wrong');
    const fragment = (word(inner, 6) & 0x3fff) !== 0;
    if (transport && !fragment) complaints.push(...checkTransport(inner.subarray(header), inner[9], source, destination));
    return complaints;
  }
  if (word(inner, 4) !== inner.length - 40)
    complaints.push(`inner payload length ${word(inner, 4)}, the packet has ${inner.length - 40}`);
  let next = inner[6];
  let at = 40;
  // Only headers that leave the final destination alone: behind a routing or fragment header the checksum is not looked at.
  while ((next === 0 || next === 60) && at + 8 <= inner.length) {
    next = inner[at];
    at += (inner[at + 1] + 1) * 8;
  }
  if (transport) complaints.push(...checkTransport(inner.subarray(at), next, source, destination));
  return complaints;
}

function checkTransport(bytes: Uint8Array, protocol: number, source: Uint8Array, destination: Uint8Array): string[] {
  const shortest = protocol === 6 ? 20 : 8;
  if (protocol !== 6 && protocol !== 17 && protocol !== 58) return [];
  if (bytes.length < shortest) return [`inner transport header of ${bytes.length} bytes`];
  const covered = protocol === 17 ? bytes.subarray(0, word(bytes, 4)) : bytes;
  if (protocol === 17 && word(bytes, 6) === 0) return source.length === 4 ? [] : ['inner UDP over IPv6 has no checksum'];
  const pseudo = naivePseudoSum(source, destination, protocol, covered.length);
  return naiveSum(covered, 0, covered.length, pseudo) === 0xffff ? [] : [`inner checksum of protocol ${protocol} is wrong`];
}

export interface Rewrites {
  /** We counted the hop: TTL − 1 with its checksum, or hop limit − 1. */
  readonly ttlDecremented: boolean;
  /** A partial TCP or UDP checksum, right behind the IP header, was completed. */
  readonly checksumCompleted?: boolean;
}

/**
 * Asserts that `output` (an outer IP packet) carries exactly `input` (the IP packet that came in, without link header and padding) with no other change than the
 * declared rewrites, and that all lengths and checksums of `output` are right. Returns the decoded packet.
 */
export function checkEncapsulation(
  output: Uint8Array,
  input: Uint8Array,
  rewrites: Rewrites,
  options: DecodeOptions = {},
): Encapsulation {
  const decoded = decodeOuter(output, options);
  assert.deepEqual(decoded.complaints, []);
  const wanted = Uint8Array.from(input);
  const four = input[0] >> 4 === 4;
  if (rewrites.ttlDecremented) {
    wanted[four ? 8 : 7] -= 1;
    if (four) {
      wanted.set([0, 0], 10);
      const sum = naiveChecksum(wanted, 0, (wanted[0] & 15) * 4);
      wanted.set([sum >> 8, sum & 255], 10);
    }
  }
  if (rewrites.checksumCompleted === true) completeReference(wanted, four);
  assert.equal(
    Buffer.from(decoded.inner).toString('hex'),
    Buffer.from(wanted).toString('hex'),
    'the inner packet is the one that came in',
  );
  return decoded;
}

/** Fills in the TCP or UDP checksum from scratch, over the pseudo-header. */
function completeReference(bytes: Uint8Array, four: boolean): void {
  const at = four ? (bytes[0] & 15) * 4 : 40;
  const protocol = four ? bytes[9] : bytes[6];
  const field = at + (protocol === 6 ? 16 : 6);
  const { source, destination } = decodeIp(bytes, four ? 4 : 6);
  bytes.set([0, 0], field);
  const pseudo = naivePseudoSum(source, destination, protocol, bytes.length - at);
  // 0 is stored as 0xffff, its other form, whatever the protocol (as Linux's skb_checksum_help does).
  const sum = naiveChecksum(bytes, at, bytes.length - at, pseudo) || 0xffff;
  bytes.set([sum >> 8, sum & 255], field);
}
