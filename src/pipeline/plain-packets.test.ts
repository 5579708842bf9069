import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from '../../test/property.ts';
import { Arena, SMALL_STRIDE } from '../base/arena.ts';
import { Batch, type IngressFacts, LINK_ETHERNET, LINK_RAW_IP } from '../base/batch.ts';
import { dropReason } from '../base/drop-reason.ts';
import { flowLanes, LANES_BYTES } from '../maglev-hash/index.ts';
import * as checksum from '../wire/checksum.ts';
import { createVectorMemory } from '../wire/vector-sum.ts';
import { classifyStage } from './classify.ts';
import { nearBackends } from './near-backends.ts';
import { plainPackets } from './plain-packets.ts';
import { plainTunnel } from './plain-tunnel.ts';
import { RECENT_MULTIPLIER, RECENT_SHIFT, recentServices } from './recent-services.ts';
import { Snapshot, SnapshotBuilder } from './snapshot.ts';
import type { ServiceSpec } from './spec.ts';

const CAPACITY = 23;
const TUNNEL_PORT = 6080;
const VIP4 = Uint8Array.of(192, 0, 2, 1);
const VIP6 = Uint8Array.from([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
const OURS4 = Uint8Array.of(10, 0, 13, 37);
const OURS6 = Uint8Array.from([0xfd, 2, ...new Array(13).fill(0), 37]);

const service = (bytes: Uint8Array, protocol: number, portFrom: number, portTo: number): ServiceSpec => {
  const prefix = { bytes, length: bytes.length * 8 };
  return { name: `${bytes.join()} ${protocol} ${portFrom}`, prefix, protocol, portFrom, portTo, affinity: '5-tuple', pool: 'p' };
};
const snapshot = new Snapshot(
  new SnapshotBuilder().build({
    services: [VIP4, VIP6].flatMap((bytes) => [
      service(bytes, 6, 443, 443),
      service(bytes, 17, 443, 443),
      service(bytes, 17, TUNNEL_PORT, TUNNEL_PORT),
      service(bytes, 6, 8000, 9000),
    ]),
    pools: [
      {
        name: 'p',
        tableSize: 7,
        seed: 0,
        tunnel: { encapsulation: 'gue', port: TUNNEL_PORT, source4: OURS4, source6: OURS6, checksum: 'none' },
        backends: [{ name: 'w', address: Uint8Array.of(10, 1, 0, 1), weight: 1, state: 'active' }],
      },
    ],
  }),
);

/** A batch with classify over it, over memory that vectors reach or over other memory. */
function rig(vectors: boolean, ingress: IngressFacts) {
  const memory = vectors ? createVectorMemory(Arena.bytesFor(CAPACITY, SMALL_STRIDE, 0))!.buffer : null;
  const arena = memory === null ? Arena.inProcess(CAPACITY, SMALL_STRIDE) : new Arena(memory, CAPACITY, SMALL_STRIDE);
  const batch = new Batch(arena, ingress);
  const lanes = flowLanes(1, 2, CAPACITY, vectors ? { buffer: arena.memory, at: arena.take(LANES_BYTES) } : null);
  const recent = recentServices(arena);
  const plain = plainPackets(batch, lanes, recent);
  assert.equal(plain !== null, vectors);
  return { batch, lanes, plain, classify: classifyStage(batch, lanes, recent, plain) };
}
type Rig = ReturnType<typeof rig>;

interface Shape {
  readonly family: 4 | 6;
  readonly isUdp: boolean;
  readonly port: number;
  readonly isOurs: boolean;
  readonly source: number;
  readonly flags: number;
  readonly trafficClass: number;
  readonly ttl: number;
  readonly payload: number;
  readonly options: number;
  /** Flags and fragment offset of IPv4. */
  readonly fragment: number;
  /** Of the transport header: the pseudo-header's sum alone, or a number. */
  readonly checksum: number | 'begun';
  /** Bytes of the link behind the packet. */
  readonly padding: number;
  /** What is done to it at last. */
  readonly harm: {
    readonly kind: 'none' | 'byte' | 'cut' | 'flags' | 'gso' | 'reason';
    readonly at: number;
    readonly by: number;
  };
}

function frameOf(shape: Shape, link: number): Uint8Array {
  const { family, isUdp, port, isOurs, source, flags, trafficClass, ttl, payload, options, fragment, padding } = shape;
  const transport = isUdp ? 17 : 6;
  const header = family === 4 ? 20 + options * 4 : 40;
  const total = header + (isUdp ? 8 : 20) + payload;
  const bytes = new Uint8Array(link + total + padding);
  const view = new DataView(bytes.buffer);
  if (link > 0) view.setUint16(12, family === 4 ? 0x0800 : 0x86dd);
  if (family === 4) {
    view.setUint16(link, 0x4000 | ((header / 4) << 8) | trafficClass);
    view.setUint16(link + 2, total);
    view.setUint16(link + 6, fragment);
    bytes[link + 8] = ttl;
    bytes[link + 9] = transport;
    bytes.set(OURS4, link + 12);
    if (!isOurs) view.setInt32(link + 12, source);
    bytes.set(VIP4, link + 16);
    const wrong = checksum.sum(view, link, header, 0);
    view.setUint16(link + 10, ~checksum.fold(wrong));
  } else {
    view.setUint16(link, 0x6000 | (trafficClass << 4));
    view.setUint16(link + 4, total - 40);
    bytes[link + 6] = transport;
    bytes[link + 7] = ttl;
    bytes.set(OURS6, link + 8);
    if (!isOurs) view.setInt32(link + 16, source);
    bytes.set(VIP6, link + 24);
  }
  const at = link + header;
  view.setUint16(at, source >>> 16);
  view.setUint16(at + 2, port);
  if (isUdp) view.setUint16(at + 4, 8 + payload);
  else view.setUint16(at + 12, 0x5000 | flags);
  const pseudo = family === 4 ? checksum.pseudoSum4 : checksum.pseudoSum6;
  const begun = checksum.fold(pseudo(view, link + (family === 4 ? 12 : 8), transport, link + total - at));
  view.setUint16(at + (isUdp ? 6 : 16), shape.checksum === 'begun' ? begun : shape.checksum);
  return bytes;
}

function lay({ batch }: Rig, shapes: readonly Shape[]): void {
  const { link } = batch.ingress;
  batch.count = shapes.length;
  shapes.forEach((shape, i) => {
    const { kind, at, by } = shape.harm;
    const frame = frameOf(shape, link === LINK_ETHERNET ? 14 : 0);
    if (kind === 'byte') frame[at % Math.min(frame.length, 76)] ^= by;
    batch.arena.bytes.set(frame, batch.frameAt[i]);
    batch.frameLength[i] = kind === 'cut' ? at % frame.length : frame.length;
    batch.virtioFlags[i] = kind === 'flags' ? by & 7 : 0;
    batch.gsoType[i] = kind === 'gso' ? by & 3 : 0;
    batch.reason[i] = kind === 'reason' ? dropReason('bad-virtio-header') : 0;
    batch.verdict[i] = 0;
  });
}

/** What later stages read. */
function outcome({ batch, lanes }: Rig): string[] {
  const { verdict, reason, service: services, lookup, backend } = batch;
  const { networkAt, transportAt, networkLength, family, protocol, tcpFlags, flowHash } = batch;
  return Array.from({ length: batch.count }, (_, i) => {
    const judged = [verdict[i], reason[i], services[i], lookup[i], backend[i], lanes.tail[i]].join(' ');
    if (services[i] < 0) return judged;
    const parsed = [networkAt, transportAt, networkLength, family, protocol, tcpFlags].map((column) => column[i]).join(' ');
    const flow = lanes.tail[i] === 0 ? '' : [flowHash, lanes.low, lanes.high, lanes.ports].map((column) => column[i]).join(' ');
    return `${judged} ${parsed} ${flow} ${batch.partialChecksum[i]}`;
  });
}

const HOP_DONE = { hopDone: true, canPass: false, headerVerified: true } as const;
const HOP_DUE = { hopDone: false, canPass: true, headerVerified: false } as const;
const FACTS: readonly IngressFacts[] = [
  { link: LINK_RAW_IP, ...HOP_DONE },
  { link: LINK_RAW_IP, ...HOP_DUE },
  { link: LINK_ETHERNET, ...HOP_DONE },
  { link: LINK_ETHERNET, ...HOP_DUE },
  { link: LINK_ETHERNET, ...HOP_DUE, checksumsUnknown: true },
];
const rigs = FACTS.map((facts) => ({ fast: rig(true, facts), slow: rig(false, facts) }));

const harm = fc.oneof(
  { weight: 12, arbitrary: fc.constant({ kind: 'none', at: 0, by: 0 } as const) },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constantFrom('byte', 'cut', 'flags', 'gso', 'reason'),
      at: fc.nat(200),
      by: fc.oneof(fc.nat(255), fc.constantFrom(1, 0x10, 0x20, 0x40, 0x80)),
    }),
  },
);
const shape = (family: fc.Arbitrary<4 | 6>): fc.Arbitrary<Shape> =>
  fc.record({
    family,
    isUdp: fc.boolean(),
    port: fc.oneof({ weight: 8, arbitrary: fc.constantFrom(443, 8000) }, fc.constantFrom(TUNNEL_PORT, 80, 9001)),
    isOurs: fc.nat(7).map((n) => n === 0),
    source: fc.integer({ min: -0x80000000, max: 0x7fffffff }),
    flags: fc.nat(255),
    trafficClass: fc.nat(255),
    ttl: fc.oneof({ weight: 9, arbitrary: fc.constantFrom(64, 255) }, fc.nat(3)),
    payload: fc.nat(40),
    options: fc.nat(15).map((n) => (n === 0 ? 2 : 0)),
    fragment: fc.oneof(
      { weight: 12, arbitrary: fc.constantFrom(0, 0x4000, 0x8000) },
      fc.constantFrom(0x2000, 0x2001, 1, 0x100, 0x1000, 0x1fff),
    ),
    checksum: fc.oneof({ weight: 12, arbitrary: fc.nat(0xffff) }, fc.constantFrom('begun' as const, 0, 0xffff)),
    padding: fc.nat(6),
    harm,
  });
/** Batches of one family, with the ports that have a service, and batches of all. */
const batches = fc.oneof(
  fc.array(shape(fc.constant(4)), { minLength: 1, maxLength: CAPACITY }),
  fc.array(shape(fc.constant(6)), { minLength: 1, maxLength: CAPACITY }),
  fc.array(shape(fc.constantFrom(4, 6)), { minLength: 1, maxLength: CAPACITY }),
);

test('vectors and the loop find the same in a batch, whatever is wrong with some of its packets', () => {
  fc.assert(
    fc.property(fc.nat(rigs.length - 1), batches, (number, shapes) => {
      const { fast, slow } = rigs[number];
      // Twice: what the first pass has asked is remembered in the second.
      for (let pass = 0; pass < 2; pass++) {
        const found = [fast, slow].map((one) => {
          const tally = { completedChecksums: 0, expired: 0 };
          lay(one, shapes);
          one.classify(snapshot, tally);
          return { packets: outcome(one), tally };
        });
        assert.deepEqual(found[0], found[1]);
      }
    }),
    { numRuns: 1500 },
  );
});

const PLAIN: Shape = {
  ...{ family: 4, isUdp: false, port: 443, isOurs: false, source: 0x0a000001, flags: 0xff, trafficClass: 0, ttl: 64 },
  ...{ payload: 20, options: 0, fragment: 0x4000, checksum: 0x1234, padding: 0, harm: { kind: 'none', at: 0, by: 0 } },
};

test('batches of plain packets never come to the loop, once their service was asked for', () => {
  for (const { fast } of rigs) {
    for (const family of [4, 6] as const) {
      for (const isUdp of [false, true]) {
        const shapes = Array.from({ length: 20 }, (_, i) => ({ ...PLAIN, family, isUdp, source: i * 0x10001 }));
        lay(fast, shapes);
        fast.classify(snapshot, { completedChecksums: 0, expired: 0 });
        const { classify4, classify6 } = fast.plain!;
        assert.equal((family === 4 ? classify4 : classify6)(0, 20), 20);
        assert.equal((family === 4 ? classify6 : classify4)(0, 20), 0);
        // Up to a packet that is not plain, in fours.
        fast.batch.gsoType[13] = 1;
        assert.equal((family === 4 ? classify4 : classify6)(0, 20), 12);
      }
    }
  }
});

test('what may be our own tunnel, come back, is asked one by one', () => {
  for (const { fast } of rigs) {
    lay(fast, new Array(4).fill({ ...PLAIN, isUdp: true, port: TUNNEL_PORT }));
    fast.classify(snapshot, { completedChecksums: 0, expired: 0 });
    assert.ok(fast.batch.service[0] >= 0, 'of a service');
    assert.equal(fast.plain!.classify4(0, 4), 0);
  }
});

test('where checksums may be only begun, those that look so are asked one by one', () => {
  const { fast } = rigs[FACTS.findIndex(({ checksumsUnknown }) => checksumsUnknown)];
  for (const family of [4, 6] as const) {
    for (const isUdp of [false, true]) {
      const shapes = Array.from(
        { length: 12 },
        (_, i): Shape => ({ ...PLAIN, family, isUdp, checksum: i === 6 ? 'begun' : 0x1234 }),
      );
      lay(fast, shapes);
      const tally = { completedChecksums: 0, expired: 0 };
      fast.classify(snapshot, tally);
      assert.equal(tally.completedChecksums, 1);
      lay(fast, shapes);
      const { classify4, classify6 } = fast.plain!;
      assert.equal((family === 4 ? classify4 : classify6)(0, 12), 4);
    }
  }
});

test('all that vectors must reach has room in the memory of the largest batch', () => {
  const memory = createVectorMemory(Arena.bytesFor(256, SMALL_STRIDE, 0))!.buffer;
  const arena = new Arena(memory, 256, SMALL_STRIDE);
  const batch = new Batch(arena, FACTS[0]);
  const near = nearBackends(arena);
  const lanes = flowLanes(1, 2, 256, { buffer: memory, at: arena.take(LANES_BYTES) });
  assert.notEqual(plainTunnel(batch, near, 49152, 16383), null);
  assert.notEqual(plainPackets(batch, lanes, recentServices(arena)), null);
});

test('another port whose question lies where a remembered one does is not taken for it', () => {
  const place = (address: Uint8Array, port: number) => {
    const view = new DataView(address.buffer);
    let question = (6 << 16) | port;
    for (let at = 0; at < address.length; at += 4) question ^= view.getInt32(at);
    return Math.imul(question, RECENT_MULTIPLIER) >>> RECENT_SHIFT;
  };
  for (const { fast } of rigs) {
    for (const [family, address] of [[4, VIP4] as const, [6, VIP6] as const]) {
      const ports = Array.from({ length: 7999 }, (_, port) => port);
      const alike = ports.filter((port) => port !== 443 && place(address, port) === place(address, 443)).slice(0, 8);
      assert.equal(alike.length, 8);
      for (const port of [443, ...alike]) {
        lay(fast, new Array(8).fill({ ...PLAIN, family, port }));
        fast.classify(snapshot, { completedChecksums: 0, expired: 0 });
        assert.deepEqual(
          [...fast.batch.service.subarray(0, 8)].map((found) => found >= 0),
          new Array(8).fill(port === 443),
          `port ${port}`,
        );
      }
    }
  }
});
