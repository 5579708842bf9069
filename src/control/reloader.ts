/**
 * Reloading: every wish for another configuration goes this one way, whoever has it (a signal, a command, the watched file), one after the other.
 *
 *     load ─► checks ─► what needs a restart? ─► host ─► in force ─► (confirmed, or rolled back)
 *        └────────┴──────────┴────────────────────┴─► refused: nothing was touched
 *                                                       └─► failed: what was changed was taken back
 */
import { realpathSync } from 'node:fs';
import { resolve } from 'node:path';
import { CodedError, EXIT } from '../base/errors.ts';
import type { Config } from '../config/config.ts';
import { loadText } from '../config/load.ts';
import { ConfigError, formatProblem, type Problem } from '../config/problem.ts';
import { readSource } from '../config/source.ts';
import type { Plan } from './plan.ts';
import { restartProblems } from './restart.ts';
import type { Trial } from './trial-file.ts';

/** Who asked. */
export type ReloadCause = 'signal' | 'command' | 'file';
/** `refused`: nothing was touched. `failed`: changed, and taken back. `rolled-back`: in force until nobody confirmed it. */
export type ReloadResult = 'success' | 'refused' | 'failed' | 'rolled-back';
export const RELOAD_RESULTS: readonly ReloadResult[] = ['success', 'refused', 'failed', 'rolled-back'];

export interface ReloadRequest {
  readonly cause: ReloadCause;
  /** Only when this is the file of the running configuration. */
  readonly file?: string;
  /** Only when this generation is in force. */
  readonly ifGeneration?: number;
  /** Only when the plan of it has this id. */
  readonly ifPlan?: string;
  /** Seconds until it is rolled back by itself unless `confirm` is called. */
  readonly confirmWithin?: number;
}

export interface Refusal {
  readonly code: string;
  readonly message: string;
  readonly hint: string;
  readonly exitCode: number;
  /** With their places; empty when it is not the file that is wrong. */
  readonly problems: readonly Problem[];
}

export interface ReloadOutcome {
  readonly result: ReloadResult;
  /** Of the snapshot in force now. */
  readonly generation: number;
  /** What changed; null when nothing did. */
  readonly plan: Plan | null;
  /** Seconds until it is rolled back; null when it is not to be confirmed. */
  readonly confirmWithin: number | null;
  /** null with `success`. */
  readonly refusal: Refusal | null;
  /** It was not even looked at: a condition did not hold, another configuration waits for its confirmation. */
  readonly busy: boolean;
}

/** The last reload, for status. The start counts as one. */
export interface LastReload {
  readonly cause: ReloadCause | 'start';
  readonly result: ReloadResult;
  /** Milliseconds since 1970. */
  readonly at: number;
  readonly refusal: Refusal | null;
}

/** What carries a configuration into force. */
export interface ReloadTarget {
  readonly config: Config;
  readonly generation: number;
  /** The difference to what is in force, without tables. The first that is asked about a configuration. */
  plan(next: Config, cause: ReloadCause): Plan;
  /** Throws CodedError when the host can not bear it; nothing is changed. */
  examine(next: Config): void;
  /** Puts it in force. Throws CodedError; then what was in force before is again. What belongs to the one before is set aside until `settled`. */
  change(next: Config): Promise<void>;
  /** The same with the configuration before the last change, and what was set aside then. */
  changeBack(before: Config): Promise<void>;
  /** The last change is final. */
  settled(): void;
  /** To be remembered beyond the end of the process; null: nothing is on trial. Tells who looks after it when that can not be. */
  remember(trial: Trial | null): void;
  /** Told of each end, also of a rollback. */
  told(cause: ReloadCause, outcome: ReloadOutcome): void;
}

interface Pending {
  readonly before: Config;
  /** Milliseconds of the wall clock. */
  readonly until: number;
  readonly timer: NodeJS.Timeout;
}

/** Longest time for a confirmation, seconds: a day. */
export const MOST_CONFIRM = 86_400;

export class Reloader {
  readonly #target: ReloadTarget;
  #last: LastReload;
  /** What the file holds, or held, and nobody confirmed. */
  #trial: Trial | null;
  #succeededAt = Date.now();
  #pending: Pending | null = null;
  /** The end of what is under way: the next one begins there. */
  #turn: Promise<unknown> = Promise.resolve();
  readonly counts: Record<ReloadResult, number> = { success: 0, refused: 0, failed: 0, 'rolled-back': 0 };

  /** `trial`: the director starts with the configuration before it. */
  constructor(target: ReloadTarget, trial: Trial | null = null) {
    this.#target = target;
    this.#trial = trial;
    const refusal = trial === null ? null : notConfirmed(trial.file);
    this.#last = { cause: 'start', result: trial === null ? 'success' : 'rolled-back', at: Date.now(), refusal };
  }

  get last(): LastReload {
    return this.#last;
  }

  /** Milliseconds since 1970 when a configuration was last taken over, the start's included. */
  get succeededAt(): number {
    return this.#succeededAt;
  }

  /** Seconds until what is in force is rolled back; null when nothing waits for a confirmation. */
  get confirmWithin(): number | null {
    return this.#pending === null ? null : Math.max(0, Math.ceil((this.#pending.until - Date.now()) / 1000));
  }

  /** Reads the file of the running configuration again. Never throws what is wrong with it: that is the answer. */
  reload(request: ReloadRequest): Promise<ReloadOutcome> {
    return this.#inTurn(() => this.#reload(request));
  }

  /** What waits for its confirmation stays; false when nothing does. */
  confirm(): boolean {
    if (!this.#endWait()) return false;
    this.#target.settled();
    this.#remember(null);
    return true;
  }

  /** What waits for its confirmation is taken back now; null when nothing does. */
  rollBack(cause: ReloadCause): Promise<ReloadOutcome | null> {
    return this.#inTurn(() => this.#rollBack(cause));
  }

  /** Nothing is rolled back any more: what waits for its confirmation is left to the next start. */
  close(): void {
    this.#endWait();
  }

  #endWait(): boolean {
    if (this.#pending === null) return false;
    clearTimeout(this.#pending.timer);
    this.#pending = null;
    return true;
  }

  #remember(trial: Trial | null): void {
    if (trial === this.#trial) return;
    this.#trial = trial;
    this.#target.remember(trial);
  }

  #inTurn<T>(step: () => Promise<T>): Promise<T> {
    const done = this.#turn.then(step);
    this.#turn = done.catch(() => {});
    return done;
  }

  async #reload(request: ReloadRequest): Promise<ReloadOutcome> {
    const target = this.#target;
    const { cause, file, ifGeneration, ifPlan, confirmWithin } = request;
    const busy = (code: string, message: string, hint: string) =>
      this.#end(cause, {
        result: 'refused',
        plan: null,
        refusal: { code, message, hint, exitCode: EXIT.FAILED, problems: [] },
        busy: true,
      });
    if (file !== undefined && !isSameFile(file, target.config.file)) {
      const running = resolve(target.config.file);
      const message = `the director runs ${running}, not ${file}`;
      const hint = `gue-director plan --config ${file}   compares; to put it in force, replace ${running} by it and reload that`;
      return busy('GD_RELOAD_OTHER_FILE', message, hint);
    }
    if (this.#pending !== null) {
      const message = `the configuration in force waits for its confirmation, for ${this.confirmWithin} s more`;
      return busy('GD_RELOAD_PENDING', message, 'gue-director reload --confirm, or --rollback, and then again');
    }
    if (ifGeneration !== undefined && ifGeneration !== target.generation) {
      const message = `generation ${target.generation} is in force, not ${ifGeneration}`;
      return busy('GD_RELOAD_GENERATION', message, 'something changed since: look at gue-director plan again');
    }
    const before = target.config;
    let next: Config;
    let plan: Plan;
    try {
      next = loadNext(before);
      plan = target.plan(next, cause);
      if (ifPlan !== undefined && ifPlan !== plan.id) {
        const message = `the plan is ${plan.id} by now, not ${ifPlan}`;
        return busy('GD_RELOAD_PLAN', message, 'the file or what is in force changed since: look at gue-director plan again');
      }
      target.examine(next);
    } catch (error) {
      return this.#end(cause, { result: 'refused', plan: null, refusal: refusalOf(error) });
    }
    const trial = this.#trial;
    // Before it is in force: who is killed a moment later must find it.
    if (confirmWithin !== undefined) {
      this.#remember({ file: resolve(before.file), tried: next.text, confirmed: before.text });
    }
    try {
      await target.change(next);
    } catch (error) {
      this.#remember(trial);
      return this.#end(cause, { result: 'failed', plan: null, refusal: refusalOf(error) });
    }
    if (confirmWithin !== undefined) {
      const timer = setTimeout(() => void this.rollBack(cause), confirmWithin * 1000);
      this.#pending = { before, until: Date.now() + confirmWithin * 1000, timer };
    } else {
      target.settled();
      this.#remember(null);
    }
    return this.#end(cause, { result: 'success', plan, refusal: null });
  }

  async #rollBack(cause: ReloadCause): Promise<ReloadOutcome | null> {
    const pending = this.#pending;
    if (pending === null) return null;
    this.#endWait();
    try {
      await this.#target.changeBack(pending.before);
    } catch (error) {
      return this.#end(cause, { result: 'failed', plan: null, refusal: refusalOf(error) });
    }
    return this.#end(cause, { result: 'rolled-back', plan: null, refusal: notConfirmed(pending.before.file) });
  }

  #end(
    cause: ReloadCause,
    { result, plan, refusal, busy = false }: Pick<ReloadOutcome, 'result' | 'plan' | 'refusal'> & { busy?: boolean },
  ): ReloadOutcome {
    const at = Date.now();
    this.counts[result]++;
    // What was not looked at says nothing about the file.
    if (!busy) this.#last = { cause, result, at, refusal };
    if (result === 'success') this.#succeededAt = at;
    const { generation } = this.#target;
    const outcome = { result, generation, plan, confirmWithin: this.confirmWithin, refusal, busy };
    this.#target.told(cause, outcome);
    return outcome;
  }
}

/**
 * The file of the running configuration, checked, and nothing in it that only a restart changes.
 * @throws ConfigError with every problem and its place.
 */
function loadNext(running: Config): Config {
  const text = readSource(running.file);
  const next = loadText(text, running.file);
  const problems = restartProblems(running, next, text);
  if (problems.length > 0) throw new ConfigError(running.file, problems);
  return next;
}

/** What is not the file's fault alone, but has a place in it. */
export class PlacedError extends CodedError {
  readonly problems: readonly Problem[];

  constructor(
    code: string,
    message: string,
    options: { exitCode: number; hint: string; cause: unknown },
    problems: readonly Problem[],
  ) {
    super(code, message, options);
    this.problems = problems;
  }
}

/** Why the configuration before the file's is in force. */
export function notConfirmed(file: string): Refusal {
  return {
    code: 'GD_RELOAD_ROLLED_BACK',
    message: 'the configuration was not confirmed: the one before is in force again',
    hint: `${file} still holds the other one: change it back, or put it in force with gue-director reload`,
    exitCode: EXIT.FAILED,
    problems: [],
  };
}

/** By name, or by what it leads to. */
function isSameFile(one: string, other: string): boolean {
  if (resolve(one) === resolve(other)) return true;
  try {
    return realpathSync(one) === realpathSync(other);
  } catch {
    // Not there: its name says it all.
    return false;
  }
}

/** What is wrong, as plain data that crosses a socket. */
export function refusalOf(error: unknown): Refusal {
  if (error instanceof ConfigError) {
    const { code, exitCode, problems } = error;
    const needsRestart = problems.some((problem) => problem.code === 'GD_RELOAD_RESTART');
    const first = problems.find(({ severity }) => severity === 'error') ?? problems[0];
    const hint = needsRestart ? 'change the file back, or restart the director: systemctl restart gue-director' : error.hint;
    return { code, message: `the configuration is refused: ${formatProblem(first)}`, hint, exitCode, problems };
  }
  const { message } = error instanceof Error ? error : new Error(String(error));
  if (error instanceof CodedError) {
    const problems = error instanceof PlacedError ? error.problems : [];
    return { code: error.code, message, hint: error.hint, exitCode: error.exitCode, problems };
  }
  return { code: 'GD_RELOAD_FAILED', message, hint: '', exitCode: EXIT.FAILED, problems: [] };
}
