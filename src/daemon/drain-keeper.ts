/**
 * Draining, in a running director: what the admin socket asks for becomes a layer over the configuration (control/drain.ts), deadlines pass, and
 * everything is remembered in a file of the runtime directory. The director's own drain stands here too: it is not ready any more and forwards on.
 */
import { mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Action, ActionAnswer } from '../admin/actions.ts';
import { runtimeDirectory } from '../admin/socket.ts';
import type { StatusDrain } from '../admin/status.ts';
import { CodedError } from '../base/errors.ts';
import type { SetsAside } from '../control/aside.ts';
import type { Controller } from '../control/controller.ts';
import { type Drain, type DrainNews, type DrainRecord, Drains } from '../control/drain.ts';
import { bootId, type DrainState, parseDrainState, readDrainFile, writeDrainFile } from '../control/drain-file.ts';
import { inForce, NO_LAYERS } from '../control/layers.ts';
import type { EventJournal } from '../observe/events.ts';
import type { SnapshotNames } from '../pipeline/snapshot.ts';
import type { PoolSpec } from '../pipeline/spec.ts';
import type { BoottimeClock } from '../raw-socket/clock.ts';
import { countFlows, type FlowCount } from './drain-flows.ts';
import { type DrainRequest, parseDrainRequest } from './drain-request.ts';

/** Milliseconds between two looks at the flow table, however often somebody asks: each reads all of it. */
const COUNT_EVERY = 3000;
/** Milliseconds between two looks at the clock while a deadline is to come: a machine that slept is noticed. */
const LOOK_EVERY = 1000;
/** Milliseconds that the caller waits for threads that do not take the snapshot; one that does not within 100 is stuck. */
const PATIENCE = 2000;

export interface DrainKeeperOptions {
  readonly journal: EventJournal;
  readonly clock: BoottimeClock;
  readonly controller: Controller;
  /** Words of all shards of the flow table. */
  readonly shards: () => readonly Int32Array[];
  readonly names: () => SnapshotNames;
  /** Pools of which a watched file could not be read. */
  readonly uncertain: () => ReadonlySet<string>;
  /** Resolves when every forwarding thread reads what was published last. */
  readonly everywhere?: () => Promise<void>;
  /** The drained director is to end, as by SIGTERM. */
  readonly stop: () => void;
  /** Where drains are remembered. */
  readonly file?: string;
}

export class DrainKeeper implements SetsAside {
  readonly #options: DrainKeeperOptions;
  readonly #drains: Drains;
  readonly #file: string;
  readonly #boot = bootId();
  #director: { readonly since: number; readonly stopAt: number | null } | null = null;
  /** What another configuration ended, and would be again without it; null: nothing comes back. */
  #aside: Map<string, DrainRecord> | null = null;
  /** What the file has. */
  #saved = '';
  /** Another process has the file. */
  #held = false;
  #timer: NodeJS.Timeout | null = null;
  #counted: { readonly at: number; readonly counts: Promise<ReadonlyMap<number, FlowCount>> } | null = null;

  constructor(options: DrainKeeperOptions) {
    this.#options = options;
    this.#drains = new Drains(() => options.clock.milliseconds());
    this.#file = options.file ?? join(runtimeDirectory(), 'drains.json');
  }

  /** Before the first configuration is in force: `inherited`, what the running director hands over (`exportState`), or what one of this boot left. */
  restore(inherited?: unknown): void {
    const given = parseDrainState(inherited);
    if (given !== null) {
      this.#restore(given);
      return;
    }
    const { state, ignored } = readDrainFile(this.#file, this.#boot);
    if (ignored !== null) {
      const hint = 'drain again what must not serve: gue-director drain';
      this.#options.journal.record('warn', 'drain-file', `the drains of before are not remembered: ${ignored}`, { hint });
    }
    this.#restore(state);
    this.#saved = JSON.stringify(this.exportState());
  }

  /** For a process that takes over. */
  exportState(): DrainState {
    // What would come back with the configuration before does so at a start too, which has that one.
    const backends = [...this.#drains.records(), ...this.#missing()].filter(
      ({ cause, deadline }) => cause === 'command' || deadline !== null,
    );
    return { director: this.#director, backends };
  }

  /** Another process has the file, or is about to have everything: no deadline passes and nothing is written until `release`. */
  hold(): void {
    this.#held = true;
    this.#arm();
  }

  /** Everything is ours (again): the file is written, and what was due meanwhile is done. Does nothing without `hold`. */
  release(): void {
    if (!this.#held) return;
    this.#held = false;
    this.rewrite();
    this.#look();
  }

  /** Another process may have written the file. */
  rewrite(): void {
    this.#saved = '';
    this.#save();
  }

  #restore(state: DrainState): void {
    this.#director = state.director;
    this.#drains.restore(state.backends);
    if (state.backends.length > 0) this.#options.controller.setLayer('drains', this.#drains.layer());
    this.#arm();
  }

  /** A configuration came into force, or watched files changed. */
  follow(): void {
    const news = this.#drains.follow(this.#configured(), this.#options.uncertain());
    for (const { what, drain } of news) {
      if (what === 'gone' || what === 'cancelled') this.#aside?.set(keyOf(drain), drain);
    }
    this.#apply(news);
  }

  setAside(): void {
    this.#aside = new Map();
  }

  /** Drains that ended with the configuration before go on, their time counted on. */
  bringBack(): void {
    const missing = this.#missing();
    this.#aside = null;
    if (missing.length === 0) return;
    this.#drains.restore([...this.#drains.records(), ...missing]);
    this.#options.controller.setLayer('drains', this.#drains.layer());
    for (const { pool, backend, cause } of missing) {
      const text = `backend ${pool}/${backend} is draining, as before the reload`;
      this.#options.journal.record('info', 'drain-started', text, { pool, backend, cause });
    }
    this.#arm();
  }

  forget(): void {
    this.#aside = null;
    this.#save();
  }

  #missing(): readonly DrainRecord[] {
    const known = new Set(this.#drains.records().map(keyOf));
    return [...(this.#aside?.entries() ?? [])].flatMap(([key, { pool, backend, cause, since, deadline }]) =>
      known.has(key) ? [] : [{ pool, backend, cause, since, deadline }],
    );
  }

  /** Takes the director itself out of service; `stopAfter` seconds later it ends. Asked again, it keeps its beginning. */
  drainDirector(stopAfter: number | null = null, cause = 'command'): void {
    const now = this.#options.clock.milliseconds();
    const stopAt = stopAfter === null ? (this.#director?.stopAt ?? null) : now + stopAfter * 1000;
    this.#director = { since: this.#director?.since ?? now, stopAt };
    const end = stopAt === null ? '' : `, and ends in ${Math.round((stopAt - now) / 1000)} s`;
    this.#options.journal.record('info', 'director-draining', `this director is draining: not ready, it forwards on${end}`, {
      cause,
      ...(stopAt === null ? {} : { stopAfter: (stopAt - now) / 1000 }),
    });
    this.#save();
    this.#arm();
  }

  /** Why this director should not be sent traffic. */
  reasons(): string[] {
    if (this.#director === null) return [];
    return ['this director is draining; gue-director drain director --cancel ends it'];
  }

  /** True while the director itself is drained. */
  get draining(): boolean {
    return this.#director !== null;
  }

  /** What `status` says of a backend's drain: the one that ends first, null without. */
  statusOf(pool: string, backend: string): StatusDrain | null {
    const now = this.#options.clock.milliseconds();
    const drains = (['command', 'configuration'] as const).flatMap((cause) => this.#drains.find(pool, backend, cause) ?? []);
    drains.sort((a, b) => (a.deadline ?? Number.MAX_VALUE) - (b.deadline ?? Number.MAX_VALUE));
    const [drain] = drains;
    if (drain === undefined) return null;
    const { cause, since, deadline } = drain;
    return { cause, age: seconds(now - since), downIn: deadline === null ? null : seconds(Math.max(0, deadline - now)) };
  }

  /** The same of the director itself. */
  directorStatus(): { readonly age: number; readonly stopIn: number | null } | null {
    if (this.#director === null) return null;
    const now = this.#options.clock.milliseconds();
    const { since, stopAt } = this.#director;
    return { age: seconds(now - since), stopIn: stopAt === null ? null : seconds(Math.max(0, stopAt - now)) };
  }

  /** POST /-/drain. */
  readonly action: Action = async (asked) => {
    const request = parseDrainRequest(asked);
    if ('refusal' in request) return { status: 400, body: { message: request.refusal } };
    if (request.what === 'director') {
      if (request.cancel) this.#resumeDirector();
      else this.drainDirector(request.stopAfter);
    } else if (request.what === 'backend') {
      const refused = request.cancel ? this.#cancel(request) : this.#start(request);
      if (refused !== null) return refused;
      // Who is told that it is done may rely on it: a thread that sleeps takes a snapshot within 100 ms.
      await this.#everywhere();
    }
    return { status: 200, body: await this.#listing() };
  };

  /** `stopped`: a clean end, with which the director's own drain ends too: whoever drains it is about to stop it. */
  close({ stopped }: { stopped: boolean }): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    if (!stopped || this.#director === null) return;
    this.#director = null;
    this.#save();
  }

  #start({ pool, backend, deadline, force }: Extract<DrainRequest, { what: 'backend' }>): ActionAnswer | null {
    const unknown = this.#unknown(pool, backend);
    if (unknown !== null) return unknown;
    const { controller, journal } = this.#options;
    const now = controller.specWith(controller.config).pools.find(({ name }) => name === pool);
    const others = now?.backends.some(({ name, state, weight }) => name !== backend && state === 'active' && weight > 0);
    const itself = now?.backends.some(({ name, state, weight }) => name === backend && state === 'active' && weight > 0);
    if (itself && !others && !force) {
      const message = `${pool}/${backend} is the last backend of pool ${pool} that takes new flows: without it they are dropped as no-backend`;
      return refusal(409, message, 'to do it nevertheless: --force', 'GD_DRAIN_LAST');
    }
    const known = this.#drains.find(pool, backend, 'command');
    const own = this.#configured()
      .find(({ name }) => name === pool)
      ?.backends.find(({ name }) => name === backend)?.drainDeadline;
    const remaining = known?.deadline == null ? null : (known.deadline - this.#options.clock.milliseconds()) / 1000;
    const until = deadline !== undefined ? deadline : known !== null ? remaining : (own ?? null);
    const before = this.#drains.records();
    const drain = this.#drains.start(pool, backend, until);
    const refused = this.#put(before, `${pool}/${backend} is not drained`);
    if (refused !== null) return refused;
    const end = until === null ? 'without a deadline' : `down in ${Math.max(0, Math.round(until))} s`;
    journal.record('info', 'drain-started', `backend ${pool}/${backend} is draining, ${end}`, {
      pool,
      backend,
      cause: drain.cause,
      deadline: until,
    });
    this.#apply(drain.passed ? [{ what: 'deadline', drain }] : []);
    return null;
  }

  /** Puts the drains in force as they are now; when that can not be, they are as `before` again, and the answer says why. */
  #put(before: readonly DrainRecord[], what: string): ActionAnswer | null {
    const { controller } = this.#options;
    const layer = this.#drains.layer();
    if (equal(layer, controller.layers.drains) && !controller.waiting) return null;
    try {
      controller.putLayer('drains', layer);
      return null;
    } catch (error) {
      this.#drains.restore(before);
      const { message } = error instanceof Error ? error : new Error(String(error));
      const hint = error instanceof CodedError ? error.hint : '';
      return refusal(409, `${what}: it can not be put in force: ${message}`, hint, 'GD_DRAIN_NOT_IN_FORCE');
    }
  }

  #cancel({ pool, backend }: Extract<DrainRequest, { what: 'backend' }>): ActionAnswer | null {
    const unknown = this.#unknown(pool, backend);
    if (unknown !== null) return unknown;
    const before = this.#drains.records();
    const drain = this.#drains.cancel(pool, backend);
    if (drain === null) {
      const configured = this.#drains.find(pool, backend, 'configuration') !== null;
      const why = configured
        ? `the configuration has state: draining for ${pool}/${backend}`
        : `${pool}/${backend} is not drained`;
      const hint = configured ? 'change it there: gue-director reload' : 'gue-director drain   lists what is';
      return refusal(409, why, hint, 'GD_DRAIN_NONE');
    }
    const refused = this.#put(before, `${pool}/${backend} is drained on`);
    if (refused !== null) return refused;
    this.#apply([{ what: 'cancelled', drain }]);
    return null;
  }

  #resumeDirector(): void {
    if (this.#director === null) return;
    this.#director = null;
    this.#options.journal.record('info', 'director-draining', 'this director is no longer draining', { cause: 'command' });
    this.#save();
    this.#arm();
  }

  #unknown(pool: string, backend: string): ActionAnswer | null {
    const pools = this.#configured();
    const found = pools.find(({ name }) => name === pool);
    if (found === undefined) {
      const hint = `the pools are: ${some(pools.map(({ name }) => name))}`;
      return refusal(422, `there is no pool "${pool}"`, hint, 'GD_DRAIN_UNKNOWN');
    }
    if (found.backends.some(({ name }) => name === backend)) return null;
    const hint = `its backends are: ${some(found.backends.map(({ name }) => name))}`;
    return refusal(422, `pool "${pool}" has no backend "${backend}"`, hint, 'GD_DRAIN_UNKNOWN');
  }

  /** Configuration and watched files, before any other layer. */
  #configured(): readonly PoolSpec[] {
    const { config, layers } = this.#options.controller;
    return inForce(config.spec, { ...NO_LAYERS, discovered: layers.discovered }).pools;
  }

  /** Tells what happened and puts the layer in force. */
  #apply(news: readonly DrainNews[]): void {
    for (const { what, drain } of news) this.#tell(what, drain);
    const { controller } = this.#options;
    const layer = this.#drains.layer();
    if (!equal(layer, controller.layers.drains)) controller.setLayer('drains', layer);
    this.#save();
    this.#arm();
  }

  #tell(what: DrainNews['what'], { pool, backend, cause, deadline, since }: Drain): void {
    const { journal, clock } = this.#options;
    const fields = { pool, backend, cause };
    const name = `backend ${pool}/${backend}`;
    if (what === 'started') {
      // Without a deadline the configuration has said it all.
      if (deadline === null) return;
      const left = Math.max(0, Math.round((deadline - clock.milliseconds()) / 1000));
      journal.record('info', 'drain-started', `${name} is draining, down in ${left} s`, { ...fields, deadline: left });
    } else if (what === 'deadline') {
      const text = `${name} is down: the deadline of its drain has passed, its flows move`;
      journal.record('info', 'drain-deadline', text, { ...fields, seconds: Math.round(((deadline ?? since) - since) / 1000) });
    } else if (what === 'cancelled') {
      if (cause === 'command' || deadline !== null)
        journal.record('info', 'drain-ended', `${name} is no longer draining`, { ...fields, because: 'cancelled' });
    } else {
      const text = `the drain of ${name} has ended: it is no longer configured`;
      journal.record('info', 'drain-ended', text, { ...fields, because: 'gone' });
    }
  }

  #save(): void {
    if (this.#held) return;
    const state = this.exportState();
    const text = JSON.stringify(state);
    if (text === this.#saved) return;
    try {
      if (state.backends.length > 0 || state.director !== null) makeDirectory(dirname(this.#file));
      writeDrainFile(this.#file, this.#boot, state);
      this.#saved = text;
    } catch (error) {
      const message = `drains would not outlive a restart: ${(error as Error).message}`;
      this.#options.journal.record('warn', 'drain-file', message, { hint: `let the director write ${dirname(this.#file)}` });
    }
  }

  /** Wakes up when the next deadline passes. */
  #arm(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    if (this.#held) return;
    const deadlines = [this.#drains.next(), this.#director?.stopAt ?? null].filter((at) => at !== null);
    if (deadlines.length === 0) return;
    const wait = Math.min(...deadlines) - this.#options.clock.milliseconds();
    this.#timer = setTimeout(() => this.#look(), Math.min(LOOK_EVERY, Math.max(0, Math.ceil(wait))));
    this.#timer.unref();
  }

  #everywhere(): Promise<unknown> {
    const { everywhere } = this.#options;
    return everywhere === undefined
      ? Promise.resolve()
      : Promise.race([everywhere(), sleep(PATIENCE, undefined, { ref: false })]);
  }

  #look(): void {
    const news = this.#drains.expire();
    if (news.length > 0) {
      this.#apply([]);
      this.#options.controller.flush();
      // Told once it is in force.
      void this.#everywhere().then(() => {
        for (const { what, drain } of news) this.#tell(what, drain);
      });
    }
    if (this.#director?.stopAt != null && this.#director.stopAt <= this.#options.clock.milliseconds()) {
      this.#director = { ...this.#director, stopAt: null };
      this.#options.stop();
    }
    this.#arm();
  }

  async #listing(): Promise<object> {
    const { clock, names } = this.#options;
    const drains = this.#drains.list();
    const ids = new Map(names().backends.map(({ pool, name, id }) => [`${pool}/${name}`, id]));
    const counts = drains.length === 0 ? new Map<number, FlowCount>() : await this.#count();
    const now = clock.milliseconds();
    return {
      director: this.directorStatus(),
      backends: drains.map(({ pool, backend, cause, since, deadline, passed }) => ({
        pool,
        backend,
        state: passed ? 'down' : 'draining',
        cause,
        age: seconds(now - since),
        downIn: deadline === null ? null : seconds(Math.max(0, deadline - now)),
        flows: counts.get(ids.get(`${pool}/${backend}`) ?? -1) ?? null,
      })),
    };
  }

  /** Flows by backend id, of all backends that are drained; counted at most every few seconds. */
  #count(): Promise<ReadonlyMap<number, FlowCount>> {
    const { clock, names, shards } = this.#options;
    const now = clock.milliseconds();
    if (this.#counted !== null && now - this.#counted.at < COUNT_EVERY) return this.#counted.counts;
    // Of all backends: who is drained a second from now finds its figure too.
    const ids = names().backends.map(({ id }) => id);
    const counts = countFlows(shards(), ids, clock.seconds());
    this.#counted = { at: now, counts };
    return counts;
  }
}

function keyOf({ cause, pool, backend }: DrainRecord): string {
  return `${cause} ${pool}/${backend}`;
}

function refusal(status: number, message: string, hint: string, code: string): ActionAnswer {
  return { status, body: { message, hint, code } };
}

function some(names: readonly string[]): string {
  return names.slice(0, 20).join(', ') + (names.length > 20 ? `, … (${names.length})` : '');
}

function seconds(milliseconds: number): number {
  return Math.round(milliseconds / 1000);
}

function equal(a: ReadonlyMap<string, string>, b: ReadonlyMap<string, string>): boolean {
  return a.size === b.size && [...a].every(([key, value]) => b.get(key) === value);
}

/** Its last part only, as for the socket. */
function makeDirectory(path: string): void {
  try {
    mkdirSync(path, { mode: 0o750 });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  }
}
