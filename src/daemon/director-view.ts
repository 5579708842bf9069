/** What a director tells whoever asks: status, metrics, conditions, explanations. It reads and changes nothing. */
import type { Actions } from '../admin/actions.ts';
import type { AdminSource, Condition } from '../admin/server.ts';
import type { Status } from '../admin/status.ts';
import type { Clock } from '../base/clock.ts';
import type { Controller } from '../control/controller.ts';
import type { Publisher } from '../control/publisher.ts';
import type { JournalEvent } from '../observe/events.ts';
import type { Log } from '../observe/log.ts';
import { createMetrics } from '../observe/metrics.ts';
import { backendWarnings } from './backend-warnings.ts';
import type { CutWatch } from './cut-watch.ts';
import type { DiscoveryKeeper } from './discovery-keeper.ts';
import type { DrainKeeper } from './drain-keeper.ts';
import { ExplainKeeper } from './explain-keeper.ts';
import type { FlowKeeper } from './flow-keeper.ts';
import type { ForwardingThreads } from './forwarding-threads.ts';
import type { HealthKeeper } from './health-keeper.ts';
import { HistoryKeeper } from './history-keeper.ts';
import type { PathKeeper } from './path-keeper.ts';
import type { Readiness } from './readiness.ts';
import type { ReloadKeeper } from './reload-keeper.ts';
import { statusOf } from './status.ts';
import { packageVersion } from './version.ts';
import { type WeighedNames, weighed } from './weights.ts';

/** The director's parts, as they are asked. */
export interface DirectorParts {
  readonly clock: Clock;
  readonly publisher: Publisher;
  readonly controller: Controller;
  readonly flows: FlowKeeper;
  readonly paths: PathKeeper;
  readonly cuts: CutWatch;
  readonly threads: ForwardingThreads;
  readonly health: HealthKeeper;
  readonly drains: DrainKeeper;
  readonly discovery: DiscoveryKeeper;
  readonly reloads: ReloadKeeper;
  readonly log: Log;
  readonly events: () => readonly JournalEvent[];
  readonly takeoverFailures: () => number;
  readonly readiness: () => Readiness;
  readonly healthy: () => Condition;
}

const NO_NAMES = { services: [], pools: [], backends: [] };

export class DirectorView {
  readonly #parts: DirectorParts;
  readonly #explain: ExplainKeeper;
  readonly #history: HistoryKeeper;

  constructor(parts: DirectorParts) {
    this.#parts = parts;
    this.#explain = new ExplainKeeper(parts.clock, parts.publisher, parts.flows, parts.paths, parts.threads, (pool, backend) => {
      const found = this.status().backends.find((one) => one.pool === pool && one.name === backend);
      return found === undefined ? [] : backendWarnings(found);
    });
    this.#history = new HistoryKeeper(parts).run();
  }

  /** Questions too long for a path. */
  get actions(): Actions {
    return new Map([['/-/explain', this.#explain.action]]);
  }

  /** What the admin faces answer with. */
  source(): AdminSource {
    const { log, events, healthy, readiness } = this.#parts;
    return {
      version: packageVersion(),
      healthy,
      ready: () => readiness().director,
      serviceReady: (name) => readiness().services.get(name) ?? null,
      status: () => this.status(),
      explain: (query) => this.#explain.explain(query),
      events,
      history: (query, isLocal) => this.#history.answer(query, isLocal),
      metrics: this.#metrics(),
      failed: (error, path) => log.error({ event: 'http-failed', err: error, path }, 'an HTTP answer could not be made'),
    };
  }

  #metrics(): AdminSource['metrics'] {
    const { flows, threads, publisher, readiness, takeoverFailures, drains, discovery, reloads, paths, cuts, health } =
      this.#parts;
    return createMetrics({
      version: packageVersion(),
      flows: () => flows.report(),
      banks: () => threads.banks,
      names: () => this.#weighed(),
      generation: () => publisher.current?.generation ?? 0,
      readiness,
      takeoverFailures,
      draining: () => drains.draining,
      discovery: () => discovery.files(),
      reload: () => reloads.figures,
      kernelDrops: () => threads.kernelDrops(),
      pathMtus: () => paths.mtus((id) => cuts.wanted(id)),
      unreachable: () => paths.unreachableCounts(publisher.current?.names ?? NO_NAMES),
      health: () => health.report(),
      threads: () => threads.report(),
    });
  }

  /** The backends in force, with weights for people. */
  #weighed(): WeighedNames {
    const { controller, publisher } = this.#parts;
    return weighed(publisher.current?.names ?? NO_NAMES, controller.config.spec, controller.layers);
  }

  status(): Status {
    const { clock, publisher, controller, flows, paths, cuts, threads, health, drains, discovery, reloads } = this.#parts;
    return statusOf({
      version: packageVersion(),
      config: controller.config.file,
      generation: publisher.current?.generation ?? 0,
      reload: reloads.status(),
      healthy: this.#parts.healthy(),
      ready: this.#parts.readiness(),
      names: this.#weighed(),
      flows: flows.report(),
      banks: threads.banks,
      kernelDrops: threads.kernelDrops(),
      threads: threads.report(),
      absent: threads.absent(),
      paths: paths.entries(),
      unreachable: (id) => paths.unreachable(id),
      now: clock.seconds(),
      wanted: (id) => cuts.wanted(id),
      health: health.report(),
      draining: drains.directorStatus(),
      discovery: discovery.files().map(({ file, pools, backends, age, problem }) => ({ file, pools, backends, age, problem })),
      drain: (pool, backend) => drains.statusOf(pool, backend),
    });
  }
}
