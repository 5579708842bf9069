import assert from 'node:assert/strict';
import { test } from 'node:test';
import { packet } from '../../test/builder/packet.ts';
import { type Extension, type Shape, superPacket } from '../../test/builder/super-packet.ts';
import fc from '../../test/property.ts';
import { segmentSlowly, transportOf } from '../../test/reference/segment.ts';
import { Arena } from '../base/arena.ts';
import { Batch, LINK_RAW_IP } from '../base/batch.ts';
import { HEADER_STRIDE, segmentTcp, segmentUdp } from './segment.ts';
import { checkSuperPacket } from './super-packet.ts';
import * as train from './train.ts';

const FRAME_AT = 70_001;
const OUTER = 52;
const FILL = 0xa5;

/** Memory with the header area in front and the packet at an odd place; everything else is filled, to see stray reads and writes. */
class Bench {
  readonly bytes = new Uint8Array(1024 * HEADER_STRIDE + 200_000);
  readonly view = new DataView(this.bytes.buffer);
  readonly headersAt = 140_000;

  segment(bytes: Uint8Array, size: number, partial: boolean, outer = OUTER, stride = HEADER_STRIDE): number {
    this.bytes.fill(FILL);
    this.bytes.set(bytes, FRAME_AT);
    const { at, protocol } = transportOf(bytes);
    const segment = protocol === 6 ? segmentTcp : segmentUdp;
    const { view } = this;
    const end = FRAME_AT + bytes.length;
    return segment(view, FRAME_AT, FRAME_AT + at, end, size, partial, view, this.headersAt, stride, outer);
  }

  /** The segments as the egress gathers them: record, then payload from where it lies. */
  gather(bytes: Uint8Array, size: number, count: number): Uint8Array[] {
    const { at, protocol } = transportOf(bytes);
    const headers = at + (protocol === 6 ? (bytes[at + 12] >> 4) * 4 : 8);
    return Array.from({ length: count }, (_, k) => {
      const record = this.headersAt + k * HEADER_STRIDE + OUTER;
      const from = headers + k * size;
      return Uint8Array.from([
        ...this.bytes.subarray(record, record + headers),
        ...this.bytes.subarray(FRAME_AT + from, FRAME_AT + Math.min(bytes.length, from + size)),
      ]);
    });
  }
}

const bench = new Bench();

const shapes: fc.Arbitrary<Shape> = fc
  .record({
    family: fc.constantFrom<4 | 6>(4, 6),
    protocol: fc.constantFrom<6 | 17>(6, 17),
    payload: fc.oneof(fc.integer({ min: 0, max: 4000 }), fc.integer({ min: 1, max: 65_600 })),
    segmentSize: fc.oneof(fc.integer({ min: 1, max: 300 }), fc.integer({ min: 1, max: 9000 })),
    flags: fc.integer({ min: 0, max: 255 }),
    reserved: fc.integer({ min: 0, max: 15 }),
    tcpOptions: fc.uint8Array({ maxLength: 43 }),
    ipOptionWords: fc.integer({ min: 0, max: 10 }),
    extensions: fc.uniqueArray(
      fc.record({
        kind: fc.constantFrom<Extension>('hop-by-hop', 'routing', 'destination'),
        units: fc.integer({ min: 1, max: 4 }),
      }),
      { maxLength: 3, selector: ({ kind }) => kind },
    ),
    identification: fc.integer({ min: 0, max: 65_535 }),
    df: fc.boolean(),
    trafficClass: fc.integer({ min: 0, max: 255 }),
    ttl: fc.integer({ min: 1, max: 255 }),
    sequence: fc.oneof(fc.integer({ min: 0, max: 0xffffffff }), fc.integer({ min: 0xfffff000, max: 0xffffffff })),
    finished: fc.boolean(),
    zeroAt: fc.integer({ min: -1, max: 2 }),
    seed: fc.integer(),
  })
  .map((shape) => ({
    ...shape,
    finished: shape.finished && shape.protocol === 6,
    // Hop-by-hop options stand first or not at all.
    extensions: shape.extensions.sort((a, b) => Number(b.kind === 'hop-by-hop') - Number(a.kind === 'hop-by-hop')),
  }));

test('equals the slow twin: TCP and UDP, IPv4 and IPv6, options, flags, extension headers, odd lengths', () => {
  let trains = 0;
  fc.assert(
    fc.property(shapes, (shape) => {
      const bytes = superPacket(shape);
      const { at } = transportOf(bytes);
      const payload = bytes.length - at - (shape.protocol === 6 ? (bytes[at + 12] >> 4) * 4 : 8);
      const wanted = Math.max(1, Math.ceil(payload / shape.segmentSize));
      const count = bench.segment(bytes, shape.segmentSize, !shape.finished);
      if (wanted > (shape.protocol === 6 ? train.MAX_SEGMENTS : train.MAX_DATAGRAMS)) {
        assert.equal(count, train.REFUSED_COUNT);
        return;
      }
      if (count === train.REFUSED_SHORT) {
        assert.ok(
          payload <= shape.segmentSize &&
            bytes.length - (shape.finished ? (shape.family === 4 ? 20 : 40) : at) - 20 > shape.segmentSize,
        );
        return;
      }
      assert.equal(count, wanted);
      if (count > 1) trains++;
      // A finished checksum of a packet that is not cut stays as it is.
      const slow = count === 1 && shape.finished ? [bytes] : segmentSlowly(bytes, shape.segmentSize);
      const fast = bench.gather(bytes, shape.segmentSize, count);
      for (let k = 0; k < count; k++)
        assert.ok(Buffer.compare(fast[k], slow[k]) === 0, `segment ${k}:\n${hex(fast[k])}\n${hex(slow[k])}`);
      assert.deepEqual(bench.bytes.subarray(FRAME_AT, FRAME_AT + bytes.length), bytes, 'the packet itself is untouched');
      for (let k = 0; k < count; k++) {
        const record = bench.headersAt + k * HEADER_STRIDE;
        assert.ok(
          bench.bytes.subarray(record, record + OUTER).every((byte) => byte === FILL),
          'written in the outer headers’ place',
        );
      }
      assert.equal(bench.bytes[bench.headersAt + count * HEADER_STRIDE], FILL, 'written behind the last record');
    }),
    { numRuns: 800 },
  );
  assert.ok(trains > 300, `only ${trains} cases made more than one segment`);
});

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes.subarray(0, 120)).toString('hex');
}

const plain: Shape = {
  family: 4,
  protocol: 6,
  payload: 3000,
  segmentSize: 1448,
  flags: 0x19 | 0x80,
  reserved: 0,
  tcpOptions: new Uint8Array(0),
  ipOptionWords: 0,
  extensions: [],
  identification: 0,
  df: true,
  trafficClass: 0,
  ttl: 64,
  sequence: 0xfffffff0,
  finished: false,
  zeroAt: -1,
  seed: 1,
};

test('sequence wraps, FIN and PSH end the train, CWR begins it, the ID counts from 0 with DF', () => {
  const bytes = superPacket(plain);
  const count = bench.segment(bytes, 1448, true);
  const parts = bench.gather(bytes, 1448, count).map((part) => new DataView(part.buffer));
  assert.deepEqual(
    parts.map((part) => part.getUint32(24)),
    [0xfffffff0, 1432, 2880],
  );
  assert.deepEqual(
    parts.map((part) => part.getUint8(33)),
    [0x90, 0x10, 0x19],
  );
  assert.deepEqual(
    parts.map((part) => part.getUint16(4)),
    [0, 1, 2],
  );
});

test('what can not be segmented is refused, and why', () => {
  const refused = (change: Partial<Shape>, edit: (bytes: Uint8Array, view: DataView) => void, size = plain.segmentSize) => {
    const shape = { ...plain, ...change };
    const bytes = superPacket(shape);
    edit(bytes, new DataView(bytes.buffer));
    return bench.segment(bytes, size, !shape.finished);
  };
  const nothing = () => {};
  assert.equal(refused({}, nothing, 0), train.REFUSED_SIZE);
  assert.equal(refused({}, nothing, -1), train.REFUSED_SIZE);
  assert.equal(refused({}, nothing, 65535), train.REFUSED_SIZE);
  assert.equal(refused({ payload: 1025 }, nothing, 1), train.REFUSED_COUNT);
  assert.equal(refused({ payload: 129 * 88, protocol: 17 }, nothing, 88), train.REFUSED_COUNT);
  assert.equal(refused({ payload: 128 * 88, protocol: 17 }, nothing, 88), 128);
  // The IP header's own length, one too many and one too few.
  assert.equal(
    refused({}, (_, view) => view.setUint16(2, 3041)),
    train.REFUSED_LENGTH,
  );
  assert.equal(
    refused({}, (_, view) => view.setUint16(2, 3039)),
    train.REFUSED_LENGTH,
  );
  assert.equal(
    refused({ family: 6 }, (_, view) => view.setUint16(4, 3019)),
    train.REFUSED_LENGTH,
  );
  assert.equal(
    refused({ protocol: 17 }, (_, view) => view.setUint16(24, 3007)),
    train.REFUSED_LENGTH,
  );
  // Data offset below the header, and behind the packet.
  assert.equal(
    refused({}, (bytes) => bytes.fill(0x40, 32, 33)),
    train.REFUSED_LENGTH,
  );
  assert.equal(
    refused({ payload: 8 }, (bytes) => bytes.fill(0xf0, 32, 33), 4),
    train.REFUSED_LENGTH,
  );
  assert.equal(
    refused({}, (bytes) => bytes.fill(0x20, 6, 7)),
    train.REFUSED_FRAGMENT,
  );
  assert.equal(
    refused({ finished: true }, (bytes) => bytes.fill(bytes[500] ^ 1, 500, 501)),
    train.REFUSED_CHECKSUM,
  );
  // In a packet that fits one segment as well: the outer checksum of a train takes the inner one's word.
  assert.equal(refused({ payload: 700, finished: true }, nothing), 1);
  assert.equal(
    refused({ payload: 700, finished: true }, (bytes) => bytes.fill(bytes[500] ^ 1, 500, 501)),
    train.REFUSED_CHECKSUM,
  );
  assert.equal(refused({ protocol: 17, finished: true }, nothing), train.REFUSED_CHECKSUM);
  assert.equal(refused({ payload: 1440, tcpOptions: new Uint8Array(12) }, nothing), train.REFUSED_SHORT);
  assert.equal(refused({ payload: 1436, tcpOptions: new Uint8Array(12) }, nothing), 1);
  const long = { family: 6, extensions: [{ kind: 'destination', units: 14 }], tcpOptions: new Uint8Array(40) } as const;
  assert.equal(refused(long, nothing), train.REFUSED_ROOM);
  const bytes = superPacket(plain);
  assert.equal(bench.segment(bytes, 1448, true, OUTER, 91), train.REFUSED_ROOM);
  assert.equal(bench.segment(bytes, 1448, true, OUTER, 92), 3);
});

test('of extension headers only those that every segment may repeat', () => {
  const segment = (bytes: Uint8Array, transportAt: number) => {
    bench.bytes.set(bytes, FRAME_AT);
    const { view } = bench;
    return segmentTcp(
      view,
      FRAME_AT,
      FRAME_AT + transportAt,
      FRAME_AT + bytes.length,
      1000,
      true,
      view,
      bench.headersAt,
      256,
      52,
    );
  };
  const chain = () => packet().ipv6();
  assert.equal(
    segment(chain().extension('authentication', { units: 2 }).tcp().payload(2500).bytes(), 56),
    train.REFUSED_EXTENSION,
  );
  assert.equal(segment(chain().extension('mobility').tcp().payload(2500).bytes(), 48), train.REFUSED_EXTENSION);
  assert.equal(segment(chain().extension('hip', { units: 5 }).tcp().payload(2500).bytes(), 80), train.REFUSED_EXTENSION);
  assert.equal(segment(chain().fragment().tcp().payload(2500).bytes(), 48), train.REFUSED_FRAGMENT);
  assert.equal(
    segment(chain().extension('destination').extension('hop-by-hop').tcp().payload(2500).bytes(), 56),
    train.REFUSED_EXTENSION,
  );
  // The chain must end where the caller says, at the protocol that is to be segmented.
  assert.equal(segment(chain().extension('destination').tcp().payload(2500).bytes(), 40), train.REFUSED_LENGTH);
  assert.equal(segment(chain().extension('destination').tcp().payload(2500).bytes(), 52), train.REFUSED_LENGTH);
  assert.equal(segment(chain().extension('destination').udp().payload(2500).bytes(), 48), train.REFUSED_LENGTH);
  assert.equal(segment(chain().extension('destination').tcp().payload(2500).bytes(), 48), 3);
});

test('any bytes, any offsets: a count or a refusal, no exception, no read behind the frame', () => {
  const area = new DataView(new ArrayBuffer(1024 * HEADER_STRIDE));
  const counts = new Map<boolean, number>();
  const run = (bytes: Uint8Array, networkAt: number, transportAt: number, end: number, size: number, partial: boolean) => {
    // The memory ends with the frame: a stray read would throw.
    const view = new DataView(bytes.slice().buffer);
    for (const segment of [segmentTcp, segmentUdp]) {
      const count = segment(view, networkAt, transportAt, end, size, partial, area, 0, HEADER_STRIDE, OUTER);
      assert.ok(Number.isInteger(count) && count !== 0 && count >= -train.REFUSALS.length && count <= 1024, `${count}`);
      counts.set(count > 0, (counts.get(count > 0) ?? 0) + 1);
    }
  };
  const offset = fc.integer({ min: -4, max: 260 });
  const sizes = fc.integer({ min: -1, max: 70_000 });
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 256 }),
      fc.constantFrom(0x45, 0x60),
      offset,
      offset,
      offset,
      sizes,
      fc.boolean(),
      (bytes, first, ...rest) => {
        const [networkAt] = rest;
        if (networkAt >= 0 && networkAt < bytes.length) bytes[networkAt] = first;
        run(bytes, ...rest);
      },
    ),
    { numRuns: 3000 },
  );
  // Right packets with damaged headers come further.
  const damage = fc.array(fc.tuple(fc.integer({ min: 0, max: 80 }), fc.integer({ min: 0, max: 255 })), { maxLength: 2 });
  fc.assert(
    fc.property(shapes, damage, fc.integer({ min: 0, max: 300 }), (shape, edits, size) => {
      const bytes = superPacket({ ...shape, payload: shape.payload % 2000 });
      const { at } = transportOf(bytes);
      for (const [place, value] of edits) if (place < bytes.length) bytes[place] = value;
      run(bytes, 0, at, bytes.length, size, !shape.finished);
    }),
    { numRuns: 3000 },
  );
  assert.ok((counts.get(true) ?? 0) > 500 && (counts.get(false) ?? 0) > 500, JSON.stringify([...counts]));
});

test('virtio-net facts are held against the packet', () => {
  const batch = new Batch(Arena.inProcess(1), { link: LINK_RAW_IP, hopDone: true, canPass: false, headerVerified: true });
  const check = (
    facts: Partial<Record<'family' | 'protocol' | 'gsoType' | 'gsoSize' | 'flags' | 'headerLength' | 'start' | 'offset', number>>,
  ) => {
    batch.frameLength[0] = 3000;
    batch.transportAt[0] = batch.frameAt[0] + 20;
    batch.family[0] = facts.family ?? 4;
    batch.protocol[0] = facts.protocol ?? 6;
    batch.gsoType[0] = facts.gsoType ?? 1;
    batch.gsoSize[0] = facts.gsoSize ?? 1000;
    batch.virtioFlags[0] = facts.flags ?? 1;
    batch.headerLength[0] = facts.headerLength ?? 40;
    batch.csumStart[0] = facts.start ?? 20;
    batch.csumOffset[0] = facts.offset ?? 16;
    return checkSuperPacket(batch, 0);
  };
  assert.equal(check({}), 0);
  assert.equal(check({ gsoType: 0x81 }), 0);
  assert.equal(check({ family: 6, gsoType: 4 }), 0);
  assert.equal(check({ protocol: 17, gsoType: 5, offset: 6 }), 0);
  assert.equal(check({ flags: 0, start: 0, offset: 0 }), 0);
  for (const gsoType of [0, 2, 3, 4, 5, 0x21, 0x41, 0x82, 0xff])
    assert.equal(check({ gsoType }), train.REFUSED_TYPE, `${gsoType}`);
  for (const gsoType of [0, 1, 3, 4, 0x85]) assert.equal(check({ protocol: 17, gsoType, offset: 6 }), train.REFUSED_TYPE);
  assert.equal(check({ protocol: 58 }), train.REFUSED_TYPE);
  assert.equal(check({ gsoSize: 0 }), train.REFUSED_SIZE);
  assert.equal(check({ gsoSize: 65535 }), train.REFUSED_SIZE);
  assert.equal(check({ headerLength: 3001 }), train.REFUSED_LENGTH);
  assert.equal(check({ start: 24 }), train.REFUSED_PLACE);
  assert.equal(check({ offset: 6 }), train.REFUSED_PLACE);
  assert.equal(check({ protocol: 17, gsoType: 5, offset: 6, flags: 0 }), train.REFUSED_CHECKSUM);
});

test('the plan: counts, the last length, even sizes', () => {
  assert.equal(train.planTrain(0, 1448, 1024), 1);
  assert.equal(train.planTrain(1448, 1448, 1024), 1);
  assert.equal(train.planTrain(1449, 1448, 1024), 2);
  assert.equal(train.planTrain(65515, 64, 1024), 1024);
  assert.equal(train.planTrain(65537, 64, 1024), train.REFUSED_COUNT);
  assert.equal(train.planTrain(-1, 64, 1024), train.REFUSED_LENGTH);
  assert.equal(train.lastPayload(3000, 1448, 3), 104);
  assert.equal(train.evenSegmentSize(1500, 1468), 750);
  assert.equal(train.evenSegmentSize(1468, 1468), 1468);
  assert.equal(train.evenSegmentSize(0, 1468), 0);
  assert.equal(train.evenSegmentSize(1500, 0), 0);
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 65_535 }), fc.integer({ min: 1, max: 9000 }), (payload, most) => {
      const size = train.evenSegmentSize(payload, most);
      const count = Math.ceil(payload / most);
      assert.ok(size <= most);
      assert.equal(Math.ceil(payload / size) <= count, true);
      if (size * (count - 1) < payload) assert.ok(size - train.lastPayload(payload, size, count) < count);
    }),
  );
});

test('every refusal has its word once', () => {
  assert.deepEqual(
    train.REFUSALS.map(({ code }) => code),
    train.REFUSALS.map((_, i) => -1 - i),
  );
  assert.equal(new Set(train.REFUSALS.map(({ word }) => word)).size, train.REFUSALS.length);
});
