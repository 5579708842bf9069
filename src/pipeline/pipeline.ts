/**
 * The fixed sequence of stages: classify → appoint → steer → clamp → segment → encapsulate → guard. Run to completion over one batch; no dispatch per packet,
 * no allocation, no exception.
 *
 * Stages are closures made for one batch and one shard. A forwarding thread makes them once, and V8 compiles the code of a closure
 * that was made once with everything it closes over as constants: a column is then read in two instructions and not in eight. In a
 * process with several pipelines (tests) the same code runs at about half that speed (docs/performance.md).
 */
import type { Batch } from '../base/batch.ts';
import { counterAt, DROPS_AT } from '../base/counters.ts';
import { dropReason } from '../base/drop-reason.ts';
import { VERDICT_APART, VERDICT_DROP, VERDICT_FORWARD } from '../base/verdict.ts';
import { flowLanes, LANES_BYTES } from '../maglev-hash/index.ts';
import * as ipv4 from '../wire/ipv4.ts';
import * as ipv6 from '../wire/ipv6.ts';
import { accountStage } from './account.ts';
import { type AppointTally, appointStage } from './appoint.ts';
import { type ClassifyTally, classifyStage } from './classify.ts';
import type { DropNotes } from './drop-notes.ts';
import { encapsulateStage } from './encapsulate.ts';
import type { FlowTable } from './flow-table.ts';
import type { FragmentHold } from './fragment-hold.ts';
import { type FragmentTally, fragmentOuterStage } from './fragment-outer.ts';
import { type FragmentsTally, fragmentStage } from './fragment-stage.ts';
import { FragmentTable } from './fragment-table.ts';
import { Identifiers } from './identifiers.ts';
import { H_STATELESS_POOLS } from './layout.ts';
import { type ClampTally, mssClampStage } from './mss-clamp.ts';
import { nearBackends } from './near-backends.ts';
import { guardFragmentsStage, guardStage } from './offsets.ts';
import { plainPackets } from './plain-packets.ts';
import { plainTunnel } from './plain-tunnel.ts';
import { quoteTally } from './quote-steering.ts';
import { recentServices } from './recent-services.ts';
import { finishAgain } from './remote-checksum.ts';
import { ReplyRate } from './reply-rate.ts';
import { type SegmentTally, segmentStage } from './segment-stage.ts';
import type { Snapshot } from './snapshot.ts';
import type { StageRecorder } from './stage-recorder.ts';
import { statelessStage } from './stateless.ts';
import { type SteerTally, steerStage } from './steer.ts';
import { type ExpiredTally, timeExceededStage } from './time-exceeded.ts';
import { tunnelExtraStage } from './tunnel-extra.ts';

const HITS = counterAt('flow_table_hits_total');
const MISSES = counterAt('flow_table_misses_total');
const INSERTS = counterAt('flow_table_inserts_total');
const EVICTIONS = counterAt('flow_table_evictions_total');
const REFUSED = counterAt('flow_table_refused_total');
const COMPLETED_CHECKSUMS = counterAt('completed_checksums_total');
const RESEGMENTED = counterAt('resegmented_packets_total');
const CLAMPED = counterAt('mss_clamped_packets_total');
const QUIC_ROUTED = counterAt('quic_routed_packets_total');
const QUIC_UNKNOWN = counterAt('quic_unknown_server_packets_total');
const ANSWERED = counterAt('too_big_answers_total');
const ANSWERS_LOST = counterAt('too_big_answers_lost_total');
const EXPIRED_ANSWERED = counterAt('ttl_expired_answers_total');
/** Place in the bank of each kind of ICMP message that is steered: by the ERROR_ numbers of icmp-quote.ts, pings first. */
const STEERED_ICMP = Int32Array.of(
  counterAt('echo_forwarded_total'),
  counterAt('icmp_unreachable_steered_total'),
  counterAt('icmp_too_big_steered_total'),
  counterAt('icmp_time_exceeded_steered_total'),
  counterAt('icmp_parameter_problem_steered_total'),
);
const FRAGMENTED_INNER = counterAt('fragmented_inner_packets_total');
const FRAGMENTED_OUTER = counterAt('fragmented_outer_packets_total');

const FRAGMENTS_STEERED = counterAt('fragments_steered_total');
const FRAGMENTS_ELSEWHERE = counterAt('fragments_found_elsewhere_total');
const FRAGMENTS_HELD = counterAt('fragments_held_total');
const FRAGMENTS_RELEASED = counterAt('fragments_released_total');
const FRAGMENTS_TIMED_OUT = counterAt('fragments_timed_out_total');
const FRAGMENT_EVICTIONS = counterAt('fragment_table_evictions_total');
const RECEIVED_PACKETS = counterAt('received_packets_total');
const RECEIVED_BYTES = counterAt('received_bytes_total');
const FRAGMENT_TIMEOUT = DROPS_AT + dropReason('fragment-timeout');

const SEND_TOO_BIG = dropReason('send-too-big');

export interface PipelineOptions {
  readonly snapshot: Snapshot;
  /** This thread's own shard. */
  readonly flows: FlowTable;
  /** The other threads' shards, read only. */
  readonly siblings?: readonly FlowTable[];
  /** This thread's counters (base/counters.ts). */
  readonly bank: Float64Array;
  /** Outer UDP source ports are base + (hash & mask): the egress driver's facts. */
  readonly sourcePortBase: number;
  readonly sourcePortMask: number;
  /** The egress driver's too; absent: false. */
  readonly trainsNeedChecksum?: boolean;
  /** Bytes of the largest outer packet for each backend id, 0 for no limit. Absent: no limit for any. Others may write it at any time. */
  readonly pathMtu?: Int32Array;
  /** Where packets that were cut for their size are noted (cut-notes.ts). Absent: nowhere. */
  readonly cutNotes?: Int32Array;
  /** Where packets that are dropped are noted. Absent: nowhere. */
  readonly dropNotes?: DropNotes;
  /** The egress takes super-packets uncut (its facts: `trains` is `tunnel-gso`). Absent: it does not. */
  readonly wholeTrains?: boolean;
  /** The egress takes fragments of outer packets (its facts). Absent: it does not. */
  readonly outerFragments?: boolean;
  /** How often this thread may say that a packet is too big. Absent: the defaults of reply-rate.ts. */
  readonly replyRate?: ReplyRate;
  /** How often it may say that a TTL ran out: apart, so that a flood of such packets leaves the other answers alone. Absent: the same. */
  readonly expiredRate?: ReplyRate;
  /** Number of this thread: threads that deal packets out one by one begin at different places. Absent: 0. */
  readonly thread?: number;
  /** Identifications for what is fragmented. Absent: from 1 on. */
  readonly identifiers?: Identifiers;
  /** This thread's own shard of the fragment table, and the other threads'. Absent: a small one that nobody else sees. */
  readonly fragments?: FragmentTable;
  readonly fragmentSiblings?: readonly FragmentTable[];
  /** Where fragments wait that come before the first one of their packet. Absent: they are dropped. */
  readonly hold?: FragmentHold;
}

/** A table for who needs none of a certain size (tests, offline runs). */
const FEW_FRAGMENTS = 1024;
/** Seconds. */
export const FRAGMENT_TIMEOUT_DEFAULT = 5;

/** The stages, bound to a batch. */
interface Stages {
  readonly batch: Batch;
  readonly classify: ReturnType<typeof classifyStage>;
  readonly timeExceeded: ReturnType<typeof timeExceededStage>;
  readonly appoint: ReturnType<typeof appointStage>;
  readonly markStateless: ReturnType<typeof statelessStage>;
  readonly steer: ReturnType<typeof steerStage>;
  readonly fragments: ReturnType<typeof fragmentStage>;
  readonly clamp: ReturnType<typeof mssClampStage>;
  readonly tunnelExtra: ReturnType<typeof tunnelExtraStage>;
  readonly segment: ReturnType<typeof segmentStage>;
  readonly encapsulate: ReturnType<typeof encapsulateStage>;
  readonly guard: ReturnType<typeof guardStage>;
  readonly fragmentOuter: ReturnType<typeof fragmentOuterStage>;
  readonly guardFragments: ReturnType<typeof guardFragmentsStage>;
  readonly account: ReturnType<typeof accountStage>;
}

export class Pipeline {
  /** Replace between batches, never while `process` runs. */
  snapshot: Snapshot;
  readonly #flows: FlowTable;
  readonly #siblings: readonly FlowTable[];
  readonly #bank: Float64Array;
  readonly #portBase: number;
  readonly #portMask: number;
  readonly #trainsNeedChecksum: boolean;
  readonly #pathMtu: Int32Array | null;
  readonly #replyRate: ReplyRate;
  readonly #expiredRate: ReplyRate;
  readonly #cutNotes: Int32Array | null;
  readonly #dropNotes: DropNotes | null;
  readonly #wholeTrains: boolean;
  readonly #outerFragments: boolean;
  readonly #identifiers: Identifiers;
  readonly #fragments: FragmentTable;
  readonly #fragmentSiblings: readonly FragmentTable[];
  readonly #hold: FragmentHold | null;
  readonly #turn: number;
  #stages: Stages | null = null;
  readonly #classified: ClassifyTally & ExpiredTally = { completedChecksums: 0, expired: 0, expiredAnswered: 0 };
  readonly #appointed: AppointTally = { byServerId: 0, unknownServerIds: 0 };
  readonly #steered: SteerTally = { hits: 0, misses: 0, inserts: 0, touched: 0, ...quoteTally() };
  readonly #fragmentsSteered: FragmentsTally = { steered: 0, foundElsewhere: 0 };
  readonly #clamped: ClampTally = { clamped: 0 };
  readonly #segmented: SegmentTally & FragmentTally = { resegmented: 0, answered: 0, fragmentedInner: 0, fragmentedOuter: 0 };

  constructor(options: PipelineOptions) {
    this.snapshot = options.snapshot;
    this.#flows = options.flows;
    this.#siblings = options.siblings ?? [];
    this.#bank = options.bank;
    this.#portBase = options.sourcePortBase;
    this.#portMask = options.sourcePortMask;
    this.#trainsNeedChecksum = options.trainsNeedChecksum ?? false;
    this.#pathMtu = options.pathMtu ?? null;
    this.#replyRate = options.replyRate ?? new ReplyRate();
    this.#expiredRate = options.expiredRate ?? new ReplyRate();
    this.#cutNotes = options.cutNotes ?? null;
    this.#dropNotes = options.dropNotes ?? null;
    this.#wholeTrains = options.wholeTrains ?? false;
    this.#outerFragments = options.outerFragments ?? false;
    this.#identifiers = options.identifiers ?? new Identifiers();
    this.#fragments =
      options.fragments ??
      new FragmentTable(FEW_FRAGMENTS, Int32Array.of(this.#flows.key0, this.#flows.key1), FRAGMENT_TIMEOUT_DEFAULT);
    this.#fragmentSiblings = options.fragmentSiblings ?? [];
    this.#hold = options.hold ?? null;
    this.#turn = Math.imul(options.thread ?? 0, 0x9e3779b1);
  }

  /**
   * Gives every packet of the batch its verdict; those with verdict forward are complete packets at outAt. `now`: seconds. `recorder`: told
   * when each stage is through.
   */
  process(batch: Batch, now: number, recorder: StageRecorder | null = null): void {
    const snapshot = this.snapshot;
    const stages = this.#stagesOf(batch);
    batch.linkHeadersLost = false;
    stages.classify(snapshot, this.#classified);
    if (this.#classified.expired > 0) {
      stages.timeExceeded(now, this.#classified);
      this.#classified.expired = 0;
    }
    if (recorder !== null) recorder.after('classify', batch);
    stages.appoint(snapshot, this.#appointed);
    if (snapshot.words[H_STATELESS_POOLS] !== 0) stages.markStateless(snapshot);
    if (recorder !== null) recorder.after('appoint', batch);
    stages.steer(snapshot, now, this.#steered);
    if (batch.fragments > 0) stages.fragments(snapshot, now, this.#fragmentsSteered);
    if (recorder !== null) recorder.after('steer', batch);
    stages.clamp(snapshot, this.#clamped);
    if (recorder !== null) recorder.after('clamp', batch);
    this.#finish(batch, now, recorder);
  }

  /** From the size of a packet on. */
  #finish(batch: Batch, now: number, recorder: StageRecorder | null): void {
    const snapshot = this.snapshot;
    const stages = this.#stagesOf(batch);
    stages.tunnelExtra(snapshot);
    stages.segment(snapshot, now, this.#segmented);
    if (recorder !== null) recorder.after('segment', batch);
    stages.encapsulate(snapshot);
    if (recorder !== null) recorder.after('encapsulate', batch);
    stages.guard();
    if (batch.outerFragmented > 0) {
      stages.fragmentOuter(this.#segmented);
      stages.guardFragments();
    }
    if (recorder !== null) recorder.after('guard', batch);
  }

  /**
   * Takes packets out of the batch that the egress dropped as too big and that `isNarrower` says will be cut now. Returns how many: then,
   * after `account`, `again` is their turn.
   */
  setApart(batch: Batch, now: number, isNarrower: (batch: Batch, i: number, now: number) => boolean): number {
    const { verdict, reason, fragmentsOuter } = batch;
    let apart = 0;
    for (let i = 0; i < batch.count; i++) {
      if (verdict[i] !== VERDICT_DROP || reason[i] !== SEND_TOO_BIG || fragmentsOuter[i] !== 0) continue;
      if (!isNarrower(batch, i, now)) continue;
      verdict[i] = VERDICT_APART;
      apart++;
    }
    return apart;
  }

  /**
   * The packets that were set apart go through segmentation once more; the others, which have left and are counted, are set apart now. What
   * can not be cut is answered only where frames have no link header: encapsulation has written over it. Its sender's next one is answered.
   */
  again(batch: Batch, now: number): void {
    const { verdict, reason, recordAt, networkAt, family } = batch;
    const { view } = batch.arena;
    batch.linkHeadersLost = true;
    for (let i = 0; i < batch.count; i++) {
      if (verdict[i] !== VERDICT_APART) {
        verdict[i] = VERDICT_APART;
        continue;
      }
      verdict[i] = VERDICT_FORWARD;
      reason[i] = 0;
      finishAgain(batch, i, this.snapshot.words);
      // A train's packet has its own headers as they came; of a single one encapsulation has taken the hop.
      if (batch.ingress.hopDone || recordAt[i] >= 0) continue;
      if (family[i] === 4) ipv4.incrementTtl(view, networkAt[i]);
      else ipv6.incrementHopLimit(view, networkAt[i]);
    }
    this.#finish(batch, now, null);
  }

  /** True while fragments wait for the first one of their packet: then `release` wants to be called after every batch, and when nothing comes. */
  get holds(): boolean {
    return this.#hold !== null && this.#hold.waiting > 0;
  }

  /** True when only another thread can end the wait of some: it does not call, so it must be looked at. */
  get watches(): boolean {
    return this.#fragmentSiblings.length > 0 && this.holds;
  }

  /**
   * Fills `batch`, which must be finished and counted, with fragments that waited and whose packet is known by now. Returns how many: it is
   * then processed, sent and counted as one that was received. What has waited too long is counted as received and dropped. `now`: seconds.
   */
  release(batch: Batch, now: number): number {
    const hold = this.#hold;
    if (hold === null) return 0;
    if (hold.waiting === 0 && hold.held === 0) return 0;
    hold.poll(this.#fragmentSiblings, now);
    hold.expire(now);
    const count = hold.release(batch);
    const bank = this.#bank;
    bank[FRAGMENTS_HELD] += hold.held;
    bank[FRAGMENTS_RELEASED] += hold.released;
    bank[FRAGMENTS_TIMED_OUT] += hold.lost;
    bank[FRAGMENT_TIMEOUT] += hold.lost;
    bank[RECEIVED_PACKETS] += hold.lost;
    bank[RECEIVED_BYTES] += hold.lostBytes;
    hold.held = 0;
    hold.released = 0;
    hold.lost = 0;
    hold.lostBytes = 0;
    return count;
  }

  /** Counts the batch, after the egress and the reply path have sent it. */
  account(batch: Batch): void {
    const bank = this.#bank;
    const steered = this.#steered;
    this.#stagesOf(batch).account(this.snapshot);
    bank[HITS] += steered.hits;
    bank[MISSES] += steered.misses;
    bank[INSERTS] += steered.inserts;
    bank[EVICTIONS] += this.#flows.evictions;
    bank[REFUSED] += this.#flows.refused;
    bank[FRAGMENTS_STEERED] += this.#fragmentsSteered.steered;
    bank[FRAGMENTS_ELSEWHERE] += this.#fragmentsSteered.foundElsewhere;
    bank[FRAGMENT_EVICTIONS] += this.#fragments.evictions;
    bank[COMPLETED_CHECKSUMS] += this.#classified.completedChecksums;
    bank[CLAMPED] += this.#clamped.clamped;
    bank[QUIC_ROUTED] += this.#appointed.byServerId;
    bank[QUIC_UNKNOWN] += this.#appointed.unknownServerIds;
    bank[RESEGMENTED] += this.#segmented.resegmented;
    bank[ANSWERED] += this.#segmented.answered;
    bank[ANSWERS_LOST] += batch.answersLost;
    bank[FRAGMENTED_INNER] += this.#segmented.fragmentedInner;
    bank[FRAGMENTED_OUTER] += this.#segmented.fragmentedOuter;
    bank[EXPIRED_ANSWERED] += this.#classified.expiredAnswered;
    for (let kind = 0; kind < STEERED_ICMP.length; kind++) bank[STEERED_ICMP[kind]] += steered.steered[kind];
    steered.steered.fill(0);
    this.#classified.expiredAnswered = 0;
    steered.hits = 0;
    steered.misses = 0;
    steered.inserts = 0;
    this.#flows.evictions = 0;
    this.#flows.refused = 0;
    this.#fragmentsSteered.steered = 0;
    this.#fragmentsSteered.foundElsewhere = 0;
    this.#fragments.evictions = 0;
    this.#classified.completedChecksums = 0;
    this.#clamped.clamped = 0;
    this.#appointed.byServerId = 0;
    this.#appointed.unknownServerIds = 0;
    this.#segmented.resegmented = 0;
    this.#segmented.answered = 0;
    this.#segmented.fragmentedInner = 0;
    this.#segmented.fragmentedOuter = 0;
  }

  /** The stages of `batch`: made when it is first seen, kept while no other batch comes. */
  #stagesOf(batch: Batch): Stages {
    const stages = this.#stages;
    if (stages !== null && stages.batch === batch) return stages;
    const near = nearBackends(batch.arena);
    const plain = plainTunnel(batch, near, this.#portBase, this.#portMask);
    const lanesAt = batch.arena.take(LANES_BYTES);
    const laneMemory = lanesAt < 0 ? null : { buffer: batch.arena.memory, at: lanesAt };
    const lanes = flowLanes(this.#flows.key0, this.#flows.key1, batch.capacity, laneMemory);
    const recent = recentServices(batch.arena);
    const made = {
      batch,
      classify: classifyStage(batch, lanes, recent, plainPackets(batch, lanes, recent)),
      timeExceeded: timeExceededStage(batch, this.#expiredRate),
      appoint: appointStage(batch, this.#turn),
      markStateless: statelessStage(batch),
      steer: steerStage(batch, near, lanes, this.#flows, this.#siblings),
      fragments: fragmentStage(batch, this.#fragments, this.#fragmentSiblings, this.#hold),
      clamp: mssClampStage(batch, this.#pathMtu),
      tunnelExtra: tunnelExtraStage(batch),
      segment: segmentStage(batch, this.#pathMtu, this.#replyRate, this.#identifiers, this.#cutNotes, {
        wholeTrains: this.#wholeTrains,
        outerFragments: this.#outerFragments,
      }),
      encapsulate: encapsulateStage(
        batch,
        near,
        this.#identifiers,
        this.#portBase,
        this.#portMask,
        this.#trainsNeedChecksum,
        plain,
      ),
      guard: guardStage(batch, plain),
      fragmentOuter: fragmentOuterStage(batch, this.#pathMtu, this.#identifiers),
      guardFragments: guardFragmentsStage(batch),
      account: accountStage(batch, this.#bank, this.#dropNotes),
    };
    this.#stages = made;
    return made;
  }
}
