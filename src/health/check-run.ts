/** One check of one backend: its runs, and what came of them. */
import type { Probe, ProbeOutcome, ProbeTarget, Turn } from './probe.ts';
import type { Job, Timing } from './schedule.ts';
import type { CheckSpec, HealthSpec } from './spec.ts';

/** A probe that has not answered so long after its time is taken for one that did not. */
const GRACE = 0.25;

export interface RunCounts {
  good: number;
  bad: number;
  /** Runs that could not be made, by a fault of our own. They say nothing about the backend. */
  failed: number;
}

export interface CheckRunOptions {
  readonly check: CheckSpec;
  readonly probe: Probe;
  readonly timing: Timing;
  readonly target: () => ProbeTarget;
  readonly ended: (outcome: ProbeOutcome) => void;
  readonly failed: (error: unknown) => void;
}

export class CheckRun implements Job {
  readonly definition: string;
  readonly check: CheckSpec;
  readonly counts: RunCounts = { good: 0, bad: 0, failed: 0 };
  interval = 1;
  jitter = 0;
  timeout = 1;
  readonly #options: CheckRunOptions;
  #abort: AbortController | null = null;
  /** Of the wait for a turn. */
  readonly #waiting = new AbortController();
  #ended = false;
  /** What the next run was given to wait for, or why it could not be had. */
  #turn: Turn | null = null;
  #refusal: { readonly error: unknown } | null = null;

  constructor(options: CheckRunOptions) {
    this.#options = options;
    this.check = options.check;
    this.definition = definitionOf(options.check);
  }

  /** Times of the next run. */
  pace({ interval, jitter, timeout }: Pick<HealthSpec, 'interval' | 'jitter' | 'timeout'>): void {
    this.interval = interval;
    this.jitter = jitter;
    this.timeout = timeout;
  }

  /** As Job has it: null when the probe of the check waits for nothing. */
  turn(): Promise<void> | null {
    const { probe, target } = this.#options;
    return probe.turn === undefined ? null : this.#wait(probe.turn(target(), this.#waiting.signal));
  }

  async #wait(turn: Promise<Turn | null>): Promise<void> {
    try {
      this.#turn = await turn;
      if (this.#ended) this.#release();
    } catch (error) {
      this.#refusal = { error };
    }
  }

  #release(): void {
    this.#turn?.release();
    this.#turn = null;
    this.#refusal = null;
  }

  async run(): Promise<void> {
    const { probe, target, timing, ended, failed } = this.#options;
    const abort = new AbortController();
    this.#abort = abort;
    let cancel = (): void => {};
    const late = new Promise<ProbeOutcome>((resolve) => {
      const { timeout } = this;
      cancel = timing.after(timeout + GRACE, () =>
        resolve({ ok: false, detail: noAnswer(timeout), milliseconds: timeout * 1000 }),
      );
      abort.signal.addEventListener('abort', () => resolve({ ok: false, detail: 'ended', milliseconds: 0 }));
    });
    try {
      if (this.#refusal !== null) throw this.#refusal.error;
      const outcome = await Promise.race([probe.probe(target(), this.timeout * 1000, abort.signal, this.#turn), late]);
      if (this.#ended) return;
      this.counts[outcome.ok ? 'good' : 'bad']++;
      ended(outcome);
    } catch (error) {
      if (this.#ended) return;
      this.counts.failed++;
      failed(error);
    } finally {
      cancel();
      this.#abort = null;
      abort.abort();
      this.#release();
    }
  }

  /** Ends it for good; a run that is under way is given up, and says nothing any more. */
  end(): void {
    this.#ended = true;
    this.#waiting.abort();
    if (this.#abort === null) this.#release();
    else this.#abort.abort();
  }
}

/** "no answer within 1 s". */
export function noAnswer(seconds: number): string {
  return `no answer within ${Number(seconds.toFixed(3))} s`;
}

/** Equal for checks that ask the same. */
export function definitionOf(check: CheckSpec): string {
  return JSON.stringify(check, (_, value: unknown) => (value instanceof Uint8Array ? Buffer.from(value).toString('hex') : value));
}

/** Short names of checks, each once: `http:8080`, `icmp`, `http:8080#2`. */
export function checkLabels(checks: readonly CheckSpec[]): string[] {
  const seen = new Map<string, number>();
  return checks.map((check) => {
    const port = 'port' in check && check.port !== null ? `:${check.port}` : '';
    const label = `${check.type}${port}`;
    const count = (seen.get(label) ?? 0) + 1;
    seen.set(label, count);
    return count === 1 ? label : `${label}#${count}`;
  });
}
