// What is wrong with what became of a packet, judged from its bytes alone: the right outputs are worked out by the slow twins of
// test/reference, which share nothing with the packet path.

import { DROP_REASONS } from '../../../src/base/drop-reason.ts';
import { decodeOuter } from '../../check/outer.ts';
import { naiveSum } from '../../reference/checksum.ts';
import { tooBigAnswer } from '../../reference/too-big.ts';
import { echoComplaint, isTimeExceeded } from '../echo.ts';
import { clamped, completed, isFirstFragment, packetIn, TCP, transportOf, UDP, word } from './anatomy.ts';
import type { Case } from './draft.ts';
import { innerMtuOf, leavingComplaint, mostSegment, type Rules } from './leaving.ts';
import { overheadOf, reassembled } from './tunnel-fragments.ts';

/** What became of a packet. */
export interface Fate {
  readonly verdict: 'drop' | 'forward' | 'reply' | 'pass';
  readonly reason: number;
  /** Forward: whole outer packets as they leave. Reply: the frame. */
  readonly outputs: readonly Uint8Array[];
  /** Left in parts, perhaps one, whose headers were written apart. */
  readonly train: boolean;
  /** Its tunnel packets left in fragments. */
  readonly fragmentsOuter: boolean;
  /** What its sender is told although it was forwarded. */
  readonly answer: Uint8Array | null;
  /** Bytes of the largest outer packet to its backend, 0 for no limit; −1 when it has no backend. */
  readonly pathMtu: number;
}

/** What the judge is told of the surroundings. */
export interface Setting {
  readonly isEthernet: boolean;
  /** The TTL was decremented before. */
  readonly hopDone: boolean;
  readonly canPass: boolean;
  /** Rules of the service on a port. */
  serviceOf(port: number): Rules | undefined;
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && Buffer.compare(a, b) === 0;
}

/** What the packet, or the facts beside it, say of it that is not so; null when all is so. Then it should not have been forwarded. */
function lieOf({ frame, facts }: Case, packet: Uint8Array, networkAt: number): string | null {
  const { at, protocol } = transportOf(packet);
  if (protocol !== TCP && protocol !== UDP) return `protocol ${protocol}`;
  const bytes = packet.length - at;
  if (bytes < (protocol === TCP ? 20 : 8)) return `a transport header of ${bytes} bytes`;
  const claimed = protocol === TCP ? (packet[at + 12] >> 4) * 4 : word(packet, at + 4);
  // A datagram is longer than its first fragment.
  const most = protocol === UDP && isFirstFragment(packet) ? 65_535 : bytes;
  if (claimed < (protocol === TCP ? 20 : 8) || claimed > most) return `a transport length of ${claimed}, there are ${bytes}`;
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
  const { outputs, pathMtu } = fate;
  const { packet, at: networkAt } = packetIn(one.frame, setting.isEthernet);
  if (outputs.length === 0) return 'forwarded, and nothing leaves';
  const lie = lieOf(one, packet, networkAt);
  if (lie !== null) return `forwarded in spite of ${lie}`;
  const large = outputs.findIndex((output) => pathMtu !== 0 && output.length > pathMtu);
  if (large >= 0) return `part ${large} has ${outputs[large].length} bytes, the path ${pathMtu}`;
  const tunnels = fate.fragmentsOuter ? reassembled(outputs) : outputs;
  if (typeof tunnels === 'string') return tunnels;
  // The checksum of a single packet may be wrong: that is the client's. One that was cut has been verified.
  const isCut = fate.train && !fate.fragmentsOuter;
  const inners: Uint8Array[] = [];
  for (const tunnel of tunnels) {
    const { complaints, inner } = decodeOuter(tunnel, { innerTransport: isCut });
    if (complaints.length > 0) return `part ${inners.length}: ${complaints.join(', ')}`;
    inners.push(inner);
  }
  const said = leavingComplaint(
    { packet, facts: one.facts, pathMtu, overhead: overheadOf(tunnels[0]), ...setting },
    inners,
    fate,
  );
  if (said !== null) return said;
  return fate.answer === null ? null : answerComplaint(one, fate, setting, fate.answer);
}

/** The link header of an answer: addresses turned round (the sender's in front), everything else as it was. */
function linkComplaint(frame: Uint8Array, reply: Uint8Array, length: number): string | null {
  const turned = Uint8Array.from([...frame.subarray(6, 12), ...frame.subarray(0, 6), ...frame.subarray(12, length)]);
  return sameBytes(turned, reply.subarray(0, length)) ? null : 'another link header than the packet turned round';
}

/** An answer that its packet is too big: by a policy that gives one, and the twin's, byte for byte. */
function answerComplaint(one: Case, fate: Fate, setting: Setting, reply: Uint8Array): string | null {
  const { packet, at } = packetIn(one.frame, setting.isEthernet);
  const { policy, mssClamp } = setting.serviceOf(word(packet, transportOf(packet).at + 2)) ?? { policy: 'drop', mssClamp: 'off' };
  if (policy === 'drop') return 'answered, and its policy is to drop it';
  if (fate.verdict === 'forward' && policy !== 'segment-and-tell') return 'answered, though it was forwarded';
  // A single packet's partial checksum is completed before its size is looked at, so it is quoted finished.
  const isSuper = one.facts.gsoType !== 0;
  const partial = (one.facts.virtioFlags & 1) !== 0;
  const link = setting.isEthernet ? linkComplaint(one.frame, reply, at) : null;
  if (link !== null) return link;
  const answer = reply.subarray(at);
  for (const overhead of [32, 52]) {
    const most = mostSegment(mssClamp, packet, fate.pathMtu, overhead);
    const quoted = clamped(!isSuper && partial ? completed(packet) : packet, most, isSuper && partial);
    const innerMtu = innerMtuOf(fate.pathMtu, overhead);
    const wanted = tooBigAnswer(quoted, innerMtu, word(answer, 4));
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
  if (fate.pathMtu >= 0) return answerComplaint(one, fate, setting, fate.outputs[0]);
  const reply = fate.outputs[0];
  const { frame, facts } = one;
  let at = 12;
  while (setting.isEthernet && (word(frame, at) === 0x8100 || word(frame, at) === 0x88a8)) at += 4;
  if (setting.isEthernet && word(frame, at) === 0x0806) return neighbourComplaint(one, reply);
  const { packet, at: networkAt } = packetIn(frame, setting.isEthernet);
  const found = transportOf(packet);
  if (found.protocol === 58 && packet[found.at] === 135) return neighbourComplaint(one, reply);
  const asCame = () => echoComplaint(frame, reply, setting.isEthernet, setting.hopDone);
  if ((facts.virtioFlags & 1) === 0 || isTimeExceeded(packet, reply.subarray(networkAt), setting.hopDone)) return asCame();
  // A partial checksum is completed first, where it is this packet's.
  const isPlaced = facts.csumStart === networkAt + found.at && found.at + facts.csumOffset + 2 <= packet.length;
  if (!isPlaced) return asCame();
  if (facts.csumOffset !== 2) return null;
  const whole = frame.slice();
  whole.set(completed(packet), networkAt);
  return echoComplaint(whole, reply, setting.isEthernet, setting.hopDone);
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
