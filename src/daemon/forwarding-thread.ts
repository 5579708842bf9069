/**
 * A forwarding thread: opens its drivers, maps its memory, and runs to completion over batches until it is told to stop. Main is
 * never waited for, and the event loop is never returned to.
 *
 * The thread opens its own drivers, so that what it holds goes with it. Two things are main's and survive it: its memory (flow table,
 * counters), and with `tun` and `tap` (and the egress `tap-offload`) its queue. A queue that closes loses the packets in it, makes the kernel steer flows anew, and with the
 * last one the device and its routes vanish; so main opens the queues (descriptors are numbers of the whole process), and a
 * replacement goes on reading where its predecessor stopped.
 */
import { randomInt } from 'node:crypto';
import { parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import { clearDropNotes } from '../base/drop-notes.ts';
import { CodedError, EXIT } from '../base/errors.ts';
import type { Egress, Ingress } from '../io/driver.ts';
import { createBatch, openEgress, openIngress } from '../io/open.ts';
import { DropNotes } from '../pipeline/drop-notes.ts';
import { flowRegions } from '../pipeline/flow-regions.ts';
import { FragmentHold } from '../pipeline/fragment-hold.ts';
import { FragmentTable } from '../pipeline/fragment-table.ts';
import { Identifiers } from '../pipeline/identifiers.ts';
import { Pipeline } from '../pipeline/pipeline.ts';
import { ReplyRate } from '../pipeline/reply-rate.ts';
import { Snapshot } from '../pipeline/snapshot.ts';
import { boottimeClock, wallClock } from '../raw-socket/clock.ts';
import { EventDescriptor } from '../raw-socket/event.ts';
import { pinToProcessor } from '../raw-socket/processors.ts';
import { TraceTap } from '../trace/tap.ts';
import { flowWords } from './flow-memory.ts';
import { forward } from './forwarding-loop.ts';
import { collectAll } from './heap.ts';
import { idlePacing } from './idle-pacing.ts';
import { SnapshotGarbage } from './snapshot-garbage.ts';
import { SnapshotReceiver } from './snapshot-mail.ts';
import { takeBaton } from './takeover/baton.ts';
import { clearCounters, warmUp } from './takeover/warm-up.ts';
import {
  EGRESS_GONE,
  type Failure,
  INGRESS_GONE,
  type MailToMain,
  type MailToThread,
  type PathFacts,
  type ThreadStart,
  WORD_GENERATION,
} from './thread-protocol.ts';
import { ThreadWait } from './thread-wait.ts';
import { WayOut } from './way-out.ts';

function tell(message: MailToMain): void {
  parentPort?.postMessage(message);
}

function pathFacts(ingress: Ingress, egress: Egress): PathFacts {
  const { sourcePortBase, sourcePortMask, trainsNeedChecksum, trains, outerFragments } = egress.facts;
  return {
    ingress: ingress.facts,
    egress: { sourcePortBase, sourcePortMask, trainsNeedChecksum, wholeTrains: trains === 'tunnel-gso', outerFragments },
  };
}

function run(start: ThreadStart): void {
  const { number, threads, services, queue, gate } = start;
  let left = false;
  // Before its memory is mapped: then it is that of the processor's own node.
  if (start.processor !== null && !pinToProcessor(start.processor)) tell({ kind: 'unpinned', processor: start.processor });
  const ingress = openIngress(start.ingress, { thread: number, threads, services, gate, ...(queue === null ? {} : { queue }) });
  try {
    const { nextHops } = start;
    const link = nextHops === null ? undefined : { ingress, nextHops, thread: number, threads };
    const egress = openEgress(start.egress, start.bank, start.egressQueue ?? undefined, link);
    try {
      const mapped = createBatch(ingress);
      try {
        const { key, geometry } = start.flows;
        const { own, others } = flowRegions(flowWords(start.flows), key, geometry, number);
        const { fragments } = start;
        const tables = start.fragmentMemory.map(
          (memory) => new FragmentTable(start.fragmentEntries, key, fragments.timeout, memory),
        );
        const hold = new FragmentHold({
          bytes: fragments.holdBytes,
          frames: fragments.holdPackets,
          perSource: fragments.holdPerSource,
          timeout: fragments.holdTimeout,
          key,
        });
        const facts = pathFacts(ingress, egress);
        const dropNotes = new DropNotes(start.dropNotes, wallClock());
        dropNotes.watch(hold, facts.ingress.link);
        const pipeline = new Pipeline({
          snapshot: new Snapshot(start.snapshot),
          flows: own,
          siblings: others,
          fragments: tables[number],
          fragmentSiblings: tables.filter((_, other) => other !== number),
          hold,
          thread: number,
          bank: start.bank,
          dropNotes,
          ...facts.egress,
          ...(start.pathMtu === null ? {} : { pathMtu: new Int32Array(start.pathMtu) }),
          ...(start.cutNotes === null ? {} : { cutNotes: new Int32Array(start.cutNotes) }),
          // A seed that nobody knows: who shares whose rate can not be chosen.
          replyRate: new ReplyRate({ seed: randomInt(0x7fffffff) }),
          identifiers: new Identifiers({ seed: randomInt(0x7fffffff), thread: number, threads }),
        });
        const wayOut = start.pathMtu === null ? null : new WayOut(new Int32Array(start.pathMtu));
        const waiting = new ThreadWait(ingress, EventDescriptor.over(start.wake));
        const clock = boottimeClock();
        const garbage = new SnapshotGarbage('minor');
        const received = new SnapshotReceiver(start.snapshot);
        // tap-offload adds a hop that the kernel takes off again: what leaves has one less.
        const untraced = (error: unknown): void => tell({ kind: 'untraced', message: String(error) });
        const tap = new TraceTap(mapped.batch, pipeline, clock, {
          raisesHops: egress.facts.trains === 'tunnel-gso',
          fault: untraced,
        });
        let baton = -1;
        /** What the ingress is to take in. While another process reads our queue it is not told: the filter of a packet socket is one for both. */
        let wanted = services;
        let isOurs = start.baton === null;

        /** A trace never costs a thread: what can not be traced is not, and main hears of it. */
        const guarded = (change: () => void): void => {
          try {
            change();
          } catch (error) {
            tap.follow(null);
            untraced(error);
          }
        };

        /** Everything main has posted; false when it is time to stop. */
        const readMail = (): boolean => {
          for (;;) {
            const mail = receiveMessageOnPort(start.mail)?.message as MailToThread | undefined;
            if (mail === undefined) return true;
            if (mail.kind === 'stop') return false;
            if (mail.kind === 'leave') {
              baton = mail.baton;
              return false;
            }
            if (mail.kind === 'trace') {
              guarded(() => (mail.order === null ? tap.follow(null) : tap.follow(mail.order, mail.names)));
              continue;
            }
            if (mail.kind === 'fault') throw new Error('a fault was asked for');
            if (mail.kind === 'reopen') {
              const [code, driver] = mail.part === 'ingress' ? [INGRESS_GONE, ingress] : [EGRESS_GONE, egress];
              throw new CodedError(code, `the interface of ${driver.name} was removed`);
            }
            // What a new service gets in before this is not copied, what a gone one gets in after it neither: the blackhole routes hold both.
            if (mail.services !== null) {
              wanted = mail.services;
              if (isOurs) ingress.setServices?.(wanted);
            }
            const parts = received.take(mail.parts);
            pipeline.snapshot = new Snapshot(parts, pipeline.snapshot);
            const { names } = mail;
            if (names !== null) guarded(() => tap.renamed(names));
            garbage.received(mail.parts, clock.seconds());
            Atomics.store(start.words, WORD_GENERATION, parts.generation);
          }
        };

        Atomics.store(start.words, WORD_GENERATION, start.snapshot.generation);
        if (start.baton !== null) {
          const batches = warmUp({ pipeline, batch: mapped.batch, services, clock });
          clearCounters(start.bank);
          // What was made up and dropped is no drop.
          clearDropNotes(start.dropNotes);
          collectAll();
          tell({ kind: 'poised', batches });
          if (!takeBaton({ baton: start.baton, wake: start.wake, words: start.words, readMail, clock })) return;
          isOurs = true;
        } else collectAll();
        // A queue that somebody read before us has the filter that it had then.
        if (queue !== null) ingress.setServices?.(wanted);
        tell({
          kind: 'forwarding',
          ingress: ingress.name,
          egress: egress.name,
          interfaceIndex: ingress.interfaceIndex ?? 0,
          facts,
          descriptor: ingress.descriptor,
          at: clock.milliseconds(),
        });
        if (ingress.warning != null) tell({ kind: 'warning', part: 'ingress', driver: ingress.name, ...ingress.warning });
        if (egress.warning != null) tell({ kind: 'warning', part: 'egress', driver: egress.name, ...egress.warning });
        forward({
          ingress,
          egress,
          pipeline,
          batch: mapped.batch,
          clock,
          wait: idlePacing({ ...start, wait: (timeout) => waiting.wait(timeout), now: () => clock.microseconds() }),
          readMail,
          exhausted: () => tell({ kind: 'exhausted', failure: ingress.failure?.message ?? '' }),
          refused: (driver, errno) => tell({ kind: 'refused', driver, errno }),
          tap,
          cpuSeconds: () => clock.threadCpuSeconds(),
          ...(wayOut === null ? {} : { isNarrower: (batch, i, now) => wayOut.isNarrower(batch, i, now) }),
          words: start.words,
          bank: start.bank,
          kernelDrops: start.kernelDrops,
        });
        if (baton >= 0) {
          left = true;
          const at = clock.milliseconds();
          EventDescriptor.over(baton).notify();
          tell({ kind: 'left', at });
        }
      } finally {
        mapped.release();
      }
    } finally {
      egress.close();
    }
  } finally {
    // What was handed over is main's: it must stay open until the other process says that it has it.
    if (queue === null && !left) ingress.close();
  }
}

function failureOf(error: unknown): Failure {
  const known = error instanceof CodedError ? error : null;
  return {
    message: error instanceof Error ? error.message : String(error),
    stack: error instanceof Error ? (error.stack ?? '') : '',
    code: known?.code ?? '',
    hint: known?.hint ?? '',
    exitCode: known?.exitCode ?? EXIT.FAILED,
  };
}

const start = workerData as ThreadStart;
try {
  run(start);
  tell({ kind: 'stopped' });
} catch (error) {
  tell({ kind: 'failed', failure: failureOf(error) });
} finally {
  start.mail.close();
}
