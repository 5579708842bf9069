// npm run bench -- scale: what many services, backends and flows cost. Snapshots of a thousand services are built, and changed by one backend; one to four million flows
// pass a forwarding thread over memory (bench/memory-thread.ts).

import { SnapshotBuilder } from '../src/pipeline/snapshot.ts';
import type { Spec } from '../src/pipeline/spec.ts';
import { MemoryThreads } from './memory-threads.ts';
import { framesOf } from './scale-spec.ts';

export const name = 'scale';

type Row = Record<string, string | number>;

const TUNNEL = {
  encapsulation: 'gue',
  port: 6080,
  source4: Uint8Array.of(10, 98, 0, 1),
  source6: null,
  checksum: 'auto',
} as const;

/** Services of one pool each, all over the same workers, with tables of their own. */
export function specOf(services: number, backends: number, tableSize: number): Spec {
  const addresses = Array.from({ length: backends }, (_, n) => Uint8Array.of(10, 99, (n + 1) >> 8, (n + 1) & 255));
  return {
    services: Array.from({ length: services }, (_, n) => ({
      name: `s${n}`,
      prefix: { bytes: Uint8Array.of(192, 0, n >> 8, n & 255), length: 32 },
      protocol: 6,
      portFrom: 443,
      portTo: 443,
      affinity: '5-tuple',
      pool: `p${n}`,
    })),
    pools: Array.from({ length: services }, (_, n) => ({
      name: `p${n}`,
      tableSize,
      seed: n + 1,
      tunnel: TUNNEL,
      backends: addresses.map((address, k) => ({ name: `w${k}`, address, weight: 1, state: 'active' as const })),
    })),
  };
}

function flapped(spec: Spec, pool: number, down: boolean): Spec {
  const change = (one: Spec['pools'][number]) => ({
    ...one,
    backends: one.backends.map((backend, k) =>
      k === 0 ? { ...backend, state: down ? ('down' as const) : ('active' as const) } : backend,
    ),
  });
  return { ...spec, pools: spec.pools.map((one, n) => (n === pool ? change(one) : one)) };
}

const median = (values: readonly number[]) => [...values].sort((a, b) => a - b)[values.length >> 1];

/** Milliseconds to build the snapshot of a configuration, and the next one after a change of one backend. */
function snapshots(services: number, backends: number, tableSize: number, changes: number): Row {
  const builder = new SnapshotBuilder();
  let spec = specOf(services, backends, tableSize);
  const begun = performance.now();
  let last = builder.build(spec, 1);
  const first = performance.now() - begun;
  const times: number[] = [];
  for (let i = 0; i < changes; i++) {
    spec = flapped(spec, (i >> 1) % services, i % 2 === 0);
    const start = performance.now();
    const next = builder.build(spec, 2 + i);
    times.push(performance.now() - start);
    builder.release(last);
    last = next;
  }
  return {
    services,
    backends,
    'table size': tableSize,
    'first snapshot, ms': Math.round(first),
    'one backend changes, ms (median)': Number(median(times).toFixed(1)),
    'most, ms': Number(Math.max(...times.slice(changes >> 1)).toFixed(1)),
    'root, MB': Math.round(last.root.byteLength / 1e6),
  };
}

/** Frames that are sent again and again, each time with another client. */
const PACKETS = 1000;

/** Nanoseconds a packet and memory with so many flows in the table; each flow's packets come in turn. */
async function flows(count: number, seconds: number): Promise<Row> {
  const snapshot = new SnapshotBuilder().build(specOf(10, 100, 65_537), 1);
  const frames = framesOf(10, PACKETS);
  const before = process.memoryUsage.rss();
  const threads = await MemoryThreads.start({ threads: 1, snapshot, frames: [frames], flowEntries: 4 * count, flows: count });
  await new Promise((done) => setTimeout(done, seconds * 1000));
  const [packets, from] = [threads.forwarded, performance.now()];
  await new Promise((done) => setTimeout(done, seconds * 1000));
  const passed = threads.forwarded - packets;
  const took = performance.now() - from;
  const row = {
    flows: count,
    'ns/packet': Number(((took * 1e6) / passed).toFixed(1)),
    'entries in use': threads.entries(),
    'resident, MB more': Math.round((process.memoryUsage.rss() - before) / 1e6),
  };
  await threads.stop();
  return row;
}

export async function run({ quick }: { quick: boolean }): Promise<{ name: string; rows: Row[] }> {
  const rows: Row[] = [];
  const sizes: readonly (readonly [number, number])[] = quick
    ? [[100, 100]]
    : [
        [100, 100],
        [1000, 200],
        [1000, 1000],
      ];
  for (const [services, backends] of sizes)
    rows.push(snapshots(services, backends, backends > 200 ? 20_011 : 4093, quick ? 10 : 40));
  for (const count of quick ? [100_000] : [1_000_000, 2_000_000, 4_000_000]) rows.push(await flows(count, quick ? 1 : 5));
  return { name, rows };
}
