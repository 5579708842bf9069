// Datagrams that their client fragments and shuffles, through the real daemon to three workers; and a flood of fragments of packets that never end.

import { setTimeout as sleep } from 'node:timers/promises';
import { complaintsOf, FragmentStage, seenText } from './fragment-stage.ts';
import type { Line, Outcome, Scale } from './line.ts';
import { allDrops } from './stage.ts';

/** Datagrams of each family in order of the phases, bogus fragments of the flood. The scaled run has a fiftieth of the first. */
const COUNTS: Readonly<Record<Scale, { shuffled: number; noisy: number; flood: number; after: number }>> = {
  full: { shuffled: 50_000, noisy: 2_000, flood: 150_000, after: 1_000 },
  scaled: { shuffled: 1_000, noisy: 200, flood: 15_000, after: 100 },
};
const BYTES = 3000;
const FLOWS = 100;
const WINDOW = 32;
/** Bogus fragments among the 96 of a window. */
const NOISE = 64;
/** Of the fragment table: a flood must overflow it. */
const ENTRIES = 4096;
/** Growth of the daemon under the flood, in MiB, that is not the tables': young garbage of the main thread. */
const MOST_GROWTH = 48;

const name = (word: string) => `gue_director_${word}`;
/** What may be dropped: nothing of ours. Fragments that never get their first one time out. */
const ALLOWED = ['not-a-service', 'not-ip', 'fragment-timeout', 'fragment-not-held', 'fragment-duplicate'];

async function run(scale: Scale): Promise<Outcome> {
  const counts = COUNTS[scale];
  const figures: Record<string, number | string> = {};
  const complaints: string[] = [];
  const stage = await FragmentStage.open(`fragments: { entries: ${ENTRIES} }`);
  try {
    const send = async (about: string, family: 4 | 6, datagrams: number, bogus: number, seed: number) => {
      const seen = await stage.client({
        family,
        flows: FLOWS,
        datagrams,
        bytes: BYTES,
        window: WINDOW,
        bogus,
        seed,
        spread: false,
      });
      figures[`${about}, IPv${family}`] = seenText(seen);
      complaints.push(...complaintsOf(`${about}, IPv${family}`, seen, datagrams));
    };
    for (const family of [4, 6] as const) await send('shuffled', family, counts.shuffled, 0, family);
    const before = await stage.counters();
    const get = (counters: Map<string, number>, word: string) => counters.get(name(word)) ?? Number.NaN;
    figures['fragments held and released'] = `${get(before, 'fragments_held_total')}, ${get(before, 'fragments_released_total')}`;
    if (get(before, 'fragments_released_total') === 0) complaints.push('no fragment came before the first one of its datagram');
    if (get(before, 'fragments_timed_out_total') !== 0) complaints.push('fragments timed out before there was a bogus one');
    for (const family of [4, 6] as const) await send('among bogus ones', family, counts.noisy, NOISE, 10 + family);

    const memory = stage.memory();
    for (const family of [4, 6] as const) await stage.flood(family, counts.flood, 20 + family);
    const grown = stage.memory() - memory;
    const flooded = await stage.counters();
    const evictions = get(flooded, 'fragment_table_evictions_total');
    figures.flood = `${2 * counts.flood} bogus fragments: ${evictions} evictions in ${ENTRIES} entries, memory ${memory} MiB + ${grown}`;
    if (evictions === 0) complaints.push('the flood did not fill the table');
    if (grown > MOST_GROWTH) complaints.push(`the director grew by ${grown} MiB under the flood`);
    // What waits is over after two seconds at the latest.
    await sleep(2500);
    for (const family of [4, 6] as const) await send('after the flood', family, counts.after, 0, 30 + family);

    const after = await stage.counters();
    const held = get(after, 'fragments_held_total');
    const left = get(after, 'fragments_released_total') + get(after, 'fragments_timed_out_total');
    figures['held in all'] = `${held}, of which ${get(after, 'fragments_timed_out_total')} timed out`;
    if (held !== left) complaints.push(`${held} were held, ${left} left`);
    for (const [reason, count] of allDrops(after)) {
      if (!ALLOWED.includes(reason)) complaints.push(`${count} dropped as ${reason}`);
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

export const fragments: Line = {
  name: 'fragments',
  claim:
    'A UDP service with 3,000-byte datagrams, fragmented by the client and shuffled, works through three backends over IPv4 and IPv6: of 100,000 datagrams none is lost, mis-steered or changed; a flood of bogus fragments leaves the fragment table and the memory within their bounds, and the service working.',
  twin: 'test/full/fragments.test.ts',
  run,
};
