/**
 * The backend of an ICMP error: the one that the next packet of the quoted flow would be given, by the same rules in the same order (steer.ts,
 * docs/architecture.md) – entry of this thread, of a sibling, previous table, current table – but that nothing is written. An error comes
 * from anybody, on any thread: it may not create an entry, keep one alive or move one, so that a flood of them changes nothing for flows.
 *
 * A forwarded ping has no flow; its addresses choose in the current table.
 */
import type { Batch } from '../base/batch.ts';
import { fingerprints } from '../maglev-hash/index.ts';
import * as icmpv4 from '../wire/icmpv4.ts';
import * as icmpv6 from '../wire/icmpv6.ts';
import * as ipv4 from '../wire/ipv4.ts';
import * as ipv6 from '../wire/ipv6.ts';
import { PROTOCOL_SCTP } from '../wire/sctp.ts';
import { serves, siblingBackend, since, tableBackendOf } from './choice.ts';
import type { FlowTable } from './flow-table.ts';
import type { FlowTuple } from './flow-tuple.ts';
import {
  beginsWithPorts,
  ERROR_KINDS,
  ERROR_NONE,
  errorKind4,
  errorKind6,
  quoteHasPorts,
  quoteProtocol,
  quoteTransport,
  readQuote4,
  readQuote6,
  turnPorts,
} from './icmp-quote.ts';
import {
  AFFINITY_PORTS,
  H_POOLS,
  H_SERVICES,
  P_SCHEME,
  POOL_WORDS,
  S_AFFINITY,
  S_ID,
  S_POOL,
  SCHEME_GLB,
  SERVICE_WORDS,
} from './layout.ts';
import type { Snapshot } from './snapshot.ts';

const SCTP = PROTOCOL_SCTP;

export interface QuoteTally {
  /** ICMP errors that were given a backend, by ERROR_ number; place 0: pings. */
  readonly steered: Int32Array;
}

export function quoteTally(): QuoteTally {
  return { steered: new Int32Array(new ArrayBuffer(ERROR_KINDS * 4)) };
}

/** Takes the flow of the packet quoted by the error at `icmpAt`, which classify has read before: as the client's packets have it. */
function takeQuoted(flow: FlowTuple, view: DataView, family: number, icmpAt: number, answer: number): void {
  const is4 = family === 4;
  const quote = icmpAt + (is4 ? icmpv4.QUOTE_AT : icmpv6.QUOTE_AT);
  flow.family = is4 ? 4 : 6;
  flow.sourceAt = quote + (is4 ? ipv4.DESTINATION_AT : ipv6.DESTINATION_AT);
  flow.destinationAt = quote + (is4 ? ipv4.SOURCE_AT : ipv6.SOURCE_AT);
  const protocol = quoteProtocol(answer);
  const hasPorts = beginsWithPorts(protocol) && quoteHasPorts(answer);
  flow.protocol = protocol;
  flow.ports = hasPorts ? turnPorts(view.getInt32(quote + quoteTransport(answer))) : 0;
}

/**
 * For one batch and one shard: the backend id of packet `i`, which classify has marked LOOKUP_QUOTE; −1 when none may serve. `now`: seconds
 * of the batch clock. `flow` is overwritten.
 */
export function quoteSteering(
  batch: Batch,
  flows: FlowTable,
  siblings: readonly FlowTable[],
  flow: FlowTuple,
): (snapshot: Snapshot, i: number, now: number, tally: QuoteTally) => number {
  const { service, networkAt, transportAt, networkLength, family, fingerprintLow, fingerprintHigh } = batch;
  const { view } = batch.arena;
  const { tuple4: fingerprint4, tuple6: fingerprint6 } = fingerprints(flows.key0, flows.key1, fingerprintLow, fingerprintHigh);

  /** Writes the flow's fingerprint to place `i` of the batch's columns, as a packet of the flow would have it (steer.ts, wide-flow.ts). */
  function fingerprint(words: Int32Array, i: number, serviceAt: number): void {
    const { sourceAt, destinationAt, ports, protocol } = flow;
    if (words[serviceAt + S_AFFINITY] === AFFINITY_PORTS && protocol === SCTP)
      fingerprint4(words[serviceAt + S_ID], 0, ports, protocol, i);
    else if (flow.family === 4) fingerprint4(view.getInt32(sourceAt), view.getInt32(destinationAt), ports, protocol, i);
    else fingerprint6(view, sourceAt, destinationAt, ports, protocol, i);
  }

  /** Backend by the flow's entry in this shard or a sibling's; −1: none. `stale`: an entry of this shard was there and no longer serves. */
  let stale = false;
  function byEntry(snapshot: Snapshot, i: number, serviceAt: number, pool: number): number {
    const { words } = snapshot;
    fingerprint(words, i, serviceAt);
    const entry = flows.find(fingerprintLow[i], fingerprintHigh[i]);
    stale = entry >= 0;
    if (!stale) return siblingBackend(snapshot, siblings, fingerprintLow[i], fingerprintHigh[i], pool);
    const id = flows.backendAt(entry);
    return serves(words, id, pool) && flows.lastSeenAt(entry) >= since(words, id) ? id : -1;
  }

  return function chooseByQuote(snapshot: Snapshot, i: number, now: number, tally: QuoteTally): number {
    const { words } = snapshot;
    const serviceAt = words[H_SERVICES] + service[i] * SERVICE_WORDS;
    const pool = words[serviceAt + S_POOL];
    const icmpAt = transportAt[i];
    const is4 = family[i] === 4;
    const kind = is4 ? errorKind4(view, icmpAt) : errorKind6(view, icmpAt);
    let id = -1;
    if (kind === ERROR_NONE) {
      flow.fromPacket(batch, i, 0);
      id = tableBackendOf(batch, i, snapshot, serviceAt, false, now, flow);
    } else {
      const end = (networkAt[i] + networkLength[i]) | 0;
      const answer = is4 ? readQuote4(view, icmpAt, end) : readQuote6(view, icmpAt, end);
      takeQuoted(flow, view, family[i], icmpAt, answer);
      // Directors of a glb pool keep no flows: every packet of one asks the current rows.
      const keepsFlows = words[words[H_POOLS] + pool * POOL_WORDS + P_SCHEME] !== SCHEME_GLB;
      stale = false;
      const knowsFlow = quoteHasPorts(answer) || !beginsWithPorts(flow.protocol);
      if (keepsFlows && knowsFlow) id = byEntry(snapshot, i, serviceAt, pool);
      // An entry that no longer serves: the flow's next packet is steered anew.
      if (id < 0) id = tableBackendOf(batch, i, snapshot, serviceAt, keepsFlows && !stale, now, flow);
    }
    if (id >= 0) tally.steered[kind]++;
    return id;
  };
}
