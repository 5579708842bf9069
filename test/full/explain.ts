// What `explain` tells against what happens: random packets, random changes of tables and backends, one flow table that lives on. Each packet is
// explained first, by the flow table as it is then, and goes through the packet path afterwards; verdict, reason, service, backend and every byte that leaves must be
// the same, and explaining must have changed nothing.

import { Arena, BATCH_RECORDS, LARGE_STRIDE } from '../../src/base/arena.ts';
import { Batch } from '../../src/base/batch.ts';
import { createBank } from '../../src/base/counters.ts';
import { DROP_REASONS } from '../../src/base/drop-reason.ts';
import { segmentBytes } from '../../src/base/segment-bytes.ts';
import { VERDICT_DROP, VERDICT_FORWARD, VERDICTS } from '../../src/base/verdict.ts';
import { Explainer } from '../../src/explain/explainer.ts';
import type { Trail } from '../../src/explain/trail.ts';
import { clearFrame, placeFrame } from '../../src/io/frame.ts';
import { type FlowGeometry, flowRegions } from '../../src/pipeline/flow-regions.ts';
import { tableMemory, wordsIn } from '../../src/pipeline/flow-table.ts';
import { Pipeline } from '../../src/pipeline/pipeline.ts';
import { Snapshot, SnapshotBuilder, type SnapshotParts } from '../../src/pipeline/snapshot.ts';
import type { BackendState, Spec } from '../../src/pipeline/spec.ts';
import type { Line, Outcome, Scale } from './line.ts';
import { Random } from './random.ts';
import { type Case, draftCase } from './sizes/draft.ts';
import { BACKENDS, INGRESSES, PORTS, specOf } from './sizes/place.ts';

const CASES: Readonly<Record<Scale, number>> = { full: 1_000_000, scaled: 4000 };
/** Packets between two changes of what is in force. */
const ROUND = 200;
const KEY = Int32Array.of(11, 22, 33, 44);
const THREADS = 2;
const GEOMETRY: FlowGeometry = { buckets: 1024, regions: 2, finest: 4 };
const MTUS = [0, 576, 1280, 1400, 1500, 1532, 1600, 9000, 65_535];
const EGRESS = {
  sourcePortBase: 49152,
  sourcePortMask: 16383,
  trainsNeedChecksum: false,
  wholeTrains: false,
  outerFragments: true,
};
const STATES: readonly BackendState[] = ['active', 'active', 'active', 'draining', 'down'];

/** Pools whose backends come, go, drain and are weighed anew. */
function changed(spec: Spec, random: Random): Spec {
  return {
    ...spec,
    pools: spec.pools.map((pool) => ({
      ...pool,
      backends: pool.backends
        .filter(() => !random.chance(6))
        .map((backend) => ({ ...backend, weight: random.below(4), state: random.pick(STATES) })),
    })),
  };
}

class Comparison {
  readonly counts = new Map<string, number>();
  readonly wrong: string[] = [];
  readonly #words = wordsIn(tableMemory(GEOMETRY.buckets), GEOMETRY.buckets);
  readonly #builder = new SnapshotBuilder();
  readonly #pathMtu = new Int32Array(BACKENDS * 8);
  readonly #batches = INGRESSES.map((facts) => new Batch(Arena.inProcess(1, LARGE_STRIDE, BATCH_RECORDS), facts));
  readonly #bank = createBank();
  #now = 1000;

  round(random: Random, cases: number): void {
    this.#now += random.pick([0, 1, 30, 700, 4000]);
    const spec = changed(specOf(), random);
    const parts = this.#builder.build(spec, this.#now);
    for (let id = 0; id < this.#pathMtu.length; id++) this.#pathMtu[id] = random.pick(MTUS);
    const number = random.below(INGRESSES.length);
    const live = { words: this.#words, key: KEY, geometry: GEOMETRY, threads: THREADS };
    const explainer = new Explainer({ spec, parts, live, pathMtu: this.#pathMtu, ingress: INGRESSES[number], egress: EGRESS });
    const recent: Case[] = [];
    for (let i = 0; i < cases && this.wrong.length < 5; i++) {
      // Flows are seen again, or nothing would ever be confirmed.
      const again = recent.length > 0 && random.chance(2);
      const drawn = again ? random.pick(recent) : draftCase(random, INGRESSES[number], PORTS);
      const one = again ? drawn : { ...drawn, frame: drawn.frame.slice() };
      if (!again && recent.length < 32) recent.push(one);
      if (random.chance(20)) this.#now++;
      this.#case(one, number, explainer, parts, spec);
    }
  }

  #case({ frame, facts }: Case, number: number, explainer: Explainer, parts: SnapshotParts, spec: Spec): void {
    const before = this.#digest();
    const trail = explainer.explain(frame, this.#now, facts);
    const explained = explainer.departures();
    if (this.#digest() !== before) this.wrong.push(`explaining changed the flow table: ${hex(frame)}`);
    const thread = trail.flow?.entry?.region ?? 0;
    const real = this.#pass({ frame, facts }, number, thread < THREADS ? thread : 0, parts);
    const told = `${trail.verdict} ${trail.reason?.word ?? ''} ${trail.service.matched?.name ?? ''} ${trail.choice?.backend ?? ''}`;
    const word = trail.reason?.word ?? trail.verdict;
    this.counts.set(word, (this.counts.get(word) ?? 0) + 1);
    if (trail.choice !== null) this.counts.set(trail.choice.from, (this.counts.get(trail.choice.from) ?? 0) + 1);
    const happened = `${real.verdict} ${real.reason} ${real.service < 0 ? '' : spec.services[real.service].name} ${real.backend}`;
    if (told !== happened) this.wrong.push(`explained: ${told}; happened: ${happened}; ${hex(frame)}`);
    const same =
      explained.length === real.sent.length && explained.every((bytes, k) => Buffer.compare(bytes, real.sent[k]) === 0);
    if (!same) this.wrong.push(`other bytes: ${explained.length} and ${real.sent.length} packets; ${hex(frame)}`);
    const complaint = contradiction(trail, explained);
    if (complaint !== null) this.wrong.push(`${complaint}; ${hex(frame)}`);
  }

  #pass({ frame, facts }: Case, number: number, thread: number, parts: SnapshotParts) {
    const batch = this.#batches[number];
    const { own, others } = flowRegions(this.#words, KEY, GEOMETRY, thread);
    // Answers and identifications begin anew with each, as they do for who explains.
    const pipeline = new Pipeline({
      snapshot: new Snapshot(parts),
      flows: own,
      siblings: others,
      bank: this.#bank,
      pathMtu: this.#pathMtu,
      ...EGRESS,
    });
    batch.count = 1;
    clearFrame(batch, 0);
    batch.virtioFlags[0] = facts.virtioFlags;
    batch.gsoType[0] = facts.gsoType;
    batch.gsoSize[0] = facts.gsoSize;
    batch.headerLength[0] = facts.headerLength;
    batch.csumStart[0] = facts.csumStart;
    batch.csumOffset[0] = facts.csumOffset;
    placeFrame(batch, 0, frame);
    pipeline.process(batch, this.#now);
    const verdict = batch.verdict[0];
    const forward = verdict === VERDICT_FORWARD;
    const steered = batch.service[0] >= 0 && batch.backend[0] >= 0;
    return {
      verdict: VERDICTS[verdict],
      reason: verdict === VERDICT_DROP ? DROP_REASONS[batch.reason[0]].word : '',
      service: batch.service[0],
      backend: steered ? (parts.names.backends.find(({ id }) => id === batch.backend[0])?.name ?? '') : '',
      sent: forward ? Array.from({ length: batch.segmentCount[0] }, (_, k) => segmentBytes(batch, 0, k)) : [],
    };
  }

  #digest(): number {
    let sum = 0;
    for (let i = 0; i < this.#words.length; i++) sum = (Math.imul(sum, 31) + this.#words[i]) | 0;
    return sum;
  }
}

/** What the trail says about itself that can not be. */
function contradiction(trail: Trail, departures: readonly Uint8Array[]): string | null {
  const { sent, size, choice, flow } = trail;
  if (sent !== null) {
    if (sent.lengths.length !== departures.length || sent.lengths.some((length, k) => length !== departures[k].length))
      return 'other lengths';
    if (sent.tunnelLength.is !== sent.tunnelLength.least)
      return `tunnel length ${sent.tunnelLength.is}, right is ${sent.tunnelLength.least}`;
    if (!Buffer.from(departures[0]).toString('hex').startsWith(sent.bytes)) return 'other first bytes';
    if (size?.becomes === 'whole' && departures.length !== 1) return 'said to leave whole';
  }
  if (trail.verdict === 'forward' && (choice?.backend == null || flow === null)) return 'forwarded to nobody';
  if (choice?.from === 'entry' && flow?.entry?.serves !== true) return 'chosen by an entry that does not serve';
  if (choice?.from === 'table' && choice.table !== null && choice.table.backend !== `${choice.pool}/${choice.backend}`)
    return 'not what the table says';
  if (choice?.from === 'previous-table' && choice.previous?.backend !== `${choice.pool}/${choice.backend}`)
    return 'not what the table before says';
  return null;
}

const hex = (frame: Uint8Array) => `${frame.length} bytes ${Buffer.from(frame.subarray(0, 120)).toString('hex')}`;

/** Ways to a backend, and ends, that must have happened for the numbers to mean something. */
const MUST_HAPPEN = [
  'forward',
  'entry',
  'table',
  'previous-table',
  'nobody',
  'not-a-service',
  'too-big',
  'reply',
  'pass',
  'no-backend',
];

async function run(scale: Scale): Promise<Outcome> {
  const random = new Random(20_261_123);
  const comparison = new Comparison();
  let cases = 0;
  while (cases < CASES[scale] && comparison.wrong.length === 0) {
    comparison.round(random, ROUND);
    cases += ROUND;
  }
  const { counts, wrong } = comparison;
  for (const word of MUST_HAPPEN) if (!counts.has(word) && wrong.length === 0) wrong.push(`never happened: ${word}`);
  return {
    passed: wrong.length === 0,
    figures: {
      packets: cases,
      'differences to the packet path': wrong.length,
      happened: [...counts].map(([word, count]) => `${word} ${count}`).join(', '),
      complaints: wrong.slice(0, 4).join(' | ') || 'none',
    },
  };
}

export const explainLine: Line = {
  name: 'explain',
  claim:
    'For a million random packets, through changes of tables and backends, what explain tells (verdict, reason, service, backend, every byte that leaves) is what the packet path then does, and explaining changes nothing.',
  twin: 'test/full/explain.test.ts',
  run,
};
