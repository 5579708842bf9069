// The incident replayed. A stale inner offset is made on purpose: our guard refuses it, and so does the kernel where it segments inside
// tunnels. Then what timed out in production: large POSTs and streams, through the real daemon, with everything counted that can lose a
// packet, and the same load over the same lab without the director as control.

import { setTimeout as sleep } from 'node:timers/promises';
import { dropsByDevice, lossCounters, losses, readCounters, sentAgain } from '../incident/counters.ts';
import { type LoadResult, MEAN_BODY, MEAN_MESSAGE, type Order } from '../incident/load.ts';
import { Stage } from '../incident/stage.ts';
import { staleOffsets } from '../incident/stale-offset.ts';
import { tunnelCases } from '../oracle/tunnel.ts';
import type { Line, Outcome, Scale } from './line.ts';
import { Random } from './random.ts';

const SEED = 1512;
/** MTU of the links inside: with room for the tunnel, and plain Ethernet's. */
const PATHS = [1600, 1500] as const;
type Way = 'raw' | 'udp';
const WAYS: Readonly<Record<Scale, Readonly<Record<(typeof PATHS)[number], readonly Way[]>>>> = {
  full: { 1600: ['raw', 'udp'], 1500: ['raw', 'udp'] },
  scaled: { 1600: ['raw'], 1500: ['udp'] },
};
/** Milliseconds after which the director's counters have all that happened. */
const TOLD_WITHIN = 1200;
/** Of the slowest bulk figure of the path; the senders may not exceed 0.5. */
const PACE = 0.45;

interface Size {
  /** For each path and each way out, and once more without the director. */
  readonly posts: number;
  readonly streams: number;
  readonly bulkSeconds: number;
  readonly tunnelCases: number;
}
const SIZES: Readonly<Record<Scale, Size>> = {
  full: { posts: 5_000, streams: 200, bulkSeconds: 4, tunnelCases: 2_000 },
  scaled: { posts: 100, streams: 4, bulkSeconds: 0.8, tunnelCases: 64 },
};
const STREAM_CONNECTIONS = 4;
const MESSAGES = 8;

/** What one run of the load came to. */
interface Run {
  readonly posts: LoadResult;
  readonly streams: LoadResult;
  readonly complaints: readonly string[];
  readonly client: { segments: number; why: string };
  readonly worker: { segments: number; why: string };
  readonly counters: number;
  readonly drops: string;
}

/** Bytes per second that the path carries when the senders do not wait. */
async function bulk(stage: Stage, size: Size): Promise<number> {
  // Compilers need a moment: a cold director would set a pace that is no load at all.
  await stage.perform(postOrder(stage, Number.MAX_SAFE_INTEGER, 0, size.bulkSeconds / 2), 60);
  const result = await stage.perform(postOrder(stage, Number.MAX_SAFE_INTEGER, 0, size.bulkSeconds), 60);
  if (result.failures.length > 0) throw new Error(`bulk: ${result.failures.join('; ')}`);
  return (result.bytes / result.milliseconds) * 1000;
}

function postOrder(stage: Stage, posts: number, rate: number, seconds: number): Order {
  const addresses = [stage.lab.vip4, stage.lab.vip6];
  return { kind: 'posts', addresses, rate, seed: SEED, posts, connections: 8, postsPerConnection: 50, seconds };
}

async function load(stage: Stage, size: Size, rate: number, bulkFigure: number): Promise<Run> {
  const orders: Order[] = [
    postOrder(stage, size.posts, rate, 0),
    {
      kind: 'streams',
      addresses: [stage.lab.vip4, stage.lab.vip6],
      rate,
      seed: SEED + 1,
      streams: size.streams,
      connections: STREAM_CONNECTIONS,
      concurrent: Math.max(2, size.streams / 8),
      messages: MESSAGES,
    },
  ];
  const complaints: string[] = [];
  const before = readCounters(stage.lab);
  const results: LoadResult[] = [];
  for (const order of orders) {
    const wanted = order.kind === 'posts' ? order.posts : order.streams;
    const bytes = order.kind === 'posts' ? wanted * MEAN_BODY : wanted * MESSAGES * MEAN_MESSAGE;
    // Three times what it should take, and a minute.
    const result = await stage.perform(order, 60 + (3 * bytes) / rate);
    results.push(result);
    complaints.push(...result.failures);
    if (result.completed !== wanted) complaints.push(`${result.completed} of ${wanted} ${order.kind} completed`);
    const share = ((result.bytes / result.milliseconds) * 1000) / bulkFigure;
    if (share > 0.5) complaints.push(`${order.kind} at ${share.toFixed(2)} of the bulk figure`);
  }
  const after = readCounters(stage.lab);
  for (const [name, lost] of losses(before, after)) complaints.push(`${name}: ${lost}`);
  return {
    posts: results[0],
    streams: results[1],
    complaints,
    client: sentAgain(before, after, 'client'),
    worker: sentAgain(before, after, 'worker-1'),
    counters: lossCounters(after),
    drops: dropsByDevice(before, after),
  };
}

/** Packets of a service that the director itself threw away since it said `before`, by metric; not the kernel's own multicasts on its device. */
async function directorDrops(stage: Stage, before: ReadonlyMap<string, number>): Promise<string[]> {
  const drops: string[] = [];
  for (const [name, value] of await stage.metrics()) {
    if (name.includes('"not-a-service"')) continue;
    const more = value - (before.get(name) ?? 0);
    if (/^gue_director_(kernel_)?dropped_packets_total/.test(name) && more !== 0) drops.push(`${name} ${more}`);
  }
  return drops;
}

const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(0)} MB`;

function describe(run: Run): string {
  const { posts, streams } = run;
  return (
    `${posts.completed} POSTs (${megabytes(posts.bytes)}, bodies of ${posts.smallest} to ${posts.largest} bytes, ${posts.connections} connections), ` +
    `${streams.completed} streams (${streams.messages} messages of ${streams.smallest} to ${streams.largest} bytes, ${megabytes(streams.bytes)}, ` +
    `${streams.connections} connections), all hashes right, no packet lost by ${run.counters} counters`
  );
}

interface PathResult {
  readonly wrong: string[];
  readonly figures: Record<string, number | string>;
}

async function onePath(mtu: number, ways: readonly Way[], size: Size): Promise<PathResult> {
  const wrong: string[] = [];
  const figures: Record<string, number | string> = {};
  const stage = await Stage.open(mtu);
  try {
    const bulks: number[] = [];
    for (const way of ways) {
      await stage.throughDirector(way);
      bulks.push(await bulk(stage, size));
    }
    const least = Math.min(...bulks);
    const rate = least * PACE;
    figures[`${mtu}: bulk, ${ways.join(' and ')}`] = bulks.map((figure) => `${megabytes(figure)}/s`).join(', ');
    figures[`${mtu}: senders`] = `${megabytes(rate)}/s, ${PACE} of ${ways.length > 1 ? 'the slower' : 'it'}`;

    // The last one first: that director runs.
    const runs = new Map<Way, { run: Run; drops: string[] }>();
    for (const way of [...ways].reverse()) {
      if (stage.way !== way) await stage.throughDirector(way);
      // What the kernel threw away while senders did not wait is read once a second.
      else await sleep(TOLD_WITHIN);
      const before = await stage.metrics();
      const run = await load(stage, size, rate, least);
      runs.set(way, { run, drops: await directorDrops(stage, before) });
    }

    await stage.withoutDirector();
    const control = await load(stage, size, rate, least);
    const sender = ({ segments, why }: Run['client']) => (segments === 0 ? '0' : `${segments} (${why})`);
    const again = ({ client, worker }: Run) => `client ${sender(client)}, worker ${sender(worker)}`;
    figures[`${mtu}: without the director`] = control.complaints.join('; ') || describe(control);
    figures[`${mtu}: sent again without the director`] = again(control);
    wrong.push(...control.complaints.map((complaint) => `${mtu}, control: ${complaint}`));

    for (const way of ways) {
      const { run, drops } = runs.get(way) as { run: Run; drops: string[] };
      const complaints = [...run.complaints, ...drops];
      if (run.client.segments !== control.client.segments) {
        const why = `${run.client.why || 'none'}; control: ${control.client.why || 'none'}`;
        complaints.push(`the client sent ${run.client.segments} segments again, ${control.client.segments} without (${why})`);
      }
      figures[`${mtu}: through the director, ${way}`] = complaints.join('; ') || describe(run);
      figures[`${mtu}: sent again through the director, ${way}`] = again(run);
      figures[`${mtu}: dropped, ${way}`] = run.drops;
      wrong.push(...complaints.map((complaint) => `${mtu}, ${way}: ${complaint}`));
    }
    const summary = await stage.workerSummary();
    if (/refused|error/.test(summary)) wrong.push(`${mtu}: ${summary}`);
    figures[`${mtu}: the worker, bulk included`] = summary;
  } finally {
    await stage.close();
  }
  return { wrong, figures };
}

async function run(scale: Scale): Promise<Outcome> {
  const size = SIZES[scale];
  const guard = staleOffsets(scale);
  const tunnel = tunnelCases(size.tunnelCases, new Random(SEED));
  const wrong = [...guard.wrong, ...tunnel.wrong];
  const figures: Record<string, number | string> = {
    'stale offsets, the guard': `${guard.refused} packets (${guard.trainsRefused} of them trains) refused as tunnel-length, out of ${guard.ways.join(', ')}; their neighbours left`,
    'stale offsets, the kernel':
      tunnel.figures['stale inner offsets'] === undefined
        ? 'this kernel takes no encapsulated super-packets (before 6.17)'
        : `${tunnel.figures['stale inner offsets']} written; every one too small by 14 refused with EINVAL; ${tunnel.figures['of which the kernel takes, and sends nothing right']} too large by 14 taken, and nothing right sent`,
  };
  for (const mtu of PATHS) {
    const path = await onePath(mtu, WAYS[scale][mtu], size);
    wrong.push(...path.wrong);
    Object.assign(figures, path.figures);
  }
  figures.wrong = wrong.join(' | ') || 'nothing';
  return { passed: wrong.length === 0, figures };
}

export const incident: Line = {
  name: 'incident',
  claim:
    'The incident replayed: a stale inner offset is refused by the guard on every way out, and by the kernel; 10,000 large POSTs and gRPC-like streams complete through a 1,600-byte and through a 1,500-byte tunnel path, paced to at most half the bulk figure, with no drop at any device, queue or socket and no more retransmissions than without the director.',
  twin: 'test/full/incident.test.ts',
  run,
};
