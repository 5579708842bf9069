// A real Linux kernel as worker: User-Mode Linux unwraps what the real daemon sends, and real HTTP goes both ways.

import { rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { contentHash } from '../../src/demo/content.ts';
import { Capture } from '../../src/demo/lab/capture.ts';
import { Lab } from '../../src/demo/lab/topology.ts';
import type { TransferResult } from '../../src/demo/transfer.ts';
import { built, RunningDirector, runIn } from '../uml/director.ts';
import { Guest } from '../uml/guest.ts';
import type { Line, Outcome, Scale } from './line.ts';

const BYTES: Readonly<Record<Scale, number>> = { full: 16_000_000, scaled: 1_000_000 };
const INGRESS = { tun: '{ driver: tun, device: gd0 }', packet: '{ driver: packet, interface: eth0 }' } as const;
const EGRESS = { raw: '{ driver: raw }', udp: '{ driver: udp }' } as const;

/** Port 80 goes through IPv4 tunnels, port 8080 through IPv6 tunnels: with both VIPs, all four mixes of families. */
function configuration(lab: Lab, guest: Guest, ingress: keyof typeof INGRESS, egress: keyof typeof EGRESS): string {
  const service = (family: 4 | 6, outer: 4 | 6) =>
    `  - { name: web-${family}-over-${outer}, address: "${family === 4 ? lab.vip4 : lab.vip6}", protocol: tcp, port: ${outer === 4 ? 80 : 8080}, pool: over-${outer} }`;
  return [
    'services:',
    ...[service(4, 4), service(6, 4), service(4, 6), service(6, 6)],
    'pools:',
    `  over-4: { backends: [{ name: uml, address: "${guest.address4}" }] }`,
    `  over-6: { backends: [{ name: uml, address: "${guest.address6}" }] }`,
    `tunnel: { port: 6080, source: { ipv4: "${lab.director.address4}", ipv6: "${lab.director.address6}" } }`,
    `ingress: ${INGRESS[ingress]}`,
    `egress: ${EGRESS[egress]}`,
    'flows: { entries: 65536 }',
    'log: { format: text }',
    '',
  ].join('\n');
}

/** RST, unreachable, redirect and their like, in both families: what a copying driver's originals must never cause. */
const COMPLAINTS =
  'icmp or (tcp[13] & 4 != 0) or (ip6 proto 58 and (ip6[40] < 128 or ip6[40] == 137)) or (ip6 proto 6 and ip6[53] & 4 != 0)';

interface Run {
  readonly label: string;
  readonly results: readonly (TransferResult & { port: number })[];
  /** What tcpdump printed; empty when the capture held nothing. */
  readonly captured: string;
  readonly exitCode: number | null;
  readonly log: string;
}

async function oneRun(
  lab: Lab,
  guest: Guest,
  ingress: keyof typeof INGRESS,
  egress: keyof typeof EGRESS,
  bytes: number,
): Promise<Run> {
  const director = await RunningDirector.start(lab.director, configuration(lab, guest, ingress, egress));
  const file = join(tmpdir(), `gue-director-interop-${process.pid}.pcap`);
  const capture = await Capture.start(lab.client, 'eth0', file, COMPLAINTS);
  const results: (TransferResult & { port: number })[] = [];
  let exitCode: number | null = null;
  try {
    for (const address of [lab.vip4, lab.vip6]) {
      for (const port of [80, 8080]) {
        const orders = (['download', 'upload'] as const).map((kind) => ({ kind, address, port, bytes }));
        const output = await runIn(lab.client, process.execPath, [built('demo/web-client')], `${JSON.stringify(orders)}\n`);
        for (const line of output.trim().split('\n')) results.push({ ...(JSON.parse(line) as TransferResult), port });
      }
    }
  } finally {
    await capture.stop();
    exitCode = await director.stop();
  }
  // A capture file without packets is its 24-byte header.
  const captured = statSync(file).size > 24 ? lab.client.run('tcpdump', ['-nn', '-r', file]) : '';
  rmSync(file);
  return { label: `${ingress} → ${egress}`, results, captured, exitCode, log: director.log };
}

async function run(scale: Scale): Promise<Outcome> {
  const bytes = BYTES[scale];
  const hash = contentHash(bytes);
  const lab = Lab.create({ workers: 0 });
  const figures: Record<string, number | string> = { 'bytes each way': bytes };
  let passed = true;
  let guest: Guest | undefined;
  try {
    // This director does not take super-packets: nobody may make any on the way to `packet` (TUN is segmented by the kernel).
    for (const [namespace, link] of [
      [lab.client, 'eth0'],
      [lab.router, 'out0'],
      [lab.router, 'director'],
      [lab.director, 'eth0'],
    ] as const) {
      namespace.run('ethtool', ['-K', link, 'tso', 'off', 'gso', 'off', 'gro', 'off']);
    }
    guest = await Guest.boot(lab, { vips: [lab.vip4, lab.vip6], webPorts: [80, 8080] });
    for (const ingress of ['tun', 'packet'] as const) {
      for (const egress of ['raw', 'udp'] as const) {
        const { label, results, captured, exitCode, log } = await oneRun(lab, guest, ingress, egress, bytes);
        const bad = results.filter((result) => result.error !== '' || result.sha256 !== hash || result.bytes !== bytes);
        const slowest = Math.max(...results.map((result) => result.milliseconds));
        const complaints = [
          ...bad.map((one) => `${one.kind} IPv${one.family} port ${one.port}: ${one.error || 'wrong content'}`),
          ...(results.length === 8 ? [] : [`${results.length} of 8 transfers reported`]),
          ...(captured === '' ? [] : [`the client saw ${captured.split('\n').slice(0, 5).join('; ')}`]),
          ...(exitCode === 0 ? [] : [`the director ended with ${exitCode}: ${log}`]),
        ];
        figures[label] =
          complaints.length === 0
            ? `8 transfers (down and up, IPv4 and IPv6 in IPv4 and IPv6) with the right SHA-256; slowest ${slowest} ms; no RST, redirect or unreachable at the client`
            : complaints.join('; ');
        if (complaints.length > 0) passed = false;
      }
    }
    const release = /^uml-kernel (.*?)\r?$/m.exec(guest.console)?.[1];
    figures['worker kernel'] = release ?? 'User-Mode Linux';
  } finally {
    await guest?.stop();
    lab.close();
  }
  return { passed, figures };
}

export const umlInterop: Line = {
  name: 'uml-interop',
  claim:
    'A real Linux kernel as worker (User-Mode Linux, ip fou … gue): HTTP transfers of ≥ 10 MB each way complete, inner IPv4 and IPv6, ingress tun and packet, egress raw and udp; a capture at the client holds no RST, redirect or unreachable.',
  twin: 'test/full/uml-interop.test.ts',
  run,
};
