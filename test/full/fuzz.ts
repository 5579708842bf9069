// Random and mutated packets through the packet path: no exception, a verdict and a reason for each, and all that is forwarded decodes.

import type { Batch, IngressFacts } from '../../src/base/batch.ts';
import { DROP_REASONS } from '../../src/base/drop-reason.ts';
import { VERDICT_DROP, VERDICT_FORWARD, VERDICT_REPLY, VERDICTS } from '../../src/base/verdict.ts';
import { type FrameFacts, MemoryIngress } from '../../src/io/memory/ingress.ts';
import { naiveChecksum } from '../reference/checksum.ts';
import { decodeTunnel } from '../reference/tunnel.ts';
import { echoRequest } from '../uml/echo-packet.ts';
import type { Line, Outcome, Scale } from './line.ts';
import { clientPacket } from './packets.ts';
import { ETHERNET, openPath, type Path, pathSpec, RAW_IP, TUN } from './path.ts';
import { Random } from './random.ts';

const SEED = 20260301;
const COUNT: Readonly<Record<Scale, number>> = { full: 1_000_000, scaled: 30_000 };
const ROUND = 64;

interface Frame {
  readonly bytes: Uint8Array;
  readonly virtio: FrameFacts | undefined;
}

const ETHERTYPES = [0x0800, 0x86dd, 0x0806, 0x8100, 0x88a8, 0xffff];

/** Puts an Ethernet header, sometimes with VLAN tags, in front of an IP packet; sometimes padding behind it. */
function framed(random: Random, packet: Uint8Array): Uint8Array {
  const tags = random.chance(4) ? 1 + random.below(3) : 0;
  const padding = random.chance(6) ? random.below(30) : 0;
  const at = 14 + tags * 4;
  const bytes = new Uint8Array(at + packet.length + padding);
  random.fill(bytes.subarray(0, 12));
  bytes[0] &= 0xfe;
  for (let tag = 0; tag < tags; tag++)
    bytes.set([tag === 0 && random.chance(2) ? 0x88 : 0x81, tag === 0 ? 0xa8 : 0], 12 + tag * 4);
  const type = random.chance(40) ? random.pick(ETHERTYPES) : packet.length > 0 && packet[0] >> 4 === 6 ? 0x86dd : 0x0800;
  bytes.set([type >> 8, type & 255], at - 2);
  bytes.set(packet, at);
  return bytes;
}

/** Damages a packet in one to four places, with a preference for the headers. */
function mutate(random: Random, original: Uint8Array): Uint8Array {
  let bytes = original.slice();
  for (let left = random.below(5); left > 0; left--) {
    const at = random.chance(4) ? random.below(bytes.length) : random.below(Math.min(bytes.length, 64));
    switch (random.below(7)) {
      case 0:
        bytes[at] ^= 1 << random.below(8);
        break;
      case 1:
        bytes[at] = random.pick([0, 1, 0x7f, 0x80, 0xff]);
        break;
      case 2:
        random.fill(bytes.subarray(at, at + random.below(8)));
        break;
      case 3:
        bytes = bytes.subarray(0, at).slice();
        break;
      case 4:
        bytes = Uint8Array.from([...bytes, ...random.fill(new Uint8Array(random.below(80)))]);
        break;
      case 5:
        bytes.copyWithin(at, random.below(bytes.length));
        break;
      default:
        // Lengths and next-header fields are where parsers break.
        if (bytes.length > 9) bytes[random.pick([0, 2, 3, 4, 5, 6, 9])] = random.below(256);
    }
    if (bytes.length === 0) break;
  }
  return bytes;
}

/** An IPv6 chain of extension headers, or an IPv4 fragment, or an echo request: right shapes that are rarer than TCP. */
function rare(random: Random): Uint8Array {
  const family = random.pick([4, 6] as const);
  if (random.chance(3))
    return family === 4 ? echoRequest('198.51.100.9', '192.0.2.1') : echoRequest('2001:db8:1::9', '2001:db8:99::1');
  const { bytes } = clientPacket(random, { family, protocol: 17, payload: random.below(200), options: true });
  if (family === 4) {
    if (random.chance(2)) bytes[9] = 1;
    else bytes[6] = random.pick([0x20, 0x00, 0x3f]);
    return bytes;
  }
  bytes[6] = random.pick([0, 43, 44, 50, 51, 58, 59, 60, 135, 139, 140]);
  bytes[40] = random.pick([0, 6, 17, 43, 44, 51, 58, 60]);
  return bytes;
}

/** The kernel routes only IPv4 packets whose header checksum is right: on TUN a wrong one is no possible input. */
function repairHeader(packet: Uint8Array): void {
  const header = packet.length === 0 ? 0 : (packet[0] & 15) * 4;
  if (packet[0] >> 4 !== 4 || header < 20 || header > packet.length) return;
  packet.fill(0, 10, 12);
  const checksum = naiveChecksum(packet, 0, header);
  packet.set([checksum >> 8, checksum & 255], 10);
}

function frame(random: Random, facts: IngressFacts): Frame {
  const kind = random.below(10);
  let packet: Uint8Array;
  let start = 0;
  if (kind === 0) packet = random.fill(new Uint8Array(random.below(200)));
  else if (kind === 1) packet = rare(random);
  else {
    const wish = {
      family: random.pick([4, 6] as const),
      protocol: random.pick([6, 17] as const),
      payload: random.chance(20) ? random.below(60_000) : random.below(1452),
      options: random.chance(8),
      partial: random.chance(6),
      port: random.chance(20) ? random.below(65536) : 443,
    };
    const made = clientPacket(random, wish);
    packet = made.bytes;
    start = made.transportAt;
  }
  if (random.chance(3)) packet = mutate(random, packet);
  if (facts.headerVerified) repairHeader(packet);
  const bytes = facts === ETHERNET ? framed(random, packet) : packet;
  const whole = facts === ETHERNET && random.chance(6) ? mutate(random, bytes) : bytes;
  const virtio = random.chance(5)
    ? {
        virtioFlags: random.below(4),
        gsoType: random.chance(3) ? random.below(256) : 0,
        gsoSize: random.chance(3) ? random.below(65536) : 0,
        headerLength: random.below(128),
        csumStart: random.chance(3) ? random.below(65536) : start + (facts === ETHERNET ? 14 : 0),
        csumOffset: random.chance(3) ? random.below(65536) : random.pick([6, 16]),
      }
    : undefined;
  return { bytes: whole, virtio };
}

/** What is wrong with packet `i` of a processed batch; null when all is well. */
function complaint(batch: Batch, i: number): string | null {
  const verdict = batch.verdict[i];
  if (verdict >= VERDICTS.length) return `verdict ${verdict}`;
  if (verdict === VERDICT_DROP && (batch.reason[i] === 0 || batch.reason[i] >= DROP_REASONS.length))
    return `dropped for reason ${batch.reason[i]}`;
  if (verdict !== VERDICT_FORWARD && verdict !== VERDICT_REPLY) return null;
  const from = batch.outAt[i];
  const to = from + batch.outLength[i];
  if (from < batch.slotAt[i] || to > batch.slotAt[i] + batch.arena.stride || to <= from)
    return `leaves its slot: ${from} to ${to}`;
  if (verdict === VERDICT_REPLY) return null;
  try {
    decodeTunnel(batch.arena.bytes.subarray(from, to));
    return null;
  } catch (error) {
    return `does not decode: ${(error as Error).message}`;
  }
}

async function run(scale: Scale): Promise<Outcome> {
  const random = new Random(SEED);
  const counts = new Map<string, number>();
  const wrong: string[] = [];
  const paths: { facts: IngressFacts; path: Path }[] = [ETHERNET, RAW_IP, TUN].flatMap((facts) =>
    ([4, 6] as const).flatMap((outer) =>
      (['none', 'full'] as const).map((checksum) => ({ facts, path: openPath(facts, pathSpec(outer, checksum)) })),
    ),
  );
  let packets = 0;
  for (let round = 0; packets < COUNT[scale] && wrong.length < 4; round++) {
    const { facts, path } = paths[round % paths.length];
    const frames = Array.from({ length: ROUND }, () => frame(random, facts));
    const ingress = new MemoryIngress({
      frames: frames.map(({ bytes }) => bytes),
      virtio: frames.map(({ virtio }) => virtio),
      facts,
    });
    const { batch, pipeline } = path;
    ingress.receive(batch);
    try {
      pipeline.process(batch, round);
      pipeline.account(batch);
    } catch (error) {
      wrong.push(`exception in round ${round}: ${(error as Error).stack}`);
      break;
    }
    for (let i = 0; i < batch.count; i++) {
      const said = complaint(batch, i);
      if (said !== null)
        wrong.push(`round ${round}, packet ${i} (${Buffer.from(frames[i].bytes.subarray(0, 100)).toString('hex')}): ${said}`);
      const word =
        batch.verdict[i] === VERDICT_DROP ? `dropped: ${DROP_REASONS[batch.reason[i]]?.word}` : VERDICTS[batch.verdict[i]];
      counts.set(word, (counts.get(word) ?? 0) + 1);
    }
    packets += batch.count;
  }
  // A fuzz whose packets all fall at the first check shows nothing.
  const forwarded = counts.get('forward') ?? 0;
  if (forwarded < packets / 4) wrong.push(`only ${forwarded} of ${packets} packets were forwarded`);
  return {
    passed: wrong.length === 0,
    figures: {
      seed: SEED,
      packets,
      ...Object.fromEntries([...counts].sort((a, b) => b[1] - a[1])),
      complaints: wrong.join(' | ') || 'none',
    },
  };
}

export const fuzz: Line = {
  name: 'fuzz',
  claim:
    'One million random and mutated packets through the packet path: no exception, every packet has a verdict, every forwarded packet decodes.',
  twin: 'test/full/fuzz.test.ts',
  run,
};
