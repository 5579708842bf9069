// Independent decoders on the output: a reference decoder on every packet, tshark on ten thousand, and the inner bytes compared with
// what went in.

import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { VERDICT_FORWARD } from '../../src/base/verdict.ts';
import { MemoryEgress } from '../../src/io/memory/egress.ts';
import { MemoryIngress } from '../../src/io/memory/ingress.ts';
import type { ChecksumMode } from '../../src/pipeline/spec.ts';
import { writeCapture } from '../reference/capture-file.ts';
import { decodeTunnel } from '../reference/tunnel.ts';
import type { Line, Outcome, Scale } from './line.ts';
import { asForwarded, type ClientPacket, clientPacket } from './packets.ts';
import { openPath, pathSpec, RAW_IP, TUN } from './path.ts';
import { Random } from './random.ts';

const SEED = 17;
/** Packets per mix; there are 2 outer families × 2 checksum modes × 2 kinds of ingress, and both inner families in each. */
const PER_MIX: Readonly<Record<Scale, number>> = { full: 12_500, scaled: 150 };
const FOR_TSHARK: Readonly<Record<Scale, number>> = { full: 10_000, scaled: 1_200 };
const BATCH = 64;

/** Encapsulates one mix; returns the outer packets. Pushes a sentence to `wrong` for each that is not as it must be. */
function oneMix(
  random: Random,
  outer: 4 | 6,
  checksum: ChecksumMode,
  hopDone: boolean,
  count: number,
  wrong: string[],
): Uint8Array[] {
  const facts = hopDone ? TUN : RAW_IP;
  const { batch, pipeline } = openPath(facts, pathSpec(outer, checksum));
  const egress = new MemoryEgress();
  for (let done = 0; done < count; done += BATCH) {
    const packets: ClientPacket[] = Array.from({ length: Math.min(BATCH, count - done) }, () =>
      clientPacket(random, {
        family: random.pick([4, 6] as const),
        protocol: random.pick([6, 17] as const),
        payload: random.chance(10) ? random.below(4) : random.below(1441),
        options: random.chance(10),
        partial: random.chance(4),
      }),
    );
    const ingress = new MemoryIngress({
      frames: packets.map(({ bytes }) => bytes),
      virtio: packets.map((p) =>
        p.partial ? { virtioFlags: 1, csumStart: p.transportAt, csumOffset: p.protocol === 6 ? 16 : 6 } : undefined,
      ),
      facts,
    });
    ingress.receive(batch);
    pipeline.process(batch, 1);
    const before = egress.packets.length;
    egress.send(batch);
    let sent = before;
    packets.forEach((packet, i) => {
      const what = `IPv${packet.family} in IPv${outer}, checksum ${checksum}, packet ${done + i}`;
      if (batch.verdict[i] !== VERDICT_FORWARD) {
        wrong.push(`${what}: not forwarded, reason ${batch.reason[i]}`);
        return;
      }
      try {
        const tunnel = decodeTunnel(egress.packets[sent++]);
        if (tunnel.outerFamily !== outer) wrong.push(`${what}: outer family ${tunnel.outerFamily}`);
        if (tunnel.destinationPort !== 6080) wrong.push(`${what}: port ${tunnel.destinationPort}`);
        if (tunnel.hasChecksum !== (checksum === 'full'))
          wrong.push(`${what}: UDP checksum ${tunnel.hasChecksum ? 'there' : 'missing'}`);
        if (Buffer.compare(tunnel.inner, asForwarded(packet, !hopDone)) !== 0) wrong.push(`${what}: the inner bytes changed`);
      } catch (error) {
        wrong.push(`${what}: ${(error as Error).message}`);
      }
    });
  }
  return egress.packets;
}

/** tshark's own judgement of each packet; a sentence for each that it does not like. */
function askTshark(packets: readonly Uint8Array[], wrong: string[]): { decoded: number; version: string } {
  const folder = mkdtempSync(join(tmpdir(), 'gue-director-tshark-'));
  try {
    const file = join(folder, 'out.pcap');
    writeCapture(file, packets);
    const fields = [
      'frame.protocols',
      'ip.checksum.status',
      'udp.checksum.status',
      'tcp.checksum.status',
      'gue.hlen',
      '_ws.expert.severity',
      'frame.len',
      'udp.length',
    ];
    const text = execFileSync(
      'tshark',
      [
        ...['-X', `lua_script:${join(import.meta.dirname, 'gue.lua')}`, '-r', file, '-n'],
        ...['ip', 'udp', 'tcp'].flatMap((protocol) => ['-o', `${protocol}.check_checksum:TRUE`]),
        ...['-o', 'tcp.analyze_sequence_numbers:FALSE', '-o', 'tcp.desegment_tcp_streams:FALSE', '-o', 'ip.defragment:FALSE'],
        // The checksum mode `none` over IPv6 is RFC 6935's exception for tunnels; the workers are told to accept it.
        ...['-o', 'udp.ignore_ipv6_zero_checksum:TRUE'],
        // Random payload must not be taken for some protocol.
        ...['-d', 'tcp.port==443,data', '-d', 'udp.port==443,data'],
        ...['-T', 'fields', '-E', 'occurrence=a', '-E', 'separator=;', ...fields.flatMap((field) => ['-e', field])],
      ],
      { encoding: 'utf8', maxBuffer: 256 << 20, stdio: ['ignore', 'pipe', 'ignore'] },
    );
    const lines = text.trimEnd().split('\n');
    if (lines.length !== packets.length) wrong.push(`tshark read ${lines.length} packets of ${packets.length}`);
    lines.forEach((line, index) => {
      const [protocols, ip, udp, tcp, length, severity] = line.split(';');
      const shape = /^eth:ethertype:(ip|ipv6):udp:gue:(ip|ipv6|ipv6:ipv6\.hopopts):(udp|tcp)(:data)?$/.test(protocols);
      // 0 is bad, 1 good, 2 unverified, 3 not present; error severity is 0x00800000 (8388608), malformed the same.
      const statuses = [ip, udp, tcp].flatMap((list) => list.split(',')).filter((status) => status !== '');
      const bad = statuses.some((status) => status === '0' || status === '2');
      const expert = severity.split(',').some((level) => Number(level) >= 8_388_608);
      if (!shape || bad || length !== '0' || expert) wrong.push(`tshark on packet ${index}: ${line}`);
    });
    const version = execFileSync('tshark', ['--version'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).split(
      '\n',
    )[0];
    return { decoded: lines.length, version };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** `tools: false` leaves tshark out: the reference decoder alone, for a machine without it. */
export async function decode(scale: Scale, tools: boolean): Promise<Outcome> {
  const random = new Random(SEED);
  const wrong: string[] = [];
  const all: Uint8Array[] = [];
  for (const outer of [4, 6] as const) {
    for (const checksum of ['none', 'full'] as const) {
      for (const hopDone of [false, true]) {
        for (const packet of oneMix(random, outer, checksum, hopDone, PER_MIX[scale], wrong)) all.push(packet);
      }
    }
  }
  const step = Math.max(1, Math.floor(all.length / FOR_TSHARK[scale]));
  const chosen = all.filter((_, index) => index % step === 0).slice(0, FOR_TSHARK[scale]);
  const judged = tools ? askTshark(chosen, wrong) : null;
  return {
    passed: wrong.length === 0,
    figures: {
      seed: SEED,
      'packets through the reference decoder': all.length,
      'packets through tshark': judged?.decoded ?? 0,
      tshark: judged?.version ?? 'not asked',
      complaints: wrong.length === 0 ? 'none' : `${wrong.length}: ${wrong.slice(0, 5).join(' | ')}`,
    },
  };
}

export const decoders: Line = {
  name: 'decoders',
  claim:
    'Independent decoders on the output (tshark on 10,000 packets, a reference decoder on all): outer IP, UDP and GUE lengths and checksums correct; inner bytes equal the input outside TTL and completed checksum.',
  twin: 'test/full/decoders.test.ts',
  run: (scale) => decode(scale, true),
};
