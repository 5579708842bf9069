// Packets followed from TUN to each of their segments on the wire: what `gue-director trace` says left against a capture of the director's interface, byte for byte; and the same as a
// capture of its own, opened by tshark.

import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import type { TracedPacket } from '../../src/trace/told.ts';
import { lengthsOf } from '../../src/trace/words.ts';
import { has } from '../needs.ts';
import type { Line, Outcome, Scale } from './line.ts';
import { type Traced, TraceStage } from './trace-stage.ts';

/** What a ring holds whole: of more at once a trace leaves packets out, and says so. */
const BYTES = 200_000;
const UPLOADS: Readonly<Record<Scale, number>> = { full: 20, scaled: 1 };
/** Super-packets leave whole, and the kernel cuts them: what is told of these is the lengths. It needs Linux 6.17. */
const WHOLE = 'tap-offload';
const EGRESSES: Readonly<Record<Scale, readonly (readonly [string, string | undefined])[]>> = {
  full: [
    ['auto', undefined],
    ['raw', '{ driver: raw }'],
    ['udp', '{ driver: udp }'],
    [WHOLE, '{ driver: tap-offload, device: gdo0 }'],
  ],
  scaled: [['auto', undefined]],
};

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

/**
 * The kernel numbers the packets that it cuts out of a train of IPv4 (net/ipv4/af_inet.c inet_gso_segment): of outer headers that it writes itself, identification and header
 * checksum are not known beforehand.
 */
function withoutNumbers(packet: string): string {
  if (packet[0] !== '4') return packet;
  return `${packet.slice(0, 8)}0000${packet.slice(12, 20)}0000${packet.slice(24)}`;
}

/** What is said to have left and what did, as sorted lists. */
function compare(
  { packets, wire }: Traced,
  isRaw: boolean,
): { said: number; seen: number; differences: number; example: string } {
  const plain = isRaw ? (bytes: string) => bytes : withoutNumbers;
  const said = packets.flatMap(({ left }) => left.filter(({ by }) => by === 'egress').map(({ bytes }) => plain(bytes))).sort();
  const seen = wire.map((packet) => plain(hex(packet))).sort();
  const known = new Map<string, number>();
  for (const bytes of seen) known.set(bytes, (known.get(bytes) ?? 0) + 1);
  const missing = said.filter((bytes) => {
    const left = known.get(bytes) ?? 0;
    known.set(bytes, left - 1);
    return left <= 0;
  });
  const extra = [...known].filter(([, times]) => times > 0).map(([bytes]) => bytes);
  const example =
    missing.length + extra.length === 0
      ? ''
      : `said ${missing[0]?.slice(0, 160) ?? 'nothing'}, seen ${extra[0]?.slice(0, 160) ?? 'nothing'}`;
  return { said: said.length, seen: seen.length, differences: missing.length + extra.length, example };
}

/** Of packets that left whole the lengths that the kernel cuts them into; of the others every byte. */
function compareLengths({ packets, wire }: Traced): { said: number; seen: number; differences: number; example: string } {
  const sorted = (lengths: number[]) => lengths.sort((a, b) => a - b);
  const said = sorted(packets.flatMap(({ left }) => left.flatMap(lengthsOf)));
  const seen = sorted(wire.map(({ length }) => length));
  const known = new Set(wire.map(hex));
  const singles = packets.flatMap(({ left }) => left.filter(({ cutInto }) => cutInto === undefined));
  const unknown = singles.filter(({ bytes }) => !known.has(bytes));
  const wrong = said.findIndex((length, k) => length !== seen[k]);
  const differences = unknown.length + Math.abs(said.length - seen.length) + (wrong < 0 ? 0 : 1);
  return {
    said: said.length,
    seen: seen.length,
    differences,
    example: `said ${said[wrong]}, seen ${seen[wrong]}; ${unknown[0]?.bytes ?? ''}`,
  };
}

/** What a packet as it came has in its inner packets: the payload of all parts is its own, in order. */
function payloadDiffers(packet: TracedPacket): boolean {
  const inner = packet.left.map(({ bytes }) => innerPayload(Buffer.from(bytes, 'hex')));
  return Buffer.concat(inner).compare(payloadOf(Buffer.from(packet.bytes, 'hex'))) !== 0;
}

/** Behind outer IP, UDP and GUE. */
function innerPayload(packet: Buffer): Buffer {
  return payloadOf(packet.subarray((packet[0] >> 4 === 4 ? 20 : 40) + 12));
}

/** TCP payload of an IP packet without extension headers. */
function payloadOf(packet: Buffer): Buffer {
  const transport = packet[0] >> 4 === 4 ? (packet[0] & 15) * 4 : 40;
  return packet.subarray(transport + (packet[transport + 12] >> 4) * 4);
}

/** Opens the capture in tshark: interface and comment of each packet, and whether tshark could read it. */
function openedBy(file: string): { interface: string; comment: string; protocols: string; outer: string }[] {
  const fields = ['frame.interface_name', 'frame.comment', 'frame.protocols', 'ip.dst', 'ipv6.dst'].flatMap((field) => [
    '-e',
    field,
  ]);
  const { stdout, stderr, status } = spawnSync('tshark', ['-r', file, '-T', 'fields', '-E', 'separator=|', ...fields], {
    encoding: 'utf8',
  });
  if (status !== 0) throw new Error(`tshark ended with ${status}: ${stderr}`);
  return stdout
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const [name, comment, protocols, outer4, outer6] = line.split('|');
      return { interface: name, comment, protocols, outer: outer4 || outer6 };
    });
}

async function run(scale: Scale): Promise<Outcome> {
  const figures: Record<string, number | string> = {};
  const wrong: string[] = [];
  for (const [name, egress] of EGRESSES[scale]) {
    if (name === WHOLE && !has('tunnel-gso')) {
      figures[name] = 'not here: it needs Linux 6.17';
      continue;
    }
    const stage = await TraceStage.open(egress);
    try {
      const { lab } = stage;
      const families = scale === 'full' ? ([4, 6] as const) : ([name === 'auto' ? 6 : 4] as const);
      for (const family of families) {
        const client = family === 4 ? lab.client.address4 : lab.client.address6;
        const traced = await stage.traced(`src host ${client} and tcp dst port 80`, async () => {
          for (let upload = 0; upload < UPLOADS[scale]; upload++) await stage.transfer('upload', family, BYTES);
        });
        const { said, seen, differences, example } = name === WHOLE ? compareLengths(traced) : compare(traced, name === 'raw');
        const trains = traced.packets.filter(({ left }) => left.flatMap(lengthsOf).length > 1);
        const largest = trains.reduce((most, { left }) => Math.max(most, left.flatMap(lengthsOf).length), 0);
        figures[`${name}, IPv${family}: packets traced; of these cut; most packets that one left as`] =
          `${traced.packets.length}; ${trains.length}; ${largest}`;
        figures[`${name}, IPv${family}: packets said to have left; seen on the wire; differences`] =
          `${said}; ${seen}; ${differences}`;
        const { matched, told, overRate, noRoom } = traced.ended;
        if (differences > 0) wrong.push(`${name}, IPv${family}: ${example}`);
        if (trains.length === 0 || largest < 3) wrong.push(`${name}, IPv${family}: nothing was cut`);
        if (traced.packets.some(payloadDiffers))
          wrong.push(`${name}, IPv${family}: payload differs between the packet and its parts`);
        if (matched !== told || told !== traced.packets.length || overRate + noRoom > 0)
          wrong.push(`${name}: ${told} of ${matched} told, ${overRate} and ${noRoom} left out`);
        if (traced.packets.some(({ verdict, service }) => verdict !== 'forward' || service !== `web-${family}`))
          wrong.push(`${name}: another verdict or service`);
      }
      const family = families[0];
      const file = join(stage.folder, 'trace.pcapng');
      const trace = await stage.tracing(
        '--write',
        file,
        '--snap',
        '65535',
        '--rate',
        '10000',
        `service web-${family} and tcp and not net 10.200.0.0/16`,
      );
      await stage.transfer('upload', family, BYTES);
      await new Promise((done) => setTimeout(done, 150));
      trace.child.kill('SIGINT');
      if ((await trace.ended) !== 0) wrong.push(`${name}: the trace ended with an error: ${trace.words}`);
      const opened = openedBy(file);
      const before = opened.filter((packet) => packet.interface === 'before');
      const after = opened.filter((packet) => packet.interface === 'after');
      figures[`${name}: tshark reads packets before; after; without comment`] =
        `${before.length}; ${after.length}; ${opened.filter(({ comment }) => comment === '').length}`;
      if (before.length === 0 || (name !== WHOLE && after.length <= before.length) || after.length < before.length)
        wrong.push(`${name}: ${before.length} packets before, ${after.length} after`);
      if (before.some(({ comment }) => !/^#\d+ forward: web-\d → web-\d\/worker-\d .*; \d+ packets? left: /.test(comment)))
        wrong.push(`${name}: ${before[0]?.comment}`);
      if (after.some(({ comment }) => !/^#\d+, \d+ of \d+: to web-\d\/worker-\d /.test(comment)))
        wrong.push(`${name}: ${after[0]?.comment}`);
      // The filter was about the client's packet; what left has other addresses.
      if (after.some(({ protocols, outer }) => !protocols.includes('udp') || outer === lab.vip4))
        wrong.push(`${name}: ${after[0]?.protocols}`);
    } finally {
      await stage.close();
    }
  }
  return { passed: wrong.length === 0, figures: { ...figures, complaints: wrong.slice(0, 4).join(' | ') || 'none' } };
}

export const traceLine: Line = {
  name: 'trace',
  claim:
    "Every packet of an upload is followed from TUN to each of its segments on the wire, byte for byte as a capture there has it (but what the kernel cuts itself: there without the numbers that it gives IPv4 packets, and with tap-offload by lengths), by a filter on the client's packet; its own capture (pcapng, interfaces before and after) opens in tshark, each packet with its comment.",
  twin: 'test/full/trace.test.ts',
  run,
};
