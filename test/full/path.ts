// The packet path as `replay` runs it, without files: frames from memory, one pipeline, packets to memory.

import { Arena, LARGE_STRIDE } from '../../src/base/arena.ts';
import { Batch, type IngressFacts, LINK_ETHERNET, LINK_RAW_IP } from '../../src/base/batch.ts';
import { createBank } from '../../src/base/counters.ts';
import { FlowTable } from '../../src/pipeline/flow-table.ts';
import { Pipeline } from '../../src/pipeline/pipeline.ts';
import { Snapshot, SnapshotBuilder } from '../../src/pipeline/snapshot.ts';
import type { BackendSpec, ChecksumMode, ServiceSpec, Spec } from '../../src/pipeline/spec.ts';
import { VIP4, VIP6 } from './packets.ts';

const CAPACITY = 64;

export const SOURCE4 = Uint8Array.of(203, 0, 113, 9);
export const SOURCE6 = Uint8Array.of(0x20, 1, 0x0d, 0xb8, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9);

/** Both services on one pool whose backends are of one family; TCP and UDP, port 443. */
export function pathSpec(outer: 4 | 6, checksum: ChecksumMode): Spec {
  const backends: BackendSpec[] = Array.from({ length: 7 }, (_, i) => ({
    name: `worker-${i + 1}`,
    address: outer === 4 ? Uint8Array.of(203, 0, 113, 100 + i) : Uint8Array.from([...SOURCE6.subarray(0, 15), 100 + i]),
    weight: 1 + i,
    state: 'active',
  }));
  const services: ServiceSpec[] = [4, 6].flatMap((family) =>
    [6, 17].map((protocol) => ({
      name: `web-${family}-${protocol}`,
      prefix: family === 4 ? { bytes: VIP4, length: 32 } : { bytes: VIP6, length: 128 },
      protocol,
      portFrom: 443,
      portTo: 443,
      affinity: '5-tuple' as const,
      pool: 'pool',
    })),
  );
  const tunnel = { encapsulation: 'gue' as const, port: 6080, source4: SOURCE4, source6: SOURCE6, checksum };
  return { services, pools: [{ name: 'pool', tableSize: 1009, seed: 0, tunnel, backends }] };
}

export const ETHERNET: IngressFacts = { link: LINK_ETHERNET, hopDone: false, canPass: false, headerVerified: false };
/** What a raw-IP capture is: nothing verified, the hop not done. */
export const RAW_IP: IngressFacts = { link: LINK_RAW_IP, hopDone: false, canPass: false, headerVerified: false };
/** What TUN is. */
export const TUN: IngressFacts = { link: LINK_RAW_IP, hopDone: true, canPass: false, headerVerified: true };

export interface Path {
  readonly batch: Batch;
  readonly pipeline: Pipeline;
}

export function openPath(facts: IngressFacts, spec: Spec): Path {
  const batch = new Batch(Arena.inProcess(CAPACITY, LARGE_STRIDE), facts);
  const pipeline = new Pipeline({
    snapshot: new Snapshot(new SnapshotBuilder().build(spec)),
    flows: new FlowTable(4096, Int32Array.of(1, 2, 3, 4)),
    bank: createBank(),
    sourcePortBase: 49152,
    sourcePortMask: 16383,
  });
  return { batch, pipeline };
}
