// The real director in front of every cell at once, with a configuration as anybody would write it, and real traffic through it.

import { rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { contentHash } from '../../src/demo/content.ts';
import { Capture } from '../../src/demo/lab/capture.ts';
import type { Lab } from '../../src/demo/lab/topology.ts';
import type { TransferResult } from '../../src/demo/transfer.ts';
import { ip } from '../builder/addresses.ts';
import { readPackets } from '../daemon/running-director.ts';
import { decodeTunnel, type Tunnel } from '../reference/tunnel.ts';
import { built, RunningDirector, runIn } from '../uml/director.ts';
import { CELLS, type Cell, ECHO_PORT, FOU_PORT, GUE_PORT, nameOf, WEB_PORT } from './cells.ts';

/** Uploads side by side. */
const TOGETHER = 8;
/** Datagrams of each cell: small enough for the capture, and one that fills a packet of 1,500 bytes over IPv6. */
const UDP_SIZES = [1, 100, 333, 1452];
/**
 * Longest captured frame. What leaves in trains is longer, and in a capture at the sender not yet cut; a short one may lack its outer checksum there,
 * which the kernel leaves to the device: such packets read as none.
 */
const CAPTURED = 700;

export function configuration(lab: Lab, endpointOf: (cell: Cell) => string, more: readonly string[] = []): string {
  const pools = new Map(CELLS.map((cell) => [cell.pool, cell]));
  return [
    'services:',
    ...CELLS.flatMap((cell) => [
      `  - { name: web-${cell.pool}-${cell.inner}, address: "${cell.vip}", protocol: tcp, port: ${WEB_PORT}, pool: ${cell.pool} }`,
      `  - { name: echo-${cell.pool}-${cell.inner}, address: "${cell.vip}", protocol: udp, port: ${ECHO_PORT}, pool: ${cell.pool} }`,
    ]),
    'pools:',
    ...[...pools].map(([name, cell]) => {
      const ports = cell.kind === 'fou' ? `, port: ${FOU_PORT[4]}, port-ipv6: ${FOU_PORT[6]}` : '';
      return `  ${name}: { table-size: 251, tunnel: { encapsulation: ${cell.kind}, checksum: ${cell.checksum}${ports} }, backends: [{ name: kernel, address: "${endpointOf(cell)}" }] }`;
    }),
    `tunnel: { port: ${GUE_PORT}, source: { ipv4: "${lab.director.address4}", ipv6: "${lab.director.address6}" } }`,
    'ingress: { driver: tun, device: gd0 }',
    'flows: { entries: 65536 }',
    'log: { format: text }',
    ...more,
    '',
  ].join('\n');
}

/** What is wrong with each cell, by its name; an empty list when nothing is. */
export type Findings = Map<string, string[]>;

export interface DirectorRun {
  readonly findings: Findings;
  /** Super-packets that the director cut, by its own count. */
  readonly superPackets: number;
  /** Packets of the capture that the reference twin read. */
  readonly read: number;
  readonly exitCode: number | null;
  readonly drops: string;
}

/** Uploads of `bytes` and datagrams through every cell. */
export async function throughDirector(lab: Lab, endpointOf: (cell: Cell) => string, bytes: number): Promise<DirectorRun> {
  const director = await RunningDirector.start(lab.director, configuration(lab, endpointOf));
  const file = join(tmpdir(), `gue-director-interop-${process.pid}.pcap`);
  const findings: Findings = new Map(CELLS.map((cell) => [nameOf(cell), []]));
  const complain = (cell: Cell, sentence: string) => findings.get(nameOf(cell))!.push(sentence);
  let exitCode: number | null = null;
  let metrics = '';
  const capture = await Capture.start(
    lab.director,
    'eth0',
    file,
    `less ${CAPTURED} and (src ${lab.director.address4} or src ${lab.director.address6})`,
  );
  try {
    await echoed(lab, complain);
    await uploaded(lab, bytes, complain);
    metrics = await director.metrics();
  } finally {
    await capture.stop();
    exitCode = await director.stop();
  }
  const packets = readPackets(file);
  rmSync(file);
  const read = readBack(packets, endpointOf, complain);
  const counter = (name: string) => Number(new RegExp(`^gue_director_${name} (\\d+)`, 'm').exec(metrics)?.[1] ?? Number.NaN);
  // The kernel of the director's namespace asks for routers on the TUN device: nothing of a client's.
  const drops = [...metrics.matchAll(/^gue_director_dropped_packets_total\{reason="(?!not-a-service")([^"]+)"\} ([1-9]\d*)/gm)];
  return {
    findings,
    superPackets: counter('segmented_packets_total'),
    read,
    exitCode,
    drops: drops.map(([, reason, count]) => `${reason} ${count}`).join(', ') || 'none',
  };
}

type Complain = (cell: Cell, sentence: string) => void;

async function echoed(lab: Lab, complain: Complain): Promise<void> {
  const client = resolve(import.meta.dirname, 'udp-client.mjs');
  const orders = CELLS.map((cell) => [cell.vip, UDP_SIZES]);
  const right = JSON.parse(
    await runIn(lab.client, process.execPath, [client, 'ask', `${ECHO_PORT}`], JSON.stringify(orders)),
  ) as number[];
  CELLS.forEach((cell, k) => {
    if (right[k] !== UDP_SIZES.length) complain(cell, `UDP: ${right[k]} of ${UDP_SIZES.length} datagrams came back`);
  });
}

async function uploaded(lab: Lab, bytes: number, complain: Complain): Promise<void> {
  const hash = contentHash(bytes);
  const lines: string[] = [];
  for (let k = 0; k < CELLS.length; k += TOGETHER) {
    const orders = CELLS.slice(k, k + TOGETHER).map((cell) => ({ kind: 'upload', address: cell.vip, port: WEB_PORT, bytes }));
    lines.push(JSON.stringify(orders));
  }
  const output = await runIn(
    lab.client,
    process.execPath,
    [resolve(import.meta.dirname, 'uploads.mjs'), built('demo/transfer')],
    lines.join('\n'),
  );
  const results = JSON.parse(output) as TransferResult[];
  CELLS.forEach((cell, k) => {
    const { error, sha256 } = results[k];
    if (error !== '' || sha256 !== hash) complain(cell, `TCP: ${error || 'wrong content'}`);
  });
}

/** Each captured packet as the reference twin reads it: of its cell's kind, right in every byte, with the checksum that the cell says. */
function readBack(packets: readonly Uint8Array[], endpointOf: (cell: Cell) => string, complain: Complain): number {
  let read = 0;
  const seen = new Map<Cell, Tunnel[]>();
  for (const packet of packets) {
    for (const cell of CELLS) {
      const tunnel = asOf(packet, cell, endpointOf(cell));
      if (tunnel === null) continue;
      read++;
      seen.set(cell, [...(seen.get(cell) ?? []), tunnel]);
    }
  }
  for (const cell of CELLS) {
    const tunnels = seen.get(cell) ?? [];
    if (tunnels.length < UDP_SIZES.filter((size) => size < CAPTURED / 2).length)
      complain(cell, `${tunnels.length} of its packets read as ${cell.kind} in the capture`);
    if (tunnels.some((tunnel) => tunnel.hasChecksum !== (cell.checksum !== 'none')))
      complain(cell, 'a packet with another checksum mode');
    const remote = tunnels.filter((tunnel) => tunnel.remoteChecksum !== null).length;
    // The client's stack leaves every checksum to its device, so each single packet comes with a partial one.
    if (cell.checksum === 'remcsum' && remote === 0) complain(cell, 'no packet with a remote checksum');
  }
  return read;
}

/** The packet read as one of the cell's; null when it belongs to another, or to none. */
function asOf(packet: Uint8Array, cell: Cell, endpoint: string): Tunnel | null {
  let tunnel: Tunnel;
  try {
    tunnel = decodeTunnel(packet, { kind: cell.kind, remoteChecksum: cell.checksum === 'remcsum' });
  } catch {
    return null;
  }
  const inner = tunnel.inner;
  const destination = tunnel.innerFamily === 4 ? inner.subarray(16, 20) : inner.subarray(24, 40);
  const isIts = tunnel.outerFamily === cell.outer && tunnel.innerFamily === cell.inner && equal(destination, ip(cell.vip));
  return isIts && equal(tunnel.destination, ip(endpoint)) ? tunnel : null;
}

function equal(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}
