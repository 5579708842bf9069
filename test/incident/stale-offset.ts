// The incident's mistake, made on purpose between encapsulation and the guard: the offset of the inner network header is off by an
// Ethernet header, or is exactly what it was then. Packets as they came and trains, every way out: none of them may leave.

import { readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Batch } from '../../src/base/batch.ts';
import { createBank, DROPS_AT } from '../../src/base/counters.ts';
import { DROP_REASONS, dropReason } from '../../src/base/drop-reason.ts';
import { VERDICT_DROP, VERDICT_FORWARD } from '../../src/base/verdict.ts';
import { prepareOffloadDevice } from '../../src/host/offload-device.ts';
import { AutoEgress } from '../../src/io/auto/egress.ts';
import type { Egress } from '../../src/io/driver.ts';
import { MemoryEgress } from '../../src/io/memory/egress.ts';
import { type FrameFacts, MemoryIngress } from '../../src/io/memory/ingress.ts';
import { createBatch, type EgressSettings } from '../../src/io/open.ts';
import { PacketEgress } from '../../src/io/packet/egress.ts';
import { PcapFileEgress } from '../../src/io/pcap-file/egress.ts';
import { RawEgress } from '../../src/io/raw/egress.ts';
import { TapOffloadEgress } from '../../src/io/tap-offload/egress.ts';
import { UdpEgress } from '../../src/io/udp/egress.ts';
import { NextHops } from '../../src/io/xdp/next-hops.ts';
import { openXdpEgress } from '../../src/io/xdp/open-egress.ts';
import { FRAME_IP_BYTES } from '../../src/io/xdp/port.ts';
import { FlowTable } from '../../src/pipeline/flow-table.ts';
import { guardStage } from '../../src/pipeline/offsets.ts';
import { Pipeline } from '../../src/pipeline/pipeline.ts';
import { Snapshot, SnapshotBuilder } from '../../src/pipeline/snapshot.ts';
import type { Spec } from '../../src/pipeline/spec.ts';
import { everyPort } from '../builder/every-port.ts';
import { DESTINATION4, DESTINATION6, type Shape, superPacket } from '../builder/super-packet.ts';
import { Capture, FAR_MAC, FAR4, FAR6, NEAR_MAC, NEAR4, NEAR6, Wire } from '../contract/lab.ts';
import type { Scale } from '../full/line.ts';
import { TUN } from '../full/path.ts';
import { has, type Part } from '../needs.ts';
import { transportOf } from '../reference/segment.ts';

const ETHERNET = 14;
const TUNNEL_LENGTH_DROPS = DROPS_AT + dropReason('tunnel-length');
/** The kernel found the inner MAC header, left at 0x44, before the outer transport header at 0x46. */
const INCIDENT = 0x44 - 0x46;

interface WayOut {
  readonly egress: Egress;
  /** Number of packets that left since the last call; waits a moment for `count`. */
  left(count: number): number;
  close(): void;
}

function onWire(open: () => Egress): WayOut {
  const wire = new Wire(9000);
  const capture = wire.far.inside(() => new Capture('vb'));
  const egress = wire.near.inside(open);
  return {
    egress,
    left: (count) => capture.take(count).length,
    close() {
      egress.close();
      capture.close();
      wire.close();
    },
  };
}

function openOffload(): Egress {
  const egress = new TapOffloadEgress({ device: 'gdx0' });
  prepareOffloadDevice('gdx0', true);
  return egress;
}

/** Every backend is the other end of the wire. */
function nextHops(mtu: number): SharedArrayBuffer {
  const memory = new SharedArrayBuffer(NextHops.bytesFor(4));
  const [source, destination] = [NEAR_MAC, FAR_MAC].map((bytes) => {
    const view = new DataView(Uint8Array.from(bytes).buffer);
    return { high: view.getInt32(0), low: view.getUint16(4) };
  });
  for (let id = 0; id < 4; id++) new NextHops(memory).set(id, { source, destination, vlan: null, mtu });
  return memory;
}

function openPacket(): Egress {
  return new PacketEgress({ device: 'va', nextHops: nextHops(65535) });
}

function openXdp(): Egress {
  const memory = nextHops(FRAME_IP_BYTES);
  return openXdpEgress({ device: 'va', ingress: null, nextHops: memory, thread: 0, threads: 1, bank: createBank() });
}

function intoMemory(): WayOut {
  const egress = new MemoryEgress();
  return { egress, left: () => egress.packets.splice(0).length, close: () => egress.close() };
}

function intoFile(): WayOut {
  const file = join(tmpdir(), `gue-director-incident-${process.pid}.pcap`);
  const egress = new PcapFileEgress(file);
  let read = 0;
  return {
    egress,
    left() {
      const bytes = readFileSync(file).length;
      // Behind the file's header of 24 bytes.
      const grown = bytes - Math.max(read, 24);
      read = bytes;
      return grown > 0 ? 1 : 0;
    },
    close() {
      egress.close();
      rmSync(file);
    },
  };
}

/** Every egress that a configuration can name. */
const WAYS_OUT: Readonly<Record<EgressSettings['driver'], () => WayOut>> = {
  auto: () => onWire(() => new AutoEgress()),
  raw: () => onWire(() => new RawEgress()),
  udp: () => onWire(() => new UdpEgress()),
  'tap-offload': () => onWire(openOffload),
  packet: () => onWire(openPacket),
  xdp: () => onWire(openXdp),
  'pcap-file': intoFile,
  memory: intoMemory,
};

/** Every encapsulation, with what makes its tunnel header longest. */
const TUNNELS = [
  { encapsulation: 'gue', checksum: 'auto' },
  { encapsulation: 'gue', checksum: 'remcsum' },
  { encapsulation: 'gue-v1', checksum: 'auto' },
  { encapsulation: 'fou', checksum: 'full' },
  { encapsulation: 'ipip', checksum: 'auto' },
  { encapsulation: 'gre', checksum: 'none' },
  { encapsulation: 'gre', checksum: 'full' },
] as const;
type TunnelChoice = (typeof TUNNELS)[number];

function spec(outer: 4 | 6, choice: TunnelChoice): Spec {
  const services = everyPort([DESTINATION4, DESTINATION6]);
  const tunnel = { ...choice, port: 6080, source4: NEAR4, source6: NEAR6 };
  const backends = [{ name: 'w', address: outer === 4 ? FAR4 : FAR6, weight: 1, state: 'active' as const }];
  return { services, pools: [{ name: 'p', tableSize: 251, seed: 0, tunnel, backends }] };
}

interface Kind {
  readonly name: string;
  readonly packet: Uint8Array;
  readonly facts: FrameFacts;
}

/** TCP and UDP of both families, as packets that fit and as super-packets. */
function kinds(): Kind[] {
  const found: Kind[] = [];
  for (const family of [4, 6] as const) {
    for (const protocol of [6, 17] as const) {
      for (const isTrain of [false, true]) {
        const shape: Shape = {
          family,
          protocol,
          // The incident's packet was of 1,512 bytes.
          payload: isTrain ? 30_000 : 1512 - (family === 4 ? 20 : 40) - (protocol === 6 ? 20 : 8),
          segmentSize: 1400,
          flags: 0x10,
          reserved: 0,
          tcpOptions: new Uint8Array(),
          ipOptionWords: 0,
          extensions: [],
          identification: 7,
          df: true,
          trafficClass: 0,
          ttl: 63,
          sequence: 1000,
          finished: !isTrain,
          zeroAt: -1,
          seed: 5,
        };
        const packet = superPacket(shape);
        const gsoType = protocol === 17 ? 5 : family === 4 ? 1 : 4;
        const csumStart = transportOf(packet).at;
        const train = { virtioFlags: 1, gsoType, gsoSize: shape.segmentSize, csumStart, csumOffset: protocol === 6 ? 16 : 6 };
        const name = `${isTrain ? 'train' : 'packet'} of ${protocol === 6 ? 'TCP' : 'UDP'} over IPv${family}`;
        found.push({ name, packet, facts: isTrain ? train : {} });
      }
    }
  }
  return found;
}

/** What is done to the inner network offset of packet `i`. */
const STALE: readonly ((batch: Batch, i: number) => void)[] = [
  (batch, i) => {
    batch.networkAt[i] -= ETHERNET;
  },
  (batch, i) => {
    batch.networkAt[i] += ETHERNET;
  },
  (batch, i) => {
    batch.networkAt[i] = batch.outerTransportAt[i] + INCIDENT;
  },
];

/** A pipeline and the batch of two packets that goes through it. */
class ShortPath {
  readonly pipeline: Pipeline;
  readonly batch: Batch;
  readonly bank: Float64Array;
  readonly close: () => void;

  constructor({ sourcePortBase, sourcePortMask, trains, trainsNeedChecksum }: Egress['facts'], bank: Float64Array) {
    const { batch, release } = createBatch(new MemoryIngress({ frames: [], facts: TUN }), 2);
    this.batch = batch;
    this.close = release;
    this.bank = bank;
    this.pipeline = new Pipeline({
      snapshot: new Snapshot(new SnapshotBuilder().build(spec(4, TUNNELS[0]))),
      flows: new FlowTable(64, Int32Array.of(1, 2)),
      bank,
      sourcePortBase,
      sourcePortMask,
      trainsNeedChecksum,
      wholeTrains: trains === 'tunnel-gso',
    });
  }
}

export interface GuardResult {
  readonly wrong: readonly string[];
  /** Packets with a stale offset that were refused, and packets with right ones that left, by way out. */
  readonly refused: number;
  readonly trainsRefused: number;
  readonly left: number;
  readonly ways: readonly string[];
}

/** Every kind of packet with every stale offset, over tunnels of both families, out of every egress, in every encapsulation that it takes. Needs root and namespaces. */
export function staleOffsets(scale: Scale): GuardResult {
  const wrong: string[] = [];
  let refused = 0;
  let trainsRefused = 0;
  let left = 0;
  // The kernel cuts what leaves by tap-offload, where it can.
  const parts: Readonly<Record<string, Part>> = { 'tap-offload': 'tunnel-gso', xdp: 'xdp' };
  const ways = Object.entries(WAYS_OUT).filter(([way]) => parts[way] === undefined || has(parts[way]));
  const bank = createBank();
  for (const [way, open] of ways) {
    const out = open();
    // One for all cases, as a thread has it: to make them costs more than all the rest.
    const path = new ShortPath(out.egress.facts, bank);
    try {
      for (const outer of [4, 6] as const) {
        for (const kind of kinds()) {
          for (const choice of tunnelsFor(way as EgressSettings['driver'], kind, scale)) {
            for (const [number, makeStale] of STALE.entries()) {
              const label = `${way}, ${kind.name} in ${choice.encapsulation} over IPv${outer}, checksum ${choice.checksum}, case ${number}`;
              const said = oneCase(out, path, outer, choice, kind, makeStale);
              if (said !== null) wrong.push(`${label}: ${said}`);
              else {
                refused++;
                left++;
                if (kind.facts.gsoType !== undefined) trainsRefused++;
              }
            }
          }
        }
      }
    } finally {
      out.close();
      path.close();
    }
  }
  return { wrong, refused, trainsRefused, left, ways: ways.map(([way]) => way) };
}

/**
 * The plain tunnel by every way; the others into memory, and at full scale on the wire one kind of super-packet: what the guard says does not depend on the way, and a
 * capture is waited for.
 */
function tunnelsFor(way: EgressSettings['driver'], kind: Kind, scale: Scale): readonly TunnelChoice[] {
  if (way === 'memory') return TUNNELS;
  const isWaitedFor = scale === 'full' && (way === 'raw' || way === 'auto') && kind.facts.gsoType === 1;
  if (isWaitedFor) return TUNNELS;
  return TUNNELS.slice(0, 1);
}

/**
 * A batch of two packets that differ in nothing but the first one's stale offset: the second must leave, the first must not. Null, or what
 * happened instead.
 */
function oneCase(
  out: WayOut,
  { pipeline, batch, bank }: ShortPath,
  outer: 4 | 6,
  choice: TunnelChoice,
  kind: Kind,
  makeStale: (batch: Batch, i: number) => void,
): string | null {
  const ingress = new MemoryIngress({ frames: [kind.packet, kind.packet], virtio: [kind.facts, kind.facts], facts: TUN });
  const counted = bank[TUNNEL_LENGTH_DROPS];
  pipeline.snapshot = new Snapshot(new SnapshotBuilder().build(spec(outer, choice)));
  ingress.receive(batch);
  pipeline.process(batch, 0);
  const verdict = (i: number) => batch.verdict[i];
  if (verdict(0) !== VERDICT_FORWARD) return `not forwarded in the first place: ${DROP_REASONS[batch.reason[0]].word}`;
  makeStale(batch, 0);
  guardStage(batch)();
  out.egress.send(batch);
  pipeline.account(batch);
  const reason = DROP_REASONS[batch.reason[0]].word;
  if (verdict(0) !== VERDICT_DROP || reason !== 'tunnel-length') return `verdict ${verdict(0)}, reason ${reason}`;
  if (bank[TUNNEL_LENGTH_DROPS] !== counted + 1) return 'not counted';
  if (verdict(1) !== VERDICT_FORWARD) return `its neighbour was dropped: ${DROP_REASONS[batch.reason[1]].word}`;
  // As many packets as segments, or one where the wire takes a train whole; a second packet's would be twice that.
  const segments = batch.segmentCount[1];
  const found = out.left(1);
  if (found !== segments && found !== 1) return `${found} packets left, ${segments} expected`;
  return null;
}
