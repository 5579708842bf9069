import assert from 'node:assert/strict';
import { test } from 'node:test';
import { packet } from '../../test/builder/packet.ts';
import fc from '../../test/property.ts';
import { fragmentSlowly } from '../../test/reference/fragment4.ts';
import { fragment4, fragmentPayload, planFragments, REFUSED_DONT_FRAGMENT } from './fragment4.ts';
import { REFUSED_COUNT, REFUSED_LENGTH, REFUSED_ROOM, REFUSED_SIZE } from './train.ts';

const FILL = 0xa5;
const PACKET_AT = 70_001;
const HEADERS_AT = 140_000;
const STRIDE = 192;
const OUTER = 52;
const FRESH = 0x1234;

const memory = new Uint8Array(HEADERS_AT + 1024 * STRIDE);
const view = new DataView(memory.buffer);

function cut(bytes: Uint8Array, mtu: number, stride = STRIDE, headersAt = HEADERS_AT): number {
  memory.fill(FILL);
  memory.set(bytes, PACKET_AT);
  return fragment4(view, PACKET_AT, PACKET_AT + bytes.length, mtu, FRESH, view, headersAt, stride, OUTER);
}

/** The fragments as the egress gathers them. */
function gather(bytes: Uint8Array, mtu: number, count: number): Uint8Array[] {
  const header = (bytes[0] & 15) * 4;
  const size = fragmentPayload(header, mtu);
  return Array.from({ length: count }, (_, k) => {
    const record = HEADERS_AT + k * STRIDE;
    assert.ok(
      memory.subarray(record, record + OUTER).every((byte) => byte === FILL),
      'room of the outer headers',
    );
    const from = header + k * size;
    const to = k === count - 1 ? bytes.length : from + size;
    const headerBytes = memory.subarray(record + OUTER, record + OUTER + header);
    return Uint8Array.from([...headerBytes, ...memory.subarray(PACKET_AT + from, PACKET_AT + to)]);
  });
}

function check(bytes: Uint8Array, mtu: number): Uint8Array[] {
  const count = cut(bytes, mtu);
  const expected = fragmentSlowly(bytes, mtu, FRESH);
  assert.equal(count, expected.length);
  const fragments = gather(bytes, mtu, count);
  assert.deepEqual(fragments, expected);
  assert.deepEqual(memory.slice(PACKET_AT, PACKET_AT + bytes.length), bytes, 'the packet is left alone');
  assert.ok(memory.subarray(HEADERS_AT + count * STRIDE).every((byte) => byte === FILL));
  return fragments;
}

const datagrams = fc
  .record({
    size: fc.oneof(fc.integer({ min: 0, max: 3000 }), fc.integer({ min: 0, max: 9000 })),
    options: fc.uint8Array({ maxLength: 40 }),
    id: fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 65_535 })),
    tos: fc.integer({ min: 0, max: 255 }),
    more: fc.boolean(),
    offset: fc.constantFrom(0, 0, 0, 8, 1480, 40_000),
  })
  .map(({ size, options, ...fields }) =>
    packet()
      .ipv4({ ...fields, options: options.slice(0, options.length & ~3), df: false })
      .udp()
      .payload(size)
      .bytes(),
  );

test('fragments are those of the slow twin', () => {
  const mtus = fc.oneof(fc.integer({ min: 76, max: 1600 }), fc.integer({ min: 576, max: 3000 }));
  const each = fc.property(datagrams, mtus, (bytes, mtu) => {
    check(bytes, mtu);
  });
  fc.assert(each, { numRuns: 400 });
});

test('1,500 bytes through 1,468: two fragments, one fresh identification, and every byte once', () => {
  const bytes = packet().ipv4({ df: false, id: 0 }).udp().payload(1472).bytes();
  const fragments = check(bytes, 1468);
  assert.deepEqual(
    fragments.map((fragment) => [fragment.length, fragment[4] * 256 + fragment[5], fragment[6] * 256 + fragment[7]]),
    [
      [1468, FRESH, 0x2000],
      [52, FRESH, 181],
    ],
  );
});

test('the last fragment may be longer than the others', () => {
  const bytes = packet().ipv4({ df: false, id: 7 }).udp().payload(1996).bytes();
  assert.deepEqual(
    check(bytes, 1026).map((fragment) => fragment.length),
    [1020, 1024],
  );
});

test('options without the copied flag stand in the first fragment only', () => {
  // Record route (7), no-operation, an unknown copied option (158), end.
  const options = Uint8Array.of(7, 7, 4, 0, 0, 0, 0, 1, 158, 3, 9, 0);
  const [first, second] = check(packet().ipv4({ df: false, id: 7, options }).udp().payload(1000).bytes(), 800);
  assert.deepEqual(first.slice(20, 32), options);
  assert.deepEqual([...second.slice(20, 32)], [1, 1, 1, 1, 1, 1, 1, 1, 158, 3, 9, 0]);
});

test('one that fits is copied as it is, DF and identification 0 included', () => {
  const bytes = packet().ipv4({ df: true, id: 0 }).udp().payload(100).bytes();
  assert.equal(cut(bytes, 1400), 1);
  assert.deepEqual(gather(bytes, 1400, 1), [bytes]);
});

test('refusals, and nothing is written then', () => {
  const bytes = packet().ipv4({ df: false }).udp().payload(3000).bytes();
  const patched = (at: number, value: number) => {
    const copy = bytes.slice();
    copy[at] = value;
    return copy;
  };
  const cases: [string, number, number][] = [
    ['DF', cut(packet().ipv4().udp().payload(3000).bytes(), 1400), REFUSED_DONT_FRAGMENT],
    ['no room for 8 bytes', cut(bytes, 27), REFUSED_SIZE],
    ['too many', cut(packet().ipv4({ df: false }).udp().payload(60_000).bytes(), 68), REFUSED_COUNT],
    ['version', cut(patched(0, 0x65), 1400), REFUSED_LENGTH],
    ['header length', cut(patched(0, 0x44), 1400), REFUSED_LENGTH],
    ['total length', cut(patched(2, 1), 1400), REFUSED_LENGTH],
    ['a fragment past the largest datagram', cut(patched(6, 0x1f), 1400), REFUSED_LENGTH],
    ['stride', cut(bytes, 1400, OUTER + 16), REFUSED_ROOM],
    ['area', cut(bytes, 1400, STRIDE, memory.length - STRIDE), REFUSED_ROOM],
  ];
  for (const [name, got, expected] of cases) assert.equal(got, expected, name);
  cut(patched(2, 1), 1400);
  assert.ok(memory.subarray(HEADERS_AT).every((byte) => byte === FILL));
});

test('the plan alone: counts at every border', () => {
  for (let payload = 0; payload < 200; payload++)
    for (let mtu = 28; mtu < 120; mtu++) {
      let count = 1;
      for (let left = payload; left > mtu - 20; left -= (mtu - 20) & ~7) count++;
      assert.equal(planFragments(payload, 20, mtu), count, `${payload} through ${mtu}`);
    }
});
