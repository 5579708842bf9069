/**
 * The backend of an ICMP error: the one that the next packet of the quoted flow would be given, by the same rules in the same order (steer.ts,
 * docs/architecture.md) – entry of this thread, of a sibling, previous table, current table – but that nothing is written. An error comes
 * from anybody, on any thread: it may not create an entry, keep one alive or move one, so that a flood of them changes nothing for flows.
 *
 * A forwarded ping has no flow; its addresses choose in the current table.
 */
import type { Batch } from '../base/batch.ts';
import { fingerprints, hashAddresses4, hashAddresses6, hashSource4, hashSource6 } from '../maglev-hash/index.ts';
import * as icmpv4 from '../wire/icmpv4.ts';
import * as icmpv6 from '../wire/icmpv6.ts';
import * as ipv4 from '../wire/ipv4.ts';
import * as ipv6 from '../wire/ipv6.ts';
import { currentBackend, previousBackend, serves, siblingBackend, since, slotHash } from './choice.ts';
import type { FlowTable } from './flow-table.ts';
import {
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
  AFFINITY_ADDRESSES,
  AFFINITY_SOURCE,
  AFFINITY_TUPLE,
  H_POOLS,
  H_SERVICES,
  POOL_WORDS,
  S_AFFINITY,
  S_POOL,
  SERVICE_WORDS,
} from './layout.ts';
import type { Snapshot } from './snapshot.ts';

const TCP = ipv4.PROTOCOL_TCP;

export interface QuoteTally {
  /** ICMP errors that were given a backend, by ERROR_ number; place 0: pings. */
  readonly steered: Int32Array;
}

export function quoteTally(): QuoteTally {
  return { steered: new Int32Array(new ArrayBuffer(ERROR_KINDS * 4)) };
}

/**
 * For one batch and one shard: the backend id of packet `i`, which classify has marked LOOKUP_QUOTE; −1 when none may serve. `now`: seconds
 * of the batch clock.
 */
export function quoteSteering(
  batch: Batch,
  flows: FlowTable,
  siblings: readonly FlowTable[],
): (snapshot: Snapshot, i: number, now: number, tally: QuoteTally) => number {
  const { service, networkAt, transportAt, networkLength, family, flowHash, fingerprintLow, fingerprintHigh } = batch;
  const { view } = batch.arena;
  const { tuple4: fingerprint4, tuple6: fingerprint6 } = fingerprints(flows.key0, flows.key1, fingerprintLow, fingerprintHigh);

  /** Hash by which the quoted flow asks the pool's table. */
  function quotedHash(i: number, quote: number, protocol: number, affinity: number): number {
    if (affinity === AFFINITY_TUPLE) return flowHash[i];
    if (family[i] === 4) {
      const client = view.getInt32(quote + ipv4.DESTINATION_AT);
      if (affinity === AFFINITY_SOURCE) return hashSource4(client);
      return hashAddresses4(client, view.getInt32(quote + ipv4.SOURCE_AT), protocol);
    }
    if (affinity === AFFINITY_SOURCE) return hashSource6(view, quote + ipv6.DESTINATION_AT);
    return hashAddresses6(view, quote + ipv6.DESTINATION_AT, quote + ipv6.SOURCE_AT, protocol);
  }

  /** Writes the quoted flow's fingerprint to place `i` of the batch's columns, as a packet of the flow would have it. */
  function fingerprint(i: number, quote: number, transport: number, protocol: number): void {
    const ports = turnPorts(view.getInt32(transport));
    if (family[i] === 4) {
      const client = view.getInt32(quote + ipv4.DESTINATION_AT);
      fingerprint4(client, view.getInt32(quote + ipv4.SOURCE_AT), ports, protocol, i);
    } else fingerprint6(view, quote + ipv6.DESTINATION_AT, quote + ipv6.SOURCE_AT, ports, protocol, i);
  }

  return function chooseByQuote(snapshot: Snapshot, i: number, now: number, tally: QuoteTally): number {
    const { words } = snapshot;
    const serviceAt = words[H_SERVICES] + service[i] * SERVICE_WORDS;
    const pool = words[serviceAt + S_POOL];
    const poolAt = words[H_POOLS] + pool * POOL_WORDS;
    const affinity = words[serviceAt + S_AFFINITY];
    const icmpAt = transportAt[i];
    const is4 = family[i] === 4;
    const kind = is4 ? errorKind4(view, icmpAt) : errorKind6(view, icmpAt);
    let id = -1;
    if (kind === ERROR_NONE) {
      const byAddresses = affinity === AFFINITY_TUPLE ? AFFINITY_ADDRESSES : affinity;
      id = currentBackend(snapshot, poolAt, slotHash(batch, i, byAddresses));
    } else {
      const end = (networkAt[i] + networkLength[i]) | 0;
      const answer = is4 ? readQuote4(view, icmpAt, end) : readQuote6(view, icmpAt, end);
      const quote = icmpAt + (is4 ? icmpv4.QUOTE_AT : icmpv6.QUOTE_AT);
      const protocol = quoteProtocol(answer);
      let hasEntry = false;
      if (quoteHasPorts(answer)) {
        fingerprint(i, quote, quote + quoteTransport(answer), protocol);
        const entry = flows.find(fingerprintLow[i], fingerprintHigh[i]);
        hasEntry = entry >= 0;
        if (hasEntry) {
          const known = flows.backendAt(entry);
          if (serves(words, known, pool) && flows.lastSeenAt(entry) >= since(words, known)) id = known;
        } else id = siblingBackend(snapshot, siblings, fingerprintLow[i], fingerprintHigh[i], pool);
      }
      if (id < 0) {
        const hash = quotedHash(i, quote, protocol, affinity);
        // An entry that no longer serves: the flow's next packet is steered anew.
        if (!hasEntry) id = previousBackend(snapshot, pool, poolAt, hash, protocol === TCP, now);
        if (id < 0) id = currentBackend(snapshot, poolAt, hash);
      }
    }
    if (id >= 0) tally.steered[kind]++;
    return id;
  };
}
