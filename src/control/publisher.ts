/**
 * Publishing: a spec becomes a snapshot, every forwarding thread is told, and what came before is let go when nobody reads it any
 * more. A thread takes a new snapshot between two batches and says so by a word in shared memory, so nobody waits for anybody.
 */
import type { SnapshotParts } from '../pipeline/snapshot.ts';
import type { Spec } from '../pipeline/spec.ts';

/** Who reads snapshots: a forwarding thread, as the publisher sees it. */
export interface Subscriber {
  /** Hands over a snapshot and the spec that it was built from; must not block. */
  offer(parts: SnapshotParts, spec: Spec): void;
  /** Generation that is in use, 0 before the first. */
  acknowledged(): number;
}

/** The part of a snapshot builder that publishing needs. */
export interface Builder {
  /** `now`: seconds of the clock the pipeline is given. */
  build(spec: Spec, now: number): SnapshotParts;
  /** No subscriber reads these any more. Absent: nobody wants to know. */
  release?(parts: SnapshotParts): void;
}

export interface PublisherOptions {
  readonly builder: Builder;
  /** Seconds since boot. */
  readonly now: () => number;
  /** Milliseconds between two looks at the acknowledgements while some are missing. */
  readonly interval?: number;
}

/** What `publish` put in force. */
export interface Publication {
  readonly parts: SnapshotParts;
  /** Resolves when every subscriber reads this generation or a later one. */
  readonly everywhere: Promise<void>;
}

export class Publisher {
  readonly #builder: Builder;
  readonly #now: () => number;
  readonly #interval: number;
  readonly #subscribers = new Set<Subscriber>();
  /** Published snapshots that some thread may still read, oldest first; the last one is current. */
  #held: SnapshotParts[] = [];
  #spec: Spec | null = null;
  #waiting: { generation: number; done: () => void }[] = [];
  #timer: NodeJS.Timeout | null = null;

  constructor(options: PublisherOptions) {
    this.#builder = options.builder;
    this.#now = options.now;
    this.#interval = options.interval ?? 1;
  }

  /** The published snapshot, or null before the first. */
  get current(): SnapshotParts | null {
    return this.#held.at(-1) ?? null;
  }

  /** The spec in force: what a plan is compared with. */
  get spec(): Spec | null {
    return this.#spec;
  }

  /** Generations whose memory is still kept for some thread, the current one included. */
  get held(): readonly number[] {
    return this.#held.map((parts) => parts.generation);
  }

  /**
   * Builds the spec's snapshot and offers it to every subscriber. Throws what the builder throws (CodedError on a spec that
   * contradicts itself); then nothing has changed.
   */
  publish(spec: Spec): Publication {
    const parts = this.#builder.build(spec, this.#now());
    this.#held.push(parts);
    this.#spec = spec;
    for (const subscriber of this.#subscribers) subscriber.offer(parts, spec);
    const everywhere = new Promise<void>((done) => {
      this.#waiting.push({ generation: parts.generation, done });
    });
    this.#look();
    return { parts, everywhere };
  }

  /** Adds a reader. Whoever has been given `current` at its start acknowledges that by itself; nothing is offered here. */
  subscribe(subscriber: Subscriber): void {
    this.#subscribers.add(subscriber);
    this.#look();
  }

  /** Takes a reader that ended out of the count, so that nobody waits for it. */
  unsubscribe(subscriber: Subscriber): void {
    this.#subscribers.delete(subscriber);
    this.#look();
  }

  /** Oldest generation that some subscriber reads; the current one when there are none. */
  oldestInUse(): number {
    let oldest = this.current?.generation ?? 0;
    for (const subscriber of this.#subscribers) oldest = Math.min(oldest, subscriber.acknowledged());
    return oldest;
  }

  /** True when every subscriber reads the current snapshot. */
  get settled(): boolean {
    return this.oldestInUse() === (this.current?.generation ?? 0);
  }

  /** Ends the waiting; promises still open stay open. */
  close(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    this.#waiting = [];
  }

  /** Lets go of what nobody reads, resolves what is everywhere, and comes back later while something is missing. */
  #look(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    const oldest = this.oldestInUse();
    const current = this.current;
    const unread = this.#held.filter((parts) => parts !== current && parts.generation < oldest);
    if (unread.length > 0) this.#held = this.#held.filter((parts) => !unread.includes(parts));
    for (const parts of unread) this.#builder.release?.(parts);
    for (const { done } of this.#waiting.filter((entry) => entry.generation <= oldest)) done();
    this.#waiting = this.#waiting.filter((entry) => entry.generation > oldest);
    if (this.#waiting.length > 0 || this.#held.length > 1) this.#timer = setTimeout(() => this.#look(), this.#interval);
  }
}
