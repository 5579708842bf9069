/**
 * steer: gives every packet that has a service its backend. Two passes over the batch, so that the memory of different
 * packets is fetched at the same time and not one after another:
 *
 *   1. touch each flow's bucket, by the fingerprint that classify has left in the lanes: independent loads, so the processor overlaps their cache misses;
 *   2. decide: entry, sibling shard, previous table, current table (docs/architecture.md).
 */
import {
  type Batch,
  LOOKUP_ADDRESSES,
  LOOKUP_FLOW,
  LOOKUP_FRAGMENT,
  LOOKUP_PACKET,
  LOOKUP_PORTS,
  LOOKUP_QUOTE,
  LOOKUP_SERVER_ID,
  LOOKUP_TABLE,
} from '../base/batch.ts';
import { dropReason } from '../base/drop-reason.ts';
import { VERDICT_DROP, VERDICT_FORWARD } from '../base/verdict.ts';
import { type FlowLanes, fingerprints, slotOf } from '../maglev-hash/index.ts';
import * as tcp from '../wire/tcp.ts';
import { appointmentNotes } from './appointment-notes.ts';
import { isDecidedByTable, previousAnswers, siblingBackend, tableBackend } from './choice.ts';
import {
  areAllAlive,
  BUCKET_BYTES,
  bestEntry,
  CONFIRM_WITHIN,
  ENTRY_CONFIRMED,
  ENTRY_ID_MASK,
  entryOf,
  type FlowTable,
  findInBucket,
  isEviction,
} from './flow-table.ts';
import { FlowTuple } from './flow-tuple.ts';
import {
  B_POOL,
  B_SINCE,
  BACKEND_WORDS,
  H_POOLS,
  H_SERVICES,
  P_MEMBERS,
  P_SEED,
  P_SIZE,
  P_TABLE,
  POOL_WORDS,
  S_POOL,
  SERVICE_WORDS,
} from './layout.ts';
import { NEAR_PLACE, type NearBackends } from './near-backends.ts';
import { type QuoteTally, quoteSteering } from './quote-steering.ts';
import type { Snapshot } from './snapshot.ts';
import { WIDE_STEERED, wideFlows } from './wide-flow.ts';

const NO_BACKEND = dropReason('no-backend');

// Module-local: an imported constant is loaded from its module at every use (src/wire/README.md, "Constants").
const BY_FLOW = LOOKUP_FLOW;
const BY_QUOTE = LOOKUP_QUOTE;
const BY_TABLE = LOOKUP_TABLE;
const FORWARD = VERDICT_FORWARD;
const DROP = VERDICT_DROP;
const SYN = tcp.SYN;
const RST = tcp.RST;
const SYN_ACK_RST = tcp.SYN | tcp.ACK | tcp.RST;
const SERVICE = SERVICE_WORDS;
const POOL_OF = S_POOL;
const RECORD = BACKEND_WORDS;
const PLACE = NEAR_PLACE;
const POOL = B_POOL;
const SINCE = B_SINCE;
const BUCKET = BUCKET_BYTES / 4;
const ID_MASK = ENTRY_ID_MASK;
const CONFIRMED_BIT = ENTRY_CONFIRMED;
const WITHIN = CONFIRM_WITHIN;
const findEntry = findInBucket;
const best4 = bestEntry;
const placeOf = entryOf;
const areAlive = areAllAlive;
const evicts = isEviction;
const slot = slotOf;
/** Misses of one service in a row from which on the slots of a whole batch are computed at once. */
const MISSES_IN_ROW = 3;
const NO_TABLE = new Uint16Array(new ArrayBuffer(2));

/** What steering did in one batch; added to the thread's counters. */
export interface SteerTally extends QuoteTally {
  hits: number;
  misses: number;
  inserts: number;
  /** Sum of touched words: keeps the prefetch pass from being optimised away. */
  touched: number;
}

/**
 * The steering of one batch by one shard: packets with a service and no reason get `backend` and verdict forward, or verdict drop
 * with `no-backend`. `siblings`: the other threads' shards, read only. `now`: seconds of the batch clock.
 */
export function steerStage(
  batch: Batch,
  near: NearBackends,
  lanes: FlowLanes,
  flows: FlowTable,
  siblings: readonly FlowTable[],
): (snapshot: Snapshot, now: number, tally: SteerTally) => void {
  const { service, lookup, tcpFlags, flowHash, fingerprintLow, fingerprintHigh } = batch;
  const { verdict, reason, backend } = batch;
  const { view } = batch.arena;
  const { words: records, ids, follow, fetch } = near;
  const flow = new FlowTuple(view);
  const { mask, words: entries } = flows;
  const fingerprint = fingerprints(flows.key0, flows.key1, fingerprintLow, fingerprintHigh);
  const { low: lows, high: highs, slots, runSlots } = lanes;
  const followWide = wideFlows(batch, flows, fingerprint);
  const note = appointmentNotes(batch, flows, fingerprint);

  const isAlone = siblings.length === 0 && !flows.shared;

  const byQuote = quoteSteering(batch, flows, siblings, flow);

  /** A packet that is not steered by its own 5-tuple. */
  function otherwise(snapshot: Snapshot, i: number, now: number, tally: SteerTally): void {
    const how = lookup[i];
    // The appoint stage has had the last word, the fragment stage will have it.
    if (how === LOOKUP_PACKET || how === LOOKUP_FRAGMENT) return;
    if (how === LOOKUP_SERVER_ID) {
      note(snapshot.words, i, now);
      return;
    }
    if (how === LOOKUP_ADDRESSES || how === LOOKUP_PORTS) {
      const entry = followWide(snapshot.words, i, now);
      if (entry === WIDE_STEERED) {
        tally.hits++;
        return;
      }
      tally.misses++;
      miss(snapshot, i, entry, false, fingerprintLow[i], fingerprintHigh[i], now, tally);
      return;
    }
    const serviceAt = snapshot.words[H_SERVICES] + service[i] * SERVICE;
    let id = -1;
    if (how === BY_TABLE) id = tableBackend(batch, i, snapshot, serviceAt, false, now, flow);
    else if (how === BY_QUOTE) id = byQuote(snapshot, i, now, tally);
    backend[i] = id;
    verdict[i] = id < 0 ? DROP : FORWARD;
    if (id < 0) reason[i] = NO_BACKEND;
  }

  /** A packet whose flow has no entry that serves. `entry`: place of the entry that no longer serves, or −1. */
  function miss(
    snapshot: Snapshot,
    i: number,
    entry: number,
    initial: boolean,
    low: number,
    high: number,
    now: number,
    tally: SteerTally,
  ): void {
    const words = snapshot.words;
    const serviceAt = words[H_SERVICES] + service[i] * SERVICE;
    let id = -1;
    let confirmed = false;
    if (entry < 0) {
      id = siblingBackend(snapshot, siblings, low, high, words[serviceAt + S_POOL]);
      confirmed = id >= 0;
    }
    // What the packets behind a SYN would be given. It is no flow of the table before, but nothing else of it says so.
    let followers = -1;
    if (id < 0) {
      if (initial && entry < 0 && previousAnswers(words, serviceAt, now))
        followers = tableBackend(batch, i, snapshot, serviceAt, true, now, flow);
      id = tableBackend(batch, i, snapshot, serviceAt, entry < 0 && !initial, now, flow);
    }
    if (id < 0) {
      verdict[i] = DROP;
      reason[i] = NO_BACKEND;
      return;
    }
    backend[i] = id;
    verdict[i] = FORWARD;
    // A SYN proves nothing and a RST ends what there was: neither is worth an entry. But where the two tables differ, the packets behind a
    // SYN without one would be taken for those of an older flow.
    if ((initial && (followers < 0 || followers === id)) || (tcpFlags[i] & RST) !== 0) return;
    if (entry >= 0) flows.reassign(entry, id, now);
    // That another thread had the flow is no reason to end somebody else's: who sends fragments, or changes IPv6 flow labels, chooses the threads. Only
    // after a change of their number is what is here known to be of flows that went elsewhere.
    else if (flows.insert(low, high, id, now, confirmed, confirmed && now < flows.recutUntil)) tally.inserts++;
  }

  return function steer(snapshot: Snapshot, second: number, tally: SteerTally): void {
    // The compiler then knows what it is.
    const now = second | 0;
    const count = batch.count;
    let touched = 0;
    // Multiplied and not shifted: then the compiler knows how large it is at most, and does not ask at each of the bucket's words.
    for (let i = 0; i < count; i++) touched ^= entries[(lows[i] & mask) * BUCKET];
    tally.touched ^= touched;

    const words = snapshot.words;
    const servicesAt = words[H_SERVICES];
    // Neighbours often are of one service.
    let lastService = -1;
    let pool = -1;
    let hits = 0;
    let misses = 0;
    let inserts = 0;
    // The table of the service that was last missed, when it alone decides: what `miss` would do is then a slot and an entry.
    let missed = -1;
    let isDecided = false;
    let inRow = 0;
    let evictions = 0;
    let refused = 0;
    let table: Uint16Array = NO_TABLE;
    let seed = 0;
    let size = 0;
    let members = 0;
    follow(words);
    for (let i = 0; i < count; i++) {
      if (service[i] < 0) continue;
      if (lookup[i] !== BY_FLOW) {
        otherwise(snapshot, i, now, tally);
        continue;
      }
      // A SYN reads the entry that its 5-tuple may have from an earlier connection, because the packets behind it will find it
      // too; but it proves nothing (its source may be forged), so it writes none.
      // Other protocols have no flags here (classify).
      const initial = (tcpFlags[i] & SYN_ACK_RST) === SYN;
      const low = lows[i];
      const high = highs[i];
      const bucket = (low & mask) * BUCKET;
      const entry = findEntry(entries, bucket, low, high);
      if (entry >= 0) {
        const state = entries[entry + 2];
        const seen = entries[entry + 3];
        const known = (state & ID_MASK) - 1;
        const place = known & PLACE;
        if (service[i] !== lastService) {
          lastService = service[i];
          pool = words[servicesAt + lastService * SERVICE + POOL_OF];
        }
        if (
          (ids[place] === known || fetch(words, known)) &&
          records[place * RECORD + POOL] === pool &&
          seen >= records[place * RECORD + SINCE]
        ) {
          if (!initial) {
            // Writes only what changes, so that a hot line stays clean.
            if (seen !== now) entries[entry + 3] = now;
            if ((state & CONFIRMED_BIT) === 0 && now - seen <= WITHIN) entries[entry + 2] = state | CONFIRMED_BIT;
          }
          hits++;
          backend[i] = known;
          verdict[i] = FORWARD;
          continue;
        }
      }
      misses++;
      if (entry < 0 && isAlone) {
        if (service[i] !== missed) {
          missed = service[i];
          inRow = 0;
          const serviceAt = servicesAt + missed * SERVICE;
          isDecided = isDecidedByTable(words, serviceAt, now);
          if (isDecided) {
            const poolAt = words[H_POOLS] + words[serviceAt + POOL_OF] * POOL_WORDS;
            table = snapshot.tables[words[poolAt + P_TABLE]];
            seed = words[poolAt + P_SEED];
            size = words[poolAt + P_SIZE];
            members = words[poolAt + P_MEMBERS];
          }
        }
        inRow++;
        if (inRow === MISSES_IN_ROW && isDecided && runSlots !== null) runSlots(count, seed, size);
        let id = -1;
        if (isDecided) {
          const at = inRow >= MISSES_IN_ROW && runSlots !== null ? slots[i] : slot(flowHash[i], seed, size);
          id = words[members + table[at]];
        }
        if (id >= 0) {
          backend[i] = id;
          verdict[i] = FORWARD;
          // Why a SYN or a RST leaves no entry: see `miss`.
          if (initial || (tcpFlags[i] & RST) !== 0) continue;
          // As flow-table.ts `insert`, of a table that nobody else reads; what it changes besides is added up.
          const turn = high & 3;
          const best = best4(entries, bucket, now, turn);
          if (areAlive(best)) {
            refused++;
            continue;
          }
          evictions += evicts(best);
          inserts++;
          const victim = bucket + placeOf(best, turn);
          entries[victim + 1] = high;
          entries[victim + 3] = now;
          entries[victim + 2] = id + 1;
          entries[victim] = low;
          continue;
        }
      }
      miss(snapshot, i, entry, initial, low, high, now, tally);
    }
    flows.evictions += evictions;
    flows.refused += refused;
    tally.inserts += inserts;
    tally.hits += hits;
    tally.misses += misses;
  };
}
