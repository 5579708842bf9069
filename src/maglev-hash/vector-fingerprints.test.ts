import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from '../../test/property.ts';
import { wasmMemory } from '../base/wasm-code.ts';
import { hashTuple4, hashTuple6, slotOf } from './flow-hash.ts';
import { fingerprints } from './half-siphash.ts';
import { flowLanes, LANES_BYTES, TAIL4, TAIL6 } from './vector-fingerprints.ts';

const word = fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 });
const size = fc.oneof(fc.constantFrom(65537, 1048573), fc.integer({ min: 2, max: 1048573 }));
const flow = fc.record({
  isIpv4: fc.boolean(),
  addresses: fc.array(word, { minLength: 8, maxLength: 8 }),
  ports: word,
  protocol: fc.integer({ min: 0, max: 255 }),
});

for (const vectors of [true, false]) {
  test(`lanes hold what one flow at a time gives, both families mixed, ${vectors ? 'by vectors' : 'without'}`, () => {
    fc.assert(
      fc.property(word, word, size, fc.array(flow, { minLength: 1, maxLength: 70 }), (key0, key1, slots, flows) => {
        const lanes = flowLanes(key0, key1, 128, null, vectors);
        flows.forEach(({ isIpv4, addresses, ports, protocol }, i) => {
          addresses.forEach((value, w) => {
            lanes.addresses[w][i] = value;
          });
          lanes.ports[i] = ports;
          lanes.tail[i] = (isIpv4 ? TAIL4 : TAIL6) | protocol;
        });
        lanes.run4(flows.length);
        lanes.run6(flows.length);
        lanes.runSlots?.(flows.length, key1, slots);
        assert.equal(lanes.runSlots !== null, vectors);
        const [low, high] = [new Int32Array(1), new Int32Array(1)];
        const { tuple4, tuple6 } = fingerprints(key0, key1, low, high);
        const view = new DataView(new ArrayBuffer(32));
        flows.forEach(({ isIpv4, addresses, ports, protocol }, i) => {
          addresses.forEach((value, w) => {
            view.setInt32(w * 4, value);
          });
          if (isIpv4) tuple4(addresses[0], addresses[1], ports, protocol, 0);
          else tuple6(view, 0, 16, ports, protocol, 0);
          const hash = isIpv4
            ? hashTuple4(addresses[0], addresses[1], ports, protocol)
            : hashTuple6(view, 0, 16, ports, protocol);
          assert.deepEqual([lanes.low[i], lanes.high[i], lanes.hash[i]], [low[0], high[0], hash], `flow ${i}`);
          if (vectors) assert.equal(lanes.slots[i], slotOf(hash, key1, slots), `slot of flow ${i}`);
        });
      }),
    );
  });
}

test('more flows than vectors have room for are done one by one', () => {
  const lanes = flowLanes(1, 2, 1000);
  assert.equal(lanes.low.length, 1000);
  assert.equal(flowLanes(1, 2, 64).low.length, 256, 'this engine has vectors');
});

test('lanes may lie in memory of the caller, wherever in it', () => {
  const buffer = wasmMemory(LANES_BYTES + 4096);
  assert.ok(buffer !== null);
  const elsewhere = flowLanes(1, 2, 64, { buffer, at: 4096 });
  const own = flowLanes(1, 2, 64);
  for (const lanes of [elsewhere, own]) {
    for (const column of [...lanes.addresses, lanes.ports]) column[7] = 0x01020304;
    lanes.tail[7] = TAIL4 | 6;
    lanes.run4(8);
  }
  assert.equal(elsewhere.low.byteOffset >= 4096, true);
  assert.deepEqual([elsewhere.low[7], elsewhere.high[7], elsewhere.hash[7]], [own.low[7], own.high[7], own.hash[7]]);
  assert.ok(new Uint8Array(buffer, 0, 4096).every((byte) => byte === 0));
});

test('lanes that are to lie in other memory lie elsewhere', () => {
  const buffer = new ArrayBuffer(LANES_BYTES);
  assert.notEqual(flowLanes(1, 2, 64, { buffer, at: 0 }).low.buffer, buffer);
});
