/**
 * The baton: an eventfd between a thread of the old process and one of the new, for one queue. The old thread raises it behind its last batch,
 * the new one reads from then on. So a queue always has exactly one reader, no packet of a flow overtakes another, and no main thread is between the
 * two: what arrives meanwhile (tens of microseconds) waits in the queue. What the old thread wrote into shared memory before it (flow table,
 * fragment table) is seen by the new one.
 *
 *     old thread:   receive ─ stages ─ send ─ │ raise                               the kernel's queue
 *     new thread:   warm …… waits ………………………………… │ ► receive ─ stages ─ send …      ──────────────────►
 */
import type { BoottimeClock } from '../../raw-socket/clock.ts';
import { EventDescriptor } from '../../raw-socket/event.ts';
import { PollSet } from '../../raw-socket/poll.ts';
import { WORD_HEARTBEAT, WORD_MAIL } from '../thread-protocol.ts';

const LONGEST_WAIT = 100;

export interface BatonParts {
  /** eventfd of the baton, and the one that announces mail. */
  readonly baton: number;
  readonly wake: number;
  /** thread-protocol.ts */
  readonly words: Int32Array;
  readonly readMail: () => boolean;
  readonly clock: BoottimeClock;
}

/** Waits until the baton is raised, reading mail meanwhile; false when the mail says stop. */
export function takeBaton({ baton, wake, words, readMail, clock }: BatonParts): boolean {
  const [own, mail] = [EventDescriptor.over(baton), EventDescriptor.over(wake)];
  const poll = new PollSet(2);
  const batonAt = poll.add(baton);
  const mailAt = poll.add(wake);
  let seen = 0;
  for (;;) {
    poll.wait(LONGEST_WAIT);
    Atomics.store(words, WORD_HEARTBEAT, clock.seconds());
    if (poll.events(batonAt) !== 0 && own.clear()) return true;
    if (poll.events(mailAt) !== 0) mail.clear();
    const posted = Atomics.load(words, WORD_MAIL);
    if (posted !== seen) {
      seen = posted;
      if (!readMail()) return false;
    }
  }
}
