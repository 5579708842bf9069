/** The queues' way from one process to the other: what is lent, what the threads say when they leave, and the moment in which they begin. */
import { CodedError } from '../../base/errors.ts';
import type { ForwardingThreads } from '../forwarding-threads.ts';
import { restoreCounters, type SavedCounters, saveCounters } from './counters.ts';
import type { Lent } from './hand-over.ts';
import type { Inheritance } from './inheritance.ts';

/** Milliseconds from the old process's word that it left until every thread here reads. */
const BATON_PATIENCE = 3000;

/** Descriptors for a successor, with their roles; `flows`: of the flow table file, null without one. Throws CodedError GD_TAKEOVER_NOT_NOW when there is not one for every thread. */
export function lent(
  threads: ForwardingThreads,
  lock: number | null,
  flows: number | null,
): { threads: number; descriptors: Lent[] } {
  const queues = threads.descriptors();
  if (queues === null || lock === null) {
    throw new CodedError('GD_TAKEOVER_NOT_NOW', 'not every forwarding thread reads from a network now', {
      hint: 'gue-director status says what is missing; systemctl restart gue-director starts anew',
    });
  }
  const descriptors = queues.flatMap(({ queue, egressQueue }, seat): Lent[] => [
    [`queue ${seat}`, queue],
    ...(egressQueue === null ? [] : [[`egress-queue ${seat}`, egressQueue] as const]),
  ]);
  const file: Lent[] = flows === null ? [] : [['flows', flows]];
  return { threads: queues.length, descriptors: [['lock', lock], ...file, ...descriptors] };
}

/** The file says what nobody has confirmed: a successor would make it last. */
export function notConfirmed(): CodedError {
  return new CodedError('GD_TAKEOVER_NOT_NOW', 'a reload waits for its confirmation', {
    hint: 'gue-director reload --confirm, or --rollback',
  });
}

/** The threads leave; when, what they counted, and what the kernel dropped under them. Throws what `ForwardingThreads.leave` throws. */
export async function lastWords(
  threads: ForwardingThreads,
  batons: readonly number[],
): Promise<Readonly<Record<string, unknown>>> {
  await threads.leave(batons);
  return {
    leftAt: threads.leftAt(),
    counters: saveCounters(threads.banks),
    // A device's own count goes on by itself.
    kernelDrops: threads.kernelDrops().filter(({ driver }) => driver.startsWith('packet:')),
  };
}

export interface TakenOver {
  /** Counters of the process before; none when it ended without a word. */
  readonly carried: readonly Float64Array[];
  /** Milliseconds in which nobody read the queue, by thread; null where nobody knows. */
  readonly gaps: readonly (number | null)[];
}

/**
 * The other side: threads become ready and wait, `poised` is called while the predecessor's still forward, queues are handed over, then `settle` is given
 * the lock and makes the host ours. Throws CodedError; then the threads may read, and must be stopped before the predecessor is told.
 */
export async function takeOver(
  inheritance: Inheritance,
  threads: ForwardingThreads,
  { poised, settle }: { readonly poised: () => void; readonly settle: (lock: number) => void },
): Promise<TakenOver> {
  await threads.start();
  poised();
  const words = await inheritance.poised();
  const counters = words?.counters as SavedCounters | undefined;
  const carried = counters === undefined ? [] : [restoreCounters(counters)];
  const drops = words?.kernelDrops as { driver: string; packets: number }[] | undefined;
  if (carried.length > 0) threads.carry(carried[0], drops ?? []);
  await threads.taken(BATON_PATIENCE);
  const lock = inheritance.take('lock');
  if (lock === null) {
    throw new CodedError('GD_TAKEOVER_MESSAGE', 'the running director sent no lock', { hint: 'systemctl restart gue-director' });
  }
  settle(lock);
  const leftAt = (words?.leftAt ?? []) as number[];
  const gaps = threads
    .beganAt()
    .map((began, seat) => (leftAt[seat] === undefined ? null : Math.round((began - leftAt[seat]) * 1000) / 1000));
  return { carried, gaps };
}
