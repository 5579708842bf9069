/** How much of a pool's table its last change moved: for metrics, counted once for each table and never for a packet. */
import { EMPTY_SLOT } from '../maglev-hash/index.ts';
import type { PoolHistory, PoolTable } from './pool-history.ts';

const known = new WeakMap<PoolHistory, number>();

/**
 * Share (0 to 1) of the slots that name another backend than in the table before, or name one that takes new flows now and did not, or the other
 * way round. 1 when the tables have nothing to do with each other: another size, seed or scheme. Null without a table before: nothing was changed
 * since the start, it was so long before a restart that it is forgotten, or the scheme is glb.
 */
export function movedShare(history: PoolHistory): number | null {
  const { current, previous } = history;
  if (previous === null) return null;
  let share = known.get(history);
  if (share === undefined) {
    share = areComparable(current, previous) ? movedSlots(current, previous) / current.size : 1;
    known.set(history, share);
  }
  return share;
}

function areComparable(current: PoolTable, before: PoolTable): boolean {
  return current.size === before.size && current.key === before.key;
}

function movedSlots(current: PoolTable, previous: PoolTable): number {
  const now = new Uint16Array(current.buffer);
  const before = new Uint16Array(previous.buffer);
  let moved = 0;
  for (let slot = 0; slot < current.size; slot++) if (memberAt(current, now[slot]) !== memberAt(previous, before[slot])) moved++;
  return moved;
}

function memberAt({ members }: PoolTable, number: number): number {
  return number === EMPTY_SLOT ? -1 : members[number];
}
