// Real TCP through the real daemon, in bulk: HTTP, of which every byte is hashed at both ends, and iperf3. What the client sends passes the
// director; what the worker sends goes straight to the client (direct server return), and only its acknowledgements pass.
//
//     client ──1500── router ──path MTU── director ──► router ──path MTU── worker          (as in Lab; jumbo clients where it says 9000)
//                        ◄──────────────── straight to the client ────────────┘
//
// Where the path shrinks, the router has a network of its own toward the worker, whose MTU is lowered while uploads run: the router then refuses
// the director's outer packets and says so by ICMP, as any router does.

import { readFileSync } from 'node:fs';
import { contentHash } from '../../src/demo/content.ts';
import { Lab } from '../../src/demo/lab/topology.ts';
import type { TransferOrder, TransferResult } from '../../src/demo/transfer.ts';
import { built, runIn } from '../uml/director.ts';
import { Guest } from '../uml/guest.ts';
import { abreast } from './abreast.ts';
import { iperf } from './iperf.ts';
import { overflown, refusedForSize, retransmitted } from './kernel-counters.ts';
import type { Line, Outcome, Scale } from './line.ts';
import { allDrops, dropped, IPERF_PORT, SIZE_REASONS, Stage, type StageOptions, text, WEB_PORT } from './stage.ts';

interface Sizes {
  readonly http: number;
  readonly iperf: number;
  /** Of each family's upload while the path shrinks. */
  readonly shrinking: number;
  /** To a real kernel as worker, and by other ways in. */
  readonly sample: number;
  /** Packets one by one. */
  readonly alone: number;
}

const SIZES: Readonly<Record<Scale, Sizes>> = {
  full: { http: 1_000_000_000, iperf: 1_000_000_000, shrinking: 1_000_000_000, sample: 100_000_000, alone: 50_000_000 },
  scaled: { http: 4_000_000, iperf: 20_000_000, shrinking: 60_000_000, sample: 2_000_000, alone: 12_000_000 },
};
/** What may still be on its way when iperf3's sender has sent everything and asks the receiver for its count. */
const IN_FLIGHT = 16_000_000;
const WIDE = 1600;
/** To here the path shrinks: what fits no more are packets of 1,532 and 1,552, then those that were cut to 1,500. */
const STEPS = [1500, 1400];
const LEARN_PATIENCE_MS = 10_000;

interface Scenario {
  readonly label: string;
  readonly options: StageOptions;
  /** In which tiers it runs. */
  readonly scaled: boolean;
  /** Which of `Sizes` it takes. */
  readonly size: 'http' | 'sample';
}

function scenario(mtu: number, egress: 'raw' | 'udp', scaled: boolean, more: StageOptions = {}, how = ''): Scenario {
  const clientMtu = mtu > 1600 ? mtu : 1500;
  return {
    label: `path ${mtu}, ${how === '' ? 'tun' : how} → ${egress}`,
    options: { insideMtu: mtu, clientMtu, egress: `{ driver: ${egress} }`, ...more },
    scaled,
    size: how === '' ? 'http' : 'sample',
  };
}

const SCENARIOS: readonly Scenario[] = [
  scenario(1500, 'raw', false),
  scenario(1500, 'udp', true),
  scenario(1600, 'raw', true),
  scenario(1600, 'udp', false),
  scenario(9000, 'raw', true),
  scenario(9000, 'udp', false),
  scenario(1500, 'raw', true, { ingress: '{ driver: packet, interface: eth0 }' }, 'packet'),
  scenario(1500, 'udp', false, { ingress: '{ driver: tap, device: gdt0 }' }, 'tap'),
  scenario(1500, 'raw', false, { offloads: 'none' }, 'tun, links without offloads'),
];

/** What one scenario says: figures by name, and complaints, none when it passed. */
interface Report {
  readonly figures: Record<string, string | number>;
  readonly complaints: string[];
}

/** Transfers from the lab's client: the orders of one line at once, the lines one behind the other. */
export async function http(stage: Stage, lines: readonly (readonly TransferOrder[])[]): Promise<TransferResult[]> {
  const input = lines.map((orders) => `${JSON.stringify(orders)}\n`).join('');
  const output = await runIn(stage.lab.client, process.execPath, [built('demo/web-client')], input);
  return output
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as TransferResult);
}

/** What is wrong with HTTP transfers of `bytes` each. */
export function wrongTransfers(results: readonly TransferResult[], count: number, bytes: number, hash: string): string[] {
  const bad = results.filter((one) => one.error !== '' || one.bytes !== bytes || one.sha256 !== hash);
  const missing = results.length === count ? [] : [`${results.length} of ${count} transfers reported`];
  return [...bad.map((one) => `${one.kind} IPv${one.family}: ${one.error || 'wrong content'}`), ...missing];
}

/** Gbit/s. */
export function speed(bytes: number, milliseconds: number): string {
  return ((bytes * 8) / milliseconds / 1e6).toFixed(1);
}

/** What everybody counted; complains about any packet that the director lost for its size or its form, or because it could not send it. */
async function account(stage: Stage, report: Report, prefix: string): Promise<void> {
  const counters = await stage.counters();
  const lost = dropped(counters, SIZE_REASONS);
  if (lost.size > 0) report.complaints.push(`lost for their size: ${text(lost)}`);
  const others = [...allDrops(counters)].filter(([reason]) => !lost.has(reason));
  const kernel = [...counters].filter(([name]) => name.includes('kernel_dropped_packets')).reduce((sum, [, n]) => sum + n, 0);
  const worker = stage.lab.workers.reduce((sum, one) => sum + overflown(one), 0);
  report.figures[`${prefix}: counters`] = [
    `received ${counters.get('gue_director_received_packets_total')} packets; lost for their size: ${text(lost)}`,
    `re-segmented ${counters.get('gue_director_resegmented_packets_total')}`,
    `other drops: ${text(new Map(others))}`,
    `lost by the kernel before the director ${kernel}, before the worker ${worker}`,
    `segments that the client sent again ${retransmitted(stage.lab.client)}`,
  ].join('; ');
}

/** Closes the stage; how the director ended belongs to the report. */
async function close(stage: Stage, report: Report): Promise<void> {
  const log = stage.director.log;
  const { exitCode, worker } = await stage.close();
  if (exitCode !== 0) report.complaints.push(`the director ended with ${exitCode}: ${log}`);
  if (/refused|warning/.test(worker)) report.complaints.push(`the worker said: ${worker}`);
}

async function transferEachWay(one: Scenario, sizes: Sizes): Promise<Report> {
  const bytes = sizes[one.size];
  const hash = contentHash(bytes);
  const report: Report = { figures: {}, complaints: [] };
  const stage = await Stage.open(one.options);
  try {
    const told: string[] = [];
    for (const address of [stage.lab.vip4, stage.lab.vip6]) {
      const family = address.includes(':') ? 6 : 4;
      const orders = (['upload', 'download'] as const).map((kind) => [{ kind, address, port: WEB_PORT, bytes }]);
      const results = await http(stage, orders);
      report.complaints.push(...wrongTransfers(results, 2, bytes, hash));
      const [up, down] = results.map(({ milliseconds }) => speed(bytes, milliseconds));
      told.push(`IPv${family}: HTTP ${up} up, ${down} down`);
      if (one.size !== 'http') continue;
      const speeds: string[] = [];
      for (const direction of ['up', 'down'] as const) {
        const order = { address, port: IPERF_PORT, bytes: sizes.iperf, direction };
        const result = await iperf(stage.lab.client, order);
        if (result.bytes < sizes.iperf - Math.min(IN_FLIGHT, sizes.iperf / 2))
          report.complaints.push(`iperf3 ${direction} IPv${family}: ${result.bytes} bytes arrived`);
        speeds.push(`${result.gigabitsPerSecond.toFixed(1)} ${direction}`);
      }
      told.push(`iperf3 ${speeds.join(', ')}`);
    }
    report.figures[one.label] = `every HTTP byte right; Gbit/s: ${told.join('; ')}`;
    await account(stage, report, one.label);
  } finally {
    await close(stage, report);
  }
  return report;
}

const pause = (milliseconds: number) => new Promise<void>((resolve) => setTimeout(resolve, milliseconds));

/** An upload under which the path shrinks twice. Each family has a path MTU of its own in the director. */
async function shrinkUnder(stage: Stage, family: 4 | 6, bytes: number, complaints: string[]): Promise<string> {
  const { lab, director } = stage;
  const address = family === 4 ? lab.vip4 : lab.vip6;
  // Without a process for each look, which takes longer than many an upload.
  const arrived = () => Number(/eth0:\s*(\d+)/.exec(readFileSync(`/proc/${stage.workerPid}/net/dev`, 'utf8'))?.[1]);
  const learned = (mtu: number) => director.log.includes(`backend pool-${family}/worker is now ${mtu}`);
  lab.setFarMtu(WIDE);
  let running = true;
  const start = arrived();
  let refused = refusedForSize(lab.router)[family];
  /** What the router refused since the last call. */
  const lost = () => {
    const before = refused;
    refused = refusedForSize(lab.router)[family];
    return refused - before;
  };
  const upload = http(stage, [[{ kind: 'upload', address, port: WEB_PORT, bytes }]]).finally(() => {
    running = false;
  });
  const told: string[] = [];
  let late = 0;
  for (const [k, mtu] of STEPS.entries()) {
    while (running && arrived() - start < (bytes * (k + 1)) / (STEPS.length + 2)) await pause(5);
    if (!running) complaints.push(`IPv${family}: the upload was over before the path shrank to ${mtu}`);
    late += lost();
    const started = performance.now();
    lab.setFarMtu(mtu);
    while (running && !learned(mtu) && performance.now() < started + LEARN_PATIENCE_MS) await pause(5);
    const milliseconds = Math.round(performance.now() - started);
    if (!learned(mtu)) complaints.push(`IPv${family}: the director did not learn ${mtu}: ${director.log}`);
    // What left just before, and the counter, are there by then.
    await pause(50);
    told.push(`${mtu} known after ${milliseconds} ms, ${lost()} refused by the router until then`);
  }
  complaints.push(...wrongTransfers(await upload, 1, bytes, contentHash(bytes)));
  late += lost();
  if (late > 0) complaints.push(`IPv${family}: the router refused ${late} packets after the director knew its MTU`);
  return `IPv${family}: ${told.join('; ')}; after that: ${late}`;
}

async function shrink(egress: 'raw' | 'udp', bytes: number): Promise<Report> {
  const label = `path ${WIDE} that shrinks to ${STEPS.join(' and ')}, tun → ${egress}`;
  const report: Report = { figures: {}, complaints: [] };
  const stage = await Stage.open({ workersRouted: true, insideMtu: WIDE, egress: `{ driver: ${egress} }` });
  try {
    const told: string[] = [];
    for (const family of [4, 6] as const) told.push(await shrinkUnder(stage, family, bytes, report.complaints));
    report.figures[label] = `every byte right; ${told.join('. ')}`;
    await account(stage, report, label);
  } finally {
    await close(stage, report);
  }
  return report;
}

/** Uploads of both families, while the director's own link shrinks to 1,500: what the kernel refuses to send is cut and sent, none is lost. */
async function shrinkOwnLink(how: string, options: StageOptions, bytes: number): Promise<Report> {
  const label = `own link ${WIDE} that shrinks to ${STEPS[0]}, ${how}`;
  const report: Report = { figures: {}, complaints: [] };
  const stage = await Stage.open({ insideMtu: WIDE, ...options });
  try {
    const { lab } = stage;
    const arrived = () => Number(/eth0:\s*(\d+)/.exec(readFileSync(`/proc/${stage.workerPid}/net/dev`, 'utf8'))?.[1]);
    const start = arrived();
    let running = true;
    const orders = [lab.vip4, lab.vip6].map((address): TransferOrder => ({ kind: 'upload', address, port: WEB_PORT, bytes }));
    const uploads = http(stage, [orders]).finally(() => {
      running = false;
    });
    while (running && arrived() - start < bytes / 2) await pause(5);
    if (!running) report.complaints.push('the uploads were over before the link shrank');
    lab.director.ip(`link set eth0 mtu ${STEPS[0]}`);
    report.complaints.push(...wrongTransfers(await uploads, 2, bytes, contentHash(bytes)));
    // The log names a refused call within a second.
    await pause(1100);
    const noticed = stage.director.log.includes('EMSGSIZE')
      ? 'the kernel refused to send'
      : 'known before the kernel refused to send';
    report.figures[label] = `every byte right; ${noticed}`;
    await account(stage, report, label);
  } finally {
    await close(stage, report);
  }
  return report;
}

/** A real kernel unwraps: its own rules for what a packet must be are the judge. */
async function toKernel(bytes: number, egresses: readonly ('raw' | 'udp')[]): Promise<Report> {
  const report: Report = { figures: {}, complaints: [] };
  const lab = Lab.create({ workers: 0, insideMtu: 1500 });
  let guest: Guest | undefined;
  try {
    guest = await Guest.boot(lab, { vips: [lab.vip4, lab.vip6], webPorts: [WEB_PORT], mtu: 1500 });
    const { address4, address6, device } = guest;
    const fromQueue = () => Number(lab.router.run('cat', [`/sys/class/net/${device}/statistics/tx_dropped`]));
    for (const egress of egresses) {
      const label = `path 1500 to a kernel worker, tun → ${egress}`;
      const queued = fromQueue();
      const stage = await Stage.inLab(lab, { egress: `{ driver: ${egress} }`, endpoints: () => [address4, address6] });
      try {
        const orders = [lab.vip4, lab.vip6].flatMap((address) =>
          (['upload', 'download'] as const).map((kind) => [{ kind, address, port: WEB_PORT, bytes }]),
        );
        const results = await http(stage, orders);
        report.complaints.push(...wrongTransfers(results, 4, bytes, contentHash(bytes)));
        const speeds = results.map((one) => `IPv${one.family} ${one.kind} ${speed(bytes, one.milliseconds)}`);
        report.figures[label] = `every HTTP byte right; Gbit/s: ${speeds.join(', ')}`;
        await account(stage, report, label);
        report.figures[`${label}: queue`] =
          `${fromQueue() - queued} packets found the queue of the guest’s device full, and were sent again`;
      } finally {
        await close(stage, report);
      }
    }
  } finally {
    await guest?.stop();
    lab.close();
  }
  return report;
}

async function run(scale: Scale): Promise<Outcome> {
  const sizes = SIZES[scale];
  const figures: Record<string, string | number> = {
    'while a path shrinks':
      'what is on its way when the router refuses the first packet is lost there, as with any sender; its TCP sends it again. A train of packets that left in one call is refused, and counted, once.',
    'bytes each way': `${sizes.http} by HTTP, ${sizes.iperf} by iperf3; ${sizes.sample} to the kernel worker and by other ways in`,
  };
  const complaints: string[] = [];
  const add = (label: string, report: Report) => {
    Object.assign(figures, report.figures);
    complaints.push(...report.complaints.map((complaint) => `${label}: ${complaint}`));
  };
  const whole: StageOptions = { ingress: '{ driver: packet, interface: eth0 }', offloads: 'none' };
  const parts: [string, () => Promise<Report>][] = [
    ['kernel worker', () => toKernel(sizes.sample, scale === 'full' ? ['raw', 'udp'] : ['udp'])],
    ['own link', () => shrinkOwnLink('packet, links without offloads → raw', whole, sizes.alone)],
  ];
  if (scale === 'full') parts.push(['own link', () => shrinkOwnLink('tun → udp', { egress: '{ driver: udp }' }, sizes.sample)]);
  for (const one of SCENARIOS) {
    if (scale === 'full' || one.scaled) parts.push([one.label, () => transferEachWay(one, sizes)]);
  }
  // In full each has the machine to itself, for its speeds.
  const reports = await abreast(
    scale === 'full' ? 1 : 2,
    parts.map(([, work]) => work),
  );
  for (const [k, [label]] of parts.entries()) add(label, reports[k]);
  for (const egress of ['raw', 'udp'] as const) {
    if (scale === 'full' || egress === 'raw') add(`shrinking, ${egress}`, await shrink(egress, sizes.shrinking));
  }
  return { passed: complaints.length === 0, figures: { ...figures, complaints: complaints.join(' | ') || 'none' } };
}

export const transfers: Line = {
  name: 'transfers',
  claim:
    'Transfers of 1 GB up and down by HTTP and iperf3, IPv4 and IPv6, over a path MTU of 1500, 1600, 9000 and a path and a link that shrink under them, to user-space workers and (100 MB) to a real kernel: every byte right, no packet dropped for its size.',
  twin: 'test/full/transfers.test.ts',
  run,
};
