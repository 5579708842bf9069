import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from '../../test/property.ts';
import { Arena, SMALL_STRIDE } from '../base/arena.ts';
import { Batch, LINK_RAW_IP } from '../base/batch.ts';
import { VERDICT_DROP, VERDICT_FORWARD } from '../base/verdict.ts';
import { createVectorMemory } from '../wire/vector-sum.ts';
import { encapsulateStage } from './encapsulate.ts';
import { Identifiers } from './identifiers.ts';
import { nearBackends } from './near-backends.ts';
import { guardStage } from './offsets.ts';
import { plainTunnel } from './plain-tunnel.ts';
import { Snapshot, SnapshotBuilder } from './snapshot.ts';
import type { ChecksumMode, Encapsulation, PoolSpec } from './spec.ts';

const CAPACITY = 24;
const BASE = 49152;
const MASK = 16383;

function pool(name: string, outer: 4 | 6, checksum: ChecksumMode, encapsulation: Encapsulation = 'gue'): PoolSpec {
  const address = (i: number) =>
    outer === 4 ? Uint8Array.of(10, 1, 0, i + 1) : Uint8Array.from([0xfd, 1, ...new Array(13).fill(0), i + 1]);
  return {
    name,
    tableSize: 1009,
    seed: 1,
    tunnel: {
      encapsulation,
      port: 6080,
      source4: outer === 4 ? Uint8Array.of(10, 0, 13, 37) : null,
      source6: outer === 6 ? Uint8Array.from([0xfd, 2, ...new Array(13).fill(0), 37]) : null,
      checksum,
    },
    backends: Array.from({ length: 3 }, (_, i) => ({ name: `${name}${i}`, address: address(i), weight: 1, state: 'active' })),
  };
}

const snapshot = new Snapshot(
  new SnapshotBuilder().build({
    services: [],
    pools: [pool('a', 4, 'none'), pool('b', 4, 'full'), pool('c', 6, 'none'), pool('d', 6, 'full'), pool('e', 4, 'none', 'fou')],
  }),
);
const BACKENDS = 15;

/** A batch with the two stages over it, over memory that vectors reach or over other memory. */
function rig(vectors: boolean, hopDone: boolean) {
  const memory = vectors ? createVectorMemory(Arena.bytesFor(CAPACITY, SMALL_STRIDE, 0))!.buffer : null;
  const arena = memory === null ? Arena.inProcess(CAPACITY, SMALL_STRIDE) : new Arena(memory, CAPACITY, SMALL_STRIDE);
  const batch = new Batch(arena, { link: LINK_RAW_IP, hopDone, canPass: false, headerVerified: true });
  const near = nearBackends(arena);
  const plain = plainTunnel(batch, near, BASE, MASK);
  assert.equal(plain !== null, vectors);
  return {
    batch,
    encapsulate: encapsulateStage(batch, near, new Identifiers(), BASE, MASK, false, plain),
    guard: guardStage(batch, plain),
  };
}

/** Columns that later stages and drivers read, and the whole of the packets' memory. */
function outcome({ batch }: ReturnType<typeof rig>) {
  const {
    verdict,
    reason,
    outAt,
    outLength,
    outerNetworkAt,
    outerTransportAt,
    tunnelAt,
    outerFamily,
    encapsulation,
    sourcePort,
  } = batch;
  const columns = { verdict, reason, outAt, outLength, outerNetworkAt, outerTransportAt, tunnelAt, outerFamily, encapsulation };
  const texts = Object.entries({ ...columns, sourcePort }).map(([name, column]) => `${name} ${column.join()}`);
  return { texts, bytes: batch.arena.bytes };
}

interface Shape {
  readonly forward: boolean;
  readonly family: 4 | 6;
  readonly header: number;
  readonly length: number;
  readonly trafficClass: number;
  readonly ttl: number;
  readonly hash: number;
  readonly backend: number;
}

const rigs = [true, false].map((hopDone) => [rig(true, hopDone), rig(false, hopDone)]);

function lay({ batch }: ReturnType<typeof rig>, shapes: readonly Shape[]): void {
  batch.arena.bytes.fill(0xa5);
  batch.count = shapes.length;
  shapes.forEach(({ forward, family, header, length, trafficClass, ttl, hash, backend }, i) => {
    const at = batch.frameAt[i];
    const { view, bytes } = batch.arena;
    for (let b = 0; b < length; b++) bytes[at + b] = Math.imul(hash ^ b, 0x9e3779b1) >>> 24;
    const headerLength = family === 4 ? 20 + (header & 3) * 4 : 40 + (header & 1) * 8;
    if (family === 4) {
      bytes[at] = 0x40 | (headerLength >> 2);
      bytes[at + 1] = trafficClass;
      bytes[at + 8] = ttl;
    } else {
      view.setUint16(at, 0x6000 | (trafficClass << 4) | (hash & 15));
      bytes[at + 7] = ttl;
    }
    batch.verdict[i] = forward ? VERDICT_FORWARD : VERDICT_DROP;
    batch.reason[i] = 0;
    batch.family[i] = family;
    batch.networkAt[i] = at;
    batch.transportAt[i] = at + headerLength;
    batch.networkLength[i] = length;
    batch.flowHash[i] = hash;
    batch.backend[i] = backend;
  });
}

const shape: fc.Arbitrary<Shape> = fc.record({
  forward: fc.integer({ min: 0, max: 15 }).map((n) => n > 0),
  family: fc.constantFrom(4 as const, 6 as const),
  header: fc.nat(3),
  length: fc.integer({ min: 60, max: 1600 }),
  trafficClass: fc.nat(255),
  ttl: fc.integer({ min: 1, max: 255 }),
  hash: fc.integer({ min: -0x80000000, max: 0x7fffffff }),
  backend: fc.nat(BACKENDS - 1),
});
/** Batches of one pool, and batches of all. */
const batches = fc.oneof(
  fc
    .tuple(fc.nat(4), fc.array(shape, { minLength: 1, maxLength: CAPACITY }))
    .map(([p, shapes]) => shapes.map((one) => ({ ...one, backend: p * 3 + (one.backend % 3) }))),
  fc.array(shape, { minLength: 1, maxLength: CAPACITY }),
);

test('vectors and the loop write the same bytes and columns, and the guard agrees with both', () => {
  fc.assert(
    fc.property(fc.boolean(), batches, (hopDone, shapes) => {
      const pair = rigs[hopDone ? 0 : 1];
      for (const one of pair) {
        lay(one, shapes);
        one.encapsulate(snapshot);
        one.guard();
      }
      const [fast, slow] = pair.map(outcome);
      assert.deepEqual(fast.texts, slow.texts);
      assert.ok(Buffer.compare(fast.bytes, slow.bytes) === 0, 'bytes differ');
      // What is right stays a forward.
      shapes.forEach(({ forward }, i) => {
        assert.equal(pair[0].batch.verdict[i], forward ? VERDICT_FORWARD : VERDICT_DROP);
      });
    }),
    { numRuns: 300 },
  );
});

test('whatever one column or byte is off by, both guards drop that packet and no other', () => {
  const columns = ['slotAt', 'outAt', 'outLength', 'outerNetworkAt', 'outerTransportAt', 'tunnelAt', 'networkAt'] as const;
  const more = ['networkLength', 'transportAt', 'family', 'outerFamily', 'encapsulation'] as const;
  const places = [...columns, ...more, 'outer byte', 'tunnel byte 0', 'tunnel byte 1', 'inner byte'] as const;
  fc.assert(
    fc.property(
      batches,
      fc.nat(CAPACITY - 1),
      fc.constantFrom(...places),
      fc.oneof(fc.integer({ min: -64, max: 64 }), fc.integer({ min: -0x80000000, max: 0x7fffffff })),
      (shapes, pick, place, by) => {
        const i = pick % shapes.length;
        const pair = rigs[0];
        for (const one of pair) {
          lay(one, shapes);
          one.encapsulate(snapshot);
          const { batch } = one;
          const { bytes } = batch.arena;
          const slot = batch.slotAt[i];
          const at = { 'outer byte': batch.outAt[i], 'tunnel byte 0': batch.tunnelAt[i], 'tunnel byte 1': batch.tunnelAt[i] + 1 };
          if (place === 'inner byte') bytes[batch.networkAt[i]] += by;
          else if (place === 'outer byte' || place === 'tunnel byte 0' || place === 'tunnel byte 1') bytes[at[place]] += by;
          else batch[place][i] += by;
          one.guard();
          batch.slotAt[i] = slot;
        }
        assert.deepEqual([...pair[0].batch.verdict], [...pair[1].batch.verdict]);
        assert.deepEqual([...pair[0].batch.reason], [...pair[1].batch.reason]);
      },
    ),
    { numRuns: 600 },
  );
});
