/**
 * `npm run bench -- history`: what it costs to be able to say what happened. Packets that are dropped (their port has no service) and packets that are forwarded, with
 * notes of drops and without: each in a process of its own, because two pipelines in one run at half the speed; in turn, so that a busy minute hits both. And what main does
 * once a second, and for an answer while everything is full of notes.
 */
import { execFileSync } from 'node:child_process';
import { performance } from 'node:perf_hooks';
import { fileURLToPath } from 'node:url';
import { BACKENDS_AT, createBank } from '../src/base/counters.ts';
import { createDropNotes, type DropNote, NOTES_KEPT } from '../src/base/drop-notes.ts';
import { DROP_REASONS } from '../src/base/drop-reason.ts';
import { HistoryKeeper } from '../src/daemon/history-keeper.ts';
import { CounterSeries } from '../src/observe/counter-series.ts';
import { SecondRing } from '../src/observe/second-ring.ts';
import { DropNotes } from '../src/pipeline/drop-notes.ts';
import { wallClock } from '../src/raw-socket/clock.ts';
import { writeDropNotes } from '../test/reference/drop-notes.ts';
import { PipelineBench } from './pipeline.ts';

export const name = 'history';

/** An option of this file when it runs as a process of its own: which packets, and whether drops are noted. */
const CASE = /^--case=(dropped|forwarded),(noted|plain)$/;
const BATCHES = 8000;

/** ns per packet: the best of `rounds`, less the best of filling the batch. */
function measure(kind: string, isNoted: boolean, rounds: number): number {
  const bench = new PipelineBench(
    { family: 4, checksum: 'none', flows: 1000 },
    isNoted ? new DropNotes(createDropNotes(), wallClock()) : undefined,
  );
  const { arena, frameAt, capacity } = bench.batch;
  // TCP destination port 80, which the one service does not have.
  if (kind === 'dropped') for (let i = 0; i < capacity; i++) arena.view.setUint16(frameAt[i] + 22, 80);
  bench.warmUp();
  const results = Array.from({ length: rounds + 1 }, () => bench.round(BATCHES)).slice(1);
  return Math.min(...results.map(({ gross }) => gross)) - Math.min(...results.map(({ floor }) => floor));
}

/** Microseconds of main for a second in which every backend got packets. */
function secondOf(backends: number, threads: number): number {
  const banks = Array.from({ length: threads }, () => createBank());
  const names = { services: [], backends: Array.from({ length: backends }, (_, id) => ({ id, pool: 'p', name: `w${id}` })) };
  const ring = new SecondRing();
  const series = new CounterSeries(0);
  const times: number[] = [];
  for (let s = 0; s < 60; s++) {
    for (const bank of banks) for (let id = 0; id < backends; id++) bank[BACKENDS_AT + 2 * id] += 1 + id;
    const begin = performance.now();
    ring.begin(s * 1000, 1000);
    series.look(banks, names, 0, s * 1000, (number, packets, bytes) => ring.add(number, packets, bytes));
    times.push((performance.now() - begin) * 1000);
  }
  return times.sort((a, b) => a - b)[times.length >> 1];
}

/** Milliseconds of a processor for an answer while every ring of `threads` threads is full: the first one, and the median of those behind it. */
function answersOf(question: string, threads: number): { first: number; later: number } {
  const memories = Array.from({ length: threads }, () => createDropNotes());
  const now = Date.now();
  const notes = DROP_REASONS.slice(1).flatMap(({ word }) =>
    Array.from({ length: threads * NOTES_KEPT }, (_, k): DropNote => {
      const source = Uint8Array.of(192, 0, 2, k % 200);
      return {
        ...{ time: now - 300_000 + 60 * k, reason: word, thread: k % threads, length: 60, source, destination: source },
        ...{ protocol: 6, sport: k, dport: 443, service: 0, backend: -1 },
      };
    }),
  );
  writeDropNotes(memories, notes);
  const keeper = new HistoryKeeper({
    events: () => [],
    publisher: { current: null },
    threads: { banks: [], seats: memories.map((dropNotes) => ({ dropNotes })), kernelDrops: () => [] },
  });
  const [first, ...later] = Array.from({ length: 6 }, () => {
    const begin = process.cpuUsage().user;
    keeper.answer(new URLSearchParams(question), true);
    return (process.cpuUsage().user - begin) / 1000;
  });
  return { first, later: later.sort((a, b) => a - b)[later.length >> 1] };
}

export async function run({ quick }: { quick: boolean }): Promise<{ name: string; rows: Record<string, string | number>[] }> {
  const rounds = quick ? 5 : 15;
  const turns = quick ? 1 : 3;
  const best = new Map<string, number>();
  for (let turn = 0; turn < turns; turn++) {
    for (const kind of ['dropped', 'forwarded']) {
      for (const how of ['plain', 'noted']) {
        const file = fileURLToPath(import.meta.url);
        const words = [...process.execArgv, file, `--case=${kind},${how}`, String(rounds)];
        const ns = Number(execFileSync(process.execPath, words, { encoding: 'utf8' }));
        best.set(`${kind} ${how}`, Math.min(ns, best.get(`${kind} ${how}`) ?? Number.POSITIVE_INFINITY));
      }
    }
  }
  const rows: Record<string, string | number>[] = ['dropped', 'forwarded'].map((kind) => {
    const [plain, noted] = ['plain', 'noted'].map((how) => best.get(`${kind} ${how}`) ?? Number.NaN);
    return { packets: kind, 'ns/packet': plain.toFixed(1), 'with notes': noted.toFixed(1), more: (noted - plain).toFixed(1) };
  });
  for (const [backends, threads] of [
    [10, 1],
    [100, 4],
    [1000, 4],
  ]) {
    rows.push({ backends, threads, 'µs of main each second': secondOf(backends, threads).toFixed(0) });
  }
  for (const question of [
    'last=600',
    'last=600&client=192.0.2.7',
    'last=600&client=198.51.100.7',
    'last=600&reason=no-backend',
  ]) {
    const { first, later } = answersOf(question, 4);
    rows.push({ 'all rings of 4 threads full': question, 'ms of main, first': first.toFixed(0), later: later.toFixed(0) });
  }
  return { name, rows };
}

const chosen = CASE.exec(process.argv[2] ?? '');
if (chosen !== null) process.stdout.write(String(measure(chosen[1], chosen[2] === 'noted', Number(process.argv[3]))));
