// Random and mutated packets through the packet path: no exception, a verdict and a reason for each, all that is forwarded decodes, and
// what is answered is the right answer. Two thirds are captures that `replay` reads and writes, Ethernet and raw IP; a third comes
// from memory with virtio-net facts, which captures have none of, as TUN and packet sockets deliver them.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Batch, IngressFacts } from '../../src/base/batch.ts';
import { DROP_REASONS } from '../../src/base/drop-reason.ts';
import { VERDICT_DROP, VERDICT_FORWARD, VERDICT_REPLY, VERDICTS } from '../../src/base/verdict.ts';
import type { Config } from '../../src/config/config.ts';
import { type FrameFacts, MemoryIngress } from '../../src/io/memory/ingress.ts';
import { PcapFileEgress } from '../../src/io/pcap-file/egress.ts';
import { PcapFileIngress } from '../../src/io/pcap-file/ingress.ts';
import type { Spec } from '../../src/pipeline/spec.ts';
import { type ReplayedPacket, replay } from '../../src/replay/replay.ts';
import { decodeTunnel } from '../reference/tunnel.ts';
import { echoRequest } from '../uml/echo-packet.ts';
import { echoComplaint } from './echo.ts';
import type { Line, Outcome, Scale } from './line.ts';
import { damage, repairHeader } from './mutation.ts';
import { clientPacket } from './packets.ts';
import { ETHERNET, openPath, type Path, pathSpec, RAW_IP, TUN } from './path.ts';
import { Random } from './random.ts';

const SEED = 20260301;
const COUNT: Readonly<Record<Scale, number>> = { full: 1_000_000, scaled: 30_000 };
const ROUND = 64;
/** Frames in one capture. */
const CAPTURE: Readonly<Record<Scale, number>> = { full: 8192, scaled: 2500 };

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
    const kind = random.below(7);
    if (kind === 0) bytes = bytes.subarray(0, at).slice();
    else if (kind === 1) bytes = Uint8Array.from([...bytes, ...random.fill(new Uint8Array(random.below(80)))]);
    else damage(random, bytes, at);
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
  // The kernel routes only IPv4 packets whose header checksum is right: on TUN a wrong one is no possible input.
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

function decodeComplaint(packet: Uint8Array): string | null {
  try {
    decodeTunnel(packet);
    return null;
  } catch (error) {
    return `does not decode: ${(error as Error).message}`;
  }
}

/** What is wrong with packet `i` of a processed batch, which came as `frame`; null when all is well. */
function complaint(batch: Batch, i: number, { bytes, virtio }: Frame): string | null {
  const verdict = batch.verdict[i];
  if (verdict >= VERDICTS.length) return `verdict ${verdict}`;
  if (verdict === VERDICT_DROP && (batch.reason[i] === 0 || batch.reason[i] >= DROP_REASONS.length))
    return `dropped for reason ${batch.reason[i]}`;
  if (verdict !== VERDICT_FORWARD && verdict !== VERDICT_REPLY) return null;
  const from = batch.outAt[i];
  const to = from + batch.outLength[i];
  if (from < batch.slotAt[i] || to > batch.slotAt[i] + batch.arena.stride || to <= from)
    return `leaves its slot: ${from} to ${to}`;
  const packet = batch.arena.bytes.subarray(from, to);
  if (verdict === VERDICT_FORWARD) return decodeComplaint(packet);
  // A partial checksum is completed first, which the twin does not know.
  if (((virtio?.virtioFlags ?? 0) & 1) !== 0) return null;
  return echoComplaint(bytes, packet, batch.ingress.link === ETHERNET.link, batch.ingress.hopDone);
}

class Tally {
  packets = 0;
  replayed = 0;
  checkedReplies = 0;
  readonly counts = new Map<string, number>();
  readonly wrong: string[] = [];

  count(word: string): void {
    this.packets++;
    this.counts.set(word, (this.counts.get(word) ?? 0) + 1);
  }

  complain(place: string, frame: Frame, said: string | null): void {
    if (said === null) return;
    this.wrong.push(`${place} (${Buffer.from(frame.bytes.subarray(0, 100)).toString('hex')}): ${said}`);
  }
}

/** A classic capture, nanoseconds, written by hand; one packet a millisecond. */
function captureOf(frames: readonly Frame[], linkType: number): Buffer {
  const out = Buffer.alloc(24 + frames.reduce((sum, { bytes }) => sum + 16 + bytes.length, 0));
  const words = (at: number, list: readonly number[]) => {
    for (const [i, word] of list.entries()) out.writeUInt32LE(word, at + i * 4);
  };
  words(0, [0xa1b23c4d, 0x00040002, 0, 0, 262144, linkType]);
  let at = 24;
  frames.forEach(({ bytes }, i) => {
    words(at, [Math.floor(i / 1000), (i % 1000) * 1e6, bytes.length, bytes.length]);
    out.set(bytes, at + 16);
    at += 16 + bytes.length;
  });
  return out;
}

/** Frames and times of a capture that was written. */
function recordsOf(path: string): { time: string; bytes: Uint8Array }[] {
  const file = readFileSync(path);
  const records: { time: string; bytes: Uint8Array }[] = [];
  for (let at = 24; at < file.length; ) {
    const length = file.readUInt32LE(at + 8);
    const time = `${file.readUInt32LE(at)}.${file.readUInt32LE(at + 4)}`;
    records.push({ time, bytes: new Uint8Array(file.buffer, file.byteOffset + at + 16, length) });
    at += 16 + length;
  }
  return records;
}

function configOf(spec: Spec): Config {
  return {
    spec,
    health: new Map(),
    ingress: { driver: 'memory' },
    egress: { driver: 'memory' },
    threads: 1,
    processors: { pin: false, idle: 'wait', spin: 50 },
    flows: { entries: 4096, file: 'off' },
    fragments: { entries: 256, timeout: 5, holdBytes: 65_536, holdPackets: 64, holdPerSource: 64, holdTimeout: 1 },
    probes: { sourcePortBase: 61424, sourcePorts: 16 },
    listen: { metrics: null },
    admin: { socket: 'off' },
    privileges: { user: null, group: null },
    reload: { watch: false },
    log: { level: 'silent', format: 'json' },
    file: 'fuzz',
    discovery: null,
    text: '',
    warnings: [],
  };
}

/** Frames as a capture through `replay` itself, its files read back. */
function throughReplay(frames: readonly Frame[], facts: IngressFacts, spec: Spec, folder: string, tally: Tally): void {
  const [path, out, replies] = ['in', 'out', 'replies'].map((name) => join(folder, `${name}.pcap`));
  writeFileSync(path, captureOf(frames, facts === ETHERNET ? 1 : 101));
  const told: ReplayedPacket[] = [];
  const ingress = new PcapFileIngress({ path, replies });
  const egress = new PcapFileEgress(out);
  replay({ config: configOf(spec), ingress, egress, onPacket: (packet) => told.push(packet) });
  ingress.close();
  egress.close();
  if (told.length !== frames.length) tally.wrong.push(`${told.length} packets told of ${frames.length}`);
  const written = { forward: recordsOf(out), reply: recordsOf(replies) };
  const next = { forward: 0, reply: 0 };
  if (new Set(told.map(({ packet }) => packet)).size !== told.length) tally.wrong.push('a packet was told twice');
  // A fragment that came before the first one of its packet is told, and written, when that has come.
  told.forEach(({ packet, verdict, reason, segments = 1 }) => {
    const i = packet - 1;
    tally.replayed++;
    tally.count(verdict === 'drop' ? `dropped: ${reason}` : verdict);
    if (verdict === 'drop') {
      if (reason === undefined || reason === 'none') tally.complain(`packet ${i}`, frames[i], `dropped for reason ${reason}`);
      return;
    }
    if (verdict !== 'forward' && verdict !== 'reply') {
      tally.complain(`packet ${i}`, frames[i], `verdict ${verdict}`);
      return;
    }
    const record = written[verdict][next[verdict]++];
    const time = `${Math.floor(i / 1000)}.${(i % 1000) * 1e6}`;
    if (record === undefined || record.time !== time) {
      tally.complain(`packet ${i}`, frames[i], `not written: ${verdict}`);
      return;
    }
    if (verdict === 'reply') tally.checkedReplies++;
    const said =
      verdict === 'forward'
        ? decodeComplaint(record.bytes)
        : echoComplaint(frames[i].bytes, record.bytes, facts === ETHERNET, false);
    tally.complain(`packet ${i}`, frames[i], said);
    // A frame longer than any on a wire leaves as several.
    for (let k = 1; k < segments; k++) {
      const more = written.forward[next.forward++];
      tally.complain(`packet ${i}, segment ${k}`, frames[i], more === undefined ? 'not written' : decodeComplaint(more.bytes));
    }
  });
  for (const verdict of ['forward', 'reply'] as const) {
    if (next[verdict] !== written[verdict].length)
      tally.wrong.push(`${written[verdict].length - next[verdict]} records too many: ${verdict}`);
  }
}

/** Frames and their virtio-net facts from memory through one pipeline. */
function throughMemory(frames: readonly Frame[], path: Path, round: number, tally: Tally): void {
  const { batch, pipeline } = path;
  const ingress = new MemoryIngress({
    frames: frames.map(({ bytes }) => bytes),
    virtio: frames.map(({ virtio }) => virtio),
    facts: batch.ingress,
  });
  while (ingress.receive(batch) > 0) {
    const first = frames.length - batch.count;
    pipeline.process(batch, round);
    pipeline.account(batch);
    for (let i = 0; i < batch.count; i++) {
      tally.complain(`round ${round}, packet ${i}`, frames[first + i], complaint(batch, i, frames[first + i]));
      const isDrop = batch.verdict[i] === VERDICT_DROP;
      tally.count(isDrop ? `dropped: ${DROP_REASONS[batch.reason[i]]?.word}` : VERDICTS[batch.verdict[i]]);
    }
  }
}

const MIXES = ([4, 6] as const).flatMap((outer) => (['none', 'full'] as const).map((checksum) => pathSpec(outer, checksum)));

async function run(scale: Scale): Promise<Outcome> {
  const random = new Random(SEED);
  const tally = new Tally();
  const frames = (count: number, facts: IngressFacts) => Array.from({ length: count }, () => frame(random, facts));
  const captures = MIXES.flatMap((spec) => [ETHERNET, RAW_IP].map((facts) => ({ facts, spec })));
  const paths = MIXES.flatMap((spec) => [ETHERNET, TUN].map((facts) => ({ facts, path: openPath(facts, spec) })));
  const folder = mkdtempSync(join(tmpdir(), 'gue-director-fuzz-'));
  try {
    const replayed = Math.ceil((COUNT[scale] * 2) / 3);
    for (let round = 0; tally.replayed < replayed && tally.wrong.length < 4; round++) {
      const { facts, spec } = captures[round % captures.length];
      throughReplay(frames(CAPTURE[scale], facts), facts, spec, folder, tally);
    }
    for (let round = 0; tally.packets < COUNT[scale] && tally.wrong.length < 4; round++) {
      const { facts, path } = paths[round % paths.length];
      throughMemory(frames(ROUND, facts), path, round, tally);
    }
  } catch (error) {
    tally.wrong.push(`exception: ${(error as Error).stack}`);
  } finally {
    rmSync(folder, { recursive: true });
  }
  const { packets, counts, wrong } = tally;
  // A fuzz whose packets all fall at the first check shows nothing.
  const forwarded = counts.get('forward') ?? 0;
  if (forwarded < packets / 4) wrong.push(`only ${forwarded} of ${packets} packets were forwarded`);
  if (tally.checkedReplies === 0) wrong.push('no answer to a ping');
  return {
    passed: wrong.length === 0,
    figures: {
      seed: SEED,
      packets,
      'through replay, from capture to capture': tally.replayed,
      'answers there, compared with their requests': tally.checkedReplies,
      ...Object.fromEntries([...counts].sort((a, b) => b[1] - a[1])),
      complaints: wrong.slice(0, 8).join(' | ') || 'none',
    },
  };
}

export const fuzz: Line = {
  name: 'fuzz',
  claim:
    'One million random and mutated packets through replay’s path, two thirds from capture file to capture file: no exception, every packet has a verdict, every forwarded packet decodes, every answer is right.',
  twin: 'test/full/fuzz.test.ts',
  run,
};
