/** The answer to `status`: what the director's parts know, put together when somebody asks. */
import type { Condition } from '../admin/server.ts';
import type {
  Status,
  StatusBackend,
  StatusDrain,
  StatusFlowTable,
  StatusHealth,
  StatusPathMtu,
  StatusPoolHealth,
  StatusReload,
  StatusUnreachable,
} from '../admin/status.ts';
import { BACKENDS_AT, counterAt, DROPS_AT, type FixedCounter, MAX_SERVICES, SERVICES_AT, sumOf } from '../base/counters.ts';
import { DROP_REASONS } from '../base/drop-reason.ts';
import type { BackendReport, PoolReport } from '../health/report.ts';
import type { PathMtuEntry } from '../host/path-mtu.ts';
import type { UnreachableEntry } from '../host/unreachable.ts';
import type { FlowReport } from './flow-keeper.ts';
import type { Readiness } from './readiness.ts';
import type { WeighedNames } from './weights.ts';

export interface StatusParts {
  readonly version: string;
  readonly config: string;
  readonly generation: number;
  readonly reload: StatusReload;
  readonly healthy: Condition;
  readonly ready: Readiness;
  readonly names: WeighedNames;
  readonly flows: FlowReport;
  readonly banks: readonly Float64Array[];
  readonly kernelDrops: readonly { readonly packets: number }[];
  readonly threads: readonly {
    readonly number: number;
    readonly failures: number;
    readonly heartbeatAge: number;
    readonly ingress: string;
    readonly egress: string;
  }[];
  /** Numbers of the threads that do not forward now. */
  readonly absent: readonly number[];
  /** null where packets go to no network. */
  readonly paths: readonly PathMtuEntry[] | null;
  /** Bytes of the largest packet that was cut for the backend lately; 0 for none. */
  readonly wanted: (id: number) => number;
  readonly draining: Status['draining'];
  readonly discovery: Status['discovery'];
  readonly drain: (pool: string, backend: string) => StatusDrain | null;
  /** What ICMP said about reaching the backend; null where packets go to no network. */
  readonly unreachable: (id: number) => UnreachableEntry | null;
  /** Seconds of the clock that `paths` and `unreachable` are told in. */
  readonly now: number;
  readonly health: { readonly pools: readonly PoolReport[]; readonly backends: readonly BackendReport[] };
}

const RECEIVED = counterAt('received_packets_total');

export function statusOf(parts: StatusParts): Status {
  const { names, banks } = parts;
  const count = (name: FixedCounter) => sumOf(banks, counterAt(name));
  const drops: Record<string, number> = {};
  let dropped = 0;
  // Index 0 is `none`: not dropped.
  for (let i = 1; i < DROP_REASONS.length; i++) {
    const packets = sumOf(banks, DROPS_AT + i);
    dropped += packets;
    if (packets > 0) drops[DROP_REASONS[i].word] = packets;
  }
  const sizes = new Map(names.pools.map((pool) => [pool.name, pool.tableSize]));
  const health = new Map(parts.health.backends.map((report) => [`${report.pool}/${report.name}`, report]));
  const paths = new Map(parts.paths?.map((entry) => [entry.id, entry]));
  return {
    version: parts.version,
    pid: process.pid,
    config: parts.config,
    uptime: Math.floor(process.uptime()),
    generation: parts.generation,
    reload: parts.reload,
    healthy: parts.healthy,
    ready: parts.ready.director,
    draining: parts.draining,
    packets: {
      received: count('received_packets_total'),
      forwarded: count('forwarded_packets_total'),
      replied: count('replied_packets_total'),
      passed: count('passed_packets_total'),
      dropped,
      lost: parts.kernelDrops.reduce((sum, { packets }) => sum + packets, 0),
    },
    drops,
    services: names.services.map(({ id, name, pool }) => {
      const at = SERVICES_AT + 2 * Math.min(id, MAX_SERVICES - 1);
      const ready = parts.ready.services.get(name) ?? { ok: false, reasons: [] };
      return { name, pool, ready, packets: sumOf(banks, at), bytes: sumOf(banks, at + 1) };
    }),
    pools: names.pools.map(({ name, scheme, tableSize, seed, digest }) => {
      const found = parts.health.pools.find((pool) => pool.name === name);
      return { name, scheme, tableSize, seed, digest, health: found === undefined ? null : poolHealthOf(found) };
    }),
    backends: names.backends.map((backend): StatusBackend => {
      const { id, pool, name, address, state, weight, effectiveWeight, slots, encapsulation, ports, overhead } = backend;
      const at = BACKENDS_AT + 2 * id;
      const entry = paths.get(id);
      const unreachable = parts.unreachable(id);
      return {
        pool,
        name,
        address,
        state,
        drain: parts.drain(pool, name),
        weight,
        effectiveWeight,
        encapsulation,
        ports,
        overhead,
        share: slots / (sizes.get(pool) ?? 1),
        packets: sumOf(banks, at),
        bytes: sumOf(banks, at + 1),
        pathMtu: entry === undefined ? null : pathMtuOf(entry, parts),
        unreachable: unreachable === null ? null : unreachableOf(unreachable, parts),
        health: healthOf(health.get(`${pool}/${name}`), parts),
      };
    }),
    discovery: parts.discovery,
    flowTable: flowTableOf(parts.flows),
    threads: parts.threads.map(({ number, failures, heartbeatAge, ingress, egress }) => ({
      number,
      state: parts.absent.includes(number) ? 'absent' : 'forwarding',
      ingress,
      egress,
      received: banks[number][RECEIVED],
      failures,
      heartbeatAge,
    })),
  };
}

function flowTableOf({ path, outcome, reason, pickedUp, bytes, entries, regions }: FlowReport): StatusFlowTable {
  return { path, outcome, reason, pickedUp, bytes, entries, regions };
}

function poolHealthOf({ good, of, wanted, isBelow }: PoolReport): StatusPoolHealth {
  return { good, of, wanted, belowMinimum: isBelow };
}

function healthOf(report: BackendReport | undefined, { now }: StatusParts): StatusHealth | null {
  if (report === undefined) return null;
  const { up, serves, share, age, heldFor, penalty, checks } = report;
  return {
    up,
    serves,
    share,
    age: Math.round(age),
    heldFor: Math.ceil(heldFor),
    penalty: Number(penalty.toFixed(2)),
    checks: checks.map(({ check, good, contrary, last }) => ({
      check,
      good,
      contrary,
      detail: last?.detail ?? null,
      milliseconds: last === null ? null : Number(last.milliseconds.toFixed(1)),
      age: last === null ? null : Math.max(0, Math.round(now - last.at)),
    })),
  };
}

function unreachableOf({ counts, last }: UnreachableEntry, { now }: StatusParts): StatusUnreachable {
  return { ...counts, last: last?.what ?? null, age: last === null ? null : Math.max(0, now - last.at) };
}

function pathMtuOf(entry: PathMtuEntry, { now, wanted }: StatusParts): StatusPathMtu {
  return {
    bytes: entry.mtu,
    innerBytes: entry.innerMtu,
    cause: entry.source,
    routeBytes: entry.routeMtu,
    interface: entry.link?.name ?? '',
    wantedBytes: wanted(entry.id),
    age: Math.max(0, now - entry.since),
    expiresIn: entry.expires === null ? null : Math.max(0, entry.expires - now),
  };
}
