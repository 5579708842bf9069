/**
 * `trace` of the running director: gives every forwarding thread its order and a ring, reads the rings, and tells whoever asked. One trace at a time: what it may cost is
 * promised for one. It ends when its client goes away, after its count or its seconds, when the director stops or hands over; threads that are replaced go on with it.
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

/** A forwarding thread's seat, as far as a trace goes. */
interface TracedSeat {
  readonly number: number;
  /** Milliseconds since boot when its thread began to read; another number is another thread. */
  readonly beganAt: number;
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
  readonly #rings = new Map<number, { readonly memory: SharedArrayBuffer; readonly reader: RingReader; beganAt: number }>();
  /** Names by generation: a packet is told with those that were in force when it came. */
  readonly #names = new Map<number, SnapshotNames>();
  #told = 0;
  /** Over the rate of all threads together. */
  #overRate = 0;
  #second = 0;
  #inSecond = 0;
  #saidAt = 0;
  #timer: NodeJS.Timeout | null = null;

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

  begin(): void {
    const { filter, count, seconds, rate, snap } = this.request;
    const { journal, seats } = this.#options;
    this.#look();
    this.#out.write({ kind: 'started', filter, count, seconds, rate, snap, threads: seats().length });
    journal.record('info', 'trace-started', 'somebody traces packets', { filter, count, seconds, rate, snap });
    this.#timer = setInterval(() => this.#look(), LOOK_MS);
    this.#out.closed(() => this.end('client'));
  }

  end(why: TraceEnd): void {
    if (this.#timer === null) return;
    clearInterval(this.#timer);
    this.#timer = null;
    for (const seat of this.#options.seats()) seat.post({ kind: 'trace', order: null });
    const tally = this.#tally();
    this.#out.write({ kind: 'ended', why, ...tally });
    this.#out.end();
    this.#options.journal.record('info', 'trace-ended', 'a trace ended', { filter: this.request.filter, why, ...tally });
    this.#ended();
  }

  #look(): void {
    const { clock, publisher, seats } = this.#options;
    if (publisher.current !== null) this.#names.set(publisher.current.generation, publisher.current.names);
    for (const seat of seats()) this.#order(seat);
    this.#read();
    if (this.#timer === null) return;
    const now = clock.milliseconds();
    if (now - this.#saidAt >= PROGRESS_MS) {
      this.#saidAt = now;
      this.#out.write({ kind: 'progress', ...this.#tally() });
    }
    if (this.#told >= this.request.count) this.end('count');
    else if (clock.seconds() >= this.#until) this.end('seconds');
  }

  /** Tells a thread what to trace: when the trace begins, and whenever another thread sits in the seat. */
  #order(seat: TracedSeat): void {
    const known = this.#rings.get(seat.number);
    if (known !== undefined && known.beganAt === seat.beganAt) return;
    const memory = known?.memory ?? ringMemory(RING_BYTES);
    const { expression: filter, snap, rate } = this.request;
    const order: TraceOrder = { filter, snap, rate, until: this.#until + 1, ring: memory };
    seat.post({ kind: 'trace', order });
    if (known === undefined) this.#rings.set(seat.number, { memory, reader: new RingReader(memory), beganAt: seat.beganAt });
    else {
      known.beganAt = seat.beganAt;
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
    if (second !== this.#second) {
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
