// Batches of packets as a worker receives them: many TCP flows mixed, most segments in order, and everything that may happen to some:
// loss, reordering, duplicates, other flags, other options, damage, and packets of other kinds in between.

import type { Random } from '../full/random.ts';
import { naiveChecksum } from '../reference/checksum.ts';
import { fillTransportChecksum } from '../reference/segment.ts';
import { type Ipv4Fields, packet, type TcpFields } from './packet.ts';
import { content } from './super-packet.ts';

interface Flow {
  readonly family: 4 | 6;
  readonly number: number;
  readonly sport: number;
  readonly size: number;
  df: boolean;
  readonly identificationStep: number;
  readonly timestamps: boolean;
  /** One packet in so many is out of the ordinary; 0: none. */
  readonly trouble: number;
  identification: number;
  sequence: number;
  acknowledgement: number;
  window: number;
  ttl: number;
  trafficClass: number;
  time: number;
}

export interface StreamChoices {
  readonly flows: number;
  readonly packets: number;
  /** Largest payload of a segment. */
  readonly size: number;
  /** One packet in so many is out of the ordinary; 0: none. */
  readonly trouble: number;
}

function newFlow(random: Random, number: number, choices: StreamChoices): Flow {
  const df = !random.chance(4);
  return {
    family: random.chance(2) ? 4 : 6,
    number,
    sport: 1024 + random.below(60_000),
    size: 1 + random.below(choices.size),
    df,
    // Without DF an identification that repeats would be an error of the sender: it happens, and must not be merged.
    identificationStep: random.pick([0, 1, 1, 1]),
    timestamps: random.chance(2),
    trouble: choices.trouble,
    identification: random.below(65536),
    sequence: random.chance(4) ? 0xffffffff - random.below(choices.size * 8) : random.next(),
    acknowledgement: random.next(),
    window: random.below(65536),
    ttl: 2 + random.below(200),
    trafficClass: random.below(256),
    time: random.next(),
  };
}

function outer(flow: Flow, fields: Ipv4Fields = {}) {
  if (flow.family === 4) {
    const { ttl, trafficClass: tos, identification: id, df, number } = flow;
    return packet().ipv4({ src: `10.1.0.${1 + number}`, dst: '10.9.0.1', ttl, tos, id, df, ...fields });
  }
  const { ttl: hopLimit, trafficClass, number } = flow;
  return packet().ipv6({ src: `fd00:1::${1 + number}`, dst: 'fd00:9::1', hopLimit, trafficClass, flowLabel: 7 + number });
}

function segment(random: Random, flow: Flow, bytes: number, fields: TcpFields = {}, ip: Ipv4Fields = {}): Uint8Array {
  const time = [flow.time >>> 24, (flow.time >>> 16) & 255, (flow.time >>> 8) & 255, flow.time & 255];
  const options = flow.timestamps ? Uint8Array.of(1, 1, 8, 10, ...time, 0, 0, 0, 9) : new Uint8Array(0);
  const { sport, sequence: seq, acknowledgement: ack, window } = flow;
  const made = outer(flow, ip)
    .tcp({ sport, seq, ack, window, options, ...fields })
    .payload(content(bytes, random.next()))
    .bytes();
  flow.sequence = (flow.sequence + bytes) >>> 0;
  flow.identification = (flow.identification + flow.identificationStep) & 0xffff;
  return made;
}

/** A packet whose flow can not be read off, or that is no TCP at all. */
function stranger(random: Random, flow: Flow): Uint8Array {
  const { family } = flow;
  switch (random.below(5)) {
    case 0:
      return outer(flow).udp({ sport: flow.sport }).payload(random.below(40)).bytes();
    case 1:
      return family === 4 ? outer(flow).icmp4().payload(8).bytes() : outer(flow).icmp6().payload(8).bytes();
    case 2:
      return family === 4
        ? segment(random, flow, flow.size, {}, { options: Uint8Array.of(1, 1, 1, 1) })
        : outer(flow).extension('destination').tcp({ sport: flow.sport, seq: flow.sequence }).payload(flow.size).bytes();
    case 3:
      return family === 4
        ? segment(random, flow, 8 * (1 + random.below(9)), {}, { df: false, more: true })
        : outer(flow).fragment({ more: true }).tcp({ sport: flow.sport, seq: flow.sequence }).payload(24).bytes();
    default:
      return family === 4
        ? outer(flow, { protocol: 6 }).payload(random.below(20)).bytes()
        : outer(flow).extension('hop-by-hop').udp({ sport: flow.sport }).payload(9).bytes();
  }
}

/** Changes the flow for good, as real ones change. */
function change(random: Random, flow: Flow): void {
  const before = { window: flow.window, ttl: flow.ttl, trafficClass: flow.trafficClass };
  switch (random.below(8)) {
    case 0:
      flow.window = (before.window + 1) & 0xffff;
      break;
    case 1:
      flow.ttl = 2 + random.below(200);
      break;
    case 2:
      flow.trafficClass = (before.trafficClass + 1 + random.below(255)) & 255;
      break;
    case 3:
      flow.time = (flow.time + 1) >>> 0;
      break;
    case 4:
      flow.acknowledgement = (flow.acknowledgement + 1) >>> 0;
      break;
    case 5:
      flow.identification = random.below(65536);
      break;
    case 6:
      flow.df = !flow.df;
      break;
    default:
      // Lost: the next one does not follow.
      flow.sequence = (flow.sequence + 1 + random.below(2 * flow.size)) >>> 0;
  }
}

/** A segment with something about it. */
function oddSegment(random: Random, flow: Flow): Uint8Array {
  const { size } = flow;
  switch (random.below(12)) {
    case 0:
      return segment(random, flow, size, { flags: 0x18 });
    case 1:
      return segment(random, flow, size, { flags: random.below(256) });
    case 2:
      return segment(random, flow, 1 + random.below(2 * size), { flags: random.pick([0x10, 0x11, 0x18, 0x19]) });
    case 3:
      return segment(random, flow, 0);
    case 4:
      return segment(random, flow, size, { checksum: random.below(65536) });
    case 5: {
      const bytes = segment(random, flow, size);
      bytes[bytes.length - 1 - random.below(size)] ^= 1 << random.below(8);
      return bytes;
    }
    case 6: {
      // The urgent pointer without its flag, and bits that nobody uses: nothing forbids them.
      const bytes = segment(random, flow, size);
      const at = flow.family === 4 ? 20 : 40;
      if (random.chance(2)) bytes[at + 19] = 1;
      else bytes[at + 12] |= 1 + random.below(15);
      fillTransportChecksum(bytes);
      return bytes;
    }
    case 7:
      return segment(random, flow, size, { flags: random.pick([0x90, 0x50, 0xd0]) });
    case 8:
      return segment(random, flow, size, {}, { checksum: random.below(65536) });
    case 9: {
      // The bit that RFC 791 reserves, in a run of segments as in a single one.
      const bytes = segment(random, flow, size);
      if (flow.family === 6) return bytes;
      bytes[6] |= 0x80;
      bytes.fill(0, 10, 12);
      const checksum = naiveChecksum(bytes, 0, 20);
      bytes.set([checksum >> 8, checksum & 255], 10);
      return bytes;
    }
    case 10:
      return segment(random, flow, size, { dataOffset: random.below(16) });
    default:
      return stranger(random, flow);
  }
}

/** Whole IP packets in the order of arrival. */
export function randomStream(random: Random, choices: StreamChoices): Uint8Array[] {
  const flows = Array.from({ length: choices.flows }, (_, number) => newFlow(random, number, choices));
  const packets: Uint8Array[] = [];
  let flow = random.pick(flows);
  const isTroubled = () => choices.trouble > 0 && random.chance(choices.trouble);
  while (packets.length < choices.packets) {
    // Flows come in bursts.
    if (random.chance(6)) flow = random.pick(flows);
    if (isTroubled()) change(random, flow);
    packets.push(isTroubled() ? oddSegment(random, flow) : segment(random, flow, flow.size));
    const last = packets.length - 1;
    const isReordered = last > 0 && isTroubled();
    if (isTroubled()) packets.push(packets[random.below(packets.length)].slice());
    else if (isReordered) [packets[last - 1], packets[last]] = [packets[last], packets[last - 1]];
  }
  return packets;
}
