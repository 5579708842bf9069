/** The loop of a forwarding thread, free of threads: what it reads, sends and waits for is given to it. */
import type { Batch } from '../base/batch.ts';
import type { Clock } from '../base/clock.ts';
import { counterAt } from '../base/counters.ts';
import type { Egress, Ingress } from '../io/driver.ts';
import type { Pipeline } from '../pipeline/pipeline.ts';
import type { TraceTap } from '../trace/tap.ts';
import { WORD_HEARTBEAT, WORD_MAIL } from './thread-protocol.ts';

/** Longest wait, in milliseconds: also how late a lost wake-up can be noticed, and how often the heartbeat beats without traffic. */
const LONGEST_WAIT = 100;
/** The same while fragments wait for a first one that another thread may have seen: it sets no event. */
const WATCHING_WAIT = 1;
const WAKEUPS = counterAt('wakeups_total');
const CPU = counterAt('forwarding_cpu_seconds_total');

export interface LoopParts {
  readonly ingress: Ingress;
  readonly egress: Egress;
  readonly pipeline: Pipeline;
  readonly batch: Batch;
  readonly clock: Clock;
  /**
   * Nothing was received, nor `empty` times in a row before (−1: nothing ever will be): waits until packets or mail are there, or `timeout` milliseconds are
   * over. false: it did not wait (idle-pacing.ts).
   */
  readonly wait: (timeout: number, empty: number) => unknown;
  /** Takes what main posted; false ends the loop. */
  readonly readMail: () => boolean;
  /** Called once, when a finite source has delivered everything. */
  readonly exhausted: () => void;
  /** Called when a driver's last refused call has another errno than before; looked at once a second. */
  readonly refused: (driver: string, errno: number) => void;
  /** Whether a packet that the kernel refused as too big will be cut when it is tried again. Absent: never. */
  readonly isNarrower?: (batch: Batch, i: number, now: number) => boolean;
  /** Whoever traces packets; absent: nobody ever does. */
  readonly tap?: TraceTap;
  /** Seconds of CPU time that this thread has used; looked at once a second. Absent: not counted. */
  readonly cpuSeconds?: () => number;
  /** thread-protocol.ts */
  readonly words: Int32Array;
  readonly bank: Float64Array;
  readonly kernelDrops: Float64Array;
}

/** Behind every wait; times are int32. */
const LAST_SECOND = 0x7fffffff;

/**
 * Receives, processes and sends until `readMail` says stop. One clock read and one look at the mail word per batch; ends only at a
 * batch boundary. Whatever a driver or the pipeline throws ends it too.
 */
export function forward(parts: LoopParts): void {
  const { ingress, egress, pipeline, batch, clock, words, bank, isNarrower, cpuSeconds, tap = null } = parts;
  // A replacement goes on counting where its predecessor ended; its drivers begin at zero.
  // A device that is there still has counted those drops itself; one that was made anew has not.
  const countedAgain = ingress.countsDevice === true ? ingress.statistics().kernelDrops : 0;
  const dropsBefore = Math.max(0, parts.kernelDrops[0] - countedAgain);
  const cpuBefore = cpuSeconds === undefined ? 0 : bank[CPU] - cpuSeconds();
  let mailSeen = 0;
  let beat = -1;
  let told = false;
  let ingressErrno = 0;
  let egressErrno = 0;
  let empty = 0;

  /** What is in the batch goes its way. */
  function pass(now: number): void {
    const traced = tap?.on === true;
    if (traced) tap.before(now);
    pipeline.process(batch, now);
    egress.send(batch);
    ingress.reply(batch);
    // Once a call was refused, looked for ever after: a comparison per packet.
    const apart = isNarrower === undefined || (egress.lastErrno ?? 0) === 0 ? 0 : pipeline.setApart(batch, now, isNarrower);
    if (traced) tap.after();
    pipeline.account(batch);
    if (apart === 0) return;
    pipeline.again(batch, now);
    egress.send(batch);
    ingress.reply(batch);
    if (traced) tap.after();
    pipeline.account(batch);
  }

  for (;;) {
    const mail = Atomics.load(words, WORD_MAIL);
    if (mail !== mailSeen) {
      mailSeen = mail;
      if (!parts.readMail()) break;
    }
    const isEmpty = ingress.receive(batch) === 0;
    if (isEmpty) {
      batch.count = 0;
      if (ingress.exhausted && !told) {
        told = true;
        parts.exhausted();
      }
    }
    // Before the wait and not behind it: a packet that ends it is read at once.
    const now = clock.seconds();
    if (now !== beat) {
      // Once a second: what nobody needs more often.
      beat = now;
      Atomics.store(words, WORD_HEARTBEAT, now);
      parts.kernelDrops[0] = dropsBefore + ingress.statistics().kernelDrops;
      if (cpuSeconds !== undefined) bank[CPU] = cpuBefore + cpuSeconds();
      if ((ingress.lastErrno ?? 0) !== ingressErrno) {
        ingressErrno = ingress.lastErrno ?? 0;
        parts.refused(ingress.name, ingressErrno);
      }
      if ((egress.lastErrno ?? 0) !== egressErrno) {
        egressErrno = egress.lastErrno ?? 0;
        parts.refused(egress.name, egressErrno);
      }
    }
    if (!isEmpty) pass(now);
    // Fragments whose packet is known by now: a batch of their own each time.
    if (pipeline.holds) while (pipeline.release(batch, now) > 0) pass(now);
    if (!isEmpty) {
      empty = 0;
      continue;
    }
    const waited = parts.wait(pipeline.watches ? WATCHING_WAIT : LONGEST_WAIT, ingress.exhausted ? -1 : empty);
    if (waited !== false) bank[WAKEUPS]++;
    empty = (empty + 1) & 0xffffff;
  }
  // What was taken over from the kernel is ours to forward: who reads the queue next does not find it there.
  if (ingress.rest !== undefined) while (ingress.rest(batch) > 0) pass(clock.seconds());
  // Fragments that still wait do so in vain: what was received has a verdict, also at the end.
  if (pipeline.holds) pipeline.release(batch, LAST_SECOND);
  parts.kernelDrops[0] = dropsBefore + ingress.statistics().kernelDrops;
  if (cpuSeconds !== undefined) bank[CPU] = cpuBefore + cpuSeconds();
}
