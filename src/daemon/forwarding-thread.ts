/**
 * A forwarding thread: opens its drivers, maps its memory, and runs to completion over batches until it is told to stop. Main is
 * never waited for, and the event loop is never returned to.
 *
 * The thread opens its own drivers, so that everything it holds goes with it: when it ends by an error, its queue is closed, the
 * kernel steers that queue's flows to its siblings at once, and the replacement opens a new queue. (With one thread and
 * `tun`, the device goes too; main sets the new one up again, and the blackhole routes keep packets from bouncing meanwhile.)
 * Its flow table and counters are main's memory and survive it.
 */
import { parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import { CodedError, EXIT } from '../base/errors.ts';
import { createBatch, openEgress, openIngress } from '../io/open.ts';
import { FlowTable } from '../pipeline/flow-table.ts';
import { Pipeline } from '../pipeline/pipeline.ts';
import { Snapshot } from '../pipeline/snapshot.ts';
import { boottimeClock } from '../raw-socket/clock.ts';
import { EventDescriptor } from '../raw-socket/event.ts';
import { PollSet } from '../raw-socket/poll.ts';
import { forward } from './forwarding-loop.ts';
import { type Failure, type MailToMain, type MailToThread, type ThreadStart, WORD_GENERATION } from './thread-protocol.ts';

function tell(message: MailToMain): void {
  parentPort?.postMessage(message);
}

function run(start: ThreadStart): void {
  const ingress = openIngress(start.ingress, { thread: start.number, threads: start.threads, services: start.services });
  try {
    const egress = openEgress(start.egress);
    try {
      const mapped = createBatch(ingress);
      try {
        const flows = start.flowMemory.map((memory) => new FlowTable(start.flowEntries, start.flowKey, memory));
        const pipeline = new Pipeline({
          snapshot: new Snapshot(start.snapshot),
          flows: flows[start.number],
          siblings: flows.filter((_, number) => number !== start.number),
          bank: start.bank,
          sourcePortBase: egress.facts.sourcePortBase,
          sourcePortMask: egress.facts.sourcePortMask,
        });
        const wake = EventDescriptor.over(start.wake);
        const poll = new PollSet(2);
        poll.add(ingress.descriptor);
        poll.add(start.wake);

        /** Everything main has posted; false when it is time to stop. */
        const readMail = (): boolean => {
          wake.clear();
          for (;;) {
            const mail = receiveMessageOnPort(start.mail)?.message as MailToThread | undefined;
            if (mail === undefined) return true;
            if (mail.kind === 'stop') return false;
            if (mail.kind === 'fault') throw new Error('a fault was asked for');
            pipeline.snapshot = new Snapshot(mail.parts);
            Atomics.store(start.words, WORD_GENERATION, mail.parts.generation);
          }
        };

        Atomics.store(start.words, WORD_GENERATION, start.snapshot.generation);
        tell({ kind: 'forwarding', ingress: ingress.name, egress: egress.name });
        forward({
          ingress,
          egress,
          pipeline,
          batch: mapped.batch,
          clock: boottimeClock(),
          wait: (timeout) => poll.wait(timeout),
          readMail,
          exhausted: () => tell({ kind: 'exhausted' }),
          words: start.words,
          bank: start.bank,
          kernelDrops: start.kernelDrops,
        });
      } finally {
        mapped.release();
      }
    } finally {
      egress.close();
    }
  } finally {
    ingress.close();
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
