/**
 * The fixed sequence of stages: classify → steer → encapsulate → guard. Run to completion over one batch; no dispatch per packet,
 * no allocation, no exception.
 */
import type { Batch } from '../base/batch.ts';
import { counterAt } from '../base/counters.ts';
import { account } from './account.ts';
import { type ClassifyTally, classify } from './classify.ts';
import { encapsulate } from './encapsulate.ts';
import type { FlowTable } from './flow-table.ts';
import { guardOffsets } from './offsets.ts';
import type { Snapshot } from './snapshot.ts';
import { type SteerTally, steer } from './steer.ts';

const HITS = counterAt('flow_table_hits_total');
const MISSES = counterAt('flow_table_misses_total');
const INSERTS = counterAt('flow_table_inserts_total');
const EVICTIONS = counterAt('flow_table_evictions_total');
const COMPLETED_CHECKSUMS = counterAt('completed_checksums_total');

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
}

export class Pipeline {
  /** Replace between batches, never while `process` runs. */
  snapshot: Snapshot;
  readonly #flows: FlowTable;
  readonly #siblings: readonly FlowTable[];
  readonly #bank: Float64Array;
  readonly #portBase: number;
  readonly #portMask: number;
  readonly #classified: ClassifyTally = { completedChecksums: 0 };
  readonly #steered: SteerTally = { hits: 0, misses: 0, inserts: 0, touched: 0 };

  constructor(options: PipelineOptions) {
    this.snapshot = options.snapshot;
    this.#flows = options.flows;
    this.#siblings = options.siblings ?? [];
    this.#bank = options.bank;
    this.#portBase = options.sourcePortBase;
    this.#portMask = options.sourcePortMask;
  }

  /** Gives every packet of the batch its verdict; those with verdict forward are complete packets at outAt. `now`: seconds. */
  process(batch: Batch, now: number): void {
    const snapshot = this.snapshot;
    classify(batch, snapshot, this.#classified);
    steer(batch, snapshot, this.#flows, this.#siblings, now, this.#steered);
    encapsulate(batch, snapshot, this.#portBase, this.#portMask);
    guardOffsets(batch);
  }

  /** Counts the batch, after the egress and the reply path have sent it. */
  account(batch: Batch): void {
    const bank = this.#bank;
    const steered = this.#steered;
    account(batch, this.snapshot, bank);
    bank[HITS] += steered.hits;
    bank[MISSES] += steered.misses;
    bank[INSERTS] += steered.inserts;
    bank[EVICTIONS] += this.#flows.evictions;
    bank[COMPLETED_CHECKSUMS] += this.#classified.completedChecksums;
    steered.hits = 0;
    steered.misses = 0;
    steered.inserts = 0;
    this.#flows.evictions = 0;
    this.#classified.completedChecksums = 0;
  }
}
