/**
 * Reloading in the running director: the ways in (signal, socket, watched file), the way into force, and what is said of it.
 *
 *     examine host ─► routes and rules of both ─► snapshot ─► all threads read it ─► routes and rules of the new one alone
 *                          └─ fails: taken back        └─ fails: the old snapshot, routes and rules of the old one alone
 */
import { dirname, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Action, ActionAnswer } from '../admin/actions.ts';
import { makeDirectory } from '../admin/socket.ts';
import type { StatusReload } from '../admin/status.ts';
import { CodedError } from '../base/errors.ts';
import type { Config } from '../config/config.ts';
import { loadConfig } from '../config/load.ts';
import { ConfigError, formatProblem, type Problem } from '../config/problem.ts';
import type { SetsAside } from '../control/aside.ts';
import type { Controller } from '../control/controller.ts';
import { configDigest, isEmpty, type Plan, planOf, planSummary } from '../control/plan.ts';
import {
  MOST_CONFIRM,
  type ReloadCause,
  Reloader,
  type ReloadOutcome,
  type ReloadRequest,
  type ReloadResult,
  type ReloadTarget,
  refusalOf,
} from '../control/reloader.ts';
import { type Trial, writeTrial } from '../control/trial-file.ts';
import { FileWatch } from '../control/watch-file.ts';
import type { EventJournal } from '../observe/events.ts';
import type { Log } from '../observe/log.ts';
import type { SnapshotNames, SnapshotParts } from '../pipeline/snapshot.ts';
import type { Spec } from '../pipeline/spec.ts';
import { countFlows } from './flow-census.ts';
import type { HostKeeper } from './host-keeper.ts';
import { placed } from './host-places.ts';
import { movingFlows } from './moving-flows.ts';
import { whileReloading } from './notify.ts';
import { startConfig, trialPath } from './start-config.ts';
import { wantedOf } from './wanted.ts';

const NOT_RUNNING = 'the director is starting, stopping or being replaced';
/** Milliseconds that the caller waits for threads that do not take the snapshot. A thread takes one within 100 ms; one that does not is stuck. */
const PATIENCE = 5000;

export interface ReloadKeeperOptions {
  readonly controller: Controller;
  readonly host: HostKeeper;
  readonly log: Log;
  readonly journal: EventJournal;
  /** The spec with its tunnel sources. Throws CodedError where there is no way to a backend. */
  readonly resolved: (spec: Spec) => Spec;
  /** The director starts with the configuration before this one; null: with its file's. */
  readonly trial: Trial | null;
  /** Who knows something that belongs to a configuration. */
  readonly aside: readonly SetsAside[];
  /** Somebody asks for this configuration, and for what its watched files hold by now. */
  readonly trust: (config: Config) => void;
  /** What is wrong with a configuration beside the watched files as they are. */
  readonly contradictions: (config: Config) => readonly Problem[];
  /** What is published, and with which spec. */
  readonly current: () => { readonly parts: SnapshotParts | null; readonly spec: Spec | null };
  /** Resolves when every thread reads what was published last. */
  readonly everywhere: () => Promise<void>;
  /** Words of the flow tables, and the seconds of their clock. */
  readonly flows: () => readonly Int32Array[];
  readonly now: () => number;
  /** Packets are forwarded, and it is not about to end. */
  readonly isRunning: () => boolean;
  /** It ends. */
  readonly isStopping: () => boolean;
}

export class ReloadKeeper {
  readonly #options: ReloadKeeperOptions;
  readonly #reloader: Reloader;
  readonly #watch: FileWatch;
  /** The digest that was asked for last, and of what: a scrape need not make it again. */
  #digested: { readonly config: Config; readonly digest: string } | null = null;
  /** What is being brought into force: whoever waited longer than that has been overtaken. */
  #next: Config | null = null;
  /** Why a reload waits until the director runs; null when none does. */
  #due: ReloadCause | null = null;
  #hasRun = false;

  constructor(options: ReloadKeeperOptions) {
    this.#options = options;
    const { controller } = options;
    const keeper = this;
    const target: ReloadTarget = {
      get config() {
        return controller.config;
      },
      get generation() {
        return keeper.#generation;
      },
      plan: (next, cause) => {
        // A file that changed is nobody's word for others: what wrote it may have written them too.
        if (cause !== 'file') options.trust(next);
        return this.#plan(next, false);
      },
      examine: (next) => this.#examine(next),
      change: (next) => whileReloading(() => this.#change(next, false)),
      changeBack: (before) => whileReloading(() => this.#change(before, true)),
      settled: () => {
        for (const one of options.aside) one.forget();
      },
      remember: (trial) => this.#remember(trial),
      told: (cause, outcome) => this.#tell(cause, outcome),
    };
    this.#reloader = new Reloader(target, options.trial);
    this.#watch = new FileWatch({ changed: () => this.ask('file') });
    controller.onConfig((config) => this.#watch.watch(config.reload.watch ? [config.file] : []));
  }

  get actions(): readonly (readonly [string, Action])[] {
    return [
      ['/-/reload', (request) => this.#onReload(request)],
      ['/-/plan', (request) => this.#onPlan(request)],
    ];
  }

  /** A wish that nobody waits for: it is kept while the director starts, or a successor prepares to take over. */
  ask(cause: ReloadCause): void {
    const { journal, isRunning, isStopping } = this.#options;
    if (isStopping()) journal.record('warn', 'reload-refused', 'no reload: the director is stopping', { cause });
    else if (isRunning()) void this.#reloader.reload({ cause });
    else this.#due = cause;
  }

  /** The director runs (again): what was asked for meanwhile is done. The first time, a watched file that says something else than was read is read again. */
  running(): void {
    const cause = this.#due ?? (!this.#hasRun && this.#isOutdated() ? 'file' : null);
    this.#due = null;
    this.#hasRun = true;
    if (cause !== null) this.ask(cause);
  }

  /** It was read before it was watched. */
  #isOutdated(): boolean {
    const { config } = this.#options.controller;
    if (!config.reload.watch) return false;
    try {
      return configDigest(startConfig(config.file).config) !== configDigest(config);
    } catch {
      // A reload says what is wrong with it.
      return true;
    }
  }

  /** For the metrics. */
  get figures(): { successful: boolean; succeededAt: number; counts: Readonly<Record<ReloadResult, number>>; digest: string } {
    const { last, succeededAt, counts } = this.#reloader;
    const { config } = this.#options.controller;
    if (this.#digested?.config !== config) this.#digested = { config, digest: configDigest(config) };
    const { digest } = this.#digested;
    return { successful: last.result === 'success', succeededAt: succeededAt / 1000, counts, digest };
  }

  status(): StatusReload {
    const { last, confirmWithin, counts } = this.#reloader;
    const { refusal } = last;
    const problem = refusal?.problems.find(({ severity }) => severity === 'error');
    return {
      digest: configDigest(this.#options.controller.config),
      cause: last.cause,
      result: last.result,
      age: Math.max(0, Math.floor((Date.now() - last.at) / 1000)),
      problem: refusal === null ? null : problem === undefined ? refusal.message : formatProblem(problem),
      confirmWithin,
      counts,
    };
  }

  close(): void {
    this.#watch.close();
    this.#reloader.close();
  }

  get #generation(): number {
    return this.#options.current().parts?.generation ?? 0;
  }

  #wanted(config: Config) {
    const { resolved, controller } = this.#options;
    return wantedOf(config, resolved(controller.specWith(config)));
  }

  #examine(next: Config): void {
    this.#requireFiles(next);
    const wanted = this.#wanted(next);
    try {
      this.#options.host.consider(wanted);
    } catch (error) {
      throw placed(error, next);
    }
  }

  /** A pool would lose what its files hold, though nothing is wrong with them. */
  #requireFiles(next: Config): void {
    const problems = this.#options.contradictions(next);
    if (problems.length > 0) throw new ConfigError(next.file, problems);
  }

  #plan(next: Config, tables: boolean): Plan {
    const { controller } = this.#options;
    const { config } = controller;
    const [inForce, wanted] = [controller.specWith(config), controller.specWith(next)];
    return planOf({ before: config, after: next, inForce, wanted, generation: this.#generation, tables });
  }

  async #change(next: Config, back: boolean): Promise<void> {
    const { controller, host, log, everywhere, aside } = this.#options;
    // One that waited for its turn while a hand-over began.
    if (!this.#options.isRunning()) throw new CodedError('GD_RELOAD_NOT_RUNNING', NOT_RUNNING);
    const before = controller.config;
    for (const one of aside) {
      if (back) one.bringBack();
      else one.setAside();
    }
    const wanted = this.#wanted(next);
    host.widen(wanted);
    try {
      controller.adopt(next);
    } catch (error) {
      for (const one of aside) {
        if (!back) one.bringBack();
      }
      // The publication undid itself; a listener that failed behind it did not.
      if (controller.config !== before) controller.adopt(before);
      host.narrow(this.#wanted(before));
      throw error;
    }
    log.level = next.log.level;
    this.#next = next;
    const read = everywhere().then(() => {
      if (this.#next === next) host.narrow(wanted);
    });
    await Promise.race([read, sleep(PATIENCE, undefined, { ref: false })]);
  }

  #remember(trial: Trial | null): void {
    const path = trialPath();
    try {
      if (trial !== null) makeDirectory(dirname(path));
      writeTrial(path, trial);
    } catch (error) {
      const message = (error as Error).message;
      const text =
        trial === null
          ? `a configuration that was confirmed would be taken for one that was not: ${message}`
          : `a restart before the confirmation would take the configuration as it is: ${message}`;
      this.#options.journal.record('warn', 'reload-trial', text, { hint: `let the director write ${dirname(path)}` });
    }
  }

  #tell(cause: ReloadCause, { result, generation, plan, refusal, confirmWithin, busy }: ReloadOutcome): void {
    const { journal, controller } = this.#options;
    const { file, warnings } = controller.config;
    if (result === 'success' && plan !== null) {
      for (const { line, column, message, code } of warnings) {
        this.#options.log.warn({ event: 'config-warning', at: `${file}:${line}:${column}`, code }, message);
      }
      const wait = confirmWithin === null ? {} : { confirmWithin };
      journal.record('info', 'reloaded', `reloaded: ${planSummary(plan)}`, { cause, generation, ...wait });
      return;
    }
    const { code = '', message = '', hint = '', problems = [] } = refusal ?? {};
    const fields = { cause, generation, code, hint, ...(problems.length > 1 ? { problems: problems.length } : {}) };
    if (result === 'rolled-back') journal.record('warn', 'reload-rolled-back', message, fields);
    else if (result === 'failed') journal.record('error', 'reload-failed', `what was changed was taken back: ${message}`, fields);
    else journal.record(busy ? 'warn' : 'error', 'reload-refused', `no reload: ${message}`, fields);
  }

  async #onReload(request: Readonly<Record<string, unknown>>): Promise<ActionAnswer> {
    const { confirm, rollback, file, ifGeneration, ifPlan, confirmWithin } = request;
    if (!this.#options.isRunning()) return conflict('GD_RELOAD_NOT_RUNNING', NOT_RUNNING);
    if (confirm === true) {
      if (!this.#reloader.confirm()) return conflict('GD_RELOAD_NOTHING_PENDING', 'nothing waits for a confirmation');
      const { generation } = { generation: this.#generation };
      this.#options.journal.record('info', 'reload-confirmed', 'the configuration in force was confirmed', { generation });
      return { status: 200, body: { result: 'confirmed', generation } };
    }
    if (rollback === true) {
      const outcome = await this.#reloader.rollBack('command');
      if (outcome === null) return conflict('GD_RELOAD_NOTHING_PENDING', 'nothing waits for a confirmation');
      return { status: outcome.result === 'rolled-back' ? 200 : 422, body: outcome };
    }
    const wrong =
      numberIn(ifGeneration, 'ifGeneration', 0, Number.MAX_SAFE_INTEGER) ??
      numberIn(confirmWithin, 'confirmWithin', 1, MOST_CONFIRM) ??
      textIn(ifPlan, 'ifPlan') ??
      textIn(file, 'file');
    if (wrong !== null) return { status: 400, body: { message: wrong } };
    const wish = { file, ifGeneration, ifPlan, confirmWithin } as Omit<ReloadRequest, 'cause'>;
    const outcome = await this.#reloader.reload({ cause: 'command', ...wish });
    return { status: outcome.result === 'success' ? 200 : outcome.busy ? 409 : 422, body: outcome };
  }

  async #onPlan({ file }: Readonly<Record<string, unknown>>): Promise<ActionAnswer> {
    const running = this.#options.controller.config;
    if (file !== undefined && typeof file !== 'string') return { status: 400, body: { message: 'file must be a path' } };
    const path = file ?? running.file;
    try {
      // The running one is named as it was started: its plan is the one that a reload makes.
      const next = loadConfig(resolve(path) === resolve(running.file) ? running.file : path);
      this.#options.trust(next);
      this.#requireFiles(next);
      const plan = this.#plan(next, true);
      const { parts } = this.#options.current();
      const names: SnapshotNames = parts?.names ?? { services: [], pools: [], backends: [] };
      const entries = await countFlows(this.#options.flows(), this.#options.now());
      const flows = movingFlows(names, this.#options.controller.specWith(next), entries);
      return { status: 200, body: { ...plan, empty: isEmpty(plan), flows } };
    } catch (error) {
      return { status: 422, body: { result: 'refused', refusal: refusalOf(error) } };
    }
  }
}

function conflict(code: string, message: string): ActionAnswer {
  return {
    status: 409,
    body: { result: 'refused', busy: true, refusal: { code, message, hint: '', exitCode: 1, problems: [] } },
  };
}

function textIn(value: unknown, name: string): string | null {
  return value === undefined || typeof value === 'string' ? null : `${name} must be a text`;
}

function numberIn(value: unknown, name: string, least: number, most: number): string | null {
  if (value === undefined || (typeof value === 'number' && value >= least && value <= most)) return null;
  return `${name} must be a number from ${least} to ${most}`;
}
