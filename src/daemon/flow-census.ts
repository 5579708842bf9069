/** Who is in the flow tables: entries counted by backend, for a plan. Other threads write them meanwhile: the figures are a look in passing. */
import { setImmediate as others } from 'node:timers/promises';
import { CONFIRMED_IDLE, ENTRY_CONFIRMED, ENTRY_ID_MASK } from '../pipeline/flow-table.ts';

export interface BackendEntries {
  entries: number;
  confirmed: number;
}

const ENTRY_WORDS = 4;
/** Words that are looked at before others have their turn: about ten milliseconds. */
const WORDS_AT_ONCE = 4_000_000;

/**
 * Entries that were used in the last ten minutes, by backend id. `shards`: the words of every thread's table; `now`: seconds of their clock.
 * A flow that has moved from one thread to another has an entry in both and is counted twice.
 */
export async function countFlows(shards: readonly Int32Array[], now: number): Promise<Map<number, BackendEntries>> {
  const found = new Map<number, BackendEntries>();
  for (const words of shards) {
    for (let from = 0; from < words.length; from += WORDS_AT_ONCE) {
      const to = Math.min(words.length, from + WORDS_AT_ONCE);
      for (let at = from; at < to; at += ENTRY_WORDS) {
        const state = words[at + 2];
        if (state === 0 || now - words[at + 3] > CONFIRMED_IDLE) continue;
        const id = (state & ENTRY_ID_MASK) - 1;
        let entry = found.get(id);
        if (entry === undefined) {
          entry = { entries: 0, confirmed: 0 };
          found.set(id, entry);
        }
        entry.entries++;
        if ((state & ENTRY_CONFIRMED) !== 0) entry.confirmed++;
      }
      await others();
    }
  }
  return found;
}
