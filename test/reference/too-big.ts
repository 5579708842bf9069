// The answers to packets that are too big, and to those whose TTL ran out, whole packets at a time, as the documents say it: the slow twin of
// src/pipeline/icmp-error.ts, too-big.ts and time-exceeded.ts.
// Shares nothing with it. Written from RFC 792, RFC 1191 §4, RFC 1812 §4.3.2 and RFC 4443 §2.4, §3.2 and §3.3.

import { naiveChecksum, naivePseudoSum } from './checksum.ts';

function setWord(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = Math.floor(value / 256) % 256;
  bytes[at + 1] = value % 256;
}

const isZero = (bytes: Uint8Array) => bytes.every((byte) => byte === 0);

/** A host's own address, as far as the address alone tells. */
function isHost(address: Uint8Array): boolean {
  const isMulticast = address.length === 4 ? address[0] >= 224 && address[0] < 240 : address[0] === 255;
  if (isZero(address) || isMulticast) return false;
  if (address.length === 4) return address[0] !== 127 && !address.every((byte) => byte === 255);
  const isLoopback = isZero(address.slice(0, 15)) && address[15] === 1;
  const isLinkLocal = address[0] === 0xfe && address[1] >= 0x80 && address[1] < 0xc0;
  return !isLoopback && !isLinkLocal;
}

/** ICMPv4 messages that are not errors: echo, timestamp, information and address mask, asked and answered. */
const QUESTIONS = [0, 8, 13, 14, 15, 16, 17, 18];

/** Finds the upper header of an IPv6 packet; null when there is none to find. */
function upper6(packet: Uint8Array): { at: number; protocol: number; later: boolean } | null {
  let protocol = packet[6];
  let at = 40;
  for (let headers = 0; [0, 43, 44, 51, 60, 135, 139, 140].includes(protocol); headers++) {
    if (headers === 8 || (protocol === 0 && headers > 0) || at + 8 > packet.length) return null;
    const kind = protocol;
    protocol = packet[at];
    if (kind === 44) {
      const offset = packet[at + 2] * 32 + Math.floor(packet[at + 3] / 8);
      at += 8;
      if (offset > 0) return { at, protocol, later: true };
    } else at += kind === 51 ? (packet[at + 1] + 2) * 4 : (packet[at + 1] + 1) * 8;
    if (at > packet.length) return null;
  }
  return { at, protocol, later: false };
}

/** Whether an ICMP error may answer the IP packet. */
function mayBeAnswered(packet: Uint8Array): boolean {
  const isIpv4 = packet[0] >> 4 === 4;
  const source = isIpv4 ? packet.slice(12, 16) : packet.slice(8, 24);
  const destination = isIpv4 ? packet.slice(16, 20) : packet.slice(24, 40);
  if (!isHost(source) || !isHost(destination) || source.join() === destination.join()) return false;
  if (isIpv4) {
    const isFirst = packet[6] % 32 === 0 && packet[7] === 0;
    if (!isFirst) return false;
    return packet[9] !== 1 || QUESTIONS.includes(packet[(packet[0] % 16) * 4]);
  }
  const found = upper6(packet);
  if (found === null || found.later) return false;
  return found.protocol !== 58 || (found.at < packet.length && packet[found.at] >= 128);
}

/** The whole answer to the IP packet, or null. `identifier` is the answer's IPv4 identification. */
export function tooBigAnswer(packet: Uint8Array, innerMtu: number, identifier: number): Uint8Array | null {
  const isIpv4 = packet[0] >> 4 === 4;
  const told = Math.max(innerMtu, isIpv4 ? 68 : 1280);
  const mayBeCut = isIpv4 && Math.floor(packet[6] / 64) % 2 === 0;
  if (packet.length <= told || mayBeCut || !mayBeAnswered(packet)) return null;
  return isIpv4 ? answer4(packet, [3, 4], told, identifier) : answer6(packet, [2, 0], told);
}

/** The whole answer to an IP packet whose TTL ran out, or null. */
export function timeExceededAnswer(packet: Uint8Array, identifier: number): Uint8Array | null {
  if (!mayBeAnswered(packet)) return null;
  return packet[0] >> 4 === 4 ? answer4(packet, [11, 0], 0, identifier) : answer6(packet, [3, 0], 0);
}

function answer4(packet: Uint8Array, typeAndCode: readonly number[], told: number, identifier: number): Uint8Array {
  const answer = new Uint8Array(Math.min(576, 28 + packet.length));
  answer.set(packet.slice(0, answer.length - 28), 28);
  // Precedence 6; delay, throughput, reliability and cost as the client asked; the last bit 0.
  answer[0] = 0x45;
  answer[1] = 192 + (Math.floor(packet[1] / 2) % 16) * 2;
  setWord(answer, 2, answer.length);
  setWord(answer, 4, identifier);
  answer[8] = 64;
  answer[9] = 1;
  answer.set(packet.slice(16, 20), 12);
  answer.set(packet.slice(12, 16), 16);
  setWord(answer, 10, naiveChecksum(answer, 0, 20));
  answer.set(typeAndCode, 20);
  setWord(answer, 26, told);
  setWord(answer, 22, naiveChecksum(answer, 20, answer.length - 20));
  return answer;
}

function answer6(packet: Uint8Array, typeAndCode: readonly number[], told: number): Uint8Array {
  const answer = new Uint8Array(Math.min(1280, 48 + packet.length));
  answer.set(packet.slice(0, answer.length - 48), 48);
  answer[0] = 0x60;
  setWord(answer, 4, answer.length - 40);
  answer[6] = 58;
  answer[7] = 64;
  answer.set(packet.slice(24, 40), 8);
  answer.set(packet.slice(8, 24), 24);
  answer.set(typeAndCode, 40);
  setWord(answer, 46, told);
  const pseudo = naivePseudoSum(answer.slice(8, 24), answer.slice(24, 40), 58, answer.length - 40);
  setWord(answer, 42, naiveChecksum(answer, 40, answer.length - 40, pseudo));
  return answer;
}
