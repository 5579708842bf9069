/**
 * `npm run bench -- pipeline`: cost of the packet path itself, no I/O. Method of the peers' baseline: 60-byte IPv4 and 80-byte IPv6 TCP
 * packets to one service with 100 backends; flows in permuted order (a multiplicative permutation of a counter, so consecutive
 * packets are unrelated); the floor, the same loop without the pipeline, is measured in the same round and taken off. Beside it runs the same
 * algorithm in C (floor/pipeline.c), round by round in turn.
 */
import { PerformanceObserver } from 'node:perf_hooks';
import { setFlagsFromString } from 'node:v8';
import { Arena, SMALL_STRIDE } from '../src/base/arena.ts';
import { Batch, LINK_RAW_IP } from '../src/base/batch.ts';
import { createBank, MAX_BACKENDS } from '../src/base/counters.ts';
import { VERDICT_FORWARD } from '../src/base/verdict.ts';
import { mapPacketMemory } from '../src/io/packet-memory.ts';
import { COMPILER_FLAGS } from '../src/pipeline/compiler-flags.ts';
import type { DropNotes } from '../src/pipeline/drop-notes.ts';
import { FlowTable } from '../src/pipeline/flow-table.ts';
import { Pipeline } from '../src/pipeline/pipeline.ts';
import { Snapshot, SnapshotBuilder } from '../src/pipeline/snapshot.ts';
import type { BackendSpec, ChecksumMode, Encapsulation, Spec } from '../src/pipeline/spec.ts';
import { boottimeClock } from '../src/raw-socket/clock.ts';
import { adviseHugePages } from '../src/raw-socket/memory.ts';
import { COMPILER_HINT } from './floor/build.ts';
import { PipelineFloor, type Round } from './floor/pipeline.ts';

for (const flag of COMPILER_FLAGS) setFlagsFromString(flag);

export const name = 'pipeline';

const CAPACITY = 64;
const BACKENDS = 100;
const FLOW_ENTRIES = 4_194_304;
const KEY = Int32Array.of(0x1234567, 0x89abcdef);
const VIP4 = Uint8Array.of(192, 0, 2, 1);
const VIP6 = Uint8Array.from([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);

/** CPU time of this thread: while others have the processor it stands still. */
const clock = boottimeClock();

/** Katran's and glb-director-xdp's figures for the same packets on the same kind of machine (docs/performance.md). */
const PEERS: Record<string, string> = {
  'IPv4 one flow': '302 / 83-105',
  'IPv4 1,000 flows': '319 / -',
  'IPv4 1,000,000 flows': '502 / 91-116',
  'IPv4 new flows': '306-1306 / 98-123',
  'IPv6 one flow': '301 / 96-117',
  'IPv6 1,000,000 flows': '535 / 101-130',
};

function spec(family: 4 | 6, checksum: ChecksumMode, outer: 4 | 6, encapsulation: Encapsulation): Spec {
  const backends: BackendSpec[] = Array.from({ length: BACKENDS }, (_, i) => ({
    name: `w${i}`,
    address: outer === 4 ? Uint8Array.of(10, 1, 0, i + 1) : Uint8Array.from([0xfd, 1, ...new Array(13).fill(0), i + 1]),
    weight: 1,
    state: 'active',
  }));
  const source4 = outer === 4 ? Uint8Array.of(10, 0, 13, 37) : null;
  const source6 = outer === 6 ? Uint8Array.from([0xfd, 2, ...new Array(13).fill(0), 37]) : null;
  return {
    services: [
      {
        name: 'web',
        prefix: family === 4 ? { bytes: VIP4, length: 32 } : { bytes: VIP6, length: 128 },
        protocol: 6,
        portFrom: 443,
        portTo: 443,
        affinity: '5-tuple',
        pool: 'p',
      },
    ],
    pools: [
      {
        name: 'p',
        tableSize: 65537,
        seed: 0,
        tunnel: { encapsulation, port: 6080, source4, source6, checksum },
        backends,
      },
    ],
  };
}

/** A TCP packet without payload beyond 60 or 80 bytes, ACK set; the bench rewrites source address and port per packet. */
function template(family: 4 | 6): Uint8Array {
  const header = family === 4 ? 20 : 40;
  const bytes = new Uint8Array(header + 40);
  const view = new DataView(bytes.buffer);
  if (family === 4) {
    view.setUint16(0, 0x4500);
    view.setUint16(2, bytes.length);
    view.setUint16(6, 0x4000);
    bytes[8] = 63;
    bytes[9] = 6;
    bytes.set([198, 51, 100, 7], 12);
    bytes.set(VIP4, 16);
  } else {
    bytes[0] = 0x60;
    view.setUint16(4, 40);
    bytes[6] = 6;
    bytes[7] = 63;
    bytes.set([0x20, 1, 0xd, 0xb8, 0, 1], 8);
    bytes.set(VIP6, 24);
  }
  view.setUint16(header, 40000);
  view.setUint16(header + 2, 443);
  bytes[header + 12] = 0x50;
  bytes[header + 13] = 0x10;
  return bytes;
}

export interface Case {
  readonly label: string;
  readonly family: 4 | 6;
  readonly checksum: ChecksumMode;
  /** Number of flows cycled through; 0: every packet a new one. */
  readonly flows: number;
  /** Family of the backends; 4 unless told otherwise. */
  readonly outer?: 4 | 6;
  /** `gue` unless told otherwise. */
  readonly encapsulation?: Encapsulation;
}

const FLOWS = { 'one flow': 1, '1,000 flows': 1000, '1,000,000 flows': 1_000_000, 'new flows': 0 };

export const CASES: readonly Case[] = [
  ...([4, 6] as const).flatMap((family) =>
    (['none', 'full'] as const).flatMap((checksum) =>
      Object.entries(FLOWS).map(([words, flows]) => {
        const label = `IPv${family} ${words}${checksum === 'full' ? ', checksum full' : ''}`;
        return { label, family, checksum, flows };
      }),
    ),
  ),
  // Over IPv6 `auto` fills the checksum.
  { label: 'IPv4 one flow, outer IPv6', family: 4, checksum: 'auto', flows: 1, outer: 6 },
  // What the general writer of outer headers costs (pipeline/outer-headers.ts).
  ...(
    [
      ['gue-v1', 'none'],
      ['gue-v1', 'full'],
      ['fou', 'none'],
      ['ipip', 'none'],
      ['gre', 'none'],
      ['gre', 'full'],
      ['gue', 'remcsum'],
    ] as const
  ).map(
    ([encapsulation, checksum]): Case => ({
      label: `IPv4 one flow, ${encapsulation}${checksum === 'none' ? '' : ` ${checksum}`}`,
      family: 4,
      checksum,
      flows: 1,
      encapsulation,
    }),
  ),
];

/**
 * One batch, one flow table, one pipeline for all cases of a process, as a forwarding thread has them: the stages are closures, and V8
 * compiles what they close over as constants only while each was made once. A case is chosen by `select`.
 */
export class PipelineBench {
  readonly batch: Batch;
  readonly pipeline: Pipeline;
  readonly #table: FlowTable;
  readonly #snapshots = new Map<string, Snapshot>();
  #flows = 1;
  #sourceAt = 0;
  #portAt = 0;
  #counter = 0;
  #sink = 0;

  /** `dropNotes`: where what is dropped is noted, as the daemon has it. */
  constructor(options: Omit<Case, 'label'>, dropNotes?: DropNotes) {
    // As the daemon has it.
    const memory = mapPacketMemory(Arena.bytesFor(CAPACITY, SMALL_STRIDE, 0));
    const arena = new Arena(memory.buffer, CAPACITY, SMALL_STRIDE, memory.address);
    memory.summedThrough(arena.view);
    this.batch = new Batch(arena, { link: LINK_RAW_IP, hopDone: true, canPass: false, headerVerified: true });
    this.#table = new FlowTable(FLOW_ENTRIES, KEY);
    adviseHugePages(this.#table.words);
    this.pipeline = new Pipeline({
      snapshot: this.#snapshotOf(options),
      flows: this.#table,
      bank: createBank(),
      sourcePortBase: 49152,
      sourcePortMask: 16383,
      // As the daemon has it: shared, a cell for every backend id there can be.
      pathMtu: new Int32Array(new SharedArrayBuffer(MAX_BACKENDS * 4)).fill(1600),
      ...(dropNotes === undefined ? {} : { dropNotes }),
    });
    this.select(options);
  }

  #snapshotOf({ family, checksum, outer = 4, encapsulation = 'gue' }: Omit<Case, 'label'>): Snapshot {
    const key = `${family} ${checksum} ${outer} ${encapsulation}`;
    const snapshot =
      this.#snapshots.get(key) ?? new Snapshot(new SnapshotBuilder().build(spec(family, checksum, outer, encapsulation)));
    this.#snapshots.set(key, snapshot);
    return snapshot;
  }

  /** Makes the case ready: its packets in the arena, an empty flow table. */
  select(options: Omit<Case, 'label'>): void {
    const { family, flows } = options;
    this.pipeline.snapshot = this.#snapshotOf(options);
    this.#flows = flows;
    this.#sourceAt = family === 4 ? 12 : 20;
    this.#portAt = family === 4 ? 20 : 40;
    this.#counter = 0;
    this.#table.words.fill(0);
    const frame = template(family);
    for (let i = 0; i < CAPACITY; i++) {
      this.batch.arena.bytes.set(frame, this.batch.frameAt[i]);
      this.batch.frameLength[i] = frame.length;
    }
    this.batch.count = CAPACITY;
  }

  /** What a driver would do: a fresh batch. Rewrites the source of each packet. */
  fill(): void {
    const { frameAt, reason, verdict } = this.batch;
    const view = this.batch.arena.view;
    const flows = this.#flows;
    for (let i = 0; i < CAPACITY; i++) {
      verdict[i] = 0;
      reason[i] = 0;
      this.#counter = flows === 0 ? (this.#counter + 1) | 0 : this.#counter + 1 >= flows ? 0 : this.#counter + 1;
      // An odd multiplier permutes the 32-bit numbers: flows are distinct, and neighbours unrelated.
      const flow = Math.imul(this.#counter, 0x9e3779b1);
      view.setInt32(frameAt[i] + this.#sourceAt, (flow & 0x00ffffff) | 0x0a000000);
      view.setUint16(frameAt[i] + this.#portAt, 1024 + (flow >>> 24));
      this.#sink ^= flow;
    }
  }

  /** One batch through the whole path. */
  step(): void {
    this.fill();
    this.pipeline.process(this.batch, 100);
    this.pipeline.account(this.batch);
  }

  /** Every flow twice, so that all have a confirmed entry; of new flows a million, so that the table is no longer empty. */
  warmUp(): void {
    const packets = Math.max(this.#flows * 2, this.#flows === 0 ? 1_000_000 : 100_000);
    for (let b = 0; b < packets / CAPACITY; b++) this.step();
  }

  /** ns of CPU time per packet over `batches` batches with and without the pipeline. */
  round(batches: number): Round {
    const start = clock.threadCpuSeconds();
    for (let b = 0; b < batches; b++) this.step();
    const middle = clock.threadCpuSeconds();
    for (let b = 0; b < batches; b++) this.fill();
    const end = clock.threadCpuSeconds();
    const packets = batches * CAPACITY;
    return { gross: ((middle - start) * 1e9) / packets, floor: ((end - middle) * 1e9) / packets };
  }

  /** Every packet of a batch leaves encapsulated: a bench of packets that are dropped would be fast and worthless. */
  check(): void {
    const { verdict, reason, count } = this.batch;
    this.fill();
    this.pipeline.process(this.batch, 100);
    for (let i = 0; i < count; i++) {
      if (verdict[i] !== VERDICT_FORWARD)
        throw new Error(`bench packet was not forwarded: verdict ${verdict[i]}, reason ${reason[i]}`);
    }
    if (this.#sink === 0.5) throw new Error('unreachable: keeps the filling loop alive');
  }
}

let shared: PipelineBench | null = null;

/** The bench of this process, ready for `options`. */
function benchFor(options: Omit<Case, 'label'>): PipelineBench {
  if (shared === null) shared = new PipelineBench(options);
  else shared.select(options);
  return shared;
}

function median(values: number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1];
}

/** GC events and bytes of heap growth while `packets` packets pass, after warm-up. */
export async function allocation(packets: number): Promise<{ packets: number; gcEvents: number; heapGrowth: number }> {
  const bench = benchFor({ family: 4, checksum: 'full', flows: 1_000_000 });
  // Twice, with a pause: on a busy machine the compiler's threads finish late, and installing their code allocates.
  bench.warmUp();
  await new Promise((resolve) => setTimeout(resolve, 200));
  bench.warmUp();
  const batches = Math.ceil(packets / CAPACITY);
  let gcEvents = 0;
  const observer = new PerformanceObserver((list) => {
    gcEvents += list.getEntries().length;
  });
  await new Promise((resolve) => setTimeout(resolve, 50));
  observer.observe({ entryTypes: ['gc'] });
  const before = process.memoryUsage().heapUsed;
  for (let b = 0; b < batches; b++) bench.step();
  const heapGrowth = process.memoryUsage().heapUsed - before;
  await new Promise((resolve) => setTimeout(resolve, 50));
  observer.disconnect();
  return { packets, gcEvents, heapGrowth };
}

/** What bench/floor/pipeline.c does too. */
export const hasFloor = ({ encapsulation = 'gue', checksum }: Omit<Case, 'label'>) =>
  encapsulation === 'gue' && checksum !== 'remcsum';

export interface CaseRounds {
  readonly chosen: Case;
  readonly ours: Round[];
  /** Of the same algorithm in C, round by round; empty where it has none, or there is no compiler. */
  readonly floor: Round[];
}

/**
 * `rounds` rounds over all `cases` in turn, so that a busy minute of a shared machine does not hit one case alone; each round of ours is
 * followed, or preceded, by one of the same case in C. One round more comes first, for the compiler: it has then seen every case.
 */
export async function measure(cases: readonly Case[], rounds: number, batches: number): Promise<CaseRounds[]> {
  const results = cases.map((chosen): CaseRounds => ({ chosen, ours: [], floor: [] }));
  const paired = cases.filter(hasFloor);
  const snapshots = paired.map((chosen) => benchFor(chosen).pipeline.snapshot);
  const floor = PipelineFloor.start(KEY, FLOW_ENTRIES, snapshots);
  try {
    for (let round = -1; round < rounds; round++) {
      for (const { chosen, ours, floor: inC } of results) {
        const number = paired.indexOf(chosen);
        const runFloor = async () => {
          if (floor === null || number < 0) return;
          await floor.select(number, chosen.family, chosen.flows);
          const result = await floor.round(batches);
          if (round >= 0) inC.push(result);
        };
        if (round % 2 === 0) await runFloor();
        const bench = benchFor(chosen);
        bench.warmUp();
        const result = bench.round(batches);
        bench.check();
        if (round >= 0) ours.push(result);
        if (round % 2 !== 0) await runFloor();
      }
    }
  } finally {
    floor?.stop();
  }
  return results;
}

const net = (rounds: readonly Round[]) => rounds.map((r) => r.gross - r.floor);
/** The best round less the best floor: it comes nearest to what the machine does undisturbed. */
const best = (rounds: readonly Round[]) => Math.min(...rounds.map((r) => r.gross)) - Math.min(...rounds.map((r) => r.floor));

/** The figures of a case. `floor`, filling the batch, says how disturbed the machine was: 4.3 ns when quiet. */
export function rowOf({ chosen, ours, floor }: CaseRounds): Record<string, string | number> {
  const inC = net(floor);
  return {
    case: chosen.label,
    'ns/packet': Number(median(net(ours)).toFixed(1)),
    min: Number(best(ours).toFixed(1)),
    max: Number(Math.max(...net(ours)).toFixed(1)),
    floor: Number(median(ours.map((r) => r.floor)).toFixed(1)),
    'in C': inC.length === 0 ? '-' : Number(median(inC).toFixed(1)),
    'C min': inC.length === 0 ? '-' : Number(best(floor).toFixed(1)),
    '× C': inC.length === 0 ? '-' : Number(median(net(ours).map((ns, r) => ns / inC[r])).toFixed(2)),
    'katran / glb-xdp': PEERS[chosen.label] ?? '-',
  };
}

export async function run(options: { quick: boolean }): Promise<{ name: string; rows: Record<string, string | number>[] }> {
  // First, while there is no garbage of the other cases that a collection could be for.
  const { packets, gcEvents, heapGrowth } = await allocation(options.quick ? 2_000_000 : 10_000_000);
  const results = await measure(CASES, options.quick ? 3 : 15, options.quick ? 8_000 : 16_000);
  const rows = results.map(rowOf);
  if (results.every(({ floor }) => floor.length === 0)) console.error(`without the same in C: ${COMPILER_HINT}`);
  rows.push({ case: 'allocation', packets, 'GC events': gcEvents, 'heap growth, bytes': heapGrowth });
  return { name, rows };
}
