// A real QUIC stack (ngtcp2 of Debian, client and server) through the daemon: clients that change address and port, by a NAT that forgets and by
// migrating themselves, with and without routing by connection id.

import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Lab } from '../../src/demo/lab/topology.ts';
import { buildTable, hashTuple4, hashTuple6, slotOf } from '../../src/maglev-hash/index.ts';
import { ip } from '../builder/addresses.ts';
import { built, RunningDirector } from '../uml/director.ts';
import type { Line, Outcome, Scale } from './line.ts';
import { Program } from './program.ts';

const PORT = 4433;
const TABLE_SIZE = 1009;
const WORKERS = 3;
const FOLDER = join(import.meta.dirname, '../quic');
/** Addresses that a client of each family moves between. */
const PLACES = 6;
/** Packets of the client from one place. */
const PACKETS = 16;
/**
 * Packets and moves of the NAT for a client that migrates by itself, whose new port it gives a new place: moved in the middle of that, one in
 * twenty ends with ngtcp2's server having more of the client's connection ids than it allows (CONNECTION_ID_LIMIT), whoever is between them.
 */
const OWN_PACE = ['1', '0'];
const FILE_BYTES = 200_000;
const SIZES: Readonly<Record<Scale, { connections: number; files: number; moves: number; together: number }>> = {
  full: { connections: 40, files: 30, moves: 8, together: 4 },
  scaled: { connections: 4, files: 12, moves: 4, together: 2 },
};

/** Moves that must have gone where the table alone would have chosen another worker. */
const LEAST_ELSEWHERE: Readonly<Record<Scale, number>> = { full: 60, scaled: 1 };

interface Scheme {
  readonly label: string;
  /** YAML of the service's `quic`; empty for none. */
  readonly yaml: string;
  /** Server id of worker 1, 2, 3. */
  readonly serverIds: readonly number[];
  /** First bytes of that worker's connection ids, and which of their bits are fixed. */
  id(serverId: number): { id: string; mask: string };
}

const hex = (value: number, bytes: number) => value.toString(16).padStart(bytes * 2, '0');

/** Config rotation 2, two bytes. */
const LB: Scheme = {
  label: 'quic-lb',
  yaml: 'quic: { scheme: quic-lb, server-id-length: 2, config-rotation: 2 }, ',
  serverIds: [0x0101, 0x0a0b, 0xfffe],
  id: (serverId) => ({ id: hex(0x400000 | serverId, 3), mask: 'e0ffff' }),
};
/** Its first version: 01, then 16 bits. */
const KATRAN: Scheme = {
  label: 'katran',
  yaml: 'quic: { scheme: katran }, ',
  serverIds: [1022, 1024, 65535],
  id: (serverId) => ({ id: hex(((0x10000 | serverId) << 6) & 0xffffff, 3), mask: 'ffffc0' }),
};
const CONTROL: Scheme = { ...LB, label: 'control, without quic', yaml: '' };

interface Told {
  /** Connections all of whose requests were answered whole. */
  readonly whole: number;
  /** Answers that did not come whole. */
  readonly missing: number;
  /** Connections whose answers came from more than one worker. */
  readonly mixed: number;
  /** Places (address and port) that clients had, and those of them whose 5-tuple the table gives to another worker than the first one's. */
  readonly places: number;
  readonly elsewhere: number;
  readonly workers: number;
  readonly routed: number;
  readonly unknown: number;
  readonly complaints: readonly string[];
}

/** What a worker serves: its name, again and again. */
function content(worker: string): string {
  return `${worker}\n`.repeat(Math.ceil(FILE_BYTES / (worker.length + 1)));
}

function configuration(lab: Lab, scheme: Scheme): string {
  const backends = (address: (k: number) => string) =>
    lab.workers.map((w, k) => `{ name: ${w.role}, address: "${address(k)}", server-id: ${scheme.serverIds[k]} }`).join(', ');
  const service = (family: 4 | 6, address: string) =>
    `  - { name: quic-${family}, address: "${address}", protocol: udp, port: ${PORT}, ${scheme.yaml}pool: pool-${family} }`;
  return [
    'services:',
    service(4, lab.vip4),
    service(6, lab.vip6),
    'pools:',
    `  pool-4: { table-size: ${TABLE_SIZE}, backends: [${backends((k) => lab.workers[k].address4)}] }`,
    `  pool-6: { table-size: ${TABLE_SIZE}, backends: [${backends((k) => lab.workers[k].address6)}] }`,
    `tunnel: { port: 6080, source: { ipv4: "${lab.director.address4}", ipv6: "${lab.director.address6}" } }`,
    'flows: { entries: 65536 }',
    'log: { format: text }',
    '',
  ].join('\n');
}

/** The worker that the table gives the 5-tuple of a place. */
function byTuple(lab: Lab): (address: string, port: number) => number {
  const tables = ([4, 6] as const).map((family) => {
    const own = lab.workers.map((w) => ip(family === 4 ? w.address4 : w.address6));
    return buildTable(
      own.map((identity) => ({ identity, weight: 1 })),
      TABLE_SIZE,
      0,
    );
  });
  return (address, port) => {
    const is6 = address.includes(':');
    const view = new DataView(new ArrayBuffer(32));
    const bytes = new Uint8Array(view.buffer);
    bytes.set(ip(address));
    bytes.set(ip(is6 ? lab.vip6 : lab.vip4), 16);
    const ports = (port << 16) | PORT;
    const hash = is6 ? hashTuple6(view, 0, 16, ports, 17) : hashTuple4(view.getInt32(0), view.getInt32(16), ports, 17);
    return tables[is6 ? 1 : 0][slotOf(hash, 0, TABLE_SIZE)];
  };
}

/** Everything that the lines of one scheme need, made once. */
function prepare(folder: string): void {
  execFileSync('cc', ['-shared', '-fPIC', '-o', join(folder, 'server-id.so'), join(FOLDER, 'server-id.c')]);
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-keyout', join(folder, 'key.pem')];
  const certificate = ['-subj', '/CN=gue-director', '-days', '2', '-nodes', '-out', join(folder, 'certificate.pem')];
  execFileSync('openssl', ['req', '-x509', ...key, ...certificate], { stdio: 'pipe' });
}

function startServer(lab: Lab, k: number, scheme: Scheme, folder: string, files: number): Promise<Program>[] {
  const worker = lab.workers[k];
  const root = join(folder, worker.role);
  mkdirSync(root, { recursive: true });
  for (let f = 0; f < files; f++) writeFileSync(join(root, `file-${f}`), content(worker.role));
  const { id, mask } = scheme.id(scheme.serverIds[k]);
  const environment = [`QUIC_ID=${id}`, `QUIC_ID_MASK=${mask}`, `LD_PRELOAD=${join(folder, 'server-id.so')}`];
  const tls = [join(folder, 'key.pem'), join(folder, 'certificate.pem')];
  return [lab.vip4, lab.vip6].map((address) =>
    Program.start(worker, 'env', [...environment, 'gtlsserver', '-d', root, '-q', address, String(PORT), ...tls], ''),
  );
}

/** One connection behind its own NAT; what it was answered, and where it was. */
async function connect(lab: Lab, c: number, scale: Scale, folder: string, patience: string) {
  const { files, moves } = SIZES[scale];
  const is6 = c % 2 === 1;
  // Every second client of each family migrates by itself instead, to a connection id that it was given for that.
  const migrates = c % 4 >= 2;
  const listen = 20_000 + c;
  const places = Array.from({ length: PLACES }, (_, k) => (is6 ? `fd80::${10 + k}` : `10.80.0.${10 + k}`));
  const first = places.splice(0, c % PLACES);
  const nat = await Program.start(
    lab.client,
    'python3',
    [
      join(FOLDER, 'nat.py'),
      String(listen),
      is6 ? lab.vip6 : lab.vip4,
      String(PORT),
      ...(migrates ? OWN_PACE : [String(PACKETS), String(moves)]),
      ...places,
      ...first,
    ],
    'ready',
  );
  const got = join(folder, `got-${c}`);
  mkdirSync(got);
  try {
    const addresses = Array.from({ length: files }, (_, f) => `https://127.0.0.1:${listen}/file-${f}`);
    const own = migrates ? ['--change-local-addr=100ms'] : [];
    const options = ['-q', '--exit-on-all-streams-close', `--timeout=${patience}`, `--download=${got}`, ...own];
    const client = await Program.start(lab.client, 'gtlsclient', [...options, '127.0.0.1', String(listen), ...addresses], '');
    const code = await client.end(120);
    const answers = Array.from({ length: files }, (_, f) => join(got, `file-${f}`)).map((file) =>
      existsSync(file) ? readFileSync(file, 'utf8') : '',
    );
    const seen = [...nat.words.matchAll(/^place (\S+) (\d+)$/gm)].map(([, address, port]) => ({ address, port: Number(port) }));
    return { answers, seen, code, words: client.words };
  } finally {
    await nat.stop();
  }
}

/** All connections of one scheme through a lab of their own. */
async function course(scheme: Scheme, scale: Scale, patience: string): Promise<Told> {
  const { connections, files, together } = SIZES[scale];
  const folder = mkdtempSync(join(tmpdir(), 'gue-director-quic-'));
  const lab = Lab.create({ workers: WORKERS });
  const programs: Program[] = [];
  try {
    prepare(folder);
    for (let k = 0; k < PLACES; k++)
      lab.client.ip(`addr add 10.80.0.${10 + k}/24 dev eth0`, `addr add fd80::${10 + k}/64 dev eth0 nodad`);
    for (const [k, worker] of lab.workers.entries()) {
      programs.push(await Program.start(worker, process.execPath, [built('cli/main'), 'worker'], 'ready'));
      programs.push(...(await Promise.all(startServer(lab, k, scheme, folder, files))));
    }
    const director = await RunningDirector.start(lab.director, configuration(lab, scheme));
    try {
      const workerOf = byTuple(lab);
      const told = { whole: 0, missing: 0, mixed: 0, places: 0, elsewhere: 0 };
      const complaints: string[] = [];
      const names = new Set<string>();
      for (let from = 0; from < connections; from += together) {
        const batch = Array.from({ length: Math.min(together, connections - from) }, (_, k) =>
          connect(lab, from + k, scale, folder, patience),
        );
        for (const [k, { answers, seen, code, words }] of (await Promise.all(batch)).entries()) {
          const whole = answers.filter((answer) => lab.workers.some(({ role }) => answer === content(role)));
          const from = new Set(answers.map((answer) => answer.split('\n', 1)[0]).filter((name) => name !== ''));
          for (const name of from) names.add(name);
          if (whole.length === files) told.whole++;
          else complaints.push(`connection ${k}: ${whole.length} of ${files} answers, exit ${code}, ${words.slice(-200)}`);
          told.missing += files - whole.length;
          if (from.size > 1) told.mixed++;
          told.places += seen.length;
          const [home, ...others] = seen.map(({ address, port }) => workerOf(address, port));
          told.elsewhere += others.filter((worker) => worker !== home).length;
        }
      }
      const counters = await director.metrics();
      const counter = (name: string) => Number(new RegExp(`^gue_director_${name} (\\d+)$`, 'm').exec(counters)?.[1]);
      const routed = counter('quic_routed_packets_total');
      const unknown = counter('quic_unknown_server_packets_total');
      return { ...told, workers: names.size, routed, unknown, complaints };
    } finally {
      await director.stop();
    }
  } finally {
    await Promise.all(programs.map((program) => program.stop()));
    lab.close();
    rmSync(folder, { recursive: true, force: true });
  }
}

function figure(told: Told, connections: number): string {
  return (
    `${told.whole} of ${connections} connections whole, ${told.missing} answers missing, ${told.mixed} connections answered by several workers, ` +
    `${told.workers} workers in use; ${told.places} places, of which the table alone would give ${told.elsewhere} to another worker; ` +
    `${told.routed} packets routed by id, ${told.unknown} of unknown ids`
  );
}

async function run(scale: Scale): Promise<Outcome> {
  const { connections, files, moves } = SIZES[scale];
  const figures: Record<string, number | string> = {
    connections: `${connections}, each with ${files} requests of ${FILE_BYTES} bytes and up to ${moves} moves by a NAT; every second client migrates by itself instead`,
  };
  let passed = true;
  const complaints: string[] = [];
  for (const scheme of scale === 'full' ? [LB, KATRAN] : [LB]) {
    const told = await course(scheme, scale, '30s');
    figures[scheme.label] = figure(told, connections);
    complaints.push(...told.complaints);
    // A third of the moves leave a connection where it was by the table, too; without any others nothing would be shown.
    passed &&=
      told.whole === connections &&
      told.mixed === 0 &&
      told.elsewhere >= LEAST_ELSEWHERE[scale] &&
      told.unknown === 0 &&
      told.routed > 0;
  }
  const control = await course(CONTROL, scale, '3s');
  figures[CONTROL.label] = figure(control, connections);
  passed &&= control.whole < connections && control.routed === 0;
  return { passed, figures: { ...figures, complaints: complaints.join(' | ') || 'none' } };
}

export const quic: Line = {
  name: 'quic',
  claim:
    'QUIC clients (ngtcp2) that change address and port again and again keep their worker by their connection id, with QUIC-LB and with Katran’s scheme: 40 connections, 1,200 requests, each answered whole and by one worker; without the option connections break.',
  twin: 'test/full/quic.test.ts',
  run,
};
