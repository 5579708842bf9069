/** Marks the packets of pools whose scheme keeps no flows (glb), so that steer asks the table for each of them and leaves the flow table alone. */
import { type Batch, LOOKUP_ADDRESSES, LOOKUP_FLOW, LOOKUP_PORTS, LOOKUP_SERVER_ID, LOOKUP_TABLE } from '../base/batch.ts';
import { noteRow } from './choice.ts';
import { FlowTuple } from './flow-tuple.ts';
import { H_POOLS, H_SERVICES, P_SCHEME, P_SCHEME_AT, POOL_WORDS, S_POOL, SCHEME_GLB, SERVICE_WORDS } from './layout.ts';
import { hashRows } from './peer-choice.ts';
import type { Snapshot } from './snapshot.ts';

/** The marking of one batch, behind classify; only for snapshots that have such a pool. */
export function statelessStage(batch: Batch): (snapshot: Snapshot) => void {
  const { service, lookup, transportAt } = batch;
  const { view } = batch.arena;
  const flow = new FlowTuple(view);

  return function mark(snapshot: Snapshot): void {
    const words = snapshot.words;
    for (let i = 0; i < batch.count; i++) {
      if (service[i] < 0) continue;
      const poolAt = words[H_POOLS] + words[words[H_SERVICES] + service[i] * SERVICE_WORDS + S_POOL] * POOL_WORDS;
      if (words[poolAt + P_SCHEME] !== SCHEME_GLB) continue;
      if (lookup[i] === LOOKUP_FLOW || lookup[i] === LOOKUP_ADDRESSES || lookup[i] === LOOKUP_PORTS) lookup[i] = LOOKUP_TABLE;
      else if (lookup[i] === LOOKUP_SERVER_ID) {
        // Its backend stands in the packet; the hops are those of its row all the same.
        flow.fromPacket(batch, i, view.getInt32(transportAt[i]));
        hashRows(words, words[poolAt + P_SCHEME_AT], flow);
        noteRow(batch, i, snapshot, poolAt, flow);
      }
    }
  };
}
