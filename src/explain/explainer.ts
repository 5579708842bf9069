/** Sends one packet through the packet path, beside whatever else happens, and tells what became of it. */
import { Arena, BATCH_RECORDS, HEADROOM, LARGE_STRIDE } from '../base/arena.ts';
import { Batch, type IngressFacts, LINK_RAW_IP } from '../base/batch.ts';
import { createBank } from '../base/counters.ts';
import { dropReason } from '../base/drop-reason.ts';
import { segmentBytes } from '../base/segment-bytes.ts';
import { VERDICT_DROP, VERDICT_FORWARD } from '../base/verdict.ts';
import { FlowTable } from '../pipeline/flow-table.ts';
import { Pipeline, type PipelineOptions } from '../pipeline/pipeline.ts';
import { Snapshot, type SnapshotParts } from '../pipeline/snapshot.ts';
import type { Spec } from '../pipeline/spec.ts';
import { FlowsOfThread, type LiveFlows } from './flow-entries.ts';
import type { Trail } from './trail.ts';
import { Witness } from './witness.ts';

/** What the director is, as far as a packet notices. */
export interface ExplainerOptions {
  /** What is in force, and what its snapshot was built from. */
  readonly spec: Spec;
  readonly parts: SnapshotParts;
  /** The flow table of a running director; null for an empty one. */
  readonly live: LiveFlows | null;
  /** Bytes of the largest outer packet by backend id; null for no limit. */
  readonly pathMtu: Int32Array | null;
  /** How packets come in; `link` is of the frames that are explained. */
  readonly ingress: IngressFacts;
  /** Facts of the way out. */
  readonly egress: Pick<
    PipelineOptions,
    'sourcePortBase' | 'sourcePortMask' | 'trainsNeedChecksum' | 'wholeTrains' | 'outerFragments'
  >;
}

/** virtio-net facts of a merged frame, as an ingress fills them in. */
export interface Merged {
  readonly gsoType: number;
  readonly gsoSize: number;
  readonly virtioFlags: number;
  readonly csumStart: number;
  readonly csumOffset: number;
  readonly headerLength: number;
}

/** Counters that nobody reads: one bank, of a megabyte, for all questions. */
const BANK = createBank();
const NO_KEY = Int32Array.of(0x6578706c, 0x61696e21);
const FEW = 1024;
const TRUNCATED = dropReason('truncated');

export const RAW_IP: IngressFacts = { link: LINK_RAW_IP, hopDone: true, canPass: false, headerVerified: true };

export class Explainer {
  readonly #options: ExplainerOptions;
  readonly #batch: Batch;

  constructor(options: ExplainerOptions) {
    this.#options = options;
    this.#batch = new Batch(Arena.inProcess(1, LARGE_STRIDE, BATCH_RECORDS), options.ingress);
  }

  /**
   * The trail of `frame`; one longer than 65,535 bytes and its link header is dropped as truncated. `now`: seconds of the batch clock. Nothing of the director is changed: flow entries are
   * those that it would find and make.
   */
  explain(frame: Uint8Array, now: number, merged: Merged | null = null): Trail {
    const { live } = this.#options;
    if (live === null) return this.#run(frame, now, merged, 0, null);
    // The thread whose region has the flow is the one that gets its packets; of a flow that none has, the first is as good as any.
    for (let thread = 0; thread < live.threads; thread++) {
      const flows = new FlowsOfThread(live, thread);
      let isHere = false;
      const told = this.#run(frame, now, merged, thread, flows, (low, high) => {
        isHere = flows.has(low, high);
      });
      if (isHere || live.threads === 1) return told;
    }
    return this.#run(frame, now, merged, 0, new FlowsOfThread(live, 0));
  }

  /** Every packet that the frame explained last leaves as, whole. */
  departures(): Uint8Array[] {
    const batch = this.#batch;
    if (batch.verdict[0] !== VERDICT_FORWARD) return [];
    return Array.from({ length: batch.segmentCount[0] }, (_, k) => segmentBytes(batch, 0, k));
  }

  #run(
    frame: Uint8Array,
    now: number,
    merged: Merged | null,
    thread: number,
    flows: FlowsOfThread | null,
    found: (low: number, high: number) => void = () => {},
  ): Trail {
    const { spec, parts, pathMtu, egress } = this.#options;
    const batch = this.#batch;
    this.#place(frame, merged);
    const snapshot = new Snapshot(parts);
    const own = flows?.own ?? new FlowTable(FEW, NO_KEY);
    const siblings = flows?.others ?? [];
    const pipeline = new Pipeline({
      snapshot,
      flows: own,
      siblings,
      bank: BANK,
      ...egress,
      ...(pathMtu === null ? {} : { pathMtu }),
    });
    const world = { spec, names: parts.names, snapshot, flows: own, siblings, region: thread, pathMtu };
    const witness = new Witness(world, batch, now, (low, high) => {
      flows?.take(low, high);
      found(low, high);
    });
    pipeline.process(batch, now, witness);
    return witness.trail();
  }

  /** As an ingress leaves it (io/frame.ts). */
  #place(frame: Uint8Array, merged: Merged | null): void {
    const batch = this.#batch;
    batch.count = 1;
    batch.frameAt[0] = batch.slotAt[0] + HEADROOM;
    const length = Math.min(frame.length, batch.frameCapacity);
    batch.arena.bytes.set(frame.subarray(0, length), batch.frameAt[0]);
    batch.frameLength[0] = length;
    batch.virtioFlags[0] = merged?.virtioFlags ?? 0;
    batch.gsoType[0] = merged?.gsoType ?? 0;
    batch.gsoSize[0] = merged?.gsoSize ?? 0;
    batch.headerLength[0] = merged?.headerLength ?? 0;
    batch.csumStart[0] = merged?.csumStart ?? 0;
    batch.csumOffset[0] = merged?.csumOffset ?? 0;
    batch.verdict[0] = VERDICT_DROP;
    batch.reason[0] = length < frame.length ? TRUNCATED : 0;
  }
}
