// A forwarding thread whose packets come from memory and go to memory: the daemon's own loop, packet path, flow regions and snapshots, and no kernel. For benches and lines.

import { PerformanceObserver } from 'node:perf_hooks';
import { parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import { Arena, SMALL_STRIDE } from '../src/base/arena.ts';
import { Batch, type IngressFacts, LINK_RAW_IP } from '../src/base/batch.ts';
import { elapsedMicroseconds } from '../src/base/clock.ts';
import { flowWords } from '../src/daemon/flow-memory.ts';
import { forward } from '../src/daemon/forwarding-loop.ts';
import { collectAll } from '../src/daemon/heap.ts';
import { SnapshotGarbage } from '../src/daemon/snapshot-garbage.ts';
import { SnapshotReceiver } from '../src/daemon/snapshot-mail.ts';
import { WORD_GENERATION } from '../src/daemon/thread-protocol.ts';
import type { Ingress } from '../src/io/driver.ts';
import { MemoryEgress } from '../src/io/memory/egress.ts';
import { MemoryIngress } from '../src/io/memory/ingress.ts';
import { flowRegions } from '../src/pipeline/flow-regions.ts';
import { Pipeline } from '../src/pipeline/pipeline.ts';
import { Snapshot } from '../src/pipeline/snapshot.ts';
import { boottimeClock } from '../src/raw-socket/clock.ts';
import { pinToProcessor } from '../src/raw-socket/processors.ts';
import {
  ASLEEP,
  CPU_SECONDS,
  LONGEST,
  type MemoryThreadEnd,
  type MemoryThreadMail,
  type MemoryThreadStart,
  TIMES,
  TO_SLEEP,
  WORD_PAUSED,
} from './memory-protocol.ts';

function run(start: MemoryThreadStart): number {
  const { number, times } = start;
  const facts: IngressFacts = { link: LINK_RAW_IP, hopDone: true, canPass: false, headerVerified: true };
  const batch = new Batch(Arena.inProcess(64, SMALL_STRIDE), facts);
  const { own, others } = flowRegions(flowWords(start.flows), start.flows.key, start.flows.geometry, number);
  const pipeline = new Pipeline({
    snapshot: new Snapshot(start.snapshot),
    flows: own,
    siblings: others,
    thread: number,
    bank: start.bank,
    sourcePortBase: 49152,
    sourcePortMask: 16383,
  });
  const clock = boottimeClock();
  const source = new MemoryIngress({ frames: start.frames, rounds: Number.POSITIVE_INFINITY, facts });
  const garbage = new SnapshotGarbage('minor');
  const received = new SnapshotReceiver(start.snapshot);
  const nap = new Int32Array(new SharedArrayBuffer(4));
  // Whole numbers, as everything that this thread counts: fractions would be numbers on the heap, and garbage that the daemon's threads do not make.
  /** Microseconds; −1: what was before is not to be timed. */
  let last = -1;
  /** Microseconds since the last sleep. */
  let worked = 0;
  const { flowCount, load } = start;
  let counter = 0;
  const writeFlows = ({ arena, frameAt }: Batch, count: number): void => {
    for (let i = 0; i < count; i++) {
      counter = counter + 1 >= flowCount ? 0 : counter + 1;
      // An odd multiplier permutes the 32-bit numbers: flows are distinct, and neighbours unrelated.
      const flow = Math.imul(counter, 0x9e3779b1);
      arena.view.setInt32(frameAt[i] + 12, (flow & 0x00ffffff) | 0x0b000000);
      arena.view.setUint16(frameAt[i] + 20, 1024 + (flow >>> 24));
    }
  };
  const ingress: Ingress = {
    name: source.name,
    facts: source.facts,
    descriptor: -1,
    exhausted: false,
    receive(into) {
      const now = clock.microseconds();
      if (last >= 0) {
        const took = elapsedMicroseconds(last, now);
        times[took < TIMES ? took : TIMES - 1]++;
        if (took > times[LONGEST]) times[LONGEST] = took;
        worked += took;
      }
      last = now;
      if (load > 0 && worked >= 1000) {
        Atomics.wait(nap, 0, 0, (worked / load - worked) / 1000);
        worked = 0;
        last = clock.microseconds();
      }
      const count = source.receive(into);
      if (flowCount > 0) writeFlows(into, count);
      return count;
    },
    reply: (of) => source.reply(of),
    statistics: () => source.statistics(),
    close: () => source.close(),
  };
  const readMail = (): boolean => {
    for (;;) {
      const mail = receiveMessageOnPort(start.mail)?.message as MemoryThreadMail | undefined;
      if (mail === undefined) return true;
      if (mail.kind === 'stop') return false;
      if (mail.kind === 'pin') {
        if (!pinToProcessor(mail.processor)) throw new Error(`there is no processor ${mail.processor} for this thread`);
        continue;
      }
      if (mail.kind === 'pause') {
        times[CPU_SECONDS] = clock.threadCpuSeconds();
        if (Atomics.compareExchange(start.words, WORD_PAUSED, TO_SLEEP, ASLEEP) === TO_SLEEP)
          Atomics.wait(start.words, WORD_PAUSED, ASLEEP);
        last = -1;
        continue;
      }
      const parts = received.take(mail.parts);
      pipeline.snapshot = new Snapshot(parts, pipeline.snapshot);
      garbage.received(mail.parts, clock.seconds());
      Atomics.store(start.words, WORD_GENERATION, parts.generation);
    }
  };
  Atomics.store(start.words, WORD_GENERATION, start.snapshot.generation);
  collectAll();
  parentPort?.postMessage('running');
  forward({
    ingress,
    egress: new MemoryEgress({ keep: false }),
    pipeline,
    batch,
    clock,
    wait: () => {},
    readMail,
    exhausted: () => {},
    refused: () => {},
    cpuSeconds: () => clock.threadCpuSeconds(),
    words: start.words,
    bank: start.bank,
    kernelDrops: new Float64Array(1),
  });
  return clock.threadCpuSeconds();
}

const start = workerData as MemoryThreadStart;
const pauses: { at: number; duration: number }[] = [];
new PerformanceObserver((list) => {
  for (const { startTime, duration } of list.getEntries()) pauses.push({ at: performance.timeOrigin + startTime, duration });
}).observe({ entryTypes: ['gc'] });
const cpuSeconds = run(start);
// The observer is told of pauses when this thread comes back to its event loop.
setTimeout(() => {
  parentPort?.postMessage({ cpuSeconds, pauses } satisfies MemoryThreadEnd);
  start.mail.close();
}, 50);
