/**
 * What a QUIC packet that was routed by its connection id leaves in the flow table. With QUIC-LB nothing: each packet names its server, and
 * an entry would let whoever forges an address and a connection id move a stranger's flow. With Katran's scheme an entry of the 5-tuple, as
 * Katran itself writes it (lib/bpf/balancer.bpf.c, check_and_update_real_index_in_lru): there a packet without a usable id follows the last
 * one that had one, and only with the entry both directors choose alike.
 */
import type { Batch } from '../base/batch.ts';
import type { fingerprints } from '../maglev-hash/index.ts';
import * as ipv4 from '../wire/ipv4.ts';
import * as ipv6 from '../wire/ipv6.ts';
import type { FlowTable } from './flow-table.ts';
import { H_SERVICES, QUIC_KATRAN, QUIC_SCHEME_MASK, S_QUIC, SERVICE_WORDS } from './layout.ts';

/** Notes packet `i`, which has its backend by its connection id. `now`: seconds. */
export function appointmentNotes(
  batch: Batch,
  flows: FlowTable,
  { tuple4, tuple6 }: ReturnType<typeof fingerprints>,
): (words: Int32Array, i: number, now: number) => void {
  const { service, networkAt, transportAt, family, protocol, fingerprintLow, fingerprintHigh, backend } = batch;
  const { view } = batch.arena;

  return function note(words, i, now) {
    if ((words[words[H_SERVICES] + service[i] * SERVICE_WORDS + S_QUIC] & QUIC_SCHEME_MASK) !== QUIC_KATRAN) return;
    const at = networkAt[i];
    const ports = view.getInt32(transportAt[i]);
    if (family[i] === 4) {
      tuple4(view.getInt32(at + ipv4.SOURCE_AT), view.getInt32(at + ipv4.DESTINATION_AT), ports, protocol[i], i);
    } else tuple6(view, at + ipv6.SOURCE_AT, at + ipv6.DESTINATION_AT, ports, protocol[i], i);
    const entry = flows.find(fingerprintLow[i], fingerprintHigh[i]);
    if (entry < 0) flows.insert(fingerprintLow[i], fingerprintHigh[i], backend[i], now, false);
    else if (flows.backendAt(entry) !== backend[i]) flows.reassign(entry, backend[i], now);
    else flows.refresh(entry, now);
  };
}
