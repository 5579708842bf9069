/**
 * `trace` of the running director: gives every forwarding thread its order and a ring, reads the rings, and tells whoever asked. One trace at a time: what it may cost is
 * promised for one. It ends when its client goes away, after its count or its seconds, when the director stops or hands over; a thread that is replaced goes on with it, once.
 */
import type { Action, ActionAnswer } from '../admin/actions.ts';
import type { LineStream } from '../admin/trace-stream.ts';
import { CodedError, EXIT } from '../base/errors.ts';
import type { EventJournal } from '../observe/events.ts';
import type { SnapshotNames, SnapshotParts } from '../pipeline/snapshot.ts';
import { RING_BYTES } from '../trace/bounds.ts';
import { readRecord } from '../trace/record.ts';
import { type TraceRequest, traceRequest } from '../trace/request.ts';
import { RingReader, ringMemory } from '../trace/ring.ts';
import type { TraceOrder } from '../trace/tap.ts';
import { type TraceEnd, type TraceTally, toldOf } from '../trace/told.ts';
import type { MailToThread } from './thread-protocol.ts';

/** Milliseconds between two looks at the rings: a thread's ring takes what its rate allows for far longer. */
const LOOK_MS = 20;
const PROGRESS_MS = 1000;
/** Bytes that the client may leave unread before the rings are left alone; then these fill, and threads leave packets out. */
const MOST_BACKLOG = 4 * 1024 * 1024;
/** Records that are read in one look: whoever else wants something of main waits no longer. */
const MOST_AT_ONCE = 500;

/**
 * Threads that may be replaced before the trace ends: should it be the trace that they fail by, they must not fail so often that the director gives up
 * (forwarding-threads.ts, MOST_FAILURES).
 */
const MOST_REPLACED = 1;
/** Milliseconds behind its order in which a thread that fails does so by the trace, as far as anybody can tell: its successor does not get the order. */
const PROBATION_MS = 500;

/** A forwarding thread's seat, as far as a trace goes. */
interface TracedSeat {
  readonly number: number;
  /** Milliseconds since boot when its thread began to read; another number is another thread. */
  readonly beganAt: number;
  /** Times a thread in this seat ended by an error. */
  readonly failures: number;
  /** Why the thread can not do what its last order says; empty while nothing is wrong. */
  readonly traceFailure: string;
  post(mail: MailToThread): void;
}

export interface TraceKeeperOptions {
  readonly clock: { seconds(): number; milliseconds(): number };
  readonly journal: EventJournal;
  readonly publisher: { readonly current: SnapshotParts | null };
  /** None before the threads are started. */
  readonly seats: () => readonly TracedSeat[];
}

export class TraceKeeper {
  readonly #options: TraceKeeperOptions;
  #session: TraceSession | null = null;

  constructor(options: TraceKeeperOptions) {
    this.#options = options;
  }

  /** `{ end: true }` ends the trace that runs, with its last line. Else: 200 and lines, 400 for a request that can not be read, 409 while another trace runs, 503 while nothing forwards. */
  readonly action: Action = (asked) => {
    if (asked.end === true) {
      const ended = this.#session !== null;
      this.end('client');
      return { status: 200, body: { ended } };
    }
    const { publisher, seats } = this.#options;
    const { current } = publisher;
    if (current === null || seats().length === 0) {
      return { status: 503, body: { message: 'no forwarding thread is at work yet', hint: 'ask again in a moment' } };
    }
    const running = this.#session;
    if (running !== null) {
      const message = `somebody else traces "${running.request.filter}", for at most ${running.secondsLeft} s more`;
      return {
        status: 409,
        body: { code: 'GD_TRACE_BUSY', message, hint: 'one trace at a time: wait, or end it with Ctrl-C where it runs' },
      };
    }
    try {
      return this.#begin(traceRequest(asked, current.names));
    } catch (error) {
      if (!(error instanceof CodedError) || error.exitCode !== EXIT.USAGE) throw error;
      return { status: 400, body: { message: error.message, hint: error.hint, code: error.code } };
    }
  };

  #begin(request: TraceRequest): ActionAnswer {
    return {
      status: 200,
      body: {},
      stream: (out) => {
        // Two that asked in the same moment: the second one finds the first at work.
        if (this.#session !== null) {
          out.write({ kind: 'note', text: 'somebody else began to trace in the same moment: ask again' });
          out.end();
          return;
        }
        const session = new TraceSession(this.#options, request, out, () => {
          this.#session = null;
        });
        this.#session = session;
        session.begin();
      },
    };
  }

  /** Ends the trace that runs, if one does. */
  end(why: TraceEnd): void {
    this.#session?.end(why);
  }
}

class TraceSession {
  readonly request: TraceRequest;
  readonly #options: TraceKeeperOptions;
  readonly #out: LineStream;
  readonly #ended: () => void;
  readonly #until: number;
  /** Milliseconds since 1970 when the machine started. */
  readonly #epoch: number;
  readonly #rings = new Map<
    number,
    { readonly memory: SharedArrayBuffer; readonly reader: RingReader; beganAt: number; failures: number; orderedAt: number }
  >();
  /** Names by generation: a packet is told with those that were in force when it came. */
  readonly #names = new Map<number, SnapshotNames>();
  #told = 0;
  /** Over the rate of all threads together. */
  #overRate = 0;
  #second = 0;
  #inSecond = 0;
  /** Threads that were replaced since it began. */
  #replaced = 0;
  #saidAt = 0;
  #timer: NodeJS.Timeout | null = null;
  #isOver = false;

  constructor(options: TraceKeeperOptions, request: TraceRequest, out: LineStream, ended: () => void) {
    this.#options = options;
    this.request = request;
    this.#out = out;
    this.#ended = ended;
    const { clock } = options;
    this.#until = clock.seconds() + request.seconds;
    this.#epoch = Date.now() - clock.milliseconds();
  }

  get secondsLeft(): number {
    return Math.max(1, this.#until - this.#options.clock.seconds());
  }

  /** Never throws: what goes wrong ends the trace. */
  begin(): void {
    const { filter, count, seconds, rate, snap } = this.request;
    const { journal, seats } = this.#options;
    this.#guarded(() => {
      this.#orders();
      this.#out.write({ kind: 'started', filter, count, seconds, rate, snap, threads: seats().length });
      journal.record('info', 'trace-started', 'somebody traces packets', { count, seconds, rate, snap }, { filter });
      this.#timer = setInterval(() => this.#guarded(() => this.#look()), LOOK_MS);
      this.#out.closed(() => this.end('client'));
    });
  }

  /** Once; whoever asks next may trace from then on, whatever goes wrong here. */
  end(why: TraceEnd): void {
    if (this.#isOver) return;
    this.#isOver = true;
    if (this.#timer !== null) clearInterval(this.#timer);
    try {
      for (const seat of this.#options.seats()) seat.post({ kind: 'trace', order: null });
      const tally = this.#tally();
      this.#out.write({ kind: 'ended', why, ...tally });
      this.#options.journal.record('info', 'trace-ended', 'a trace ended', { why, ...tally }, { filter: this.request.filter });
    } catch (error) {
      this.#failed(error);
    } finally {
      this.#ended();
      this.#out.end();
    }
  }

  /** An error of a trace is the end of the trace, not of the director. */
  #guarded(step: () => void): void {
    try {
      step();
    } catch (error) {
      this.#failed(error);
      this.end('error');
    }
  }

  #failed(error: unknown): void {
    const logged = { filter: this.request.filter, error: error instanceof Error ? error.stack : String(error) };
    this.#options.journal.record('error', 'trace-failed', 'a trace could not go on', {}, logged);
  }

  #look(): void {
    if (this.#isOver) return;
    const { clock } = this.#options;
    this.#orders();
    if (this.#isOver) return;
    this.#read();
    if (this.#replaced > MOST_REPLACED) this.end('threads');
    if (this.#isOver) return;
    const now = clock.milliseconds();
    if (now - this.#saidAt >= PROGRESS_MS) {
      this.#saidAt = now;
      this.#out.write({ kind: 'progress', ...this.#tally() });
    }
    if (this.#told >= this.request.count) this.end('count');
    else if (clock.seconds() >= this.#until) this.end('seconds');
  }

  #orders(): void {
    const { publisher, seats } = this.#options;
    if (publisher.current !== null) this.#names.set(publisher.current.generation, publisher.current.names);
    for (const seat of seats()) if (!this.#isOver) this.#order(seat);
  }

  /** Tells a thread what to trace: when the trace begins, and whenever another thread sits in the seat. */
  #order(seat: TracedSeat): void {
    const known = this.#rings.get(seat.number);
    const now = this.#options.clock.milliseconds();
    if (known !== undefined) {
      if (seat.traceFailure !== '') {
        this.#failed(`forwarding thread ${seat.number}: ${seat.traceFailure}`);
        this.end('error');
      } else if (seat.failures !== known.failures) {
        known.failures = seat.failures;
        if (now - known.orderedAt < PROBATION_MS) this.end('threads');
      }
      if (this.#isOver || known.beganAt === seat.beganAt) return;
    }
    if (known !== undefined && ++this.#replaced > MOST_REPLACED) return;
    const memory = known?.memory ?? ringMemory(RING_BYTES);
    const { expression: filter, snap, rate } = this.request;
    const order: TraceOrder = { filter, snap, rate, until: this.#until + 1, ring: memory };
    const { names } = this.#options.publisher.current as SnapshotParts;
    seat.post({ kind: 'trace', order, names });
    const { beganAt, failures } = seat;
    if (known === undefined)
      this.#rings.set(seat.number, { memory, reader: new RingReader(memory), beganAt, failures, orderedAt: now });
    else {
      known.beganAt = beganAt;
      known.orderedAt = now;
      this.#out.write({
        kind: 'note',
        text: `forwarding thread ${seat.number} was replaced; its packets in between are missing`,
      });
    }
  }

  #read(): void {
    let left = MOST_AT_ONCE;
    for (const [thread, { reader }] of this.#rings) {
      while (left-- > 0 && this.#told < this.request.count && this.#out.backlog < MOST_BACKLOG) {
        const at = reader.next();
        if (at < 0) break;
        this.#tell(reader, at, thread);
        reader.release();
      }
    }
  }

  #tell(reader: RingReader, at: number, thread: number): void {
    const record = readRecord(reader.view, at);
    const second = Math.floor(record.time / 1000);
    // Rings are read one behind the other: a packet of the second before may come behind one of this.
    if (second > this.#second) {
      this.#second = second;
      this.#inSecond = 0;
    }
    if (this.#inSecond++ >= this.request.rate) {
      this.#overRate++;
      return;
    }
    const names = this.#names.get(record.generation) ?? [...this.#names.values()].at(-1);
    if (names === undefined) throw new RangeError('a packet was traced before anything was published');
    this.#told++;
    this.#out.write(toldOf(record, this.#told, thread, this.#epoch, names));
  }

  #tally(): TraceTally {
    const sum = { matched: 0, overRate: this.#overRate, noRoom: 0 };
    for (const { reader } of this.#rings.values()) {
      const { matched, overRate, noRoom } = reader.tally();
      sum.matched += matched;
      sum.overRate += overRate;
      sum.noRoom += noRoom;
    }
    return { matched: sum.matched, told: this.#told, overRate: sum.overRate, noRoom: sum.noRoom };
  }
}
