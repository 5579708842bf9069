// What an answer must be, to a ping or to a packet whose TTL ran out, from the request's own bytes and written on its own: the slow twin of src/pipeline/echo.ts.

import { naivePseudoSum, naiveSum } from '../reference/checksum.ts';
import { timeExceededAnswer } from '../reference/too-big.ts';

const ETHERNET = 14;
const TTL = 64;

/** Where the IP header starts in a frame: behind Ethernet and its VLAN tags. */
function networkAt(frame: Uint8Array): number {
  let at = 12;
  while ((frame[at] === 0x81 && frame[at + 1] === 0) || (frame[at] === 0x88 && frame[at + 1] === 0xa8)) at += 4;
  return at + 2;
}

/** Where ICMP starts: behind IPv4 options, or behind IPv6 extension headers (RFC 8200 §4, RFC 4302 §2.2). */
function icmpAt(packet: Uint8Array): number {
  if (packet[0] >> 4 === 4) return (packet[0] & 15) * 4;
  let next = packet[6];
  let at = 40;
  while (next !== 58 && at + 8 <= packet.length) {
    const length = next === 44 ? 8 : next === 51 ? (packet[at + 1] + 2) * 4 : (packet[at + 1] + 1) * 8;
    next = packet[at];
    at += length;
  }
  return at;
}

/** The checksum's sum over ICMP or ICMPv6, modulo 0xffff: 0 when it verifies. */
function residue(packet: Uint8Array, at: number): number {
  const length = packet.length - at;
  const pseudo = packet[0] >> 4 === 4 ? 0 : naivePseudoSum(packet.subarray(8, 24), packet.subarray(24, 40), 58, length);
  return naiveSum(packet, at, length, pseudo) % 0xffff;
}

/** The request turned round, its checksum field zero. */
function turned(request: Uint8Array, at: number): Uint8Array {
  // Not slice: a Buffer's shares its memory.
  const expected = Uint8Array.from(request);
  if (request[0] >> 4 === 4) {
    expected.set(request.subarray(16, 20), 12);
    expected.set(request.subarray(12, 16), 16);
    expected[8] = TTL;
    expected.fill(0, 10, 12);
    const header = 0xffff - naiveSum(expected, 0, at, 0);
    expected.set([header >> 8, header & 255], 10);
    expected[at] = 0;
  } else {
    expected.set(request.subarray(24, 40), 8);
    expected.set(request.subarray(8, 24), 24);
    expected[7] = TTL;
    expected[at] = 129;
  }
  return expected.fill(0, at + 2, at + 4);
}

/** True for the one answer that is no ping's: the TTL of the IP packet ran out. `hopDone`: it was still good at 1. */
export function isTimeExceeded(request: Uint8Array, answer: Uint8Array, hopDone: boolean): boolean {
  if (request[request[0] >> 4 === 4 ? 8 : 7] >= (hopDone ? 1 : 2)) return false;
  return Buffer.compare(answer, timeExceededAnswer(request, answer[4] * 256 + answer[5]) ?? Uint8Array.of()) === 0;
}

/**
 * What is wrong with `reply` as the answer to `frame`, null when nothing is. Addresses change places, the TTL is 64, the type is the
 * reply's, the rest is as it was; a request whose checksum is wrong has an answer whose checksum is as wrong.
 */
export function echoComplaint(frame: Uint8Array, reply: Uint8Array, isEthernet: boolean, hopDone: boolean): string | null {
  const start = isEthernet ? networkAt(frame) : 0;
  if (isEthernet) {
    const header = Uint8Array.from([...frame.subarray(6, 12), ...frame.subarray(0, 6), ...frame.subarray(12, start)]);
    if (start < ETHERNET || Buffer.compare(header, reply.subarray(0, start)) !== 0)
      return 'another link header than the request turned round';
  }
  const length =
    frame[start] >> 4 === 4 ? (frame[start + 2] << 8) | frame[start + 3] : 40 + ((frame[start + 4] << 8) | frame[start + 5]);
  const request = frame.subarray(start, start + length);
  const answer = Uint8Array.from(reply.subarray(start));
  const at = icmpAt(request);
  if (isTimeExceeded(request, answer, hopDone)) return null;
  if (answer.length !== request.length) return `an answer of ${answer.length} bytes to a request of ${request.length}`;
  if (request[at] !== (request[0] >> 4 === 4 ? 8 : 128) || request[at + 1] !== 0) return 'an answer to what is no echo request';
  if (residue(answer, at) !== residue(request, at)) return 'the checksum is not as right as the request’s';
  answer.fill(0, at + 2, at + 4);
  return Buffer.compare(answer, turned(request, at)) === 0 ? null : 'other bytes than the request turned round';
}
