// The packet path with the `udp` egress (or another that takes trains) at the near end of a wire and a capture at its far end: what a train is in software
// (`segmentBytes`), and what the kernel makes of it.

import { VIRTIO_NEEDS_CSUM } from '../../src/base/batch.ts';
import { createBank } from '../../src/base/counters.ts';
import { segmentBytes } from '../../src/base/segment-bytes.ts';
import { VERDICT_FORWARD } from '../../src/base/verdict.ts';
import type { Egress, Ingress } from '../../src/io/driver.ts';
import { createBatch } from '../../src/io/open.ts';
import { PacketIngress } from '../../src/io/packet/ingress.ts';
import { UdpEgress } from '../../src/io/udp/egress.ts';
import { FlowTable } from '../../src/pipeline/flow-table.ts';
import { Pipeline } from '../../src/pipeline/pipeline.ts';
import { Snapshot, SnapshotBuilder } from '../../src/pipeline/snapshot.ts';
import type { ChecksumMode, Spec } from '../../src/pipeline/spec.ts';
import { completePartial } from '../../src/wire/checksum.ts';
import { ip } from '../builder/addresses.ts';
import { everyPort } from '../builder/every-port.ts';
import { DESTINATION4, DESTINATION6, randomShape, type Shape, superPacket } from '../builder/super-packet.ts';
import { Random } from '../full/random.ts';
import { run } from '../host/namespace.ts';
import { transportOf } from '../reference/segment.ts';
import { receiveAll } from './driver.ts';
import { NEAR4, NEAR6, Wire } from './lab.ts';

/** As TUN delivers. */
const FACTS = { link: 2, hopDone: true, canPass: false, headerVerified: true } as const;
const PORTS = 16;
const FAR_ENDS = [2, 3, 4];

function specOf(family: 4 | 6, checksum: ChecksumMode): Spec {
  const ends = FAR_ENDS.map((last) => ip(family === 4 ? `10.1.0.${last}` : `fd00:1::${last}`));
  return {
    services: everyPort([DESTINATION4, DESTINATION6]),
    pools: [
      {
        name: 'p',
        tableSize: 251,
        seed: 1,
        tunnel: { encapsulation: 'gue', port: 6080, source4: NEAR4, source6: NEAR6, checksum },
        backends: ends.map((address, n) => ({ name: `w${n}`, address, weight: 1, state: 'active' as const })),
      },
    ],
  };
}

/** A packet as a TUN device delivers it; `segmentSize` 0: a single packet. */
export interface Loaded {
  readonly bytes: Uint8Array;
  readonly segmentSize: number;
  readonly gsoType: number;
}

/** `payload` bytes from client port `port`, to be cut at `segmentSize`; a single packet where they fit one segment. */
export function upload(
  family: 4 | 6,
  protocol: 6 | 17,
  payload: number,
  segmentSize: number,
  port: number,
  change: Partial<Shape> = {},
): Loaded {
  const shape: Shape = {
    ...randomShape(new Random(port), family, protocol),
    payload,
    segmentSize,
    flags: 0x10,
    reserved: 0,
    tcpOptions: new Uint8Array(12).fill(1),
    ipOptionWords: 0,
    extensions: [],
    trafficClass: 0,
    finished: payload <= segmentSize,
    zeroAt: -1,
    seed: port * 7 + payload,
    ...change,
  };
  const bytes = superPacket(shape);
  const { at } = transportOf(bytes);
  const view = new DataView(bytes.buffer);
  // The source port is part of every checksum: what the builder filled in moves by as much.
  const field = at + (protocol === 6 ? 16 : 6);
  const before = view.getUint16(at);
  view.setUint16(at, port);
  if (shape.finished) {
    const sum = (~view.getUint16(field) & 0xffff) + (~before & 0xffff) + port;
    const folded = (sum & 0xffff) + (sum >>> 16);
    view.setUint16(field, ~(folded + (folded >>> 16)) & 0xffff);
  }
  const gsoType = protocol === 17 ? 5 : family === 4 ? 1 : 4;
  return { bytes, segmentSize: shape.finished ? 0 : segmentSize, gsoType: shape.finished ? 0 : gsoType };
}

export interface TrainLabOptions {
  readonly outer?: 4 | 6;
  readonly checksum?: ChecksumMode;
  readonly mtu?: number;
  /** Opens the egress at the near end; default: `udp`. */
  readonly egress?: (bank: Float64Array) => Egress;
  /** The near end's offloads: with `cut` the kernel cuts and sums before a packet leaves; with `whole` the far end gets messages as sent. */
  readonly offloads?: 'cut' | 'whole';
}

const openUdp = (bank: Float64Array): Egress => new UdpEgress({ sourcePorts: PORTS, bank });

export class TrainLab {
  readonly bank = createBank();
  readonly wire: Wire;
  readonly egress: Egress;
  readonly pipeline: Pipeline;
  readonly #capture: PacketIngress;
  readonly #mapped;
  readonly #captured;

  constructor(options: TrainLabOptions = {}) {
    const outer = options.outer ?? 4;
    this.wire = new Wire(options.mtu ?? 1700);
    const { near, far } = this.wire;
    near.inside(() => {
      for (const last of FAR_ENDS) {
        run(`ip neigh replace 10.1.0.${last} lladdr 02:00:00:00:00:02 dev va nud permanent`);
        run(`ip neigh replace fd00:1::${last} lladdr 02:00:00:00:00:02 dev va nud permanent`);
      }
      if ((options.offloads ?? 'cut') === 'cut') run('ethtool -K va tx off tx-udp-segmentation off gso off');
    });
    this.egress = near.inside(() => (options.egress ?? openUdp)(this.bank));
    const service = { protocol: 17, portFrom: 6080, portTo: 6080 };
    this.#capture = far.inside(
      () =>
        new PacketIngress({
          device: 'vb',
          services: [
            { ...service, prefix: { bytes: ip('10.1.0.0'), length: 24 } },
            { ...service, prefix: { bytes: ip('fd00:1::'), length: 64 } },
          ],
        }),
    );
    this.#mapped = createBatch({ facts: FACTS } as Ingress, 64);
    this.#captured = createBatch(this.#capture, 64);
    this.pipeline = new Pipeline({
      snapshot: new Snapshot(new SnapshotBuilder().build(specOf(outer, options.checksum ?? 'auto'), 0)),
      flows: new FlowTable(4096, Int32Array.of(1, 2)),
      bank: this.bank,
      sourcePortBase: this.egress.facts.sourcePortBase,
      sourcePortMask: this.egress.facts.sourcePortMask,
      trainsNeedChecksum: this.egress.facts.trainsNeedChecksum,
    });
  }

  get batch() {
    return this.#mapped.batch;
  }

  /** Runs the packets through the path, up to the egress. */
  process(packets: readonly Loaded[]): void {
    const { batch } = this;
    packets.forEach(({ bytes, segmentSize, gsoType }, i) => {
      const { at, protocol } = transportOf(bytes);
      batch.arena.bytes.set(bytes, batch.frameAt[i]);
      batch.frameLength[i] = bytes.length;
      batch.virtioFlags[i] = gsoType === 0 ? 0 : VIRTIO_NEEDS_CSUM;
      batch.gsoType[i] = gsoType;
      batch.gsoSize[i] = segmentSize;
      batch.headerLength[i] = 0;
      batch.csumStart[i] = gsoType === 0 ? 0 : at;
      batch.csumOffset[i] = gsoType === 0 ? 0 : protocol === 6 ? 16 : 6;
      batch.verdict[i] = 0;
      batch.reason[i] = 0;
    });
    batch.count = packets.length;
    this.pipeline.process(batch, 0);
  }

  /** What software would send, packet by packet: each segment from its outer header on. */
  software(): Uint8Array[][] {
    const { batch } = this;
    return Array.from({ length: batch.count }, (_, i) =>
      batch.verdict[i] === VERDICT_FORWARD
        ? Array.from({ length: batch.segmentCount[i] }, (__, k) => segmentBytes(batch, i, k))
        : [],
    );
  }

  /** IP packets that arrived, in order, checksums completed; with their gso size, 0 for those that are what they are. */
  arrived(count: number): { bytes: Uint8Array; gsoSize: number }[] {
    const found: { bytes: Uint8Array; gsoSize: number }[] = [];
    const batch = this.#captured.batch;
    receiveAll(this.#capture, batch, count, () => {
      for (let i = 0; i < batch.count; i++) {
        const at = batch.frameAt[i];
        const end = at + batch.frameLength[i];
        const gsoSize = batch.gsoType[i] === 0 ? 0 : batch.gsoSize[i];
        if (gsoSize === 0 && (batch.virtioFlags[i] & 1) !== 0)
          completePartial(batch.arena.view, at + batch.csumStart[i], batch.csumOffset[i], end);
        found.push({ bytes: batch.arena.bytes.slice(at + 14, end), gsoSize });
      }
    });
    return found;
  }

  close(): void {
    this.egress.close();
    this.#capture.close();
    this.#mapped.release();
    this.#captured.release();
    this.wire.close();
  }
}

/** The packet without what is the kernel's to choose: IPv4 identification and header checksum, IPv6 flow label. */
export function comparable(packet: Uint8Array): string {
  const copy = Buffer.from(packet);
  if (copy[0] >> 4 === 4) {
    copy.fill(0, 4, 6);
    copy.fill(0, 10, 12);
  } else {
    copy[1] &= 0xf0;
    copy.fill(0, 2, 4);
  }
  return copy.toString('hex');
}

/** Outer source port and destination address: packets of one flow have them in common. */
export function flowOf(packet: Uint8Array): string {
  const bytes = Buffer.from(packet);
  const six = bytes[0] >> 4 === 6;
  return `${bytes.subarray(six ? 24 : 16, six ? 40 : 20).toString('hex')}:${bytes.readUInt16BE(six ? 40 : 20)}`;
}
