/**
 * Flows that are not a 5-tuple: of a protocol without ports, by addresses and protocol; with affinity `ports`, by service, protocol and
 * ports. They have entries in the flow table as others do, under a fingerprint of what they are known by.
 */
import { type Batch, LOOKUP_PORTS } from '../base/batch.ts';
import { VERDICT_FORWARD } from '../base/verdict.ts';
import type { fingerprints } from '../maglev-hash/index.ts';
import * as ipv4 from '../wire/ipv4.ts';
import * as ipv6 from '../wire/ipv6.ts';
import { serves, since } from './choice.ts';
import type { FlowTable } from './flow-table.ts';
import { H_SERVICES, S_ID, S_POOL, SERVICE_WORDS } from './layout.ts';

/** The packet followed an entry: it has its backend. */
export const WIDE_STEERED = -2;

/**
 * For packet `i` of such a flow: writes its fingerprint; WIDE_STEERED when an entry of ours answered, else the place of its entry that no longer
 * serves, or −1 without one: then it is a miss as any other. `now`: seconds.
 */
export function wideFlows(
  batch: Batch,
  flows: FlowTable,
  { tuple4, tuple6 }: ReturnType<typeof fingerprints>,
): (words: Int32Array, i: number, now: number) => number {
  const { service, lookup, networkAt, transportAt, family, protocol, fingerprintLow, fingerprintHigh, verdict, backend } = batch;
  const { view } = batch.arena;

  return function follow(words, i, now) {
    const at = networkAt[i];
    const serviceAt = words[H_SERVICES] + service[i] * SERVICE_WORDS;
    if (lookup[i] === LOOKUP_PORTS) tuple4(words[serviceAt + S_ID], 0, view.getInt32(transportAt[i]), protocol[i], i);
    else if (family[i] === 4) {
      tuple4(view.getInt32(at + ipv4.SOURCE_AT), view.getInt32(at + ipv4.DESTINATION_AT), 0, protocol[i], i);
    } else tuple6(view, at + ipv6.SOURCE_AT, at + ipv6.DESTINATION_AT, 0, protocol[i], i);
    const entry = flows.find(fingerprintLow[i], fingerprintHigh[i]);
    if (entry < 0) return -1;
    const known = flows.backendAt(entry);
    if (!serves(words, known, words[serviceAt + S_POOL]) || flows.lastSeenAt(entry) < since(words, known)) return entry;
    flows.refresh(entry, now);
    backend[i] = known;
    verdict[i] = VERDICT_FORWARD;
    return WIDE_STEERED;
  };
}
