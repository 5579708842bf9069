/**
 * What a forwarding thread does while somebody traces: before each batch it looks which packets may match, behind it writes those that did into a ring that main reads. Off,
 * it costs one comparison per batch.
 *
 *     before(now)  →  process, send, reply  →  after()
 *
 * Nothing is allocated once a trace has begun; the work of a batch is bounded by its size and by the rate.
 */

import { RECORD_STRIDE } from '../base/arena.ts';
import { type Batch, VIRTIO_NEEDS_CSUM } from '../base/batch.ts';
import { VERDICT_FORWARD, VERDICT_REPLY } from '../base/verdict.ts';
import { H_MSS_CLAMPS } from '../pipeline/layout.ts';
import type { Snapshot, SnapshotNames } from '../pipeline/snapshot.ts';
import * as ipv4 from '../wire/ipv4.ts';
import * as ipv6 from '../wire/ipv6.ts';
import { AsItCame, copyBytes } from './as-it-came.ts';
import { type CompiledFilter, compileFilter } from './filter/compile.ts';
import type { Expression } from './filter/expression.ts';
import { familyOf, headersOf } from './filter/headers.ts';
import { columnNames, serviceId } from './numbers.ts';
import * as record from './record.ts';
import { RingWriter } from './ring.ts';

/** What main asks of each forwarding thread; structured-cloneable. */
export interface TraceOrder {
  readonly filter: Expression;
  /** Bytes of each packet that are kept; 0: its headers. */
  readonly snap: number;
  /** Packets a second. */
  readonly rate: number;
  /** Second since boot from which on the thread traces no more, whatever main does. */
  readonly until: number;
  readonly ring: SharedArrayBuffer;
}

/** Where the tap learns what is in force: the pipeline. */
interface InForce {
  readonly snapshot: Snapshot;
}

const HEADER = record.RECORD_HEADER;
const LEFT_HEADER = record.LEFT_HEADER;
const REPLY = VERDICT_REPLY;
const FORWARD = VERDICT_FORWARD;

interface TapOptions {
  readonly raisesHops?: boolean;
  readonly fault?: (error: unknown) => void;
}

const rethrow = (error: unknown): never => {
  throw error;
};

const NO_NAMES: SnapshotNames = { services: [], pools: [], backends: [] };

export class TraceTap {
  /** Looked at once per batch, before it and behind it. */
  on = false;
  readonly #batch: Batch;
  readonly #inForce: InForce;
  readonly #clock: { milliseconds(): number };
  /** The egress writes one hop more into outer headers than leaves the host (io/tap-offload). */
  readonly #raisesHops: boolean;
  readonly #fault: (error: unknown) => void;
  readonly #selected: Int32Array;
  readonly #parts: Int32Array;
  readonly #matched: Int32Array;
  #order: TraceOrder | null = null;
  #filter: CompiledFilter | null = null;
  #ring: RingWriter | null = null;
  #came: AsItCame | null = null;
  #candidates = 0;
  #tokens = 0;
  #second = -1;

  /** `fault`: hears why a trace ended by itself. Without it such an error is thrown. */
  constructor(
    batch: Batch,
    inForce: InForce,
    clock: { milliseconds(): number },
    { raisesHops = false, fault = rethrow }: TapOptions = {},
  ) {
    this.#batch = batch;
    this.#inForce = inForce;
    this.#clock = clock;
    this.#raisesHops = raisesHops;
    this.#fault = fault;
    this.#selected = new Int32Array(batch.capacity);
    this.#parts = new Int32Array(batch.capacity);
    this.#matched = new Int32Array(batch.capacity);
  }

  /** Between two batches. `names`: those of the snapshot in force. null ends the trace. */
  follow(order: TraceOrder | null, names: SnapshotNames = NO_NAMES): void {
    this.#order = order;
    this.on = order !== null;
    this.#candidates = 0;
    if (order === null) {
      this.#filter = null;
      this.#ring = null;
      this.#came = null;
      return;
    }
    this.#filter = compileFilter(order.filter, this.#batch, columnNames(this.#inForce.snapshot, names));
    this.#ring = new RingWriter(order.ring);
    this.#came = new AsItCame(this.#batch, order.snap);
    this.#second = -1;
  }

  /** Between two batches: another snapshot is in force, whose services have other numbers. */
  renamed(names: SnapshotNames): void {
    if (this.#order !== null)
      this.#filter = compileFilter(this.#order.filter, this.#batch, columnNames(this.#inForce.snapshot, names));
  }

  /** Before the batch is processed. Only while `on`. `now`: seconds since boot. An error in it ends the trace, and nothing else: the packets go on. */
  before(now: number): void {
    try {
      this.#select(now);
    } catch (error) {
      this.follow(null);
      this.#fault(error);
    }
  }

  #select(now: number): void {
    const order = this.#order as TraceOrder;
    const filter = this.#filter as CompiledFilter;
    if (now !== this.#second) {
      if (now >= order.until) {
        this.on = false;
        this.#candidates = 0;
        return;
      }
      this.#second = now;
      this.#tokens = order.rate;
    }
    this.#candidates = filter.looks ? filter.select(this.#selected, this.#parts) : 0;
    if (filter.selects) {
      if (this.#candidates > 0) this.#keep(filter.decides);
      return;
    }
    this.#candidates = this.#batch.count;
    if (this.#tokens > 0) (this.#came as AsItCame).note(filter.answers, this.#inForce.snapshot.words[H_MSS_CLAMPS] !== 0);
  }

  /** `decides`: which of the candidates match is known only afterwards, so that any of them may be told. */
  #keep(decides: boolean): void {
    const count = decides && this.#tokens > 0 ? this.#candidates : Math.min(this.#candidates, this.#tokens);
    (this.#came as AsItCame).keep(this.#selected, count);
  }

  /** When the batch, or what had been set apart of it, has left. Only while `on` was true before it. An error in it ends the trace, as in `before`. */
  after(): void {
    if (this.#candidates === 0) return;
    try {
      this.#decide();
    } catch (error) {
      this.follow(null);
      this.#fault(error);
    }
  }

  #decide(): void {
    const filter = this.#filter as CompiledFilter;
    const matched = filter.decide(this.#selected, this.#parts, this.#candidates, this.#matched);
    if (matched > 0) this.#tell(matched, filter.selects);
  }

  #tell(matched: number, selects: boolean): void {
    const came = this.#came as AsItCame;
    const ring = this.#ring as RingWriter;
    const time = this.#tokens > 0 ? this.#clock.milliseconds() : 0;
    let overRate = 0;
    let noRoom = 0;
    for (let m = 0; m < matched; m++) {
      const i = this.#matched[m];
      if (this.#tokens <= 0 || (selects && !came.isKept(i))) overRate++;
      else if (this.#write(i, time, came, ring)) this.#tokens--;
      else noRoom++;
    }
    ring.count(matched, overRate, noRoom);
  }

  /** Writes packet `i` into the ring; false when it has no room. */
  #write(i: number, time: number, came: AsItCame, ring: RingWriter): boolean {
    const batch = this.#batch;
    const verdict = batch.verdict[i];
    const length = came.lengthOf(i);
    const kept = came.keptBytes(i);
    const forwards = verdict === FORWARD ? this.#packetsOf(i) : 0;
    const replies = (verdict === REPLY ? 1 : 0) + this.#answersTo(i);
    let bytes = HEADER + record.padded(kept);
    for (let k = 0; k < forwards; k++) bytes += LEFT_HEADER + record.padded(this.#keptOfForward(i, k, kept));
    if (verdict === REPLY) bytes += LEFT_HEADER + record.padded(this.#keptOfReply(i, batch.outAt[i], batch.outLength[i]));
    for (let a = 0; a < batch.answers; a++) {
      if (batch.answerTo[a] === i)
        bytes += LEFT_HEADER + record.padded(this.#keptOfReply(i, batch.answerAt[a], batch.answerLength[a]));
    }
    bytes = (bytes + 7) & ~7;
    const at = ring.reserve(bytes);
    if (at < 0) return false;
    const { view } = ring;
    const partial = (batch.virtioFlags[i] & VIRTIO_NEEDS_CSUM) !== 0 ? record.FLAG_PARTIAL_CHECKSUM : 0;
    view.setInt32(at + record.AT_GENERATION, this.#inForce.snapshot.generation, true);
    view.setFloat64(at + record.AT_TIME, time, true);
    view.setInt32(at + record.AT_VERDICT, verdict, true);
    view.setInt32(at + record.AT_REASON, batch.reason[i], true);
    view.setInt32(at + record.AT_SERVICE, serviceId(this.#inForce.snapshot.words, batch.service[i]), true);
    view.setInt32(at + record.AT_BACKEND, batch.backend[i], true);
    view.setInt32(at + record.AT_LENGTH, length === 0 ? batch.frameLength[i] : length, true);
    view.setInt32(at + record.AT_KEPT, kept, true);
    view.setInt32(at + record.AT_FLAGS, partial | (length === 0 ? record.FLAG_NOT_IP : 0), true);
    view.setInt32(at + record.AT_GSO_TYPE, batch.gsoType[i], true);
    view.setInt32(at + record.AT_GSO_SIZE, batch.gsoSize[i], true);
    view.setInt32(at + record.AT_ENCAPSULATION, batch.encapsulation[i], true);
    view.setInt32(at + record.AT_SOURCE_PORT, batch.sourcePort[i], true);
    view.setInt32(at + record.AT_LEFT, forwards + replies, true);
    came.write(i, view, at + HEADER, kept);
    let here = at + HEADER + record.padded(kept);
    for (let k = 0; k < forwards; k++) here = this.#writeForward(i, k, kept, view, here);
    if (verdict === REPLY) here = this.#writeReply(i, batch.outAt[i], batch.outLength[i], view, here);
    for (let a = 0; a < batch.answers; a++) {
      if (batch.answerTo[a] === i) here = this.#writeReply(i, batch.answerAt[a], batch.answerLength[a], view, here);
    }
    ring.commit(at, bytes);
    return true;
  }

  /** Packets that the egress sent for packet `i`: parts of a train, or one. */
  #packetsOf(i: number): number {
    return this.#batch.recordAt[i] >= 0 ? this.#batch.segmentCount[i] : 1;
  }

  #answersTo(i: number): number {
    let answers = 0;
    for (let a = 0; a < this.#batch.answers; a++) if (this.#batch.answerTo[a] === i) answers++;
    return answers;
  }

  #lengthOfForward(i: number, k: number): number {
    const batch = this.#batch;
    if (batch.recordAt[i] < 0) return batch.outLength[i];
    const piece = batch.recordOf(i, k);
    return batch.pieceHeader[piece] + batch.pieceLength[piece];
  }

  /** Bytes kept of packet `k` that left for `i`, of which `kept` are kept: as many of the inner packet, and what stands before them. */
  #keptOfForward(i: number, k: number, kept: number): number {
    const batch = this.#batch;
    const length = this.#lengthOfForward(i, k);
    if (batch.recordAt[i] < 0) return Math.min(length, batch.networkAt[i] - batch.outAt[i] + kept);
    const headers = batch.pieceHeader[batch.recordOf(i, k)];
    const order = this.#order as TraceOrder;
    if (order.snap === 0) return headers;
    return Math.min(length, Math.max(headers, order.snap + Math.min(headers, this.#outerOfTrain(i))));
  }

  /**
   * Bytes before the inner packet in the first packet of train `i`. Its payload begins behind the inner headers, which the record has too; of a single packet that is cut into
   * fragments it begins before them.
   */
  #outerOfTrain(i: number): number {
    const batch = this.#batch;
    const first = batch.recordOf(i, 0);
    return batch.pieceHeader[first] - (batch.pieceAt[first] - batch.networkAt[i]);
  }

  #writeForward(i: number, k: number, kept: number, view: DataView, at: number): number {
    const batch = this.#batch;
    const bytes = this.#keptOfForward(i, k, kept);
    const isTrain = batch.recordAt[i] >= 0;
    const cuts = isTrain ? 1 : batch.segmentCount[i];
    view.setInt32(at, this.#lengthOfForward(i, k), true);
    view.setInt32(at + 4, bytes, true);
    view.setInt32(at + 8, record.LEFT_FORWARD | (cuts << 16), true);
    view.setInt32(at + 12, cuts === 1 ? 0 : batch.segmentSize[i] | (this.#headersOfWhole(i) << 16), true);
    const from = at + LEFT_HEADER;
    const source = batch.arena.view;
    if (isTrain) {
      const piece = batch.recordOf(i, k);
      const headers = Math.min(bytes, batch.pieceHeader[piece]);
      copyBytes(view, from, source, batch.recordAt[i] + k * RECORD_STRIDE, headers);
      copyBytes(view, from + headers, source, batch.pieceAt[piece], bytes - headers);
    } else copyBytes(view, from, source, batch.outAt[i], bytes);
    if (this.#raisesHops) lowerHops(view, from);
    return from + record.padded(bytes);
  }

  /** Headers of super-packet `i` that leaves whole, outer ones included. */
  #headersOfWhole(i: number): number {
    const { networkAt, networkLength, outAt, arena } = this.#batch;
    return networkAt[i] - outAt[i] + headersOf(arena.view, networkAt[i], networkLength[i]);
  }

  /** Bytes of link header in front of what the ingress sends. */
  #linkOf(i: number): number {
    return (this.#came as AsItCame).startOf(i) - this.#batch.frameAt[i];
  }

  #keptOfReply(i: number, at: number, length: number): number {
    const link = this.#linkOf(i);
    const { view } = this.#batch.arena;
    const own = length - link;
    const order = this.#order as TraceOrder;
    if (familyOf(view, at + link, own) === 0) return 0;
    return order.snap === 0 ? headersOf(view, at + link, own) : Math.min(own, order.snap);
  }

  #writeReply(i: number, at: number, length: number, view: DataView, to: number): number {
    const link = this.#linkOf(i);
    const bytes = this.#keptOfReply(i, at, length);
    view.setInt32(to, length - link, true);
    view.setInt32(to + 4, bytes, true);
    view.setInt32(to + 8, record.LEFT_REPLY | (1 << 16), true);
    view.setInt32(to + 12, 0, true);
    copyBytes(view, to + LEFT_HEADER, this.#batch.arena.view, at + link, bytes);
    return to + LEFT_HEADER + record.padded(bytes);
  }
}

/** Takes the hop off again that io/tap-offload adds for the kernel to take off. */
function lowerHops(view: DataView, at: number): void {
  if (view.getUint8(at) >>> 4 === 4) {
    if (ipv4.ttl(view, at) !== 255) ipv4.decrementTtl(view, at);
  } else if (ipv6.hopLimit(view, at) !== 255) ipv6.setHopLimit(view, at, ipv6.hopLimit(view, at) - 1);
}
