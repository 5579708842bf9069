// A million flows at once in the real daemon, and what the whole process holds then. The packets come from a capture file as fast as they are read: one of each flow, then
// another one of each, so that every entry is confirmed. One pool of a hundred backends.

import { closeSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { framesOf } from '../../bench/scale-spec.ts';
import { Lab } from '../../src/demo/lab/topology.ts';
import { RunningDirector } from '../uml/director.ts';
import { footprint } from './footprint.ts';
import type { Line, Outcome, Scale } from './line.ts';

interface Size {
  readonly flows: number;
  readonly entries: number;
  /** MiB that the process may hold when all flows are there. */
  readonly most: number;
  /** Milliseconds after the last packet, in which the director gives back what its start took. */
  readonly rest: number;
}

const SIZES: Readonly<Record<Scale, Size>> = {
  full: { flows: 1_000_000, entries: 2 ** 22, most: 200, rest: 10_000 },
  // A twentieth of the flows, of the table too; the process itself is the same, so it may hold as much.
  scaled: { flows: 50_000, entries: 2 ** 18, most: 200, rest: 200 },
};
const PATIENCE_S = 60;
const MIB = 1024 * 1024;
/** pcap: raw IP. */
const LINKTYPE_RAW = 101;
const CHUNK = 4096;

/** Two packets of each flow, the second ones behind all first ones; as pcap, little-endian, microseconds. */
function writeCapture(path: string, flows: number): void {
  const file = openSync(path, 'w');
  try {
    const head = Buffer.alloc(24);
    head.writeUInt32LE(0xa1b2c3d4, 0);
    head.writeUInt16LE(2, 4);
    head.writeUInt16LE(4, 6);
    head.writeUInt32LE(65_535, 16);
    head.writeUInt32LE(LINKTYPE_RAW, 20);
    writeSync(file, head);
    for (let round = 0; round < 2; round++) {
      for (let from = 0; from < flows; from += CHUNK) {
        const frames = framesOf(1, Math.min(CHUNK, flows - from), from);
        const records = frames.flatMap((frame) => {
          const record = Buffer.alloc(16);
          record.writeUInt32LE(1_700_000_000 + round, 0);
          record.writeUInt32LE(frame.length, 8);
          record.writeUInt32LE(frame.length, 12);
          return [record, withSum(frame)];
        });
        writeSync(file, Buffer.concat(records));
      }
    }
  } finally {
    closeSync(file);
  }
}

/** With the header checksum that a file's packets must have. */
function withSum(frame: Uint8Array): Uint8Array {
  const view = new DataView(frame.buffer);
  let sum = 0;
  for (let at = 0; at < 20; at += 2) sum += view.getUint16(at);
  sum = (sum & 0xffff) + (sum >>> 16);
  view.setUint16(10, ~((sum & 0xffff) + (sum >>> 16)) & 0xffff);
  return frame;
}

function configuration(source: string, folder: string, entries: number): string {
  const workers = Array.from({ length: 100 }, (_, n) => `{ name: w${n}, address: 10.99.0.${n + 1} }`);
  return [
    'services: [{ name: web, address: 192.0.0.0, protocol: tcp, port: 443, pool: web }]',
    `pools: { web: { table-size: 65537, backends: [${workers.join(', ')}] } }`,
    `tunnel: { source: { ipv4: ${source} } }`,
    `ingress: { driver: pcap-file, path: ${join(folder, 'in.pcap')} }`,
    'egress: { driver: pcap-file, path: /dev/null }',
    `flows: { entries: ${entries}, file: ${join(folder, 'flows')} }`,
    'log: { format: json }',
    '',
  ].join('\n');
}

const sleep = (ms: number) => new Promise((done) => setTimeout(done, ms));

async function run(scale: Scale): Promise<Outcome> {
  const { flows, entries, most, rest } = SIZES[scale];
  const folder = mkdtempSync(join(tmpdir(), 'gue-director-flows-'));
  const lab = Lab.create({ workers: 0 });
  let director: RunningDirector | null = null;
  try {
    writeCapture(join(folder, 'in.pcap'), flows);
    const started = performance.now();
    director = await RunningDirector.start(lab.director, configuration(lab.director.address4, folder, entries));
    const resident: number[] = [];
    while (!director.log.includes('ingress-exhausted')) {
      if (performance.now() - started > PATIENCE_S * 1000)
        throw new Error(`not all packets were read: ${director.log.slice(-500)}`);
      resident.push(footprint(director.pid).resident);
      await sleep(100);
    }
    const took = (performance.now() - started) / 1000;
    await sleep(rest);
    const last = footprint(director.pid);
    const text = await director.metrics();
    const metric = (name: string) => Number(new RegExp(`^gue_director_${name} (\\S+)$`, 'm').exec(text)?.[1] ?? Number.NaN);
    const inserted = metric('flow_table_inserts_total');
    const lost = metric('flow_table_evictions_total') + metric('flow_table_refused_total');
    const forwarded = metric('forwarded_packets_total');
    // Four places for each flow: hardly a bucket has more than four.
    const passed = last.resident <= most && forwarded === 2 * flows && inserted >= flows && lost <= flows * 0.02;
    return {
      passed,
      figures: {
        flows,
        'packets forwarded': forwarded,
        'flow entries made; gave way, or were refused for lack of room': `${inserted}; ${lost}`,
        'both packets of all flows, s': took.toFixed(1),
        'flow table, MiB': (entries * 16) / MIB,
        'resident with all flows, MiB': `${last.resident.toFixed(1)} (at most ${most})`,
        'of it no file’s': last.anonymous.toFixed(1),
        'most while packets came, MiB': Math.max(0, ...resident).toFixed(1),
      },
    };
  } finally {
    await director?.stop();
    lab.close();
    rmSync(folder, { recursive: true, force: true });
  }
}

export const scaleFlows: Line = {
  name: 'scale-flows',
  claim: 'With 1,000,000 flows at once (one pool) the whole process holds at most 200 MiB.',
  twin: 'test/full/scale-flows.test.ts',
  run,
};
