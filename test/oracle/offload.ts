// The whole way of a super-packet through the egress tap-offload, held against the way that needs no kernel: the same packet runs through
// the pipeline twice. Once it is cut in software, and once it goes whole through the driver into this host's kernel, which cuts it. What
// leaves must be the same, byte for byte, but for the outer IPv4 identification: atomic datagrams all have 0 (RFC 6864), the kernel counts up.
//
//     pipeline ─┬─ segment, encapsulate, guard ─────────────────────────────────► segments
//               └─ encapsulate, guard ─► driver ─► gdx0 ─► forward ─► out0 ─► read: segments

import { Arena, BATCH_RECORDS, LARGE_STRIDE } from '../../src/base/arena.ts';
import { Batch, LINK_RAW_IP } from '../../src/base/batch.ts';
import { createBank } from '../../src/base/counters.ts';
import { DROP_REASONS } from '../../src/base/drop-reason.ts';
import { segmentBytes } from '../../src/base/segment-bytes.ts';
import { VERDICT_FORWARD } from '../../src/base/verdict.ts';
import { prepareOffloadDevice } from '../../src/host/offload-device.ts';
import { TapOffloadEgress } from '../../src/io/tap-offload/egress.ts';
import { FlowTable } from '../../src/pipeline/flow-table.ts';
import { guardStage } from '../../src/pipeline/offsets.ts';
import { Pipeline } from '../../src/pipeline/pipeline.ts';
import { Snapshot, SnapshotBuilder } from '../../src/pipeline/snapshot.ts';
import type { Oversize, Spec } from '../../src/pipeline/spec.ts';
import { mapMemory } from '../../src/raw-socket/memory.ts';
import { ip } from '../builder/addresses.ts';
import { everyPort } from '../builder/every-port.ts';
import { DESTINATION4, DESTINATION6, randomShape, type Shape, SOURCE4, SOURCE6, superPacket } from '../builder/super-packet.ts';
import type { Random } from '../full/random.ts';
import { Namespace, run, setSysctl } from '../host/namespace.ts';
import { naiveChecksum } from '../reference/checksum.ts';
import { transportOf } from '../reference/segment.ts';
import { Device, type Facts } from './kernel.ts';
import { difference } from './ours.ts';

const WORKER4 = '10.9.255.1';
const WORKER6 = 'fd00:9:ffff::1';
const ETHERNET = 14;

/** Both addresses of the super-packets, both protocols, every port; one worker. */
function specOf(outer: 4 | 6, checksum: 'none' | 'full', oversize: Oversize): Spec {
  const services = everyPort([DESTINATION4, DESTINATION6], { oversize });
  const tunnel = { encapsulation: 'gue', port: 6080, source4: SOURCE4, source6: SOURCE6, checksum } as const;
  const backends = [{ name: 'w', address: ip(outer === 4 ? WORKER4 : WORKER6), weight: 1, state: 'active' as const }];
  return { services, pools: [{ name: 'p', tableSize: 251, seed: 1, tunnel, backends }] };
}

/** One outer family and checksum mode: the pipeline that cuts, and the one that leaves whole. */
export interface Ways {
  readonly software: Pipeline;
  readonly whole: Pipeline;
  /** Counters of the second. */
  readonly bank: Float64Array;
}

export interface Sent {
  /** Word of the drop reason; `none` when it was forwarded. */
  readonly reason: string;
  readonly segments: readonly Uint8Array[];
  /** It went to the kernel uncut. */
  readonly whole: boolean;
}

/** A namespace of its own with the driver's device and a way out without any offload; what goes to the workers leaves by it. */
export class OffloadBench {
  readonly batch: Batch;
  readonly egress: TapOffloadEgress;
  /** The guard alone, as the pipeline has it. */
  readonly guard: () => void;
  readonly #memory = mapMemory(Arena.bytesFor(1, LARGE_STRIDE, BATCH_RECORDS));
  readonly #space = new Namespace();
  readonly #out: Device;
  readonly #arrived: Uint8Array[] = [];

  constructor() {
    const arena = new Arena(this.#memory.buffer, 1, LARGE_STRIDE, this.#memory.address, BATCH_RECORDS);
    this.batch = new Batch(arena, { link: LINK_RAW_IP, hopDone: true, canPass: false, headerVerified: true }, 1);
    this.guard = guardStage(this.batch);
    const opened: { egress?: TapOffloadEgress; out?: Device } = {};
    try {
      this.#space.inside(() => {
        // Nothing of the host's own is set: the device brings all it needs.
        for (const path of ['ipv4/ip_forward', 'ipv4/conf/all/rp_filter', 'ipv6/conf/all/forwarding'])
          setSysctl(`net/${path}`, 0);
        opened.egress = new TapOffloadEgress({ device: 'gdx0' });
        opened.out = new Device({ name: 'out0', kind: 'tun', offload: 0, headerBytes: 0 });
        prepareOffloadDevice('gdx0', true);
        // The sources are this host's own, as a director's tunnel sources are.
        run(`ip addr add ${[...SOURCE4].join('.')}/32 dev lo`);
        run('ip addr add fd00:1::1/128 dev lo nodad');
        run('ip link set out0 mtu 65535 txqueuelen 20000 up');
        run('ip route add 10.9.0.0/16 dev out0');
        run('ip -6 route add fd00:9::/32 dev out0');
      });
      this.egress = opened.egress as TapOffloadEgress;
      this.#out = opened.out as Device;
    } catch (error) {
      opened.egress?.close();
      opened.out?.close();
      this.#space.close();
      throw error;
    }
  }

  ways(outer: 4 | 6, checksum: 'none' | 'full', pathMtu = 0, oversize: Oversize = 'segment'): Ways {
    const snapshot = new Snapshot(new SnapshotBuilder().build(specOf(outer, checksum, oversize), 0));
    const bank = createBank();
    const pipeline = (wholeTrains: boolean) =>
      new Pipeline({
        snapshot,
        flows: new FlowTable(1024, Int32Array.of(1, 2)),
        bank: wholeTrains ? bank : createBank(),
        sourcePortBase: 49152,
        sourcePortMask: 16383,
        pathMtu: new Int32Array(64).fill(pathMtu),
        wholeTrains,
      });
    return { software: pipeline(false), whole: pipeline(true), bank };
  }

  /** The packet with its facts, through the pipeline up to the guard; the batch then holds what would be sent. */
  process(pipeline: Pipeline, packet: Uint8Array, facts: Facts): void {
    const { batch } = this;
    batch.count = 1;
    batch.arena.bytes.set(packet, batch.frameAt[0]);
    batch.frameLength[0] = packet.length;
    batch.virtioFlags[0] = facts.flags;
    batch.gsoType[0] = facts.gsoType;
    batch.gsoSize[0] = facts.gsoSize;
    batch.headerLength[0] = facts.headerLength;
    batch.csumStart[0] = facts.csumStart;
    batch.csumOffset[0] = facts.csumOffset;
    batch.verdict[0] = VERDICT_FORWARD;
    batch.reason[0] = 0;
    pipeline.process(batch, 0);
  }

  /** What the pipeline made, without any kernel. */
  segments(): Uint8Array[] {
    const { batch } = this;
    if (batch.verdict[0] !== VERDICT_FORWARD) return [];
    return Array.from({ length: batch.segmentCount[0] }, (_, k) => segmentBytes(batch, 0, k));
  }

  /** Sends what the batch holds; what came out of the way out. */
  send(): Sent {
    const { batch } = this;
    const whole = batch.segmentCount[0] > 1 && batch.recordAt[0] < 0;
    this.egress.send(batch);
    this.#arrived.length = 0;
    for (let packet = this.#out.read(); packet !== null; packet = this.#out.read()) {
      // Not the kernel's own multicasts (neighbour discovery, MLD).
      if (packet[0] >> 4 === 4 ? packet[16] === 10 : packet[24] === 0xfd) this.#arrived.push(packet);
    }
    return { reason: DROP_REASONS[batch.reason[0]].word, segments: [...this.#arrived], whole };
  }

  close(): void {
    this.egress.close();
    this.#out.close();
    this.#space.close();
    this.#memory.release();
  }
}

/** What a sender says of `packet`, whose checksum is partial unless the shape says otherwise. */
export function superFacts(packet: Uint8Array, shape: Shape): Facts {
  const { at, protocol } = transportOf(packet);
  return {
    flags: shape.finished ? 0 : 1,
    gsoType: protocol === 17 ? 5 : shape.family === 4 ? 1 : 4,
    headerLength: at + (protocol === 6 ? (packet[at + 12] >> 4) * 4 : 8),
    gsoSize: shape.segmentSize,
    csumStart: shape.finished ? 0 : at,
    csumOffset: shape.finished ? 0 : protocol === 6 ? 16 : 6,
  };
}

/** The segment with outer identification 0; null when the kernel's is not `k` or its header checksum is wrong. */
function withoutIdentification(segment: Uint8Array, k: number): Uint8Array | null {
  if (segment[0] >> 4 === 6) return segment;
  if (segment[4] * 256 + segment[5] !== (k & 0xffff) || naiveChecksum(segment, 0, 20) !== 0) return null;
  const copy = segment.slice();
  copy.fill(0, 4, 6);
  copy.fill(0, 10, 12);
  const value = naiveChecksum(copy, 0, 20);
  copy.set([value >> 8, value & 255], 10);
  return copy;
}

/** Null when the kernel's segments are ours. */
function compare(sent: Sent, ours: readonly Uint8Array[]): string | null {
  if (sent.reason !== 'none') return `dropped as ${sent.reason}, software makes ${ours.length} segments`;
  const theirs = sent.segments.map((segment, k) => withoutIdentification(segment, sent.whole ? k : 0));
  const bad = theirs.indexOf(null);
  if (bad >= 0) return `segment ${bad} has a wrong outer identification or header checksum`;
  return difference(ours, theirs as Uint8Array[]);
}

export interface OffloadResult {
  readonly wrong: string[];
  readonly figures: Readonly<Record<string, number | string>>;
}

/** Bytes of the largest outer packet, 0 for no limit: some super-packets have segments that are too big, and are cut smaller. */
const PATH_MTUS = [0, 0, 0, 1500];

export function offloadCases(cases: number, random: Random): OffloadResult {
  let bench: OffloadBench;
  try {
    bench = new OffloadBench();
  } catch (error) {
    if ((error as { code?: string }).code !== 'GD_RAW_SOCKET_TUNNEL_OFFLOAD') throw error;
    return { wrong: [], figures: { 'through tap-offload': 'not on this kernel (before 6.17)' } };
  }
  const wrong: string[] = [];
  let whole = 0;
  let segments = 0;
  let dropped = 0;
  let stale = 0;
  let staleTaken = 0;
  try {
    const ways = ([4, 6] as const).flatMap((outer) =>
      (['none', 'full'] as const).flatMap((checksum) => PATH_MTUS.map((mtu) => bench.ways(outer, checksum, mtu))),
    );
    for (let number = 0; number < cases && wrong.length < 4; number++) {
      const { software, whole: leaving } = ways[number % ways.length];
      const shape = randomShape(random, random.chance(2) ? 4 : 6, random.chance(2) ? 6 : 17);
      const packet = superPacket(shape);
      const facts = superFacts(packet, shape);
      const name = `offload case ${number} ${JSON.stringify({ shape, facts })}`;
      bench.process(software, packet, facts);
      const ours = bench.segments();
      const reason = DROP_REASONS[bench.batch.reason[0]].word;
      bench.process(leaving, packet, facts);
      if (ours.length === 0) {
        // Refused, or answered with ICMP; headers longer than a record are no obstacle to the kernel.
        const answer = bench.batch.verdict[0] === VERDICT_FORWARD ? 'forwarded' : DROP_REASONS[bench.batch.reason[0]].word;
        if (answer !== reason && reason !== 'super-packet') wrong.push(`${name}: ${answer}, in software ${reason}`);
        dropped++;
        continue;
      }
      const sent = bench.send();
      if (sent.whole) whole++;
      segments += sent.segments.length;
      const said = compare(sent, ours);
      if (said !== null) wrong.push(`${name}: ${said}`);
      if (!sent.whole || stale >= cases / 8) continue;
      for (const by of [-ETHERNET, ETHERNET]) {
        stale++;
        const result = sendStale(bench, leaving, packet, facts, by, true);
        if (result.reason !== 'tunnel-length') wrong.push(`${name}: the guard let an inner offset wrong by ${by} pass`);
        const past = sendStale(bench, leaving, packet, facts, by, false);
        if (past.reason === 'offload-refused' && past.segments.length === 0) continue;
        if (by < 0) wrong.push(`${name}: inner offset wrong by ${by}: the kernel made ${past.segments.length} segments`);
        else if (compare(past, ours) === null) wrong.push(`${name}: a stale offset changed nothing`);
        else staleTaken++;
      }
    }
  } finally {
    bench.close();
  }
  return {
    wrong,
    figures: {
      'super-packets through tap-offload': cases,
      'of which left whole': whole,
      'segments through tap-offload compared': segments,
      'refused or answered before it': dropped,
      'stale inner offsets in the driver': stale,
      'of which the guard refused': stale,
      'of which, without the guard, the kernel takes and sends nothing right': staleTaken,
    },
  };
}

/** The incident: the packet is right, the inner offset that the driver is told is `by` bytes away from it. */
export function sendStale(
  bench: OffloadBench,
  pipeline: Pipeline,
  packet: Uint8Array,
  facts: Facts,
  by: number,
  guarded: boolean,
): Sent {
  bench.process(pipeline, packet, facts);
  bench.batch.networkAt[0] += by;
  if (guarded) bench.guard();
  return bench.send();
}
