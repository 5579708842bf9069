/** The packet path over frames in memory: what a test gives in, and everything it may ask about what came out. */
import { Arena, LARGE_STRIDE } from '../../src/base/arena.ts';
import { Batch, type IngressFacts, LINK_ETHERNET, LINK_RAW_IP } from '../../src/base/batch.ts';
import { createBank } from '../../src/base/counters.ts';
import { DROP_REASONS } from '../../src/base/drop-reason.ts';
import { VERDICT_DROP, VERDICT_FORWARD, VERDICT_HELD, VERDICT_REPLY, VERDICTS } from '../../src/base/verdict.ts';
import type { DropNotes } from '../../src/pipeline/drop-notes.ts';
import { FlowTable } from '../../src/pipeline/flow-table.ts';
import type { FragmentHold } from '../../src/pipeline/fragment-hold.ts';
import type { FragmentTable } from '../../src/pipeline/fragment-table.ts';
import { Pipeline } from '../../src/pipeline/pipeline.ts';
import type { ReplyRate } from '../../src/pipeline/reply-rate.ts';
import { Snapshot, SnapshotBuilder, type SnapshotParts } from '../../src/pipeline/snapshot.ts';
import type { Affinity, BackendSpec, ChecksumMode, Fragments, MssClamp, Oversize, Spec } from '../../src/pipeline/spec.ts';
import { ip } from '../builder/addresses.ts';

export const SERVICE4 = '198.51.100.1';
export const SERVICE6 = '2001:db8:2::1';
export const SOURCE4 = '10.0.0.254';
export const SOURCE6 = 'fd00::fe';

/** As TUN delivers. */
export const TUN: IngressFacts = { link: LINK_RAW_IP, hopDone: true, canPass: false, headerVerified: true };
/** As AF_PACKET delivers. */
export const PACKET: IngressFacts = { link: LINK_ETHERNET, hopDone: false, canPass: false, headerVerified: false };
/** As a bridged TAP delivers: the link is ours to answer for. */
export const TAP: IngressFacts = { ...PACKET, linkAddress: { high: 0x02000000, low: 0xfe } };
/** As AF_XDP delivers: it owns the packet. */
export const XDP: IngressFacts = { link: LINK_ETHERNET, hopDone: false, canPass: true, headerVerified: false };

export interface SpecOptions {
  readonly backends?: readonly BackendSpec[];
  readonly outer?: 4 | 6;
  readonly checksum?: ChecksumMode;
  readonly affinity?: Affinity;
  readonly oversize?: Oversize;
  readonly mssClamp?: MssClamp;
  readonly fragments?: Fragments;
  readonly protocol?: number;
  readonly ports?: readonly [number, number];
}

export function backends(count: number, outer: 4 | 6 = 4): BackendSpec[] {
  return Array.from({ length: count }, (_, i) => ({
    name: `w${i + 1}`,
    address: ip(outer === 4 ? `10.0.0.${i + 1}` : `fd00::${(i + 1).toString(16)}`),
    weight: 1,
    state: 'active' as const,
  }));
}

/** TCP (or `protocol`) port 443 (or `ports`) of both service addresses, one pool. */
export function specOf(options: SpecOptions = {}): Spec {
  const outer = options.outer ?? 4;
  const [portFrom, portTo] = options.ports ?? [443, 443];
  const service = {
    protocol: options.protocol ?? 6,
    portFrom,
    portTo,
    affinity: options.affinity ?? '5-tuple',
    pool: 'p',
    ...(options.oversize === undefined ? {} : { oversize: options.oversize }),
    ...(options.mssClamp === undefined ? {} : { mssClamp: options.mssClamp }),
    ...(options.fragments === undefined ? {} : { fragments: options.fragments }),
  } as const;
  return {
    services: [
      { name: 'web4', prefix: { bytes: ip(SERVICE4), length: 32 }, ...service },
      { name: 'web6', prefix: { bytes: ip(SERVICE6), length: 128 }, ...service },
    ],
    pools: [
      {
        name: 'p',
        tableSize: 1009,
        seed: 1,
        tunnel: {
          encapsulation: 'gue',
          port: 6080,
          source4: ip(SOURCE4),
          source6: ip(SOURCE6),
          checksum: options.checksum ?? 'auto',
        },
        backends: options.backends ?? backends(3, outer),
      },
    ],
  };
}

export interface Outcome {
  readonly verdict: string;
  readonly reason: string;
  readonly backend: string | null;
  readonly sourcePort: number;
  /** The packet that leaves: encapsulated, or the reply; null for drop and pass. */
  readonly bytes: Uint8Array | null;
}

/** virtio-net facts for one frame. */
export interface Virtio {
  readonly flags?: number;
  readonly gsoType?: number;
  readonly gsoSize?: number;
  readonly csumStart?: number;
  readonly csumOffset?: number;
}

export class Rig {
  readonly builder = new SnapshotBuilder();
  readonly flows: FlowTable;
  readonly bank = createBank();
  readonly batch: Batch;
  readonly pipeline: Pipeline;
  /** Bytes for each backend id; empty where there is no limit. */
  readonly pathMtu: Int32Array;
  #parts: SnapshotParts;

  constructor(
    spec: Spec,
    facts: IngressFacts = TUN,
    options: {
      entries?: number;
      siblings?: FlowTable[];
      capacity?: number;
      records?: number;
      /** Of every backend. */
      pathMtu?: number;
      replyRate?: ReplyRate;
      expiredRate?: ReplyRate;
      trainsNeedChecksum?: boolean;
      outerFragments?: boolean;
      cutNotes?: Int32Array;
      dropNotes?: DropNotes;
      fragments?: FragmentTable;
      fragmentSiblings?: FragmentTable[];
      hold?: FragmentHold;
    } = {},
  ) {
    this.#parts = this.builder.build(spec, 0);
    this.flows = new FlowTable(options.entries ?? 4096, Int32Array.of(11, 22));
    this.batch = new Batch(Arena.inProcess(options.capacity ?? 16, LARGE_STRIDE, options.records ?? 0), facts);
    this.pathMtu = new Int32Array(options.pathMtu === undefined ? 0 : 64).fill(options.pathMtu ?? 0);
    this.pipeline = new Pipeline({
      snapshot: new Snapshot(this.#parts),
      flows: this.flows,
      siblings: options.siblings ?? [],
      bank: this.bank,
      sourcePortBase: 49152,
      sourcePortMask: 16383,
      ...(options.pathMtu === undefined ? {} : { pathMtu: this.pathMtu }),
      trainsNeedChecksum: options.trainsNeedChecksum ?? false,
      outerFragments: options.outerFragments ?? false,
      ...(options.replyRate === undefined ? {} : { replyRate: options.replyRate }),
      ...(options.expiredRate === undefined ? {} : { expiredRate: options.expiredRate }),
      ...(options.fragments === undefined ? {} : { fragments: options.fragments }),
      ...(options.fragmentSiblings === undefined ? {} : { fragmentSiblings: options.fragmentSiblings }),
      ...(options.hold === undefined ? {} : { hold: options.hold }),
      ...(options.cutNotes === undefined ? {} : { cutNotes: options.cutNotes }),
      ...(options.dropNotes === undefined ? {} : { dropNotes: options.dropNotes }),
    });
  }

  /** What is in force. */
  get parts(): SnapshotParts {
    return this.#parts;
  }

  /** Publishes another spec, as a reload would. */
  publish(spec: Spec, now: number): void {
    this.#parts = this.builder.build(spec, now);
    this.pipeline.snapshot = new Snapshot(this.#parts);
  }

  /** Loads frames into the batch, as a driver would; at most its capacity. */
  load(frames: readonly Uint8Array[], virtio: readonly Virtio[] = []): void {
    const { batch } = this;
    frames.forEach((frame, i) => {
      batch.arena.bytes.set(frame, batch.frameAt[i]);
      batch.frameLength[i] = frame.length;
      batch.virtioFlags[i] = virtio[i]?.flags ?? 0;
      batch.gsoType[i] = virtio[i]?.gsoType ?? 0;
      batch.gsoSize[i] = virtio[i]?.gsoSize ?? 0;
      batch.headerLength[i] = 0;
      batch.csumStart[i] = virtio[i]?.csumStart ?? 0;
      batch.csumOffset[i] = virtio[i]?.csumOffset ?? 0;
      batch.verdict[i] = 0;
      batch.reason[i] = 0;
    });
    batch.count = frames.length;
  }

  outcome(i: number): Outcome {
    const { batch } = this;
    const leaves = batch.verdict[i] === VERDICT_FORWARD || batch.verdict[i] === VERDICT_REPLY;
    return {
      verdict: batch.verdict[i] === VERDICT_HELD ? 'held' : VERDICTS[batch.verdict[i]],
      reason: batch.verdict[i] === VERDICT_DROP ? DROP_REASONS[batch.reason[i]].word : 'none',
      backend: this.#parts.names.backends.find((b) => b.id === batch.backend[i])?.name ?? null,
      sourcePort: batch.sourcePort[i],
      bytes: leaves ? batch.arena.bytes.slice(batch.outAt[i], batch.outAt[i] + batch.outLength[i]) : null,
    };
  }

  /** Runs frames through the whole path, in batches. */
  run(frames: readonly Uint8Array[], options: { now?: number; virtio?: readonly Virtio[] } = {}): Outcome[] {
    const outcomes: Outcome[] = [];
    for (let from = 0; from < frames.length; from += this.batch.capacity) {
      const piece = frames.slice(from, from + this.batch.capacity);
      this.load(piece, options.virtio?.slice(from, from + this.batch.capacity));
      this.pipeline.process(this.batch, options.now ?? 0);
      this.pipeline.account(this.batch);
      piece.forEach((_, i) => {
        outcomes.push(this.outcome(i));
      });
    }
    return outcomes;
  }

  one(frame: Uint8Array, options: { now?: number; virtio?: Virtio } = {}): Outcome {
    return this.run([frame], { ...options, virtio: options.virtio === undefined ? [] : [options.virtio] })[0];
  }
}
