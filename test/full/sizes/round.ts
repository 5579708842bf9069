// One batch of cases from one seed, run twice over arenas of different poison: whatever lies around the frames, in the records, and in
// the columns from packets before, verdicts and outputs must be the same, byte for byte. One case of each batch runs a third time, alone, over
// a view that sees each read.

import { LINK_ETHERNET } from '../../../src/base/batch.ts';
import { DROP_REASONS } from '../../../src/base/drop-reason.ts';
import { segmentBytes } from '../../../src/base/segment-bytes.ts';
import { VERDICT_DROP, VERDICT_FORWARD, VERDICT_REPLY, VERDICTS } from '../../../src/base/verdict.ts';
import { Random } from '../random.ts';
import { type Case, draftCase } from './draft.ts';
import { complaintAbout, type Fate, type Setting } from './judge.ts';
import type { Known } from './known.ts';
import { BACKENDS, INGRESSES, Place, PORTS, poisonedArena, serviceOf } from './place.ts';
import { WatchedView } from './watched.ts';

/** Cases of a batch. */
export const ROUND = 24;
/** Behind each frame so many bytes are looked at, and in one round in eight all up to the slot's end. */
const TAIL = 512;
/** Their difference is no multiple of 0xffff in any word, so that no sum of 16-bit words takes one for the other. */
const POISONS = [0x5a, 0xc3] as const;
const SLOT = 66_000;
const EMPTY = new Uint8Array(0);
/** Path MTUs: none, below every floor, the usual ones, large. */
const MTUS = [0, 0, 1, 60, 68, 100, 552, 576, 1280, 1332, 1400, 1480, 1500, 1532, 1600, 9000, 65_535];

/** A case and the bytes in front of a frame's usual place that it begins at (packet sockets put VLAN tags there). */
interface Placed extends Case {
  readonly shift: number;
}

export interface Report {
  cases: number;
  watched: number;
  outputs: number;
  trains: number;
  /** Packets whose tunnel packets left in fragments, and answers beside packets that were forwarded. */
  fragmented: number;
  answers: number;
  counts: Map<string, number>;
  wrong: string[];
}

export function newReport(): Report {
  return { cases: 0, watched: 0, outputs: 0, trains: 0, fragmented: 0, answers: 0, counts: new Map(), wrong: [] };
}

/** Any 32-bit number from a seed and a place in its sequence. */
function mixed(seed: number, round: number): number {
  let h = seed ^ Math.imul(round, 0x9e3779b1);
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return h ^ (h >>> 16);
}

function describe({ frame, facts }: Case, place: Place, i: number, pathMtu: number): string {
  const { flags, ...rest } = { flags: facts.virtioFlags, ...facts };
  const hex = Buffer.from(frame.subarray(0, 160)).toString('hex');
  const { link, hopDone } = place.batch.ingress;
  return `packet ${i}, link ${link}, hop done ${hopDone}, path MTU ${pathMtu}, ${JSON.stringify(rest)} flags ${flags}, ${frame.length} bytes ${hex}`;
}

function fateOf(place: Place, i: number, pathMtu: Int32Array): Fate {
  const { batch } = place;
  const verdict = batch.verdict[i];
  const forward = verdict === VERDICT_FORWARD;
  const outputs: Uint8Array[] = [];
  if (forward) for (let k = 0; k < batch.segmentCount[i]; k++) outputs.push(segmentBytes(batch, i, k));
  else if (verdict === VERDICT_REPLY) outputs.push(batch.arena.bytes.slice(batch.outAt[i], batch.outAt[i] + batch.outLength[i]));
  let answer: Uint8Array | null = null;
  for (let a = 0; a < batch.answers; a++)
    if (batch.answerTo[a] === i) answer = batch.arena.bytes.slice(batch.answerAt[a], batch.answerAt[a] + batch.answerLength[a]);
  return {
    verdict: VERDICTS[verdict],
    reason: batch.reason[i],
    outputs,
    train: forward && batch.recordAt[i] >= 0,
    fragmentsOuter: forward && batch.fragmentsOuter[i] !== 0,
    answer,
    pathMtu: batch.backend[i] < 0 ? -1 : pathMtu[batch.backend[i]],
  };
}

/** Whether what leaves lies where it may: in the packet's own slot, or in the records, with payload from its own frame. */
function placeComplaint(place: Place, i: number): string | null {
  const { batch } = place;
  const { arena } = batch;
  if (batch.verdict[i] !== VERDICT_FORWARD && batch.verdict[i] !== VERDICT_REPLY) return null;
  const slotEnd = batch.slotAt[i] + arena.stride;
  const from = batch.outAt[i];
  if (batch.verdict[i] === VERDICT_REPLY || batch.recordAt[i] < 0) {
    const to = from + batch.outLength[i];
    return from >= batch.slotAt[i] && to <= slotEnd && from < to ? null : `leaves its slot: ${from} to ${to}`;
  }
  const end = batch.frameAt[i] + batch.frameLength[i];
  const first = batch.recordOf(i, 0);
  if (batch.recordAt[i] < arena.recordsAt || first + batch.segmentCount[i] > arena.records) return 'leaves the records';
  for (let r = first; r < first + batch.segmentCount[i]; r++) {
    const at = batch.pieceAt[r];
    // Of a tunnel packet in fragments, UDP and GUE header are payload, and lie in front of the frame.
    if (at < (batch.fragmentsOuter[i] === 0 ? batch.frameAt[i] : batch.slotAt[i]) || at + batch.pieceLength[r] > end)
      return `part ${r - first} reads outside its frame`;
  }
  return null;
}

function sameFate(a: Fate, b: Fate): boolean {
  if (a.verdict !== b.verdict || a.train !== b.train || a.outputs.length !== b.outputs.length) return false;
  if (a.verdict === 'drop' && a.reason !== b.reason) return false;
  if (Buffer.compare(a.answer ?? EMPTY, b.answer ?? EMPTY) !== 0) return false;
  return a.outputs.every((bytes, k) => Buffer.compare(bytes, b.outputs[k]) === 0);
}

/** Everything that rounds need, made once per thread. */
export class Rounds {
  readonly #pathMtu = new Int32Array(BACKENDS);
  readonly #places: readonly (readonly [Place, Place])[];
  readonly #watched: readonly Place[];
  readonly #view: WatchedView;
  readonly #clean = POISONS.map((poison) => new Uint8Array(SLOT).fill(poison));
  #now = 0;

  constructor() {
    const arenas = POISONS.map((poison) => poisonedArena(ROUND, poison));
    const stingy = [false, true];
    this.#places = stingy.flatMap((few) =>
      INGRESSES.map((facts) => {
        const [a, b] = POISONS.map((poison, k) => new Place(arenas[k], facts, poison, this.#pathMtu, few));
        return [a, b] as const;
      }),
    );
    const alone = poisonedArena(1, POISONS[0]);
    this.#view = new WatchedView(alone.bytes);
    // Before any stage is made of it.
    (alone as { view: DataView }).view = this.#view;
    this.#watched = INGRESSES.map((facts) => new Place(alone, facts, POISONS[0], this.#pathMtu, false));
  }

  /** Runs the batch of `round`; what is wrong goes to `report`, with the round's number to repeat it. */
  run(seed: number, round: number, report: Report): void {
    const random = new Random(mixed(seed, round));
    for (let id = 0; id < BACKENDS; id++) this.#pathMtu[id] = random.chance(3) ? random.below(66_000) : random.pick(MTUS);
    const number = random.below(this.#places.length);
    const count = random.chance(8) ? 1 + random.below(ROUND) : ROUND;
    const cases: Placed[] = [];
    for (let i = 0; i < count; i++) {
      const { frame, facts } = draftCase(random, INGRESSES[number % INGRESSES.length], PORTS);
      cases.push({ frame: frame.slice(), facts, shift: random.chance(8) ? 4 : 0 });
    }
    this.#batch(`round ${round}`, cases, number, round, report);
  }

  /** Runs a case that was once wrong, alone and watched. */
  runKnown(known: Known, report: Report): void {
    this.#pathMtu.fill(known.pathMtu);
    this.#batch(known.name, [{ ...known, shift: 0 }], known.ingress, 0, report);
    const word = this.#places[known.ingress][0].batch.verdict[0];
    if (VERDICTS[word] !== known.verdict) report.wrong.push(`${known.name}: ${VERDICTS[word]}, not ${known.verdict}`);
  }

  #batch(name: string, cases: readonly Placed[], number: number, round: number, report: Report): void {
    const [first, second] = this.#places[number];
    first.clear();
    second.clear();
    for (const one of cases) {
      first.add(one, one.shift);
      second.add(one, one.shift);
    }
    // Long enough for every answer to be allowed again.
    this.#now += 2;
    const said = (i: number, text: string) => {
      const mtu = first.batch.backend[i] < 0 ? 0 : this.#pathMtu[first.batch.backend[i]];
      report.wrong.push(`${name}: ${text}; ${describe(cases[i], first, i, mtu)}`);
    };
    try {
      first.run(this.#now);
      second.run(this.#now);
      this.#judge(cases, first, second, report, said);
      // The shortest frame is the one that most easily ends too early.
      const shortest = cases.reduce((best, one, i) => (one.frame.length < cases[best].frame.length ? i : best), 0);
      const watched = round % 2 === 0 ? shortest : 0;
      this.#watch(cases, watched, number % INGRESSES.length, report, said);
    } catch (error) {
      report.wrong.push(`${name}: exception: ${(error as Error).stack}`);
    }
    first.wipe();
    second.wipe();
    report.cases += cases.length;
  }

  #judge(cases: readonly Case[], first: Place, second: Place, report: Report, said: (i: number, text: string) => void): void {
    const { link, hopDone, canPass } = first.batch.ingress;
    const most = report.cases % 8 === 0 ? SLOT : TAIL;
    const setting: Setting = { isEthernet: link === LINK_ETHERNET, hopDone, canPass, serviceOf };
    for (const [i, one] of cases.entries()) {
      const misplaced = placeComplaint(first, i) ?? placeComplaint(second, i);
      if (misplaced !== null) {
        said(i, misplaced);
        continue;
      }
      const fate = fateOf(first, i, this.#pathMtu);
      if (!sameFate(fate, fateOf(second, i, this.#pathMtu))) said(i, 'what lies around the frame makes a difference');
      if (
        fate.verdict !== 'reply' &&
        !(first.tailIsClean(i, this.#clean[0], most) && second.tailIsClean(i, this.#clean[1], most))
      )
        said(i, 'bytes behind the frame were written');
      const word = fate.verdict === 'drop' ? `dropped: ${DROP_REASONS[fate.reason]?.word}` : fate.verdict;
      report.counts.set(word, (report.counts.get(word) ?? 0) + 1);
      report.outputs += fate.outputs.length;
      if (fate.outputs.length > 1) report.trains++;
      if (fate.fragmentsOuter) report.fragmented++;
      if (fate.answer !== null) report.answers++;
      const complaint = complaintAbout(one, fate, setting);
      if (complaint !== null) said(i, complaint);
    }
  }

  #watch(cases: readonly Case[], i: number, number: number, report: Report, said: (i: number, text: string) => void): void {
    const place = this.#watched[number];
    place.clear();
    place.add(cases[i], 0);
    const { batch } = place;
    this.#view.expect(batch.frameAt[0], batch.frameLength[0]);
    place.run(this.#now);
    report.watched++;
    const { stray } = this.#view;
    if (stray.length > 0) said(i, `read outside the frame at ${batch.frameAt[0]}: ${stray.join(', ')}`);
    else if (batch.verdict[0] === VERDICT_DROP && batch.reason[0] === 0) said(i, 'dropped without a reason');
    place.wipe();
  }
}
