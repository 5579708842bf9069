import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from '../../../test/property.ts';
import { blocksContent, framesContent, type RingContent, type RingPacket } from '../../../test/reference/packet-ring.ts';
import { Arena, SMALL_STRIDE } from '../../base/arena.ts';
import { Batch, LINK_ETHERNET } from '../../base/batch.ts';
import { DROP_REASONS } from '../../base/drop-reason.ts';
import type { RingShape } from '../../raw-socket/packet-ring.ts';
import { BlockWalk } from './block-walk.ts';
import { FrameWalk } from './frame-walk.ts';
import type { RingWalk } from './ring-walk.ts';

/** Two frames of a block leave 64 bytes over. */
const FRAMES: RingShape = { kind: 'frames', blockBytes: 2048, blocks: 3, frameBytes: 992, retireMs: 1, reserve: 128 };
const BLOCKS: RingShape = { kind: 'blocks', blockBytes: 4096, blocks: 4, frameBytes: 992, retireMs: 1, reserve: 128 };
const FACTS = { link: LINK_ETHERNET, hopDone: false, canPass: false, headerVerified: false } as const;

/** A batch whose arena begins with the ring, as ring.ts lays it out. */
function batchOver({ blockBytes, blocks }: RingShape, capacity: number): Batch {
  const before = Math.ceil((blockBytes * blocks) / SMALL_STRIDE);
  const batch = new Batch(Arena.inProcess(before + capacity, SMALL_STRIDE), FACTS, capacity);
  for (let i = 0; i < capacity; i++) batch.slotAt[i] = (before + i) * SMALL_STRIDE;
  batch.homeAt = batch.slotAt.slice();
  return batch;
}

/** Mostly what a kernel writes, and now and then anything. */
const often = (usual: fc.Arbitrary<number>, bits: 16 | 32) =>
  fc.oneof({ weight: 6, arbitrary: usual }, { weight: 1, arbitrary: fc.nat(bits === 16 ? 0xffff : 0xffffffff) });

const packetHeader = fc.record({
  mac: often(fc.constantFrom(204, 206, 128, 126), 16),
  captured: often(fc.integer({ min: 12, max: 800 }), 32),
  more: often(fc.constant(0), 16),
  // VLAN tag valid, its type valid, a copy in the queue, a partial checksum.
  flags: fc.constantFrom(0, 0, 0, 16, 80, 2, 8),
  tci: fc.nat(0xffff),
  tpid: fc.constantFrom(0x8100, 0x88a8),
  step: often(fc.constantFrom(256, 512, 1024), 32),
});

const noise = fc.uint8Array({ minLength: 64, maxLength: 64 });

const plainPacket = { mac: 204, captured: 12, more: 0, flags: 0, tci: 0, tpid: 0x8100, step: 256 };
/** Headers that overlap: the second block's packet gets a length of 2 GiB and eight bytes. */
const OVERLAPPING = [
  { packets: 1, first: 0, packet: new Array(4).fill(plainPacket) },
  {
    packets: 1,
    first: 48,
    packet: [
      { ...plainPacket, captured: 14, step: 16 },
      { ...plainPacket, step: 0 },
      { ...plainPacket, step: 0x80000008 },
      plainPacket,
    ],
  },
  { packets: 0, first: 48, packet: new Array(4).fill(plainPacket) },
  { packets: 0, first: 48, packet: new Array(4).fill(plainPacket) },
];

/** Everything the walk delivers, in batches, must be the twin's; what was read is given back, and nothing else. */
function agree(walk: RingWalk, batch: Batch, twin: RingContent, statuses: readonly number[]): void {
  const { bytes, view } = batch.arena;
  const before = new Map(statuses.map((at) => [at, view.getUint32(at, true)]));
  const found: (RingPacket | 'large')[] = [];
  for (let count = walk.take(batch, true); count > 0; count = walk.take(batch, true)) {
    const large = new Set(walk.largeColumns.slice(0, walk.large));
    for (let i = 0; i < count; i++) {
      if (large.has(i)) {
        found.push('large');
        continue;
      }
      const [at, length] = [batch.frameAt[i], batch.frameLength[i]];
      const tag = batch.slotAt[i] + 128 - at;
      assert.ok(tag === 0 || tag === 4);
      found.push({
        from: at + tag,
        to: at + length,
        frame: [...bytes.slice(at, at + length)],
        cut: DROP_REASONS[batch.reason[i]].word === 'truncated',
        virtio: [
          batch.virtioFlags[i],
          batch.gsoType[i],
          batch.headerLength[i],
          batch.gsoSize[i],
          batch.csumStart[i],
          batch.csumOffset[i],
        ],
      });
    }
  }
  // What was read last goes back with the next call.
  walk.take(batch, false);
  assert.deepEqual(found, twin.packets);
  assert.equal(walk.lost, twin.lost);
  for (const [at, status] of before) assert.equal(view.getUint32(at, true), twin.read.includes(at) ? 0 : status);
}

test('a ring of frames is read as its twin reads it, whatever stands in it', () => {
  const perBlock = 2;
  const places = Array.from({ length: 6 }, (_, f) => Math.floor(f / perBlock) * FRAMES.blockBytes + (f % perBlock) * 992);
  fc.assert(
    fc.property(
      fc.array(packetHeader, { minLength: 6, maxLength: 6 }),
      fc.nat(6),
      fc.integer({ min: 1, max: 7 }),
      noise,
      (headers, waiting, capacity, filling) => {
        const batch = batchOver(FRAMES, capacity);
        const { bytes, view } = batch.arena;
        for (let at = 0; at < 3 * 2048; at += 64) bytes.set(filling, at);
        headers.forEach(({ mac, captured, more, flags, tci, tpid }, f) => {
          const at = places[f];
          view.setUint32(at, f < waiting ? flags | 1 : 0, true);
          view.setUint32(at + 4, captured + more, true);
          view.setUint32(at + 8, captured, true);
          view.setUint16(at + 12, mac, true);
          view.setUint16(at + 24, tci, true);
          view.setUint16(at + 26, tpid, true);
        });
        const walk = new FrameWalk(FRAMES, false);
        walk.attach(batch.arena.bytes.buffer);
        agree(walk, batch, framesContent(bytes.slice(), FRAMES, 0), places);
      },
    ),
  );
});

test('a ring of blocks is read as its twin reads it, whatever stands in it', () => {
  const blockHeader = fc.record({
    packets: often(fc.integer({ min: 1, max: 3 }), 32),
    first: often(fc.constantFrom(48, 56), 32),
    packet: fc.array(packetHeader, { minLength: 4, maxLength: 4 }),
  });
  fc.assert(
    fc.property(
      fc.array(blockHeader, { minLength: 4, maxLength: 4 }),
      fc.nat(4),
      fc.integer({ min: 1, max: 7 }),
      noise,
      (headers, waiting, capacity, filling) => {
        const batch = batchOver(BLOCKS, capacity);
        const { bytes, view } = batch.arena;
        for (let at = 0; at < 4 * 4096; at += 64) bytes.set(filling, at);
        headers.forEach(({ packets, first, packet }, b) => {
          const start = b * 4096;
          view.setUint32(start + 8, b < waiting ? 1 : 0, true);
          view.setUint32(start + 12, packets, true);
          view.setUint32(start + 16, first, true);
          let at = start + (first & 0xff8);
          for (const { mac, captured, more, flags, tci, tpid, step } of packet) {
            if (at > start + 4096 - 48) break;
            view.setUint32(at, step, true);
            view.setUint32(at + 12, captured, true);
            view.setUint32(at + 16, captured + more, true);
            view.setUint32(at + 20, flags & 0x50, true);
            view.setUint16(at + 24, mac, true);
            view.setUint16(at + 32, tci, true);
            view.setUint16(at + 36, tpid, true);
            at += step & 0xff8;
          }
        });
        const walk = new BlockWalk(BLOCKS, false);
        walk.attach(batch.arena.bytes.buffer);
        const statuses = Array.from({ length: 4 }, (_, b) => b * 4096 + 8);
        agree(walk, batch, blocksContent(bytes.slice(), BLOCKS, 0), statuses);
      },
    ),
    { examples: [[OVERLAPPING, 2, 1, new Uint8Array(64)]] },
  );
});
