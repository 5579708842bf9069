// Forwarding threads over memory, as main has them (memory-thread.ts): started with a snapshot, subscribers of a publisher, counted.

import { setTimeout as sleep } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { MessageChannel, type MessagePort, Worker } from 'node:worker_threads';
import { counterAt, createBank, sumOf } from '../src/base/counters.ts';
import type { Subscriber } from '../src/control/publisher.ts';
import { type FlowMemory, flowWords, processMemory } from '../src/daemon/flow-memory.ts';
import { SnapshotSender } from '../src/daemon/snapshot-mail.ts';
import { WORD_COUNT, WORD_GENERATION, WORD_MAIL } from '../src/daemon/thread-protocol.ts';
import { COMPILER_FLAGS } from '../src/pipeline/compiler-flags.ts';
import type { SharedSnapshot, SnapshotParts } from '../src/pipeline/snapshot.ts';
import {
  CPU_SECONDS,
  LONGEST,
  type MemoryThreadEnd,
  type MemoryThreadMail,
  type MemoryThreadStart,
  RUNNING,
  TIME_CELLS,
  TIMES,
  TO_SLEEP,
  WORD_PAUSED,
} from './memory-protocol.ts';

// As the daemon's main does (daemon/run.ts).
for (const flag of COMPILER_FLAGS) setFlagsFromString(flag);

const FORWARDED = counterAt('forwarded_packets_total');
const ENTRY = new URL('./memory-thread.ts', import.meta.url).href;

export interface MemoryThreadsOptions {
  readonly threads: number;
  readonly snapshot: SharedSnapshot;
  /** By thread: IP packets, delivered again and again in this order. */
  readonly frames: readonly (readonly Uint8Array[])[];
  readonly flowEntries: number;
  /** As MemoryThreadStart.load; default 0. */
  readonly load?: number;
  /** As MemoryThreadStart.flowCount; default 0. */
  readonly flows?: number;
}

class MemoryThread implements Subscriber {
  readonly bank = createBank();
  readonly words = new Int32Array(new SharedArrayBuffer(WORD_COUNT * 4));
  readonly times = new Float64Array(new SharedArrayBuffer(TIME_CELLS * 8));
  readonly #port: MessagePort;
  readonly #sender: SnapshotSender;
  readonly #ended: Promise<MemoryThreadEnd>;
  readonly running: Promise<void>;

  constructor(number: number, options: MemoryThreadsOptions, flows: FlowMemory) {
    const { port1, port2 } = new MessageChannel();
    const { generation, root, tables } = options.snapshot;
    this.#port = port1;
    this.#sender = new SnapshotSender(options.snapshot);
    const start: MemoryThreadStart = {
      number,
      threads: options.threads,
      flows,
      snapshot: { generation, root, tables },
      frames: options.frames[number],
      words: this.words,
      bank: this.bank,
      times: this.times,
      load: options.load ?? 0,
      flowCount: options.flows ?? 0,
      mail: port2,
    };
    // tsx registers itself in the main thread only.
    const tsx = JSON.stringify(import.meta.resolve('tsx/esm/api'));
    const script = `import(${tsx}).then(({ register }) => { register(); return import(${JSON.stringify(ENTRY)}); })`;
    const worker = new Worker(script, { workerData: start, transferList: [port2], eval: true });
    let isRunning: () => void = () => {};
    let failed: (error: Error) => void = () => {};
    this.running = new Promise((done, fail) => {
      isRunning = done;
      failed = fail;
    });
    this.#ended = new Promise((done, fail) => {
      worker.on('message', (message: 'running' | MemoryThreadEnd) => (message === 'running' ? isRunning() : done(message)));
      worker.on('error', (error) => {
        failed(error);
        fail(error);
      });
    });
    // Whoever waits hears of it; nobody may.
    this.running.catch(() => {});
    this.#ended.catch(() => {});
  }

  offer({ generation, root, tables }: SnapshotParts): void {
    this.post({ kind: 'snapshot', parts: this.#sender.changeTo({ generation, root, tables }) });
  }

  acknowledged(): number {
    return Atomics.load(this.words, WORD_GENERATION);
  }

  post(mail: MemoryThreadMail): void {
    this.#port.postMessage(mail);
    Atomics.add(this.words, WORD_MAIL, 1);
  }

  /** Resolves when it sleeps. */
  async pause(): Promise<void> {
    Atomics.store(this.words, WORD_PAUSED, TO_SLEEP);
    this.post({ kind: 'pause' });
    while (Atomics.load(this.words, WORD_PAUSED) === TO_SLEEP) await sleep(1);
  }

  resume(): void {
    Atomics.store(this.words, WORD_PAUSED, RUNNING);
    Atomics.notify(this.words, WORD_PAUSED);
  }

  async stop(): Promise<MemoryThreadEnd> {
    this.post({ kind: 'stop' });
    this.resume();
    const end = await this.#ended;
    this.#port.close();
    return end;
  }
}

export interface BatchTimes {
  readonly batches: number;
  /** Microseconds. */
  readonly median: number;
  readonly p99: number;
  readonly p999: number;
  readonly longest: number;
  /** Batches of a millisecond and more. */
  readonly pauses: number;
}

export class MemoryThreads {
  readonly threads: readonly MemoryThread[];

  readonly #flows: FlowMemory;

  private constructor(threads: readonly MemoryThread[], flows: FlowMemory) {
    this.threads = threads;
    this.#flows = flows;
  }

  /** Entries of the flow table that are in use: all of them are looked at. */
  entries(): number {
    const words = flowWords(this.#flows);
    let entries = 0;
    for (let at = 2; at < words.length; at += 4) if (words[at] !== 0) entries++;
    return entries;
  }

  /** Resolves when all forward. */
  static async start(options: MemoryThreadsOptions): Promise<MemoryThreads> {
    const flows = processMemory(options.flowEntries, options.threads);
    const threads = Array.from({ length: options.threads }, (_, number) => new MemoryThread(number, options, flows));
    await Promise.all(threads.map(({ running }) => running));
    return new MemoryThreads(threads, flows);
  }

  /** Packets that all threads have forwarded. */
  get forwarded(): number {
    return sumOf(
      this.threads.map(({ bank }) => bank),
      FORWARDED,
    );
  }

  /** Counts batch times from now on anew. */
  forgetTimes(): void {
    for (const { times } of this.threads) times.fill(0);
  }

  /** From one batch to the next, the change of a snapshot included; all threads together. */
  times(): BatchTimes {
    const sums = new Float64Array(TIMES);
    for (const { times } of this.threads) for (let cell = 0; cell < TIMES; cell++) sums[cell] += times[cell];
    const batches = sums.reduce((sum, count) => sum + count, 0);
    const at = (share: number) => {
      let left = batches * share;
      for (let cell = 0; cell < TIMES; cell++) {
        left -= sums[cell];
        if (left <= 0) return cell + 1;
      }
      return TIMES;
    };
    const longest = Math.max(...this.threads.map(({ times }) => times[LONGEST]));
    const pauses = sums.subarray(1000).reduce((sum, count) => sum + count, 0);
    return { batches, median: at(0.5), p99: at(0.99), p999: at(0.999), longest, pauses };
  }

  /** Keeps a thread on a processor. */
  pin(thread: number, processor: number): void {
    this.threads[thread].post({ kind: 'pin', processor });
  }

  /** All threads sleep until `resume`; resolves when they do. */
  async pause(): Promise<void> {
    await Promise.all(this.threads.map((thread) => thread.pause()));
  }

  /** Of all threads together, until they last went to sleep. */
  get cpuSeconds(): number {
    return this.threads.reduce((all, { times }) => all + times[CPU_SECONDS], 0);
  }

  resume(): void {
    for (const thread of this.threads) thread.resume();
  }

  async stop(): Promise<MemoryThreadEnd[]> {
    return Promise.all(this.threads.map((thread) => thread.stop()));
  }
}
