// What is wrong with what became of a packet, judged from its bytes alone: the right outputs are worked out by the slow twins of
// test/reference, which share nothing with the packet path.

import { DROP_REASONS } from '../../../src/base/drop-reason.ts';
import type { Oversize } from '../../../src/pipeline/spec.ts';
import { decodeOuter } from '../../check/outer.ts';
import { naiveChecksum, naiveSum } from '../../reference/checksum.ts';
import { segmentSlowly } from '../../reference/segment.ts';
import { tooBigAnswer } from '../../reference/too-big.ts';
import { echoComplaint } from '../echo.ts';
import type { Case } from './draft.ts';

const TCP = 6;
const UDP = 17;

/** What became of a packet. */
export interface Fate {
  readonly verdict: 'drop' | 'forward' | 'reply' | 'pass';
  readonly reason: number;
  /** Forward: whole outer packets as they leave. Reply: the frame. */
  readonly outputs: readonly Uint8Array[];
  /** Left in parts, perhaps one, whose headers were written apart. */
  readonly train: boolean;
  /** Bytes of the largest outer packet to its backend, 0 for no limit; −1 when it has no backend. */
  readonly pathMtu: number;
}

/** What the judge is told of the surroundings. */
export interface Setting {
  readonly isEthernet: boolean;
  /** The TTL was decremented before. */
  readonly hopDone: boolean;
  readonly canPass: boolean;
  policyOf(port: number): Oversize | undefined;
}

const word = (bytes: Uint8Array, at: number) => bytes[at] * 256 + bytes[at + 1];

function setWord(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >> 8;
  bytes[at + 1] = value & 255;
}

/** The IP packet in a frame, without link header and padding, and where it begins. */
function packetIn(frame: Uint8Array, isEthernet: boolean): { packet: Uint8Array; at: number } {
  let at = 0;
  if (isEthernet) {
    at = 12;
    while (word(frame, at) === 0x8100 || word(frame, at) === 0x88a8) at += 4;
    at += 2;
  }
  const length = frame[at] >> 4 === 4 ? word(frame, at + 2) : 40 + word(frame, at + 4);
  return { packet: frame.slice(at, at + length), at };
}

/** Where the transport header begins and what it is: all headers passed (RFC 8200 §4, RFC 4302 §2.2). */
function transportOf(packet: Uint8Array): { at: number; protocol: number } {
  if (packet[0] >> 4 === 4) return { at: (packet[0] & 15) * 4, protocol: packet[9] };
  let protocol = packet[6];
  let at = 40;
  while ([0, 43, 44, 51, 60, 135, 139, 140].includes(protocol)) {
    const length = protocol === 44 ? 8 : protocol === 51 ? (packet[at + 1] + 2) * 4 : (packet[at + 1] + 1) * 8;
    protocol = packet[at];
    at += length;
  }
  return { at, protocol };
}

/** The packet as it leaves this hop: TTL or hop limit one less, the IPv4 header checksum right again. */
function hopped(packet: Uint8Array, hopDone: boolean): Uint8Array {
  const next = packet.slice();
  const isIpv4 = next[0] >> 4 === 4;
  if (!hopDone) next[isIpv4 ? 8 : 7]--;
  if (isIpv4) {
    setWord(next, 10, 0);
    setWord(next, 10, naiveChecksum(next, 0, (next[0] & 15) * 4));
  }
  return next;
}

/** The field that a device would complete: it holds a sum already, and all bytes behind are added. */
function completed(packet: Uint8Array): Uint8Array {
  const { at, protocol } = transportOf(packet);
  const field = at + (protocol === TCP ? 16 : protocol === UDP ? 6 : 2);
  const whole = packet.slice();
  setWord(whole, field, naiveChecksum(packet, at, packet.length - at) || 0xffff);
  return whole;
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && Buffer.compare(a, b) === 0;
}

/** Equal apart from the two forms of zero in the IPv4 header checksum, both of which verify. */
function samePacket(inner: Uint8Array, wanted: Uint8Array): boolean {
  if (inner.length !== wanted.length) return false;
  if (inner[0] >> 4 === 4 && word(inner, 10) % 0xffff === word(wanted, 10) % 0xffff) setWord(wanted, 10, word(inner, 10));
  return sameBytes(inner, wanted);
}

/** Bytes of IP, extension, and TCP or UDP headers. */
function headersOf(packet: Uint8Array): number {
  const { at, protocol } = transportOf(packet);
  return at + (protocol === TCP ? (packet[at + 12] >> 4) * 4 : 8);
}

/** Whether a TCP packet may be cut that nobody merged: docs/oversize.md. */
function isSafeToCut(packet: Uint8Array): boolean {
  const { at, protocol } = transportOf(packet);
  if (protocol !== TCP || (packet[at + 13] & 0x26) !== 0 || (packet[at + 12] & 0x0e) !== 0) return false;
  const options = packet.subarray(at + 20, headersOf(packet));
  for (let here = 0; here < options.length && options[here] !== 0; ) {
    if (options[here] === 1) here++;
    else {
      const length = options[here + 1] ?? 0;
      if (options[here] === 19 || options[here] === 29 || length < 2 || here + length > options.length) return false;
      here += length;
    }
  }
  return true;
}

/** Payload per segment: as merged when that fits, else as even as may be. 0 when it may not be cut. */
function sizeOfSegments(packet: Uint8Array, gsoSize: number, innerMtu: number, policy: Oversize | undefined): number {
  const headers = headersOf(packet);
  const largest = gsoSize === 0 ? packet.length : Math.min(headers + gsoSize, packet.length);
  if (largest <= innerMtu) return gsoSize === 0 ? 0 : gsoSize;
  if (policy !== 'segment' || !isSafeToCut(packet)) return 0;
  const payload = packet.length - headers;
  const count = Math.ceil(payload / (innerMtu - headers));
  return Math.ceil(payload / count);
}

/** Outer headers' bytes by the family of the outer packet. */
const overheadOf = (output: Uint8Array) => (output[0] >> 4 === 4 ? 32 : 52);

/** What the packet, or the facts beside it, say of it that is not so; null when all is so. Then it should not have been forwarded. */
function lieOf({ frame, facts }: Case, packet: Uint8Array, networkAt: number): string | null {
  const { at, protocol } = transportOf(packet);
  if (protocol !== TCP && protocol !== UDP) return `protocol ${protocol}`;
  const bytes = packet.length - at;
  if (bytes < (protocol === TCP ? 20 : 8)) return `a transport header of ${bytes} bytes`;
  const claimed = protocol === TCP ? (packet[at + 12] >> 4) * 4 : word(packet, at + 4);
  if (claimed < (protocol === TCP ? 20 : 8) || claimed > bytes) return `a transport length of ${claimed}, there are ${bytes}`;
  const { gsoType, gsoSize, headerLength, csumStart, csumOffset, virtioFlags } = facts;
  const isPlaced = csumStart === networkAt + at && csumOffset === (protocol === TCP ? 16 : 6);
  if ((virtioFlags & 1) !== 0 && !isPlaced) return 'a checksum elsewhere';
  if (gsoType === 0) return null;
  const type = protocol === UDP ? gsoType : gsoType & 0x7f;
  if (type !== (protocol === UDP ? 5 : packet[0] >> 4 === 4 ? 1 : 4)) return `gso type ${gsoType}`;
  if (gsoSize === 0 || gsoSize === 65_535 || headerLength > frame.length) return 'gso size or header length';
  return protocol === UDP && ((virtioFlags & 1) === 0 || claimed !== bytes) ? 'a train of datagrams that is none' : null;
}

function forwardComplaint(one: Case, fate: Fate, setting: Setting): string | null {
  const { outputs, pathMtu, train } = fate;
  const { packet, at: networkAt } = packetIn(one.frame, setting.isEthernet);
  if (outputs.length === 0) return 'forwarded, and nothing leaves';
  const lie = lieOf(one, packet, networkAt);
  if (lie !== null) return `forwarded in spite of ${lie}`;
  const { at } = transportOf(packet);
  const partial = (one.facts.virtioFlags & 1) !== 0;
  let wanted: Uint8Array[];
  if (train) {
    const innerMtu = pathMtu === 0 ? 65_575 : pathMtu - overheadOf(outputs[0]);
    const policy = setting.policyOf(word(packet, at + 2));
    const size = sizeOfSegments(packet, one.facts.gsoType === 0 ? 0 : one.facts.gsoSize, innerMtu, policy);
    if (size <= 0) return 'cut, and it should not have been';
    const whole = hopped(packet, setting.hopDone);
    const isOne = whole.length - headersOf(whole) <= size;
    // What needs no cut keeps the finished checksum that it came with.
    wanted = isOne && !partial ? [whole] : segmentSlowly(whole, size);
  } else {
    if (one.facts.gsoType !== 0) return 'a super-packet was not cut';
    wanted = [hopped(partial ? completed(packet) : packet, setting.hopDone)];
  }
  if (outputs.length !== wanted.length) return `${outputs.length} packets leave, not ${wanted.length}`;
  for (let k = 0; k < outputs.length; k++) {
    if (pathMtu !== 0 && outputs[k].length > pathMtu) return `part ${k} has ${outputs[k].length} bytes, the path ${pathMtu}`;
    const { complaints, inner } = decodeOuter(outputs[k], { innerTransport: train });
    if (complaints.length > 0) return `part ${k}: ${complaints.join(', ')}`;
    if (!samePacket(inner, wanted[k])) return `part ${k} differs from the twin's`;
  }
  return null;
}

/** The link header of an answer: addresses turned round (the sender's in front), everything else as it was. */
function linkComplaint(frame: Uint8Array, reply: Uint8Array, length: number): string | null {
  const turned = Uint8Array.from([...frame.subarray(6, 12), ...frame.subarray(0, 6), ...frame.subarray(12, length)]);
  return sameBytes(turned, reply.subarray(0, length)) ? null : 'another link header than the packet turned round';
}

function tooBigComplaint(one: Case, fate: Fate, setting: Setting): string | null {
  const reply = fate.outputs[0];
  const { packet, at } = packetIn(one.frame, setting.isEthernet);
  // A single packet's partial checksum is completed before its size is looked at, so it is quoted finished.
  const quoted = one.facts.gsoType === 0 && (one.facts.virtioFlags & 1) !== 0 ? completed(packet) : packet;
  const link = setting.isEthernet ? linkComplaint(one.frame, reply, at) : null;
  if (link !== null) return link;
  const answer = reply.subarray(at);
  for (const overhead of [32, 52]) {
    const wanted = tooBigAnswer(quoted, fate.pathMtu - overhead, word(answer, 4));
    if (wanted !== null && sameBytes(wanted, answer)) return null;
  }
  return 'another answer than the twin gives to a packet that is too big';
}

/** An ARP reply or a neighbour advertisement: whole, to one host, and with a right checksum. Their own test has the rest. */
function neighbourComplaint(one: Case, reply: Uint8Array): string | null {
  if ((reply[0] & 1) !== 0) return 'an answer to a group';
  let at = 12;
  while (word(reply, at) === 0x8100 || word(reply, at) === 0x88a8) at += 4;
  if (word(reply, at) === 0x0806) return reply.length === at + 30 && reply[at + 9] === 2 ? null : 'no whole ARP reply';
  const packet = reply.subarray(at + 2);
  const sum = naiveSum(packet, 8, 32, 58 + packet.length - 40);
  if (packet.length !== 72 || word(packet, 4) !== 32 || packet[40] !== 136) return 'no whole advertisement';
  return naiveSum(packet, 40, 32, sum) === 0xffff ? null : `an advertisement with a wrong checksum to ${one.frame.length} bytes`;
}

function replyComplaint(one: Case, fate: Fate, setting: Setting): string | null {
  if (fate.pathMtu >= 0) return tooBigComplaint(one, fate, setting);
  const reply = fate.outputs[0];
  const { frame, facts } = one;
  let at = 12;
  while (setting.isEthernet && (word(frame, at) === 0x8100 || word(frame, at) === 0x88a8)) at += 4;
  if (setting.isEthernet && word(frame, at) === 0x0806) return neighbourComplaint(one, reply);
  const { packet, at: networkAt } = packetIn(frame, setting.isEthernet);
  const found = transportOf(packet);
  if (found.protocol === 58 && packet[found.at] === 135) return neighbourComplaint(one, reply);
  if ((facts.virtioFlags & 1) === 0) return echoComplaint(frame, reply, setting.isEthernet);
  // A partial checksum is completed first, where it is this packet's.
  const isPlaced = facts.csumStart === networkAt + found.at && found.at + facts.csumOffset + 2 <= packet.length;
  if (!isPlaced) return echoComplaint(frame, reply, setting.isEthernet);
  if (facts.csumOffset !== 2) return null;
  const whole = frame.slice();
  whole.set(completed(packet), networkAt);
  return echoComplaint(whole, reply, setting.isEthernet);
}

/** What is wrong, null when nothing is. */
export function complaintAbout(one: Case, fate: Fate, setting: Setting): string | null {
  switch (fate.verdict) {
    case 'forward':
      return forwardComplaint(one, fate, setting);
    case 'reply':
      return replyComplaint(one, fate, setting);
    case 'pass':
      return setting.canPass ? null : 'passed, where the driver can not';
    default:
      return fate.reason > 0 && fate.reason < DROP_REASONS.length ? null : `dropped for reason ${fate.reason}`;
  }
}
