/**
 * A seat: what main keeps of forwarding thread number n, whoever sits in it. Counters, flow table and eventfd belong to the seat and
 * survive the thread; a replacement goes on with them.
 */
import { MessageChannel, type MessagePort, type Worker } from 'node:worker_threads';
import { createBank } from '../base/counters.ts';
import { createDropNotes } from '../base/drop-notes.ts';
import { CodedError } from '../base/errors.ts';
import type { Subscriber } from '../control/publisher.ts';
import type { SnapshotParts } from '../pipeline/snapshot.ts';
import type { ServiceSpec, Spec } from '../pipeline/spec.ts';
import { EventDescriptor } from '../raw-socket/event.ts';
import { SnapshotSender } from './snapshot-mail.ts';
import { spawnThread } from './spawn-thread.ts';
import {
  type Failure,
  type MailToMain,
  type MailToThread,
  type PathFacts,
  type ThreadStart,
  WORD_COUNT,
  WORD_GENERATION,
  WORD_HEARTBEAT,
  WORD_MAIL,
} from './thread-protocol.ts';

/** How a thread ended. */
export interface ThreadEnd {
  /** It was told to stop and did. */
  readonly clean: boolean;
  /** It had begun to forward. */
  readonly forwarded: boolean;
  /** It closed its drivers: another thread may sit down. False when it died without a word (out of memory, say). */
  readonly tidy: boolean;
  readonly failure: Failure | null;
}

export interface SeatEvents {
  forwarding(seat: Seat, drivers: { ingress: string; egress: string }): void;
  /** It is warm and waits for its baton. */
  poised(seat: Seat, batches: number): void;
  /** `failure`: why before its end, '' when it was the end. */
  exhausted(seat: Seat, failure: string): void;
  refused(seat: Seat, driver: string, errno: number): void;
  /** It could not be kept on this processor. */
  unpinned(seat: Seat, processor: number): void;
  warning(seat: Seat, mail: MailToMain & { kind: 'warning' }): void;
  /** After the last event of the thread; its descriptors are closed when `tidy`. */
  ended(seat: Seat, end: ThreadEnd): void;
}

/** The part of a thread's start that is not the seat's own. */
export type SeatStart = Omit<ThreadStart, 'number' | 'bank' | 'dropNotes' | 'words' | 'kernelDrops' | 'wake' | 'mail'>;

export class Seat implements Subscriber {
  readonly number: number;
  readonly bank = createBank();
  readonly dropNotes = createDropNotes();
  /** Times a thread in this seat ended by an error. */
  failures = 0;
  /** `tun:gd0`, once it is known. */
  ingress = '';
  /** `auto`; `auto:raw` when it could not have all it wanted. */
  egress = '';
  /** Index of the interface that the thread's ingress is bound to; 0 while that is not known, and for drivers that are bound to none. */
  interfaceIndex = 0;
  /** Of its drivers; null before it first forwarded. */
  facts: PathFacts | null = null;
  /** What the thread reads from; −1 while that is not known. */
  descriptor = -1;
  /** Milliseconds since boot when the thread began to read, and when it handed its queue over; 0 for never. */
  beganAt = 0;
  leftAt = 0;
  /** Why the thread can not trace as it was told last; empty while nothing is wrong. */
  traceFailure = '';
  readonly #words = new Int32Array(new SharedArrayBuffer(WORD_COUNT * 4));
  readonly #kernelDrops = new Float64Array(new SharedArrayBuffer(8));
  readonly #wake = EventDescriptor.create();
  #open = true;
  readonly #events: SeatEvents;
  /** What the thread's ingress was told to take in. */
  #services: readonly ServiceSpec[] = [];
  /** The thread was told to trace packets, and to name what they meet. */
  #isTraced = false;
  #worker: Worker | null = null;
  #port: MessagePort | null = null;
  #sender: SnapshotSender | null = null;

  constructor(number: number, events: SeatEvents) {
    this.number = number;
    this.#events = events;
  }

  get occupied(): boolean {
    return this.#worker !== null;
  }

  get kernelDrops(): number {
    return this.#kernelDrops[0];
  }

  /** Seconds since boot when the thread last went round its loop. */
  get heartbeat(): number {
    return Atomics.load(this.#words, WORD_HEARTBEAT);
  }

  acknowledged(): number {
    return Atomics.load(this.#words, WORD_GENERATION);
  }

  offer({ names, ...parts }: SnapshotParts, { services }: Spec): void {
    // What nobody in the seat was told, a successor starts with.
    if (this.#port === null || this.#sender === null || !this.#open) return;
    const wanted = services === this.#services ? null : services;
    const change = this.#sender.changeTo(parts);
    this.post({ kind: 'snapshot', parts: change, services: wanted, names: this.#isTraced ? names : null });
    this.#services = services;
  }

  /** Leaves a message and wakes the thread; nobody in the seat: nothing happens (a successor starts with what is current). */
  post(mail: MailToThread): void {
    if (this.#port === null || !this.#open) return;
    this.#port.postMessage(mail);
    if (mail.kind === 'trace') {
      this.#isTraced = mail.order !== null;
      this.traceFailure = '';
    }
    Atomics.add(this.#words, WORD_MAIL, 1);
    this.#wake.notify();
  }

  /** Starts a thread in this seat. What becomes of it is told through the events. */
  start(start: SeatStart, now: number): void {
    const { port1, port2 } = new MessageChannel();
    Atomics.store(this.#words, WORD_MAIL, 0);
    Atomics.store(this.#words, WORD_GENERATION, 0);
    Atomics.store(this.#words, WORD_HEARTBEAT, now);
    this.#port = port1;
    this.#services = start.services;
    this.#isTraced = false;
    this.interfaceIndex = 0;
    this.descriptor = -1;
    this.leftAt = 0;
    const { generation, root, tables } = start.snapshot;
    this.#sender = new SnapshotSender(start.snapshot);
    const worker = spawnThread({
      ...start,
      snapshot: { generation, root, tables },
      number: this.number,
      bank: this.bank,
      dropNotes: this.dropNotes,
      words: this.#words,
      kernelDrops: this.#kernelDrops,
      wake: this.#wake.descriptor,
      mail: port2,
    });
    this.#worker = worker;
    let clean = false;
    let forwarded = false;
    let tidy = false;
    let failure: Failure | null = null;
    worker.on('message', (mail: MailToMain) => {
      if (mail.kind === 'forwarding') {
        forwarded = true;
        this.ingress = mail.ingress;
        this.egress = mail.egress;
        this.interfaceIndex = mail.interfaceIndex;
        this.facts = mail.facts;
        this.descriptor = mail.descriptor;
        this.beganAt = mail.at;
        this.#events.forwarding(this, mail);
      } else if (mail.kind === 'poised') {
        this.#events.poised(this, mail.batches);
      } else if (mail.kind === 'left') {
        this.leftAt = mail.at;
      } else if (mail.kind === 'exhausted') {
        this.#events.exhausted(this, mail.failure);
      } else if (mail.kind === 'refused') {
        this.#events.refused(this, mail.driver, mail.errno);
      } else if (mail.kind === 'untraced') {
        this.traceFailure = mail.message;
      } else if (mail.kind === 'unpinned') {
        this.#events.unpinned(this, mail.processor);
      } else if (mail.kind === 'warning') {
        this.#events.warning(this, mail);
      } else {
        tidy = true;
        clean = mail.kind === 'stopped';
        failure = mail.kind === 'failed' ? mail.failure : null;
      }
    });
    // Errors outside the thread's own catch: its file can not be loaded, its heap is full.
    worker.on('error', (error: Error) => {
      const hint = error instanceof CodedError ? error.hint : '';
      failure ??= { message: error.message, stack: error.stack ?? '', code: '', hint, exitCode: 1 };
    });
    worker.on('exit', () => {
      port1.close();
      this.#worker = null;
      this.#port = null;
      this.#events.ended(this, { clean, forwarded, tidy, failure });
    });
  }

  /** The hard end of a thread that does not answer. */
  async terminate(): Promise<void> {
    await this.#worker?.terminate();
  }

  /** Gives the eventfd back, once; the seat must be empty. */
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#wake.close();
  }
}
