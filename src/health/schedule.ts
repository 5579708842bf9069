/**
 * When which check runs: one timer for the next of all, at most `limit` runs at a time. What is due while that many run waits its turn, first come first
 * served, and its next run is counted from when it was due.
 */

/** The parts of time that tests move by hand. */
export interface Timing {
  /** Seconds, with fractions. */
  readonly now: () => number;
  /** Calls back once, after so many seconds; returns what ends it. */
  readonly after: (seconds: number, call: () => void) => () => void;
  /** 0 ≤ x < 1. */
  readonly random: () => number;
}

/** Something that is done again and again. */
export interface Job {
  /** Seconds. */
  readonly interval: number;
  /** Part of it, 0–0.5, by which a run may come early: never late, so that what takes n runs takes at most n intervals. */
  readonly jitter: number;
  /** Never rejects. */
  readonly run: () => Promise<void>;
  /** Waits for what a run needs, before it counts as one of those that run. Absent: nothing. Never rejects. */
  readonly turn?: () => Promise<void> | null;
}

interface Entry {
  readonly job: Job;
  due: number;
  state: 'waiting' | 'queued' | 'running' | 'gone';
  /** `hurry` came while it ran. */
  again: boolean;
}

/** First runs of new jobs lie within so many seconds, or one interval, whichever is less. */
const FIRST_WITHIN = 2;

export class Schedule {
  readonly #timing: Timing;
  readonly #limit: number;
  readonly #entries = new Map<Job, Entry>();
  /** Sorted by `due`. */
  #waiting: Entry[] = [];
  #queue: Entry[] = [];
  #running = 0;
  #cancel: (() => void) | null = null;
  #armedFor = Number.POSITIVE_INFINITY;

  constructor(timing: Timing, limit: number) {
    this.#timing = timing;
    this.#limit = limit;
  }

  get running(): number {
    return this.#running;
  }

  /** Adds jobs, their first runs spread evenly. */
  add(jobs: readonly Job[]): void {
    const now = this.#timing.now();
    jobs.forEach((job, i) => {
      const spread = Math.min(job.interval, FIRST_WITHIN);
      const entry: Entry = {
        job,
        due: now + ((i + this.#timing.random()) / jobs.length) * spread,
        state: 'waiting',
        again: false,
      };
      this.#entries.set(job, entry);
      this.#wait(entry);
    });
    this.#arm();
  }

  /** Ends a job; a run that is under way goes on, and is the last. */
  remove(job: Job): void {
    const entry = this.#entries.get(job);
    if (entry === undefined) return;
    this.#entries.delete(job);
    this.#waiting = this.#waiting.filter((other) => other !== entry);
    this.#queue = this.#queue.filter((other) => other !== entry);
    entry.state = 'gone';
    this.#arm();
  }

  /** Its next run is now; the ones after it follow as usual. */
  hurry(job: Job): void {
    const entry = this.#entries.get(job);
    if (entry === undefined) return;
    if (entry.state === 'running') entry.again = true;
    if (entry.state !== 'waiting') return;
    this.#waiting = this.#waiting.filter((other) => other !== entry);
    entry.due = this.#timing.now();
    this.#wait(entry);
    this.#arm();
  }

  close(): void {
    for (const job of [...this.#entries.keys()]) this.remove(job);
  }

  #wait(entry: Entry): void {
    entry.state = 'waiting';
    let [from, to] = [0, this.#waiting.length];
    while (from < to) {
      const middle = (from + to) >> 1;
      if (this.#waiting[middle].due <= entry.due) from = middle + 1;
      else to = middle;
    }
    this.#waiting.splice(from, 0, entry);
  }

  #arm(): void {
    const due = this.#waiting[0]?.due ?? Number.POSITIVE_INFINITY;
    if (due === this.#armedFor) return;
    this.#cancel?.();
    this.#cancel = null;
    this.#armedFor = due;
    if (due === Number.POSITIVE_INFINITY) return;
    this.#cancel = this.#timing.after(Math.max(0, due - this.#timing.now()), () => this.#fire());
  }

  #fire(): void {
    this.#cancel = null;
    this.#armedFor = Number.NaN;
    // A timer may fire a little early.
    const now = this.#timing.now() + 0.001;
    while (this.#waiting.length > 0 && this.#waiting[0].due <= now) {
      const entry = this.#waiting.shift() as Entry;
      entry.state = 'queued';
      const turn = entry.job.turn?.() ?? null;
      if (turn === null) this.#queue.push(entry);
      else void turn.then(() => this.#hasTurn(entry));
    }
    this.#start();
    this.#arm();
  }

  #hasTurn(entry: Entry): void {
    if (entry.state !== 'queued') return;
    this.#queue.push(entry);
    this.#start();
  }

  #start(): void {
    while (this.#running < this.#limit && this.#queue.length > 0) void this.#run(this.#queue.shift() as Entry);
  }

  async #run(entry: Entry): Promise<void> {
    const { job } = entry;
    entry.state = 'running';
    this.#running++;
    try {
      await job.run();
    } finally {
      this.#running--;
      if (this.#entries.get(job) === entry) {
        const now = this.#timing.now();
        const next = entry.due + job.interval * (1 - job.jitter * this.#timing.random());
        // One that is behind does not make up for what it missed.
        entry.due = entry.again ? now : Math.max(now, next);
        entry.again = false;
        this.#wait(entry);
      }
      this.#start();
      this.#arm();
    }
  }
}
