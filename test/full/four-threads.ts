// The real daemon with four threads, and packets of a flow that the kernel puts into other queues than the flow's own. Each part brings one kind
// of such packets; all share one stage.

import { complaintsOf, FragmentStage, type FragmentStage as Stage, seenText, type ThreadStatus } from './fragment-stage.ts';
import { icmpPart } from './icmp-elsewhere.ts';
import type { Line, Outcome, Scale } from './line.ts';
import { allDrops } from './stage.ts';

export interface Told {
  readonly figures: Readonly<Record<string, number | string>>;
  /** What is not as the claim says; empty when all is. */
  readonly complaints: readonly string[];
}

/** One kind of packets that arrive elsewhere. */
export type FourThreadsPart = (stage: Stage, scale: Scale) => Promise<Told>;

const THREADS = 4;
const FLOWS = { full: 1000, scaled: 200 };
const ROUNDS = { full: 5, scaled: 2 };
const BYTES = 3000;
const WINDOW = 32;
const ELSEWHERE = 'gue_director_fragments_found_elsewhere_total';

/** Packets that each thread received between two looks. */
function between(before: readonly ThreadStatus[], after: readonly ThreadStatus[]): number[] {
  return after.map(({ number, received }) => received - (before.find((one) => one.number === number)?.received ?? 0));
}

/**
 * Fragments. The kernel's hash of a fragment has no ports: all fragments of one client address come on one queue, its whole datagrams on all of them.
 * Over IPv6 the later fragments of a datagram also come on other queues than its first one, because the hash has the next header that each names.
 */
const fragmentsPart: FourThreadsPart = async (stage, scale) => {
  const figures: Record<string, number | string> = {};
  const complaints: string[] = [];
  const flows = FLOWS[scale];
  const datagrams = flows * ROUNDS[scale];
  const cases = [
    { about: 'IPv4, one client address', family: 4, spread: false, sources: 1 },
    { about: 'IPv4, eight client addresses', family: 4, spread: false, sources: 8 },
    { about: 'IPv6, eight client addresses, fragments of a datagram on several queues', family: 6, spread: true, sources: 8 },
  ] as const;
  for (const [k, { about, family, spread, sources }] of cases.entries()) {
    const common = { family, spread, sources, flows, bytes: BYTES, window: WINDOW, bogus: 0, seed: k + 1 };
    const start = await stage.threads();
    const whole = await stage.client({ ...common, datagrams: 0 });
    const middle = await stage.threads();
    const counters = await stage.counters();
    const seen = await stage.client({ ...common, datagrams, owners: whole.owners, firstNumber: (k + 1) * 100_000 });
    const end = await stage.threads();
    const elsewhere = ((await stage.counters()).get(ELSEWHERE) ?? 0) - (counters.get(ELSEWHERE) ?? 0);
    const alone = between(start, middle);
    const parts = between(middle, end);
    figures[about] = seenText(seen);
    figures[`${about}: packets by thread`] =
      `whole ${alone.join(', ')}; fragments ${parts.join(', ')}; found in another thread's table ${elsewhere}`;
    complaints.push(...complaintsOf(about, seen, datagrams));
    if (whole.unanswered > 0) complaints.push(`${about}: ${whole.unanswered} whole datagrams without an answer`);
    if (alone.length !== THREADS || alone.some((count) => count < flows / 20)) complaints.push(`${about}: threads had ${alone}`);
    if (sources === 1) {
      const busiest = parts.indexOf(Math.max(...parts));
      const strange = flows - alone[busiest];
      figures[`${about}: flows whose fragments came on another queue`] = `${strange} of ${flows}`;
      if (parts[busiest] < seen.fragments || strange < flows / 3) complaints.push(`${about}: fragments came on ${parts}`);
    }
    if (spread && elsewhere < seen.fragments / 10)
      complaints.push(`${about}: only ${elsewhere} fragments found in other threads`);
  }
  return { figures, complaints };
};

const PARTS: readonly FourThreadsPart[] = [fragmentsPart, icmpPart];

async function run(scale: Scale): Promise<Outcome> {
  const figures: Record<string, number | string> = {};
  const complaints: string[] = [];
  const stage = await FragmentStage.open(`threads: ${THREADS}`);
  try {
    for (const part of PARTS) {
      const told = await part(stage, scale);
      Object.assign(figures, told.figures);
      complaints.push(...told.complaints);
    }
    for (const [reason, count] of allDrops(await stage.counters())) {
      if (!['not-a-service', 'not-ip'].includes(reason)) complaints.push(`${count} dropped as ${reason}`);
    }
  } catch (error) {
    throw new Error(`${(error as Error).message}\n${stage.director.log.slice(-2000)}`);
  } finally {
    const code = await stage.close();
    if (code !== 0) complaints.push(`the director ended with ${code}`);
  }
  figures.complaints = complaints.join('; ') || 'none';
  return { passed: complaints.length === 0, figures };
}

export const fourThreads: Line = {
  name: 'four-threads',
  claim: 'With four threads, 1,000 flows whose fragments and ICMP errors arrive on other queues all reach their own worker.',
  twin: 'test/full/four-threads.test.ts',
  run,
};
