/**
 * Health checks while the director runs: hands the configuration to the monitor (health/monitor.ts), who serves to the controller, and what happened
 * to the journal; keeps its state in a file.
 */
import { CodedError } from '../base/errors.ts';
import type { SetsAside } from '../control/aside.ts';
import { backendKey, type HealthShare } from '../control/layers.ts';
import { createProbe } from '../health/checks.ts';
import { type ExportedState, readExported } from '../health/exported.ts';
import { EchoProbes } from '../health/icmp.ts';
import { type HealthEvent, HealthMonitor, type MonitoredPool, type Share } from '../health/monitor.ts';
import type { ProbeResources } from '../health/probe.ts';
import type { BackendReport, PoolReport } from '../health/report.ts';
import type { HealthSpec } from '../health/spec.ts';
import { EchoSocket } from '../host/echo-socket.ts';
import type { EventJournal } from '../observe/events.ts';
import { RepeatedLines } from '../observe/log.ts';
import type { SnapshotNames } from '../pipeline/snapshot.ts';
import type { Spec } from '../pipeline/spec.ts';
import type { BoottimeClock } from '../raw-socket/clock.ts';
import type { HealthFile } from './health-file.ts';
import type { PathKeeper } from './path-keeper.ts';

/** Milliseconds after a change, and while nothing changes, until the state is written. */
const WRITE_AFTER_CHANGE = 1000;
const WRITE_EVERY = 20_000;

export interface HealthKeeperOptions {
  readonly journal: EventJournal;
  readonly clock: BoottimeClock;
  /** Takes the layer, in place of the one before. */
  readonly setLayer: (layer: ReadonlyMap<string, HealthShare>) => void;
  /** Where the state outlives the process; null: nowhere. */
  readonly file: HealthFile | null;
  /** Makes the probes of `tunnel` checks. */
  readonly tunnel: ProbeResources['tunnel'];
}

/** What the operator says of a spec's pools, and what is in force of it: the same backends in both. */
export interface FollowedSpec {
  readonly health: ReadonlyMap<string, HealthSpec>;
  /** Sources resolved; states as they are in force. */
  readonly inForce: Spec;
  /** Without what health says. */
  readonly wanted: Spec;
}

export class HealthKeeper implements SetsAside {
  readonly #options: HealthKeeperOptions;
  readonly #monitor: HealthMonitor;
  readonly #echo = new EchoSocket();
  readonly #repeated = new RepeatedLines();
  #layer: ReadonlyMap<string, HealthShare> = new Map();
  /** What was known under the configuration before. */
  #aside: { readonly state: ExportedState; readonly layer: ReadonlyMap<string, HealthShare> } | null = null;
  #writeAt = 0;
  /** Pools that have checks. */
  #followed: ReadonlySet<string> = new Set();
  /** Their backends, of the names that were seen last. */
  #tended: { readonly names: SnapshotNames; readonly backends: SnapshotNames['backends'] } | null = null;

  constructor(options: HealthKeeperOptions) {
    const { clock, tunnel } = options;
    this.#options = options;
    const pings = new EchoProbes(this.#echo);
    this.#monitor = new HealthMonitor({
      timing: {
        now: () => clock.milliseconds() / 1000,
        after: (seconds, call) => {
          const timer = setTimeout(call, seconds * 1000);
          return () => clearTimeout(timer);
        },
        random: Math.random,
      },
      createProbe,
      resources: { ping: () => pings.probe(), tunnel, stale: (error) => this.#stale(error) },
      changed: (shares) => this.#changed(shares),
      tell: (event) => this.#tell(event),
    });
  }

  /**
   * Takes over what an earlier process knew: `inherited` is what the running one hands over (`exportState`), else it is read from the file. To be called before
   * `follow`.
   */
  restore(inherited?: unknown): void {
    const { file, clock, journal } = this.#options;
    const given = readExported(inherited);
    if (given !== null) {
      this.importState(given);
      return;
    }
    const found = file?.read(clock.milliseconds() / 1000) ?? null;
    if (found === null || file === null) return;
    if (typeof found === 'string')
      journal.record('info', 'health-state', `${file.path} is not used: ${found}`, { path: file.path });
    else this.importState(found);
  }

  /** What the checks know, for the process that takes over. */
  exportState(): ExportedState {
    return this.#monitor.exportState();
  }

  /** What the process knew that is taken over. To be called before `follow`. */
  importState(state: ExportedState): void {
    this.#monitor.restore(state);
  }

  setAside(): void {
    this.#aside = { state: this.#monitor.exportState(), layer: this.#layer };
  }

  /** To be called before that configuration is published: its backends are what they were, so that none is put in service unchecked. */
  bringBack(): void {
    const { state, layer } = this.#aside ?? { state: null, layer: this.#layer };
    this.#aside = null;
    if (state === null) return;
    this.#monitor.restore(state);
    const followed = new Set(this.#monitor.shares().map(({ pool, backend }) => backendKey(pool, backend)));
    const missing = [...layer].filter(([key]) => !followed.has(key));
    if (missing.length === 0) return;
    this.#layer = new Map([...this.#layer, ...missing]);
    this.#options.setLayer(this.#layer);
  }

  forget(): void {
    this.#aside = null;
  }

  /** What there is to check from now on. */
  follow({ health, inForce, wanted }: FollowedSpec): void {
    this.#followed = new Set(health.keys());
    this.#tended = null;
    const wantedPools = new Map(wanted.pools.map((pool) => [pool.name, pool]));
    this.#monitor.follow(
      inForce.pools.flatMap((pool): MonitoredPool[] => {
        const spec = health.get(pool.name);
        if (spec === undefined) return [];
        const services = inForce.services.filter((service) => service.pool === pool.name);
        const states = new Map(wantedPools.get(pool.name)?.backends.map((one) => [one.name, one]));
        return [
          {
            name: pool.name,
            health: spec,
            backends: pool.backends.flatMap((backend) => {
              const { state, weight } = states.get(backend.name) ?? backend;
              if (state === 'down') return [];
              const target = { pool: pool.name, backend, tunnel: backend.tunnel ?? pool.tunnel, services };
              return [{ target, takesFlows: state === 'active' && weight > 0 }];
            }),
          },
        ];
      }),
    );
  }

  /** To be called every 200 ms. `names`: of the snapshot in force; `paths`: what ICMP said about the ways there. */
  tend(names: SnapshotNames, paths: Pick<PathKeeper, 'unreachable'>): void {
    if (this.#tended?.names !== names) {
      this.#tended = { names, backends: names.backends.filter(({ pool }) => this.#followed.has(pool)) };
    }
    for (const { id, pool, name } of this.#tended.backends) {
      const heard = paths.unreachable(id);
      if (heard !== null) this.#monitor.hear(pool, name, heard.counts.port + heard.counts.protocol);
    }
    if (this.#options.clock.milliseconds() >= this.#writeAt) this.#write();
  }

  report(): { readonly pools: readonly PoolReport[]; readonly backends: readonly BackendReport[] } {
    return this.#monitor.report();
  }

  /** Pools whose services are not ready, because they have fewer good backends than they must have. */
  reasons(): { readonly pool: string; readonly reason: string }[] {
    return this.report()
      .pools.filter(({ isBelow, mode }) => isBelow && mode === 'unready')
      .map(({ name, good, of, wanted }) => {
        return { pool: name, reason: `pool ${name} has ${good} good backends of ${of}, ${wanted} are needed` };
      });
  }

  /** Ends every check; the state is written a last time where the file is ours, `owner`. */
  close({ owner = true } = {}): void {
    if (owner && this.#monitor.shares().length > 0) this.#write();
    this.#monitor.close();
    this.#echo.close();
  }

  #changed(shares: readonly Share[]): void {
    const layer = new Map(
      shares
        .filter(({ serves, share }) => !serves || share < 1)
        .map(({ pool, backend, serves, share, keepsFlows }) => [backendKey(pool, backend), { serves, share, keepsFlows }]),
    );
    this.#writeAt = Math.min(this.#writeAt, this.#options.clock.milliseconds() + WRITE_AFTER_CHANGE);
    if (layer.size === 0 && this.#layer.size === 0) return;
    this.#layer = layer;
    this.#options.setLayer(layer);
  }

  #write(): void {
    const { clock, file, journal } = this.#options;
    this.#writeAt = clock.milliseconds() + WRITE_EVERY;
    const state = this.#monitor.exportState();
    if (file === null || state.backends.length === 0) return;
    try {
      file.write(state);
    } catch (error) {
      const message = (error as Error).message;
      const equal = this.#repeated.admit(message, clock.milliseconds());
      const text = `the state of the health checks can not be kept: ${message}`;
      if (equal >= 0) journal.record('warn', 'health-state', text, { path: file.path, equal });
    }
  }

  #stale({ message, hint }: CodedError): void {
    const { journal, clock } = this.#options;
    const equal = this.#repeated.admit(message, clock.milliseconds());
    if (equal < 0) return;
    journal.record('warn', 'health-files', `${message}; what was read before goes on being used`, { hint, equal });
  }

  #tell(event: HealthEvent): void {
    const { journal, clock } = this.#options;
    if (event.kind === 'minimum') {
      const { name, good, of, wanted, isBelow, mode } = event.pool;
      const kept = event.kept.length === 0 ? '' : `; still used: ${event.kept.join(', ')}`;
      const fields = { pool: name, good, of, wanted, mode };
      if (isBelow) {
        journal.record(
          'error',
          'health-minimum',
          `pool ${name} has ${good} good backends of ${of}, ${wanted} are needed${kept}`,
          fields,
        );
      } else journal.record('info', 'health-minimum', `pool ${name} has ${good} good backends of ${of} again`, fields);
      return;
    }
    const { pool, name: backend, address, age, heldFor, penalty } = event.backend;
    const fields = { pool, backend, address };
    const who = `backend ${pool}/${backend} (${address})`;
    if (event.kind === 'up') journal.record('info', 'health-up', `${who} is up: all its checks are good`, fields);
    else if (event.kind === 'down') {
      const { check, detail } = event;
      journal.record('warn', 'health-down', `${who} is down: ${check}: ${detail}`, { ...fields, check, detail });
    } else if (event.kind === 'held') {
      const text = `${who} is good again, but went down too often: it is held down for ${Math.ceil(heldFor)} s more`;
      journal.record('warn', 'health-held', text, { ...fields, heldFor, penalty: Number(penalty.toFixed(2)), downFor: age });
    } else {
      const { check, error } = event;
      const message = error instanceof Error ? error.message : String(error);
      const equal = this.#repeated.admit(`${check} ${message}`, clock.milliseconds());
      if (equal < 0) return;
      const text = `${who} can not be checked: ${check}: ${message}`;
      const hint = error instanceof CodedError ? error.hint : '';
      journal.record('error', 'health-failed', text, { ...fields, check, hint, equal });
    }
  }
}
