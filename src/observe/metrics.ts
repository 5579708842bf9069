/**
 * Metrics: the counter banks and a few facts about the process, rendered when somebody asks. prom-client writes the text; it
 * counts nothing itself. docs/metrics.md lists every name, and a test holds the two together.
 */
import { Counter, collectDefaultMetrics, Gauge, Registry } from 'prom-client';
import {
  BACKENDS_AT,
  counterAt,
  DROPS_AT,
  FIXED_COUNTERS,
  MAX_BACKENDS,
  MAX_SERVICES,
  SEND_ERRORS_AT,
  SERVICES_AT,
  sumOf,
} from '../base/counters.ts';
import { DROP_REASONS } from '../base/drop-reason.ts';
import { SEND_ERRORS } from '../base/send-error.ts';
import { NEVER_MS, registerEventLoopLag } from './event-loop-lag.ts';

/** What people call the numbers in the counter banks (the shape of a snapshot's names). */
export interface MetricNames {
  readonly services: readonly { readonly id: number; readonly name: string }[];
  readonly pools: readonly {
    readonly name: string;
    readonly digest: string;
    /** Share of the slots that the last change of the table moved; null when it is not known. */
    readonly moved: number | null;
  }[];
  readonly backends: readonly {
    readonly id: number;
    readonly pool: string;
    readonly name: string;
    readonly slots: number;
    /** `active`, `draining`, `down`. */
    readonly state: string;
    /** As configured, and what it counts for in new flows now. */
    readonly weight: number;
    readonly effectiveWeight: number;
    readonly encapsulation: string;
    readonly overhead: number;
  }[];
}

/** Where the figures come from; asked at every scrape. */
export interface MetricSource {
  readonly version: string;
  /** What the flow table lies in. */
  flows(): {
    readonly path: string | null;
    readonly outcome: string;
    readonly pickedUp: { readonly entries: number };
    readonly bytes: number;
    readonly entries: number;
    readonly regions: number;
    readonly used: number;
  };
  /** Those of the threads, by number; behind them what is nobody's any more. */
  banks(): readonly Float64Array[];
  names(): MetricNames;
  generation(): number;
  /** Watched files with backends. `seenAt`: Unix seconds, 0 for never. */
  discovery(): readonly {
    readonly file: string;
    readonly seenAt: number;
    readonly backends: number;
    readonly problem: string | null;
    readonly failures: number;
  }[];
  /** Whether packets may be sent here, and packets of each service. */
  readiness(): {
    readonly director: { readonly ok: boolean };
    readonly services: ReadonlyMap<string, { readonly ok: boolean }>;
  };
  /** Takeovers by another process that failed. */
  takeoverFailures(): number;
  /** The director itself is drained. */
  draining(): boolean;
  reload(): {
    readonly successful: boolean;
    /** Unix seconds, 0 for never. */
    readonly succeededAt: number;
    /** Of what the configuration in force means. */
    readonly digest: string;
    /** Reloads by result. */
    readonly counts: Readonly<Record<string, number>>;
  };
  kernelDrops(): readonly { readonly driver: string; readonly packets: number }[];
  /** Bytes of the largest outer packet, 0 while not known, and of the largest one that was cut lately, 0 for none. */
  pathMtus(): readonly { readonly pool: string; readonly backend: string; readonly mtu: number; readonly wanted: number }[];
  /** ICMP errors "unreachable" about tunnel packets to each backend, by kind. */
  unreachable(): readonly {
    readonly pool: string;
    readonly backend: string;
    readonly counts: Readonly<Record<string, number>>;
  }[];
  health(): {
    readonly pools: readonly { readonly name: string; readonly isBelow: boolean }[];
    readonly backends: readonly {
      readonly pool: string;
      readonly name: string;
      readonly up: boolean;
      readonly heldFor: number;
      readonly changes: Readonly<Record<'up' | 'down', number>>;
      readonly checks: readonly {
        readonly check: string;
        readonly counts: Readonly<Record<'good' | 'bad' | 'failed', number>>;
        readonly last: { readonly milliseconds: number } | null;
      }[];
    }[];
  };
  threads(): readonly { readonly number: number; readonly failures: number /** Seconds. */; readonly heartbeatAge: number }[];
}

export interface Metrics {
  /** Value of the Content-Type header. */
  readonly contentType: string;
  /** The Prometheus text format, version 0.0.4. */
  render(): Promise<string>;
  /** Names of all metric families. */
  readonly names: readonly string[];
  /** What a scrape shows of each but its values. */
  readonly families: readonly MetricFamily[];
}

export interface MetricFamily {
  readonly name: string;
  readonly type: string;
  readonly help: string;
  readonly labels: readonly string[];
}

const PREFIX = 'gue_director_';

/** Gauges that the client library names like counters; each is the sum of another one of its metrics. */
const MISNAMED = ['nodejs_active_handles_total', 'nodejs_active_requests_total', 'nodejs_active_resources_total'];

/** What each thread counts by itself: place in its bank, name, help. */
const THREAD_COUNTERS = [
  [
    counterAt('received_packets_total'),
    'received_packets_total',
    'Packets that the forwarding thread took from the ingress driver.',
  ],
  [counterAt('batches_total'), 'batches_total', 'Batches that the forwarding thread processed.'],
  [counterAt('wakeups_total'), 'wakeups_total', 'Times the forwarding thread woke from poll.'],
  [counterAt('forwarding_cpu_seconds_total'), 'cpu_seconds_total', 'CPU time that the forwarding thread used.'],
] as const;

const STATES = ['active', 'draining', 'down'] as const;

type Put = (labels: Readonly<Record<string, string>>, value: number) => void;

/** Renders `source`. `processMetrics` adds what prom-client knows about the process itself (CPU, memory, event loop). */
export function createMetrics(source: MetricSource, options: { processMetrics?: boolean } = {}): Metrics {
  const registry = new Registry();
  const family = (
    kind: 'counter' | 'gauge',
    name: string,
    help: string,
    labelNames: string[],
    fill: (put: Put) => void,
  ): void => {
    const common = { name: `${PREFIX}${name}`, help, labelNames, registers: [registry] };
    if (kind === 'counter') {
      new Counter({
        ...common,
        collect() {
          this.reset();
          fill((labels, value) => this.inc(labels, value));
        },
      });
    } else {
      new Gauge({
        ...common,
        collect() {
          this.reset();
          fill((labels, value) => this.set(labels, value));
        },
      });
    }
  };

  packets(family, source);
  servicesAndBackends(family, source);
  discovery(family, source);
  health(family, source);
  director(family, source);
  threads(family, source);
  if (options.processMetrics ?? true) {
    collectDefaultMetrics({ register: registry, eventLoopMonitoringPrecision: NEVER_MS });
    registerEventLoopLag(registry);
    for (const name of MISNAMED) registry.removeSingleMetric(name);
  }
  const families = registry.getMetricsAsArray().map((metric) => familyOf(metric));
  return {
    contentType: registry.contentType,
    render: () => registry.metrics(),
    names: families.map(({ name }) => name),
    families,
  };
}

/** prom-client's types hide what its metrics are made of. */
function familyOf(metric: object): MetricFamily {
  const { name, help, type, labelNames } = metric as { name: string; help: string; type?: string; labelNames: string[] };
  return { name, type: type ?? 'untyped', help, labels: labelNames };
}

type Family = (kind: 'counter' | 'gauge', name: string, help: string, labelNames: string[], fill: (put: Put) => void) => void;

function packets(family: Family, source: MetricSource): void {
  for (const [name, help] of FIXED_COUNTERS) {
    const at = counterAt(name);
    family('counter', name, help, [], (put) => put({}, sumOf(source.banks(), at)));
  }
  family('counter', 'dropped_packets_total', 'Packets dropped, by reason; every reason is always present.', ['reason'], (put) => {
    const banks = source.banks();
    // Index 0 is `none`: not dropped.
    for (let i = 1; i < DROP_REASONS.length; i++) put({ reason: DROP_REASONS[i].word }, sumOf(banks, DROPS_AT + i));
  });
  family(
    'counter',
    'send_errors_total',
    'Messages (packets, or segments of trains) that the kernel refused and that were given up, by its error; every error is always present.',
    ['errno'],
    (put) => {
      const banks = source.banks();
      SEND_ERRORS.forEach((errno, n) => {
        put({ errno }, sumOf(banks, SEND_ERRORS_AT + n));
      });
    },
  );
  family(
    'counter',
    'kernel_dropped_packets_total',
    'Packets the kernel lost before the director could read them.',
    ['driver'],
    (put) => {
      for (const { driver, packets } of source.kernelDrops()) put({ driver }, packets);
    },
  );
}

function servicesAndBackends(family: Family, source: MetricSource): void {
  const pair = ['packets', 'bytes'] as const;
  pair.forEach((unit, offset) => {
    family('counter', `service_${unit}_total`, `${noun(unit)} of the service that could be steered.`, ['service'], (put) => {
      const banks = source.banks();
      for (const { id, name } of source.names().services) {
        put({ service: name }, sumOf(banks, SERVICES_AT + 2 * Math.min(id, MAX_SERVICES - 1) + offset));
      }
    });
  });
  pair.forEach((unit, offset) => {
    family('counter', `backend_${unit}_total`, `${noun(unit)} sent to the backend.`, ['pool', 'backend'], (put) => {
      const banks = source.banks();
      for (const { id, pool, name } of source.names().backends) {
        put({ pool, backend: name }, sumOf(banks, BACKENDS_AT + 2 * Math.min(id, MAX_BACKENDS - 1) + offset));
      }
    });
  });
  family(
    'gauge',
    'backend_table_slots',
    "Slots of the pool's lookup table that name this backend.",
    ['pool', 'backend'],
    (put) => {
      for (const { pool, name, slots } of source.names().backends) put({ pool, backend: name }, slots);
    },
  );
  family(
    'gauge',
    'backend_state',
    '1 for the state that the backend has, 0 for the others.',
    ['pool', 'backend', 'state'],
    (put) => {
      for (const { pool, name, state } of source.names().backends) {
        for (const one of STATES) put({ pool, backend: name, state: one }, one === state ? 1 : 0);
      }
    },
  );
  family('gauge', 'backend_weight', 'Configured weight of the backend.', ['pool', 'backend'], (put) => {
    for (const { pool, name, weight } of source.names().backends) put({ pool, backend: name }, weight);
  });
  family(
    'gauge',
    'backend_effective_weight',
    'What the backend counts for in new flows now: its weight, a part of it while it starts slowly, 0 while it takes none.',
    ['pool', 'backend'],
    (put) => {
      for (const { pool, name, effectiveWeight } of source.names().backends) put({ pool, backend: name }, effectiveWeight);
    },
  );
  family(
    'gauge',
    'backend_tunnel_overhead_bytes',
    'Bytes in front of an inner packet toward the backend, outer IP header included, at most.',
    ['pool', 'backend', 'encapsulation'],
    (put) => {
      for (const { pool, name, encapsulation, overhead } of source.names().backends) {
        put({ pool, backend: name, encapsulation }, overhead);
      }
    },
  );
  family(
    'gauge',
    'path_mtu_bytes',
    'Largest packet, outer headers included, that gets to the backend; missing while it is not known.',
    ['pool', 'backend'],
    (put) => {
      for (const { pool, backend, mtu } of source.pathMtus()) if (mtu > 0) put({ pool, backend }, mtu);
    },
  );
  family(
    'gauge',
    'wanted_link_mtu_bytes',
    'Largest packet, outer headers included, that was cut for the backend in the last minute; missing while none was.',
    ['pool', 'backend'],
    (put) => {
      for (const { pool, backend, wanted } of source.pathMtus()) if (wanted > 0) put({ pool, backend }, wanted);
    },
  );
  family(
    'counter',
    'backend_unreachable_total',
    'ICMP errors that said that tunnel packets to the backend do not arrive, by kind; every kind is always present.',
    ['pool', 'backend', 'kind'],
    (put) => {
      for (const { pool, backend, counts } of source.unreachable()) {
        for (const [kind, messages] of Object.entries(counts)) put({ pool, backend, kind }, messages);
      }
    },
  );
  family(
    'gauge',
    'table_digest_info',
    "Digest of the pool's lookup table: equal on directors that agree.",
    ['pool', 'digest'],
    (put) => {
      for (const { name, digest } of source.names().pools) put({ pool: name, digest }, 1);
    },
  );
  family(
    'gauge',
    'table_moved_slots_ratio',
    "Share of the slots that the last change of the pool's lookup table gave to another backend; missing while it is not known.",
    ['pool'],
    (put) => {
      for (const { name, moved } of source.names().pools) if (moved !== null) put({ pool: name }, moved);
    },
  );
}

function health(family: Family, source: MetricSource): void {
  const backend = ['pool', 'backend'];
  family(
    'gauge',
    'health_up',
    'Health checks: 1 while the backend is up, 0 while it is down; missing without checks.',
    backend,
    (put) => {
      for (const { pool, name, up } of source.health().backends) put({ pool, backend: name }, up ? 1 : 0);
    },
  );
  family(
    'gauge',
    'health_held',
    '1 while a backend whose checks are good is held down because it flapped, else 0.',
    backend,
    (put) => {
      for (const { pool, name, heldFor } of source.health().backends) put({ pool, backend: name }, heldFor > 0 ? 1 : 0);
    },
  );
  family('counter', 'health_changes_total', 'Times that the backend went up or down.', [...backend, 'to'], (put) => {
    for (const { pool, name, changes } of source.health().backends) {
      for (const [to, times] of Object.entries(changes)) put({ pool, backend: name, to }, times);
    }
  });
  family(
    'counter',
    'health_checks_total',
    'Runs of a check: good, bad, or failed by a fault of the director itself.',
    [...backend, 'check', 'result'],
    (put) => {
      for (const { pool, name, checks } of source.health().backends) {
        for (const { check, counts } of checks) {
          for (const [result, runs] of Object.entries(counts)) put({ pool, backend: name, check, result }, runs);
        }
      }
    },
  );
  family('gauge', 'health_check_duration_seconds', 'How long the last run of a check took.', [...backend, 'check'], (put) => {
    for (const { pool, name, checks } of source.health().backends) {
      for (const { check, last } of checks) if (last !== null) put({ pool, backend: name, check }, last.milliseconds / 1000);
    }
  });
  family(
    'gauge',
    'health_below_minimum',
    '1 while the pool has fewer good backends than it must have, else 0.',
    ['pool'],
    (put) => {
      for (const { name, isBelow } of source.health().pools) put({ pool: name }, isBelow ? 1 : 0);
    },
  );
}

function noun(unit: 'packets' | 'bytes'): string {
  return unit === 'packets' ? 'Packets' : 'Bytes of inner IP packets';
}

function discovery(family: Family, source: MetricSource): void {
  family(
    'gauge',
    'discovery_file_last_success_timestamp_seconds',
    'When the watched file was last seen to hold the backends that are in force from it; 0 for never.',
    ['file'],
    (put) => {
      for (const { file, seenAt } of source.discovery()) put({ file }, seenAt);
    },
  );
  family('gauge', 'discovery_file_failed', '1 while the watched file is missing or wrong.', ['file'], (put) => {
    for (const { file, problem } of source.discovery()) put({ file }, problem === null ? 0 : 1);
  });
  family('counter', 'discovery_file_failures_total', 'Times the watched file was found missing or wrong.', ['file'], (put) => {
    for (const { file, failures } of source.discovery()) put({ file }, failures);
  });
  family('gauge', 'discovery_file_backends', 'Backends that are in force from the watched file.', ['file'], (put) => {
    for (const { file, backends } of source.discovery()) put({ file }, backends);
  });
}

function flowTable(family: Family, source: MetricSource): void {
  family('gauge', 'flow_table_entries', 'Entries the flow tables of all threads can hold.', [], (put) =>
    put({}, source.flows().entries),
  );
  family(
    'gauge',
    'flow_table_used_entries',
    'Entries of flows that had a packet in the last ten minutes; an estimate for more than 16384 entries.',
    [],
    (put) => put({}, source.flows().used),
  );
  family('gauge', 'flow_table_bytes', 'Memory of the flow table, or its file.', [], (put) => put({}, source.flows().bytes));
  family('gauge', 'flow_table_regions', 'Regions that the flow table is cut into; each thread writes one.', [], (put) =>
    put({}, source.flows().regions),
  );
  family('gauge', 'flow_table_picked_up_entries', 'Entries that were picked up from the file at the start.', [], (put) =>
    put({}, source.flows().pickedUp.entries),
  );
  family(
    'gauge',
    'flow_file_info',
    'The file of the flow table (empty: none), and what became of it at the start.',
    ['path', 'outcome'],
    (put) => {
      const { path, outcome } = source.flows();
      put({ path: path ?? '', outcome }, 1);
    },
  );
}

function director(family: Family, source: MetricSource): void {
  family('gauge', 'ready', '1 while this director may be sent traffic, else 0.', [], (put) =>
    put({}, source.readiness().director.ok ? 1 : 0),
  );
  family('gauge', 'service_ready', '1 while packets of the service may be sent to this director, else 0.', ['service'], (put) => {
    for (const [service, { ok }] of source.readiness().services) put({ service }, ok ? 1 : 0);
  });
  family('counter', 'takeover_failures_total', 'Times that another process should have taken over and did not.', [], (put) =>
    put({}, source.takeoverFailures()),
  );
  family('gauge', 'build_info', 'Version of the director and of Node.', ['version', 'node'], (put) =>
    put({ version: source.version, node: process.versions.node }, 1),
  );
  family('gauge', 'config_last_reload_successful', '1 when the last configuration read was taken over, else 0.', [], (put) =>
    put({}, source.reload().successful ? 1 : 0),
  );
  family('gauge', 'config_last_reload_success_timestamp_seconds', 'When a configuration was last taken over.', [], (put) =>
    put({}, source.reload().succeededAt),
  );
  family(
    'gauge',
    'config_digest_info',
    'Digest of what the configuration in force means: equal on directors with the same one.',
    ['digest'],
    (put) => put({ digest: source.reload().digest }, 1),
  );
  family('gauge', 'draining', '1 while the director itself is drained: not ready, it forwards on.', [], (put) =>
    put({}, source.draining() ? 1 : 0),
  );
  family(
    'counter',
    'config_reloads_total',
    'Reloads since the start, by result; every result is always present.',
    ['result'],
    (put) => {
      for (const [result, count] of Object.entries(source.reload().counts)) put({ result }, count);
    },
  );
  family('gauge', 'snapshot_generation', 'Generation of the snapshot that is published to the forwarding threads.', [], (put) =>
    put({}, source.generation()),
  );
  flowTable(family, source);
}

function threads(family: Family, source: MetricSource): void {
  for (const [at, name, help] of THREAD_COUNTERS) {
    family('counter', `thread_${name}`, help, ['thread'], (put) => {
      const banks = source.banks();
      for (const { number } of source.threads()) put({ thread: String(number) }, banks[number][at]);
    });
  }
  family('counter', 'thread_failures_total', 'Times a forwarding thread ended by an error.', ['thread'], (put) => {
    for (const { number, failures } of source.threads()) put({ thread: String(number) }, failures);
  });
  family(
    'gauge',
    'thread_heartbeat_age_seconds',
    'Seconds since the forwarding thread last went round its loop.',
    ['thread'],
    (put) => {
      for (const { number, heartbeatAge } of source.threads()) put({ thread: String(number) }, heartbeatAge);
    },
  );
}
