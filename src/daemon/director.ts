/**
 * The director: every part, put together in the order in which it must start, and taken apart in reverse. A start that fails
 * gives back what it had taken.
 *
 *     check host → lock, blackholes → snapshot → HTTP → threads (drivers) → routes → ready
 *     unready → threads (drivers) → routes, lock → HTTP
 */
import { dirname } from 'node:path';
import type { Action } from '../admin/actions.ts';
import type { Condition } from '../admin/server.ts';
import { adminSocketPath, runtimeDirectory } from '../admin/socket.ts';
import { TRACE_PATH } from '../admin/trace-stream.ts';
import { CodedError } from '../base/errors.ts';
import type { Config } from '../config/config.ts';
import { Controller } from '../control/controller.ts';
import { inForce, type Layers, NO_LAYERS } from '../control/layers.ts';
import { Publisher } from '../control/publisher.ts';
import type { Trial } from '../control/trial-file.ts';
import { linkByName } from '../host/links.ts';
import { tunnelSourceResolver } from '../host/routes.ts';
import type { EventJournal } from '../observe/events.ts';
import type { Log } from '../observe/log.ts';
import type { SnapshotNames, SnapshotParts } from '../pipeline/snapshot.ts';
import type { Spec } from '../pipeline/spec.ts';
import { type BoottimeClock, boottimeClock } from '../raw-socket/clock.ts';
import { AdminFaces } from './admin-faces.ts';
import { CutWatch } from './cut-watch.ts';
import { DirectorView } from './director-view.ts';
import { DiscoveryKeeper } from './discovery-keeper.ts';
import { DrainKeeper } from './drain-keeper.ts';
import { DropWatch } from './drop-summary.ts';
import { FlowKeeper } from './flow-keeper.ts';
import { ForwardingThreads, STUCK_AFTER } from './forwarding-threads.ts';
import { HealthFile } from './health-file.ts';
import { HealthKeeper } from './health-keeper.ts';
import { collectAndShrink } from './heap.ts';
import { HostKeeper } from './host-keeper.ts';
import { WINDOW_SECONDS } from './link-advice.ts';
import { NextHopKeeper } from './next-hop-keeper.ts';
import { PathKeeper } from './path-keeper.ts';
import { type Readiness, readinessOf } from './readiness.ts';
import { refusedChanges } from './refused-changes.ts';
import { ReloadKeeper } from './reload-keeper.ts';
import { SourceKeeper } from './source-keeper.ts';
import { factsOf } from './takeover/facts.ts';
import { busy, type Giver, HandOver } from './takeover/hand-over.ts';
import type { Inheritance } from './takeover/inheritance.ts';
import { lastWords, lent, notConfirmed, takeOver } from './takeover/queues.ts';
import { SignalsKept } from './takeover/signals-kept.ts';
import { TraceKeeper } from './trace-keeper.ts';
import { TunnelKeeper } from './tunnel-keeper.ts';
import { keepTunnelSources, resolveTunnelSources, withSourcesOf } from './tunnel-sources.ts';
import { wantedOf } from './wanted.ts';

const HOUSEKEEPING_MS = 1000;
const DROP_SUMMARY_MS = 10_000;
/**
 * Then what starting took is given back, a fifth of all memory: modules and configuration as they were read. V8 comes to that when it finds the process idle, which in one that
 * forwards may be half a minute later.
 */
const SETTLED_MS = 2000;
const PATH_MTU_MS = 200;
const NEXT_HOP_MS = 100;
const HEALTH_MS = 200;
/** For so long a thread may be on its way to a new snapshot before routers are told to send packets elsewhere. It takes one within 100 ms. */
const SNAPSHOT_PATIENCE_MS = 2000;
const round = (milliseconds: number) => Number(milliseconds.toFixed(1));
const NO_NAMES: SnapshotNames = { services: [], pools: [], backends: [] };

export interface DirectorOptions {
  readonly config: Config;
  readonly log: Log;
  readonly journal: EventJournal;
  /** `config` is the one before this, which a reload was to confirm and did not; null: it is its file's. */
  readonly trial: Trial | null;
  /** What another director hands over; null: start from nothing. Closed by whoever made it. */
  readonly inheritance: Inheritance | null;
  /** A successor has everything: stop, which takes nothing away then, and exit. */
  readonly handedOver: () => void;
  /** The director can not go on: stop it and exit with the error's code. */
  readonly gaveUp: (error: CodedError) => void;
  /** It was told to end after a while (drain director --stop-after), as a signal would tell it now. */
  readonly stop: () => void;
}

export class Director {
  readonly #options: DirectorOptions;
  readonly #clock: BoottimeClock = boottimeClock();
  readonly #host: HostKeeper;
  readonly #paths: PathKeeper;
  readonly #hops: NextHopKeeper;
  readonly #sources: SourceKeeper;
  readonly #cuts: CutWatch;
  readonly #tunnels: TunnelKeeper;
  readonly #health: HealthKeeper;
  readonly #drops = new DropWatch();
  readonly #flows: FlowKeeper;
  readonly #publisher: Publisher;
  readonly #controller: Controller;
  readonly #discovery: DiscoveryKeeper;
  readonly #drains: DrainKeeper;
  readonly #trace: TraceKeeper;
  /** What the unix socket can be asked for; each part of the director adds its own. */
  readonly #actions = new Map<string, Action>();
  #threads: ForwardingThreads | null = null;
  #handOver: HandOver | null = null;
  #faces: AdminFaces | null = null;
  readonly #reloads: ReloadKeeper;
  /** Resolves when every thread reads what was published last. */
  #everywhere: Promise<void> = Promise.resolve();
  /** Milliseconds of the clock. */
  #publishedAt = 0;
  #timers: NodeJS.Timeout[] = [];
  #phase: 'starting' | 'running' | 'handing over' | 'stopping' = 'starting';
  /** Files and kernel state are ours: nobody precedes or succeeds us. */
  #isOwner: boolean;
  readonly #signals = new SignalsKept();

  constructor(options: DirectorOptions) {
    this.#options = options;
    this.#isOwner = options.inheritance === null;
    this.#host = new HostKeeper({
      log: options.log,
      journal: options.journal,
      clock: this.#clock,
      linksChanged: () => this.#threads?.linksChanged(),
      routesChanged: () => {
        this.#paths.routesChanged();
        this.#sources.routesChanged();
      },
    });
    this.#sources = new SourceKeeper({
      journal: options.journal,
      clock: this.#clock,
      resolver: tunnelSourceResolver,
      publish: (spec) => this.#publish(this.#controller.config, spec, this.#controller.layers),
    });
    this.#paths = new PathKeeper({ egress: options.config.egress, journal: options.journal, clock: this.#clock });
    this.#hops = new NextHopKeeper({ egress: options.config.egress, journal: options.journal, clock: this.#clock });
    this.#cuts = new CutWatch({
      journal: options.journal,
      clock: this.#clock,
      paths: () => this.#paths.entries(),
      banks: () => this.#threads?.banks ?? [],
    });
    const { flows, threads } = options.config;
    this.#flows = new FlowKeeper({ ...flows, threads, clock: this.#clock, journal: options.journal });
    this.#publisher = new Publisher({ builder: this.#flows, now: () => this.#clock.seconds() });
    const { sourcePortBase: base, sourcePorts: count } = options.config.probes;
    this.#tunnels = new TunnelKeeper({
      egress: options.config.egress,
      ports: { base, count },
      journal: options.journal,
      names: () => this.#publisher.current?.names ?? NO_NAMES,
      unreachable: (id) => this.#paths.unreachable(id),
    });
    this.#health = new HealthKeeper({
      journal: options.journal,
      clock: this.#clock,
      setLayer: (layer) => this.#controller.setLayer('health', layer),
      file: new HealthFile(runtimeDirectory()),
      tunnel: (check) => this.#tunnels.probe(check),
    });
    this.#controller = new Controller({
      config: options.config,
      publish: (config, spec, layers) => this.#enforce(config, spec, layers),
      refused: refusedChanges(options.journal, this.#clock),
    });
    this.#discovery = new DiscoveryKeeper({
      controller: this.#controller,
      journal: options.journal,
      changed: () => this.#onFound(),
    });
    this.#drains = new DrainKeeper({
      journal: options.journal,
      clock: this.#clock,
      controller: this.#controller,
      shards: () => (this.#threads === null ? [] : [this.#threads.flowWords]),
      names: () => this.#publisher.current?.names ?? NO_NAMES,
      uncertain: () => this.#discovery.uncertain(),
      everywhere: () => this.#everywhere,
      stop: options.stop,
    });
    this.#trace = new TraceKeeper({
      clock: this.#clock,
      journal: options.journal,
      publisher: this.#publisher,
      seats: () => this.#threads?.seats ?? [],
    });
    this.#actions.set(TRACE_PATH, this.#trace.action);
    this.#actions.set('/-/drain', (request) => (this.#phase === 'handing over' ? busy() : this.#drains.action(request)));
    this.#controller.onConfig(() => this.#drains.follow());
    this.#reloads = new ReloadKeeper({
      controller: this.#controller,
      host: this.#host,
      log: options.log,
      journal: options.journal,
      resolved: (spec) => this.#resolved(spec),
      trial: options.trial,
      aside: [this.#drains, this.#discovery, this.#health],
      trust: (config) => this.#discovery.trust(config),
      contradictions: (config) => this.#discovery.contradictions(config),
      current: () => ({ parts: this.#publisher.current, spec: this.#publisher.spec }),
      everywhere: () => this.#everywhere,
      flows: () => (this.#threads === null ? [] : [this.#threads.flowWords]),
      now: () => this.#clock.seconds(),
      isRunning: () => this.#phase === 'running',
      isStopping: () => this.#phase === 'stopping',
    });
    for (const [path, action] of this.#reloads.actions) this.#actions.set(path, action);
  }

  /** Other backends were found in watched files, and are in force. */
  #onFound(): void {
    this.#drains.follow();
    const { spec } = this.#publisher;
    if (spec !== null) this.#host.narrow(wantedOf(this.#controller.config, spec));
  }

  /** Takes the director out of service: not ready, it forwards on. */
  drain(cause: string): void {
    if (this.#phase === 'handing over') this.#signals.keep('SIGUSR1', () => this.drain(cause));
    else this.#drains.drainDirector(null, cause);
  }

  /** The configuration file is read again; what comes of it is in the log. */
  reload(): void {
    if (this.#phase === 'handing over') this.#signals.keep('SIGHUP', () => this.reload());
    else this.#reloads.ask('signal');
  }

  /** Resolves when packets are forwarded. Throws CodedError after giving back what had been taken. */
  async start(): Promise<void> {
    try {
      await this.#start();
    } catch (error) {
      // Until the predecessor is told otherwise everything is its own.
      if (this.#options.inheritance !== null) {
        this.#host.leave();
        this.#flows.leave();
      }
      await this.stop();
      throw error;
    }
  }

  async #start(): Promise<void> {
    const { config, log, journal, inheritance } = this.#options;
    for (const { line, column, message, code } of config.warnings) {
      log.warn({ event: 'config-warning', at: `${config.file}:${line}:${column}`, code }, message);
    }
    this.#discovery.start();
    const first = this.#controller.specWith(config);
    this.#host.examine(wantedOf(config, first));
    const { spec, warnings } = resolveTunnelSources(first, tunnelSourceResolver());
    for (const warning of warnings) log.warn({ event: 'tunnel-source', hint: 'set tunnel.source for this pool' }, warning);
    const wanted = wantedOf(config, spec);
    if (inheritance === null) this.#host.silence(wanted);
    this.#flows.open(inheritance?.take('flows') ?? null);
    this.#health.restore(inheritance?.part('health'));
    if (inheritance !== null) this.#drains.hold();
    this.#drains.restore(inheritance?.part('drains'));
    // Who is known to be down is so in the first table already: a second one would be a change, and the table before it forgotten.
    const unchecked = inForce(config.spec, { ...this.#controller.layers, health: NO_LAYERS.health });
    this.#health.follow({ health: config.health, inForce: this.#controller.specWith(config), wanted: unchecked });
    this.#controller.adopt(config);
    this.#paths.inherit(inheritance?.part('paths'));
    const threads = new ForwardingThreads({
      threads: config.threads,
      processors: config.processors,
      ingress: config.ingress,
      egress: config.egress,
      flows: this.#flows.memory,
      flowEntries: config.flows.entries,
      fragments: config.fragments,
      pathMtu: this.#paths.memory,
      nextHops: this.#hops.memory,
      cutNotes: this.#cuts.memory,
      publisher: this.#publisher,
      clock: this.#clock,
      journal,
      replaced: () => this.#host.apply('thread-restarted'),
      interfaceIndex: (name) => linkByName(name)?.index ?? 0,
      ...(inheritance === null ? {} : { inherited: inheritance.seats(config.threads) }),
      gaveUp: (error) => this.#options.gaveUp(error),
    });
    this.#threads = threads;
    const view = this.#view(threads);
    for (const [path, action] of view.actions) this.#actions.set(path, action);
    const faces = new AdminFaces({
      metrics: config.listen.metrics,
      socket: adminSocketPath(config.admin.socket),
      source: { ...view.source(), actions: this.#actions },
      log,
      journal,
    });
    this.#faces = faces;
    let gaps: readonly (number | null)[] = [];
    if (inheritance === null) {
      await faces.openMetrics();
      await threads.start();
      this.#host.take(wanted);
    } else {
      const taken = await takeOver(inheritance, threads, {
        poised: () => this.#flows.begin(),
        settle: (lock) => this.#host.takeOver(wanted, lock),
      });
      gaps = taken.gaps;
      this.#drops.look(taken.carried);
      await faces.openMetrics();
    }
    this.#tend();
    this.#offerHandOver(threads, faces);
    await faces.openSocket();
    await inheritance?.ready({ gaps });
    this.#isOwner = true;
    this.#drains.release();
    this.#run();
    const { names, generation } = this.#publisher.current as SnapshotParts;
    journal.record('info', 'ready', 'forwarding', {
      services: names.services.length,
      backends: names.backends.length,
      generation,
      threads: config.threads,
      ...(faces.url === null ? {} : { listen: faces.url }),
    });
  }

  #run(): void {
    this.#phase = 'running';
    this.#reloads.running();
  }

  /** What is to be done now and then. */
  #tend(): void {
    // What was looked for while the drivers were opened is known by now.
    this.#hops.tend();
    this.#timers = [
      setInterval(() => this.#host.tend(), HOUSEKEEPING_MS),
      setInterval(() => this.#sources.tend(), HOUSEKEEPING_MS),
      setInterval(() => this.#paths.tend(), PATH_MTU_MS),
      setInterval(() => this.#hops.tend(), NEXT_HOP_MS),
      setInterval(() => this.#health.tend(this.#publisher.current?.names ?? NO_NAMES, this.#paths), HEALTH_MS),
      setInterval(() => this.#cuts.look(), WINDOW_SECONDS * 1000),
      setInterval(() => this.#summariseDrops(), DROP_SUMMARY_MS),
      setTimeout(collectAndShrink, SETTLED_MS),
      setTimeout(collectAndShrink, SETTLED_MS),
    ];
  }

  #untend(): void {
    for (const timer of this.#timers) clearInterval(timer);
    this.#timers = [];
  }

  /** Nothing of what a successor is about to have is changed from here on: what is found out meanwhile waits. */
  #hold(): void {
    this.#phase = 'handing over';
    this.#trace.end('hand-over');
    this.#untend();
    this.#controller.hold();
    this.#discovery.close();
    this.#drains.hold();
    this.#host.hold();
  }

  /** A hand-over came to nothing: the threads read again, and everything is ours to change. When that can not be, the director gives up. */
  async #goOn(threads: ForwardingThreads, faces: AdminFaces): Promise<void> {
    // It is told to end: `stop` takes everything apart as it is.
    if (this.#phase !== 'handing over') return;
    try {
      await threads.resume();
      this.#host.reclaim();
      this.#controller.release();
      this.#drains.release();
      this.#discovery.resume();
      await faces.resume();
    } catch (error) {
      const { message } = error as Error;
      this.#options.gaveUp(new CodedError('GD_DAEMON_RESUME', `after a hand-over that failed: ${message}`, { cause: error }));
      return;
    }
    if (this.#phase !== 'handing over') return;
    this.#tend();
    this.#run();
    this.#signals.handle();
  }

  /** A successor may ask for everything from now on, and somebody that one be started. */
  #offerHandOver(threads: ForwardingThreads, faces: AdminFaces): void {
    const { config, journal, handedOver } = this.#options;
    const path = adminSocketPath(config.admin.socket);
    if (path === null) return;
    const giver: Giver = {
      facts: factsOf(config),
      lend: () => {
        const { confirmWithin } = this.#reloads.status();
        if (confirmWithin !== null) throw notConfirmed();
        return lent(threads, this.#host.lockDescriptor, this.#flows.file?.descriptor ?? null);
      },
      parts: () => ({
        paths: this.#paths.leases(),
        health: this.#health.exportState(),
        drains: this.#drains.exportState(),
      }),
      // A drain may change no table, and the successor has what was drained before it.
      inForce: () => `${this.#publisher.current?.generation} ${JSON.stringify(this.#drains.exportState())}`,
      quiet: async () => {
        this.#hold();
        await faces.quiet();
      },
      leave: (batons) => lastWords(threads, batons),
      reclaim: () => {
        this.#flows.rewrite();
        this.#drains.rewrite();
      },
      resume: () => this.#goOn(threads, faces),
      done: () => {
        this.#signals.passOn(this.successor as number);
        handedOver();
      },
    };
    const handOver = new HandOver(giver, dirname(path), journal);
    this.#handOver = handOver;
    this.#actions.set('/-/takeover', () => handOver.offer());
    this.#actions.set('/-/upgrade', () => handOver.upgrade());
  }

  /** With the tunnel sources of a start or a reload: of a backend whose route is gone the one that it has. */
  #resolved(wanted: Spec): Spec {
    const { spec } = this.#publisher;
    return resolveTunnelSources(spec === null ? wanted : withSourcesOf(wanted, spec), tunnelSourceResolver()).spec;
  }

  /** Puts what is wanted in force, its tunnel sources resolved. Throws CodedError; then nothing has changed. */
  #enforce(config: Config, wanted: Spec, layers: Layers): void {
    const before = this.#publisher.spec;
    const isSame = before !== null && config === this.#controller.config;
    const spec = isSame ? keepTunnelSources(wanted, before, tunnelSourceResolver()) : this.#resolved(wanted);
    this.#publish(config, spec, layers);
    this.#sources.keep(spec);
    this.#tellWhenRead(this.#controller.began);
  }

  /** `began`: milliseconds of `performance.now()`. */
  #tellWhenRead(began: number): void {
    const worked = performance.now() - began;
    const generation = this.#publisher.current?.generation ?? 0;
    void this.#everywhere.then(() => {
      const fields = { generation, milliseconds: round(performance.now() - began), ofMain: round(worked) };
      this.#options.log.debug({ event: 'published', ...fields }, 'every forwarding thread reads it');
    });
  }

  /** Puts a spec with resolved tunnel sources in force. Throws what the builder throws; then nothing has changed. */
  #publish(config: Config, spec: Spec, layers: Layers): void {
    const before = this.#publisher.spec;
    const { parts, everywhere } = this.#publisher.publish(spec);
    this.#publishedAt = this.#clock.milliseconds();
    this.#everywhere = everywhere;
    try {
      this.#paths.publish(spec, parts.names);
      this.#hops.publish(spec, parts.names);
    } catch (error) {
      if (before !== null) this.#everywhere = this.#publisher.publish(before).everywhere;
      throw error;
    }
    const wanted = inForce(config.spec, { ...layers, health: NO_LAYERS.health });
    this.#health.follow({ health: config.health, inForce: spec, wanted });
  }

  /**
   * Takes everything apart and gives everything back, or all but the blackhole routes, or nothing of what a successor has; every step is tried.
   * Returns what could not be undone.
   */
  async stop({ keepBlackholes = false } = {}): Promise<readonly unknown[]> {
    // What a successor took over is its own now, the drain of the director too.
    this.#drains.close({ stopped: this.#phase === 'running' && !keepBlackholes && this.successor === null });
    this.#phase = 'stopping';
    this.#trace.end('stop');
    await this.#handOver?.settled();
    if (this.successor !== null) {
      this.#isOwner = false;
      this.#host.leave();
      this.#flows.leave();
    }
    this.#untend();
    this.#discovery.close();
    this.#controller.close();
    this.#health.close({ owner: this.#isOwner });
    this.#tunnels.close();
    this.#reloads.close();
    const failures: unknown[] = [];
    const attempt = async (step: () => unknown): Promise<void> => {
      try {
        await step();
      } catch (error) {
        failures.push(error);
      }
    };
    await attempt(() => this.#threads?.stop());
    await attempt(() => this.#flows.close());
    await attempt(() => this.#paths.close());
    await attempt(() => this.#hops.close());
    await attempt(() => this.#host.close());
    await attempt(() => failures.push(...this.#host.release({ keepBlackholes })));
    this.#publisher.close();
    this.#summariseDrops();
    await attempt(() => this.#faces?.close());
    return failures;
  }

  /** Process id of who took over; null when nobody did. */
  get successor(): number | null {
    return this.#handOver?.successor ?? null;
  }

  /** Gives routes, rules and the lock back at once, without waiting for anybody. */
  releaseNow(): readonly unknown[] {
    return this.#host.release({ keepBlackholes: false });
  }

  /** Tests only. */
  fault(): void {
    this.#threads?.fault();
  }

  /** Whether this director may be sent traffic, whatever the service. */
  ready(): Condition {
    return this.#readiness().director;
  }

  #readiness(): Readiness {
    const reasons: string[] = [];
    const current = this.#publisher.current;
    if (this.#phase !== 'running') reasons.push(this.#phase);
    const isLate = this.#clock.milliseconds() - this.#publishedAt > SNAPSHOT_PATIENCE_MS;
    if (current === null || (isLate && !this.#publisher.settled))
      reasons.push('a forwarding thread does not read the current snapshot');
    if (this.#phase === 'running') {
      reasons.push(...(this.#threads?.absent() ?? []).map((number) => `forwarding thread ${number} does not forward`));
    }
    const { services, backends } = current?.names ?? NO_NAMES;
    return readinessOf({
      director: [...reasons, ...this.#drains.reasons(), ...this.#host.reasons(), ...(this.#faces?.reasons() ?? [])],
      pools: [...this.#discovery.reasons(), ...this.#health.reasons()],
      services,
      backends,
    });
  }

  /** What it does, in a few words. */
  activity(): string {
    const { backends } = this.#publisher.current?.names ?? NO_NAMES;
    const all = [...this.#readiness().services.values()];
    const missing = all.filter(({ ok }) => !ok).length;
    return `forwarding: ${all.length} services${missing === 0 ? '' : ` (${missing} not ready)`}, ${backends.length} backends, ${this.#threads?.seats.length ?? 0} threads`;
  }

  healthy(): Condition {
    const reasons = (this.#threads?.stuck() ?? []).map(
      ({ number, heartbeatAge }) => `forwarding thread ${number} was last seen ${heartbeatAge} s ago (at most ${STUCK_AFTER})`,
    );
    return { ok: reasons.length === 0, reasons };
  }

  /** What this director tells whoever asks. */
  #view(threads: ForwardingThreads): DirectorView {
    return new DirectorView({
      clock: this.#clock,
      publisher: this.#publisher,
      controller: this.#controller,
      flows: this.#flows,
      paths: this.#paths,
      cuts: this.#cuts,
      threads,
      health: this.#health,
      drains: this.#drains,
      discovery: this.#discovery,
      reloads: this.#reloads,
      log: this.#options.log,
      events: () => this.#options.journal.since(),
      takeoverFailures: () => this.#handOver?.failures ?? 0,
      readiness: () => this.#readiness(),
      healthy: () => this.healthy(),
    });
  }

  #summariseDrops(): void {
    const summary = this.#drops.look(this.#threads?.banks ?? []);
    if (summary !== null) this.#options.log[summary.level]({ event: 'drops', ...summary.reasons }, 'packets dropped');
  }
}
