// Where cases run: every kind of ingress, each with a pipeline and a batch over an arena of poison, and services of every policy and checksum
// mode, told apart by port, on backends of both families.

import { Arena, HEADROOM, LARGE_STRIDE } from '../../../src/base/arena.ts';
import { Batch, type IngressFacts, LINK_ETHERNET, LINK_RAW_IP } from '../../../src/base/batch.ts';
import { createBank } from '../../../src/base/counters.ts';
import { clearFrame, placeFrame } from '../../../src/io/frame.ts';
import { FlowTable } from '../../../src/pipeline/flow-table.ts';
import { Pipeline } from '../../../src/pipeline/pipeline.ts';
import { ReplyRate } from '../../../src/pipeline/reply-rate.ts';
import { Snapshot, SnapshotBuilder } from '../../../src/pipeline/snapshot.ts';
import type { ChecksumMode, MssClamp, Oversize, Spec } from '../../../src/pipeline/spec.ts';
import { VIP4, VIP6 } from '../packets.ts';
import { pathSpec } from '../path.ts';
import type { Case } from './draft.ts';
import type { Rules } from './leaving.ts';

export const POLICIES: readonly Oversize[] = ['segment', 'segment-and-tell', 'icmp', 'fragment-inner', 'fragment-outer', 'drop'];
const CHECKSUMS: readonly ChecksumMode[] = ['none', 'full', 'auto'];
const CLAMPS: readonly MssClamp[] = ['off', 1000, 'auto'];
const FIRST_PORT = 443;
/** Policies are told apart by port, and checksum modes of their pools. */
export const PORTS = POLICIES.flatMap((_, p) => CHECKSUMS.map((_mode, c) => FIRST_PORT + p * CHECKSUMS.length + c));

/** Every pool has backends of both families. */
export const BACKENDS = CHECKSUMS.length * 4;
/** Fewer than a batch of lies may ask for: running out is a case too. */
const RECORDS = 1536;

export function portOf(policy: Oversize, checksum: ChecksumMode): number {
  return FIRST_PORT + POLICIES.indexOf(policy) * CHECKSUMS.length + CHECKSUMS.indexOf(checksum);
}

/** Rules of the service on a port. The clamp goes with the checksum mode, to need no more ports. */
export function serviceOf(port: number): Rules | undefined {
  const i = PORTS.indexOf(port);
  const policy = POLICIES[Math.floor(i / CHECKSUMS.length)];
  return i < 0 ? undefined : { policy, mssClamp: CLAMPS[i % CHECKSUMS.length] };
}

/** Services of every policy on pools of every checksum mode. */
export function specOf(): Spec {
  const pools = CHECKSUMS.map((checksum) => {
    const [four, six] = ([4, 6] as const).map((outer) => pathSpec(outer, checksum).pools[0]);
    const backends = [...four.backends.slice(0, 2), ...six.backends.slice(0, 2)].map((one, i) => ({
      ...one,
      name: `worker-${i}`,
    }));
    return { ...four, name: `pool-${checksum}`, backends };
  });
  const services = PORTS.flatMap((port, i) =>
    [4, 6].flatMap((family) =>
      [6, 17].map((protocol) => ({
        name: `s-${port}-${family}-${protocol}`,
        prefix: family === 4 ? { bytes: VIP4, length: 32 } : { bytes: VIP6, length: 128 },
        protocol,
        portFrom: port,
        portTo: port,
        affinity: '5-tuple' as const,
        oversize: POLICIES[Math.floor(i / CHECKSUMS.length)],
        mssClamp: CLAMPS[i % CHECKSUMS.length],
        pool: pools[i % CHECKSUMS.length].name,
      })),
    ),
  );
  return { services, pools };
}

const raw = { link: LINK_RAW_IP, canPass: false } as const;
const ethernet = { link: LINK_ETHERNET, hopDone: false, canPass: false, headerVerified: false } as const;
const linkAddress = { high: 0x02000000, low: 0xfe };

/** What the drivers are: TUN, a capture of raw IP, packet sockets, TAP as a bridge port and routed, AF_XDP. */
export const INGRESSES: readonly IngressFacts[] = [
  { ...raw, hopDone: true, headerVerified: true },
  { ...raw, hopDone: false, headerVerified: false },
  ethernet,
  { ...ethernet, linkAddress },
  { ...ethernet, hopDone: true, linkAddress },
  { ...ethernet, canPass: true },
];

export function poisonedArena(slots: number, poison: number): Arena {
  const arena = Arena.inProcess(slots, LARGE_STRIDE, RECORDS);
  arena.bytes.fill(poison);
  return arena;
}

/** One ingress: a batch over `arena` and the pipeline that it goes through. */
export class Place {
  readonly batch: Batch;
  readonly pipeline: Pipeline;
  readonly #flows = new FlowTable(64, Int32Array.of(1, 2));
  readonly #poison: number;
  /** Columns that the path itself writes: what lies there from another packet must not matter. */
  readonly #written: readonly (Int32Array | Uint16Array | Uint8Array)[];

  /** `stingy`: few answers a second. */
  constructor(arena: Arena, facts: IngressFacts, poison: number, pathMtu: Int32Array, stingy: boolean) {
    this.#poison = poison;
    this.batch = new Batch(arena, facts);
    this.pipeline = new Pipeline({
      snapshot: new Snapshot(new SnapshotBuilder().build(specOf())),
      flows: this.#flows,
      bank: createBank(),
      sourcePortBase: 49152,
      sourcePortMask: 16383,
      pathMtu,
      replyRate: new ReplyRate(stingy ? { perSecond: 4, burst: 4, destinationPerSecond: 2, destinationBurst: 2 } : {}),
    });
    const b = this.batch;
    this.#written = [
      [b.networkAt, b.transportAt, b.networkLength, b.family, b.protocol, b.tcpFlags, b.flowHash, b.service, b.answerAt],
      [b.fingerprintLow, b.fingerprintHigh, b.backend, b.outAt, b.outLength, b.outerNetworkAt, b.outerTransportAt],
      [b.tunnelAt, b.outerFamily, b.sourcePort, b.pieceHeader, b.pieceAt, b.pieceLength, b.answerLength, b.answerTo],
    ].flat();
  }

  /** The batch with no packets, and nothing left of those before. */
  clear(): void {
    for (const column of this.#written) column.fill(this.#poison * 0x01010101);
    this.#flows.words.fill(0);
    this.batch.count = 0;
  }

  /** Puts a case into the next slot, as a driver does. `shift`: bytes in front of the usual place (packet sockets, VLAN tags). */
  add({ frame, facts }: Case, shift: number): void {
    const { batch } = this;
    const i = batch.count++;
    clearFrame(batch, i);
    batch.frameAt[i] -= shift;
    batch.virtioFlags[i] = facts.virtioFlags;
    batch.gsoType[i] = facts.gsoType;
    batch.gsoSize[i] = facts.gsoSize;
    batch.headerLength[i] = facts.headerLength;
    batch.csumStart[i] = facts.csumStart;
    batch.csumOffset[i] = facts.csumOffset;
    placeFrame(batch, i, frame);
  }

  /** Runs the batch. `now`: seconds; long after the last time, so that every answer is allowed again. */
  run(now: number): void {
    this.pipeline.process(this.batch, now);
    this.pipeline.account(this.batch);
  }

  /** Whether the bytes behind frame `i`, `most` of them at most and none behind its slot, are as they were. `clean`: so much poison. */
  tailIsClean(i: number, clean: Uint8Array, most: number): boolean {
    const { batch } = this;
    const from = batch.frameAt[i] + batch.frameLength[i];
    const to = Math.min(from + most, batch.slotAt[i] + batch.arena.stride);
    return Buffer.compare(batch.arena.bytes.subarray(from, to), clean.subarray(0, to - from)) === 0;
  }

  /** Poison where the batch's packets and answers lay, and in every record: everywhere again. */
  wipe(): void {
    const { batch } = this;
    const { arena } = batch;
    for (let i = 0; i < batch.count; i++) {
      // A neighbour advertisement is longer than its question.
      const to = batch.frameAt[i] + batch.frameLength[i] + HEADROOM;
      arena.bytes.fill(this.#poison, batch.slotAt[i], Math.min(to, batch.slotAt[i] + arena.stride));
    }
    arena.bytes.fill(this.#poison, arena.recordsAt);
  }
}
