/**
 * The forwarding threads together: started, watched, replaced when one ends by an error, stopped at a batch boundary.
 *
 * A thread that fails is logged with its stack, counted and replaced. More than three failures within a minute are no accident:
 * then, and when a thread dies without a word, the director gives up, and the service manager starts a fresh process.
 *
 * An interface that somebody removes is no failure. A TUN or TAP device, also that of the egress, is made anew at once. The interface of a packet ingress is
 * somebody else's: its threads end, their seats stay empty until it is there again.
 */

import { setTimeout as sleep } from 'node:timers/promises';
import type { Clock } from '../base/clock.ts';
import { CodedError, EXIT } from '../base/errors.ts';
import type { EgressConfig, FragmentLimits, IngressConfig, ProcessorRules } from '../config/config.ts';
import type { Publisher } from '../control/publisher.ts';
import type { EventJournal } from '../observe/events.ts';
import { capacityOf } from '../pipeline/flow-regions.ts';
import { FragmentTable } from '../pipeline/fragment-table.ts';
import { closeDescriptor } from '../raw-socket/file.ts';
import { errnoName } from '../raw-socket/library.ts';
import { allowedProcessors } from '../raw-socket/processors.ts';
import { openTunQueue } from '../raw-socket/tun.ts';
import { type FlowMemory, flowWords, processMemory } from './flow-memory.ts';
import { GateKeeper } from './gate-keeper.ts';
import { EGRESS_GONE, INGRESS_GONE, type MailToMain, type PathFacts } from './thread-protocol.ts';
import { Seat, type SeatStart, type ThreadEnd } from './thread-seat.ts';

const MOST_FAILURES = 3;
const FAILURE_WINDOW = 60;
/** Seconds without a heartbeat after which a thread counts as stuck; it beats every second. */
export const STUCK_AFTER = 5;
/** Milliseconds that a thread gets to finish its batch. */
const STOP_PATIENCE = 3000;
const UNPINNED: ProcessorRules = { pin: false, idle: 'wait', spin: 0 };

export interface ForwardingThreadsOptions {
  readonly threads: number;
  /** Absent: the kernel chooses where they run, and they sleep without packets. */
  readonly processors?: ProcessorRules;
  readonly ingress: IngressConfig;
  readonly egress: EgressConfig;
  /** Where the flow table lies; absent: in memory of its own, of so many entries. */
  readonly flows?: FlowMemory;
  readonly flowEntries: number;
  readonly fragments: FragmentLimits;
  /** Path MTU by backend id (path-keeper.ts); absent or null: no limit. */
  readonly pathMtu?: SharedArrayBuffer | null;
  /** Next hops by backend id (next-hop-keeper.ts), for the egresses `packet` and `xdp`; absent or null for others. */
  readonly nextHops?: SharedArrayBuffer | null;
  /** Where packets that were cut for their size are noted (cut-watch.ts); absent: nowhere. */
  readonly cutNotes?: SharedArrayBuffer;
  readonly publisher: Publisher;
  readonly clock: Clock;
  readonly journal: EventJournal;
  /** A replacement forwards: its drivers are new. */
  readonly replaced: () => void;
  /** Index of the interface that has this name now, 0 when there is none. */
  readonly interfaceIndex: (name: string) => number;
  /** What another process hands over, by seat; absent: queues are opened here. */
  readonly inherited?: readonly InheritedSeat[];
  /** The threads can not be kept alive. */
  readonly gaveUp: (error: CodedError) => void;
}

/** A seat's descriptors as they came from another process (takeover/inheritance.ts). */
export interface InheritedSeat {
  /** Queue of the TUN or TAP device, or packet socket. */
  readonly queue: number;
  /** Queue of the egress's TAP device; null for other drivers. */
  readonly egressQueue: number | null;
  /** Raised when the queue is ours. */
  readonly baton: number;
}

export class ForwardingThreads {
  readonly seats: readonly Seat[];
  /** Entries all flow tables can hold. */
  readonly flowEntries: number;
  /** Their words, those of all threads together, which write them: to be read only. */
  readonly flowWords: Int32Array;
  readonly #options: ForwardingThreadsOptions;
  readonly #common: Omit<SeatStart, 'services' | 'snapshot' | 'queue' | 'egressQueue' | 'gate' | 'baton' | 'processor'>;
  /** Those that threads are kept on, in their order; with more threads from the first one on again. Empty: the kernel chooses. */
  readonly #processors: readonly number[];
  /** Seconds of recent failures, oldest first. */
  #failures: number[] = [];
  #phase: 'starting' | 'running' | 'leaving' | 'stopping' = 'starting';
  /** Counters of the process before us. */
  #carried: Float64Array | null = null;
  #carriedDrops: readonly { driver: string; packets: number }[] = [];
  readonly #poised = new Set<Seat>();
  /** Batons that threads were given and may raise as long as they live. */
  readonly #batons = new Map<Seat, number>();
  #settle: (() => void) | null = null;
  #startFailure: CodedError | null = null;
  readonly #forwarding = new Set<Seat>();
  /** Seats in which a thread has forwarded before. */
  readonly #known = new Set<Seat>();
  /** Empty seats that wait for the interface of a packet ingress. */
  readonly #parked = new Set<Seat>();
  /** Queues of the TUN or TAP device, by seat. */
  readonly #queues = new Map<Seat, number>();
  readonly #gate: GateKeeper;
  /** Index of the interface that the thread's `packet` or `xdp` egress was to be opened on, by seat. */
  readonly #egressIndexes = new Map<Seat, number>();
  /** Queues of the egress's TAP device, by seat, and the index that the device had. */
  readonly #egressQueues = new Map<Seat, { readonly queue: number; readonly interfaceIndex: number }>();

  constructor(options: ForwardingThreadsOptions) {
    this.#options = options;
    const { threads, ingress, egress } = options;
    this.#gate = new GateKeeper(options);
    const flows = options.flows ?? processMemory(options.flowEntries, threads);
    this.flowEntries = capacityOf(flows.geometry, threads);
    this.flowWords = flowWords(flows);
    const { fragments } = options;
    const fragmentEntries = Math.ceil(fragments.entries / threads);
    const fragmentMemory = Array.from({ length: threads }, () => new SharedArrayBuffer(FragmentTable.bytesFor(fragmentEntries)));
    const { pin, idle, spin } = options.processors ?? UNPINNED;
    this.#processors = pin === true ? allowedProcessors() : pin === false ? [] : pin;
    this.#common = {
      threads,
      idle,
      spin,
      ingress,
      egress,
      flows,
      fragments,
      fragmentEntries,
      fragmentMemory,
      pathMtu: options.pathMtu ?? null,
      cutNotes: options.cutNotes ?? null,
      nextHops: options.nextHops ?? null,
    };
    const events = {
      forwarding: (seat: Seat, drivers: { ingress: string; egress: string }) => this.#onForwarding(seat, drivers),
      poised: (seat: Seat, batches: number) => this.#onPoised(seat, batches),
      exhausted: (seat: Seat, failure: string) => {
        const from = { thread: seat.number };
        if (failure === '') options.journal.record('info', 'ingress-exhausted', 'the ingress has delivered everything', from);
        else options.journal.record('warn', 'ingress-exhausted', failure, from);
      },
      refused: (seat: Seat, driver: string, errno: number) => {
        options.journal.record('warn', 'kernel-refused', `the kernel refused a call of ${driver}: ${errnoName(errno)}`, {
          thread: seat.number,
        });
      },
      unpinned: (seat: Seat, processor: number) => {
        const text = `forwarding thread ${seat.number} can not be kept on processor ${processor}: the kernel chooses where it runs`;
        const hint = 'grep Cpus_allowed_list /proc/self/status, or AllowedCPUs= of the service, say which there are';
        options.journal.record('warn', 'thread-unpinned', text, { thread: seat.number, processor, hint });
      },
      warning: (seat: Seat, { part, driver, message, hint }: MailToMain & { kind: 'warning' }) => {
        const text = `${driver}: ${message}`;
        const fields = { thread: seat.number, hint };
        if (part === 'ingress') options.journal.record('warn', 'ingress-warning', text, fields);
        else options.journal.record('warn', 'egress-warning', text, fields);
      },
      ended: (seat: Seat, end: ThreadEnd) => this.#onEnded(seat, end),
    };
    this.seats = Array.from({ length: threads }, (_, number) => new Seat(number, events));
  }

  /** Of the drivers of a thread that forwards or has; null before. */
  get facts(): PathFacts | null {
    return this.seats.find(({ facts }) => facts !== null)?.facts ?? null;
  }

  get banks(): readonly Float64Array[] {
    const banks = this.seats.map((seat) => seat.bank);
    return this.#carried === null ? banks : [...banks, this.#carried];
  }

  /**
   * Starts all threads with the publisher's current snapshot; resolves when every one forwards. When one can not start, all are
   * stopped again and its CodedError is thrown. With inherited queues it resolves when every one is warm and waits for its baton.
   */
  async start(): Promise<void> {
    const settled = new Promise<void>((done) => {
      this.#settle = done;
    });
    try {
      this.#gate.open();
      // All queues before the first thread: a queue more makes the kernel steer anew.
      for (const seat of this.seats) {
        this.#inherit(seat);
        this.#openQueue(seat);
        this.#openEgressQueue(seat);
      }
      for (const seat of this.seats) {
        this.#options.publisher.subscribe(seat);
        this.#seat(seat);
      }
      await settled;
      if (this.#startFailure !== null) throw this.#startFailure;
    } catch (error) {
      await this.stop();
      throw error;
    } finally {
      this.#settle = null;
    }
    if (this.#options.inherited === undefined) this.#phase = 'running';
  }

  /** Resolves when every thread has taken its baton and forwards. Throws the CodedError of one that ended, or GD_DAEMON_BATON after `patience` milliseconds. */
  async taken(patience: number): Promise<void> {
    const deadline = Date.now() + patience;
    while (this.#forwarding.size < this.seats.length) {
      if (this.#startFailure !== null) throw this.#startFailure;
      if (Date.now() > deadline) throw new CodedError('GD_DAEMON_BATON', 'a forwarding thread did not get its queue in time');
      await sleep(1);
    }
    this.#phase = 'running';
  }

  /** From now on these counters are added to our own, which begin at zero. */
  carry(bank: Float64Array, drops: readonly { driver: string; packets: number }[]): void {
    this.#carried = bank;
    this.#carriedDrops = drops;
  }

  /** Milliseconds since boot when each thread handed its queue over; 0: it has not. */
  leftAt(): number[] {
    return this.seats.map((seat) => seat.leftAt);
  }

  /** Milliseconds since boot when each thread began to read its queue. */
  beganAt(): number[] {
    return this.seats.map((seat) => seat.beganAt);
  }

  /**
   * What each thread reads, for another process: by seat. null when not every thread forwards, or one reads no descriptor. Throws GD_TAKEOVER_XDP for an
   * ingress whose queues are of no use without its memory.
   */
  descriptors(): { queue: number; egressQueue: number | null }[] | null {
    if (this.#gate.end !== null || this.#options.egress.driver === 'xdp') {
      throw new CodedError('GD_TAKEOVER_XDP', 'the sockets of an xdp driver can not be handed over to another process', {
        hint: 'systemctl restart gue-director',
      });
    }
    if (this.#phase !== 'running' || this.#forwarding.size < this.seats.length) return null;
    if (this.seats.some((seat) => seat.descriptor < 0)) return null;
    return this.seats.map((seat) => ({ queue: seat.descriptor, egressQueue: this.#egressQueues.get(seat)?.queue ?? null }));
  }

  /**
   * Every thread ends at a batch boundary and raises its baton (an eventfd, by seat, which is closed when its thread has ended); the descriptors stay open.
   * Resolves when all have; throws GD_DAEMON_STUCK when one does not: then `resume`, once nobody else reads the queues.
   */
  async leave(batons: readonly number[]): Promise<void> {
    const empty = this.seats.find((seat) => !seat.occupied);
    if (empty !== undefined) {
      for (const baton of batons) closeDescriptor(baton);
      throw new CodedError('GD_DAEMON_STUCK', `forwarding thread ${empty.number} was just being replaced`);
    }
    this.#phase = 'leaving';
    for (const seat of this.seats) {
      const baton = batons[seat.number];
      if (seat.descriptor >= 0) this.#queues.set(seat, seat.descriptor);
      this.#batons.set(seat, baton);
      seat.post({ kind: 'leave', baton });
    }
    const deadline = Date.now() + STOP_PATIENCE;
    while (this.seats.some((seat) => seat.leftAt === 0) && Date.now() < deadline) await sleep(1);
    if (this.seats.some((seat) => seat.leftAt === 0)) {
      throw new CodedError('GD_DAEMON_STUCK', 'a forwarding thread did not hand its queue over in time');
    }
  }

  /** After `leave` that came to nothing: the threads read their queues again. */
  async resume(): Promise<void> {
    const deadline = Date.now() + STOP_PATIENCE;
    while (this.seats.some((seat) => seat.occupied && seat.leftAt !== 0) && Date.now() < deadline) await sleep(1);
    this.#phase = 'running';
    for (const seat of this.seats) if (!seat.occupied) this.#replace(seat);
  }

  #inherit(seat: Seat): void {
    const from = this.#options.inherited?.[seat.number];
    if (from === undefined) return;
    this.#queues.set(seat, from.queue);
    const { egress, interfaceIndex } = this.#options;
    if (from.egressQueue === null || egress.driver !== 'tap-offload') return;
    this.#egressQueues.set(seat, { queue: from.egressQueue, interfaceIndex: interfaceIndex(egress.device) });
  }

  /** Stops all threads at a batch boundary; one that does not answer is ended the hard way. Their descriptors are closed after this. */
  async stop(): Promise<void> {
    this.#phase = 'stopping';
    for (const seat of this.seats) seat.post({ kind: 'stop' });
    const deadline = Date.now() + STOP_PATIENCE;
    while (this.seats.some((seat) => seat.occupied) && Date.now() < deadline) await sleep(2);
    for (const seat of this.seats.filter((one) => one.occupied)) {
      this.#options.journal.record('error', 'thread-stuck', 'a forwarding thread did not stop in time', { thread: seat.number });
      await seat.terminate();
    }
    for (const seat of this.seats) {
      this.#options.publisher.unsubscribe(seat);
      this.#closeQueue(seat);
      this.#closeEgressQueue(seat);
      seat.close();
    }
    this.#gate.close();
  }

  /** Tests only: makes one thread fail as a program error would. */
  fault(): void {
    this.seats[0].post({ kind: 'fault' });
  }

  /** Threads that have not gone round their loop for too long. A seat that waits for its interface has none. */
  stuck(): readonly { number: number; heartbeatAge: number }[] {
    const parked = [...this.#parked].map((seat) => seat.number);
    return this.report().filter((thread) => thread.heartbeatAge > STUCK_AFTER && !parked.includes(thread.number));
  }

  /** Numbers of the threads that do not forward now: just being replaced, or waiting for their interface. */
  absent(): number[] {
    return this.seats.filter((seat) => !this.#forwarding.has(seat)).map((seat) => seat.number);
  }

  /**
   * Interfaces came or went: threads of a packet ingress whose interface is another one now end, and open the new one when it is there.
   * Those whose egress device is gone end too, and make it anew.
   */
  linksChanged(): void {
    const { ingress, egress, interfaceIndex } = this.#options;
    if (this.#phase !== 'running') return;
    if (egress.driver === 'tap-offload') {
      const index = interfaceIndex(egress.device);
      for (const seat of this.#forwarding) {
        if (this.#egressQueues.get(seat)?.interfaceIndex !== index) seat.post({ kind: 'reopen', part: 'egress' });
      }
    }
    if ('interface' in egress) {
      const index = interfaceIndex(egress.interface);
      for (const seat of this.#forwarding) {
        if (this.#egressIndexes.get(seat) !== index) seat.post({ kind: 'reopen', part: 'egress' });
      }
    }
    if ('interface' in ingress) {
      const index = interfaceIndex(ingress.interface);
      this.#gate.linksChanged(index);
      for (const seat of this.#forwarding) if (seat.interfaceIndex !== index) seat.post({ kind: 'reopen', part: 'ingress' });
    }
    this.#unpark();
  }

  #park(seat: Seat): void {
    this.#parked.add(seat);
    // Nobody waits for an empty seat to read a snapshot; its next thread starts with what is current then.
    this.#options.publisher.unsubscribe(seat);
    this.#unpark();
  }

  /**
   * Fills the empty seats when the interface is there. All at once: the sockets of one fanout group must have one interface, and an old
   * one counts until it is closed (net/packet/af_packet.c: fanout_add).
   */
  #unpark(): void {
    const { ingress, interfaceIndex, publisher } = this.#options;
    if (this.#parked.size === 0 || this.#foreign().some((name) => interfaceIndex(name) === 0)) return;
    const index = 'interface' in ingress ? interfaceIndex(ingress.interface) : 0;
    if (this.seats.some((seat) => seat.occupied && seat.interfaceIndex !== 0 && seat.interfaceIndex !== index)) return;
    try {
      this.#gate.open(index);
    } catch (error) {
      this.#giveUp(error);
      return;
    }
    for (const seat of this.#parked) {
      this.#parked.delete(seat);
      publisher.subscribe(seat);
      this.#replace(seat);
    }
  }

  /** Names of the interfaces that somebody else makes and removes. */
  #foreign(): string[] {
    const { ingress, egress } = this.#options;
    return [...('interface' in ingress ? [ingress.interface] : []), ...('interface' in egress ? [egress.interface] : [])];
  }

  #replace(seat: Seat): void {
    try {
      this.#seat(seat);
    } catch (error) {
      this.#giveUp(error);
    }
  }

  #giveUp(error: unknown): void {
    const coded = error instanceof CodedError ? error : new CodedError('GD_DAEMON_THREAD', String(error), { cause: error });
    this.#options.gaveUp(coded);
  }

  report(): { number: number; failures: number; heartbeatAge: number; ingress: string; egress: string }[] {
    const now = this.#options.clock.seconds();
    return this.seats.map((seat) => ({
      number: seat.number,
      failures: seat.failures,
      heartbeatAge: Math.max(0, now - seat.heartbeat),
      ingress: seat.ingress,
      egress: seat.egress,
    }));
  }

  /** Packets the kernel lost, by ingress. */
  kernelDrops(): { driver: string; packets: number }[] {
    const sums = new Map<string, number>();
    for (const seat of this.seats) sums.set(seat.ingress, (sums.get(seat.ingress) ?? 0) + seat.kernelDrops);
    for (const { driver, packets } of this.#carriedDrops) sums.set(driver, (sums.get(driver) ?? 0) + packets);
    return [...sums].map(([driver, packets]) => ({ driver, packets }));
  }

  #openQueue(seat: Seat): number | null {
    const { ingress } = this.#options;
    // Of a packet ingress there is one only when another process opened it, or we went on after a hand-over that failed.
    if (ingress.driver !== 'tun' && ingress.driver !== 'tap') return this.#queues.get(seat) ?? null;
    const queue = this.#queues.get(seat) ?? openTunQueue(ingress.device, { kind: ingress.driver, offloads: 'segmentation' });
    this.#queues.set(seat, queue);
    return queue;
  }

  #closeQueue(seat: Seat): void {
    const queue = this.#queues.get(seat);
    this.#queues.delete(seat);
    if (queue !== undefined) closeDescriptor(queue);
  }

  #closeBaton(seat: Seat): void {
    const baton = this.#batons.get(seat);
    this.#batons.delete(seat);
    if (baton !== undefined) closeDescriptor(baton);
  }

  #openEgressQueue(seat: Seat): number | null {
    const { egress, interfaceIndex } = this.#options;
    if (egress.driver !== 'tap-offload') return null;
    const known = this.#egressQueues.get(seat);
    if (known !== undefined) return known.queue;
    const queue = openTunQueue(egress.device, { kind: 'tap', offloads: 'tunnel' });
    this.#egressQueues.set(seat, { queue, interfaceIndex: interfaceIndex(egress.device) });
    return queue;
  }

  #closeEgressQueue(seat: Seat): void {
    const known = this.#egressQueues.get(seat);
    this.#egressQueues.delete(seat);
    if (known !== undefined) closeDescriptor(known.queue);
  }

  #seat(seat: Seat): void {
    const { current: snapshot, spec } = this.#options.publisher;
    if (snapshot === null || spec === null) throw new RangeError('nothing was published before the threads were started');
    const { egress, interfaceIndex } = this.#options;
    if ('interface' in egress) this.#egressIndexes.set(seat, interfaceIndex(egress.interface));
    seat.start(
      {
        ...this.#common,
        processor: this.#processors.length === 0 ? null : this.#processors[seat.number % this.#processors.length],
        services: spec.services,
        snapshot,
        queue: this.#openQueue(seat),
        gate: this.#gate.end,
        egressQueue: this.#openEgressQueue(seat),
        // Only its first thread waits for another process.
        baton: this.#known.has(seat) ? null : (this.#options.inherited?.[seat.number]?.baton ?? null),
      },
      this.#options.clock.seconds(),
    );
  }

  #onPoised(seat: Seat, batches: number): void {
    this.#options.journal.record('info', 'thread-poised', 'a forwarding thread is warm and waits for its queue', {
      thread: seat.number,
      batches,
    });
    this.#poised.add(seat);
    if (this.#poised.size === this.seats.length) this.#settle?.();
  }

  #onForwarding(seat: Seat, drivers: { ingress: string; egress: string }): void {
    const { journal, replaced } = this.#options;
    const again = this.#known.has(seat);
    this.#known.add(seat);
    journal.record(
      'info',
      again ? 'thread-restarted' : 'thread-started',
      `forwarding thread ${again ? 'restarted' : 'started'}`,
      {
        thread: seat.number,
        ingress: drivers.ingress,
        egress: drivers.egress,
      },
    );
    this.#forwarding.add(seat);
    if (this.#forwarding.size === this.seats.length) this.#settle?.();
    if (again && this.#phase === 'running') replaced();
  }

  #onEnded(seat: Seat, end: ThreadEnd): void {
    this.#forwarding.delete(seat);
    this.#closeBaton(seat);
    if ((this.#phase === 'stopping' || this.#phase === 'leaving') && (end.clean || end.failure === null)) return;
    // It left late, after the hand-over had come to nothing.
    if (this.#phase === 'running' && end.clean && seat.leftAt !== 0) {
      this.#replace(seat);
      return;
    }
    const { journal, clock, gaveUp } = this.#options;
    const failure = end.failure ?? { message: 'it ended without a word', stack: '', code: '', hint: '', exitCode: EXIT.FAILED };
    const code = failure.code === '' ? 'GD_DAEMON_THREAD' : failure.code;
    if (this.#phase === 'starting') {
      const text = failure.code === '' ? `forwarding thread ${seat.number} did not start: ${failure.message}` : failure.message;
      this.#startFailure ??= new CodedError(code, text, { exitCode: failure.exitCode, hint: failure.hint, cause: failure.stack });
      this.#settle?.();
      return;
    }
    const gone = end.tidy && this.#interfaceGone(failure.code);
    if (gone) {
      journal.record('warn', 'interface-gone', `a forwarding thread lost its interface: ${failure.message}`, {
        thread: seat.number,
        hint: failure.hint,
      });
    } else {
      seat.failures++;
      journal.record('error', 'thread-failed', `a forwarding thread ended by an error: ${failure.message}`, {
        thread: seat.number,
        code,
        hint: failure.hint,
        stack: failure.stack,
      });
    }
    if (this.#phase === 'stopping' || this.#phase === 'leaving') return;
    const now = clock.seconds();
    this.#failures = this.#failures.filter((second) => now - second < FAILURE_WINDOW);
    if (!gone) this.#failures.push(now);
    if (!end.tidy) {
      gaveUp(new CodedError('GD_DAEMON_THREAD_LOST', `forwarding thread ${seat.number} died and left its descriptors open`));
    } else if (this.#failures.length > MOST_FAILURES) {
      gaveUp(
        new CodedError('GD_DAEMON_THREADS_FAIL', `${this.#failures.length} forwarding threads failed within ${FAILURE_WINDOW} s`),
      );
    } else if (code === EGRESS_GONE && !('interface' in this.#options.egress)) {
      this.#closeEgressQueue(seat);
      this.#replace(seat);
    } else if (gone && this.#foreign().length > 0) {
      if ('interface' in this.#options.ingress) this.#closeQueue(seat);
      this.#park(seat);
    } else {
      // The queue of a device that somebody removed leads nowhere: a new one brings the device back.
      if (gone) this.#closeQueue(seat);
      this.#replace(seat);
    }
  }

  /** True when a thread ended because somebody removed its interface, also one that it was about to open. */
  #interfaceGone(code: string): boolean {
    const { interfaceIndex } = this.#options;
    return code === INGRESS_GONE || code === EGRESS_GONE || this.#foreign().some((name) => interfaceIndex(name) === 0);
  }
}
