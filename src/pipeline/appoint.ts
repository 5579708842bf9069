/**
 * appoint: gives packets their backend that no flow decides about, before steer looks at flows. Runs only where a service asks for it.
 *
 *   affinity none   every datagram by itself: the table's slots in turn, so that each pass over the table gives every backend exactly its
 *                   share. A counter and not a random number: cheaper, and more even.
 *   quic            a packet whose connection id carries the server id of a backend that serves goes there, whatever its addresses and
 *                   ports are. Every other packet is left to its flow.
 */
import { type Batch, LOOKUP_FLOW, LOOKUP_PACKET, LOOKUP_SERVER_ID } from '../base/batch.ts';
import { dropReason } from '../base/drop-reason.ts';
import { VERDICT_DROP, VERDICT_FORWARD } from '../base/verdict.ts';
import * as ipv4 from '../wire/ipv4.ts';
import * as udp from '../wire/udp.ts';
import { serves } from './choice.ts';
import { ID_NONE, readServerId } from './connection-id.ts';
import {
  AFFINITY_NONE,
  H_POOLS,
  H_PROTOCOLS,
  H_SERVICES,
  P_MEMBERS,
  P_SCHEME,
  P_SIZE,
  P_TABLE,
  POOL_WORDS,
  S_AFFINITY,
  S_POOL,
  S_QUIC,
  SCHEME_GLB,
  SERVICE_WORDS,
  USES_APPOINTMENT,
} from './layout.ts';
import { findServerId } from './server-ids.ts';
import type { Snapshot } from './snapshot.ts';

const NO_BACKEND = dropReason('no-backend');

// Module-local: an imported constant is loaded from its module at every use (src/wire/README.md, "Constants").
const UDP = ipv4.PROTOCOL_UDP;
const UDP_HEADER = udp.HEADER_LENGTH;
const BY_FLOW = LOOKUP_FLOW;

/** Slots that are tried for one packet: a table may name a backend that no longer serves, but not many in a row. */
const TRIES = 16;

/** What the stage did in one batch; added to the thread's counters. */
export interface AppointTally {
  /** Packets that went where their connection id says. */
  byServerId: number;
  /** Packets whose server id no backend that serves has. */
  unknownServerIds: number;
}

/** The appointments of one batch. `start`: where in the table this thread begins; threads should differ. */
export function appointStage(batch: Batch, start: number): (snapshot: Snapshot, tally: AppointTally) => void {
  const { service, lookup, networkAt, transportAt, networkLength, protocol, verdict, reason, backend } = batch;
  const { view } = batch.arena;
  const serverId = new Int32Array(new ArrayBuffer(16));
  let turn = start | 0;

  /** The backend of the next slot of the pool's table, −1 when the pool has none. */
  function nextBackend(snapshot: Snapshot, pool: number): number {
    const words = snapshot.words;
    const poolAt = words[H_POOLS] + pool * POOL_WORDS;
    const table = words[poolAt + P_TABLE];
    if (table < 0) return -1;
    for (let k = 0; k < TRIES; k++) {
      turn = (turn + 1) | 0;
      const id = words[words[poolAt + P_MEMBERS] + snapshot.tables[table][(turn >>> 0) % words[poolAt + P_SIZE]]];
      if (serves(words, id, pool)) return id;
    }
    return -1;
  }

  function byItself(snapshot: Snapshot, i: number, pool: number): void {
    const words = snapshot.words;
    // Its table is of rows, each with a second hop: every packet asks it by its flow.
    if (words[words[H_POOLS] + pool * POOL_WORDS + P_SCHEME] === SCHEME_GLB) return;
    const id = nextBackend(snapshot, pool);
    lookup[i] = LOOKUP_PACKET;
    backend[i] = id;
    verdict[i] = id < 0 ? VERDICT_DROP : VERDICT_FORWARD;
    if (id < 0) reason[i] = NO_BACKEND;
  }

  function byServerId(words: Int32Array, i: number, pool: number, settings: number, tally: AppointTally): void {
    const end = (networkAt[i] + networkLength[i]) | 0;
    if (readServerId(view, transportAt[i] + UDP_HEADER, end, settings, serverId) === ID_NONE) return;
    const id = findServerId(words, pool, serverId[0], serverId[1], serverId[2], serverId[3]);
    if (!serves(words, id, pool)) {
      tally.unknownServerIds++;
      return;
    }
    lookup[i] = LOOKUP_SERVER_ID;
    backend[i] = id;
    verdict[i] = VERDICT_FORWARD;
    tally.byServerId++;
  }

  return function appoint(snapshot: Snapshot, tally: AppointTally): void {
    const words = snapshot.words;
    if ((words[H_PROTOCOLS] & USES_APPOINTMENT) === 0) return;
    const servicesAt = words[H_SERVICES];
    const count = batch.count;
    for (let i = 0; i < count; i++) {
      if (service[i] < 0 || protocol[i] !== UDP || lookup[i] !== BY_FLOW) continue;
      const at = servicesAt + service[i] * SERVICE_WORDS;
      const settings = words[at + S_QUIC];
      if (settings !== 0) byServerId(words, i, words[at + S_POOL], settings, tally);
      if (words[at + S_AFFINITY] === AFFINITY_NONE && lookup[i] === BY_FLOW) byItself(snapshot, i, words[at + S_POOL]);
    }
  };
}
