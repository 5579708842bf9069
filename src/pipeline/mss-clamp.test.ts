// The MSS clamp against its slow twin, over options of every kind, right and wrong.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { packet } from '../../test/builder/packet.ts';
import fc from '../../test/property.ts';
import { naivePseudoSum, naiveSum } from '../../test/reference/checksum.ts';
import { clampSlowly } from '../../test/reference/mss-clamp.ts';
import { clampMss } from './mss-clamp.ts';

const SYN = 0x02;

/** `clampMss` as the stage calls it: only for SYNs without RST. */
function clamp(bytes: Uint8Array, most: number, partial = false): Uint8Array {
  const out = bytes.slice();
  const view = new DataView(out.buffer);
  const transport = out[0] >> 4 === 4 ? (out[0] & 15) * 4 : 40;
  if ((out[transport + 13] & 6) === SYN) clampMss(view, transport, most, partial);
  return out;
}

function synOf(family: 4 | 6, options: Uint8Array, flags = SYN, checksum?: 'partial', payload = 0): Uint8Array {
  const ip = family === 4 ? packet().ipv4() : packet().ipv6();
  const tcp = checksum === undefined ? { flags, options } : { flags, options, checksum };
  return ip.tcp(tcp).payload(payload).bytes();
}

const option = fc.oneof(
  { weight: 4, arbitrary: fc.nat(0xffff).map((mss) => [2, 4, mss >> 8, mss & 255]) },
  { weight: 3, arbitrary: fc.constant([1]) },
  { weight: 1, arbitrary: fc.constant([0]) },
  { weight: 2, arbitrary: fc.constantFrom([4, 2], [3, 3, 7], [8, 10, 1, 2, 3, 4, 5, 6, 7, 8]) },
  { weight: 1, arbitrary: fc.constantFrom([2, 3, 9], [2, 0], [2, 6, 1, 1, 1, 1], [29, 4, 1, 1], [19, 18], [254, 1], [2]) },
);
/** Padded to whole words with no-operations or end marks, or with a piece of an option. */
const options = fc.tuple(fc.array(option, { maxLength: 8 }), fc.constantFrom(0, 1, 2, 253)).map(([list, padding]) => {
  const bytes = list.flat().slice(0, 40);
  while (bytes.length % 4 !== 0) bytes.push(padding);
  return Uint8Array.from(bytes);
});

test('the clamp equals its slow twin for every list of options', () => {
  let lowered = 0;
  fc.assert(
    fc.property(
      fc.constantFrom(4 as const, 6 as const),
      options,
      fc.oneof(fc.constantFrom(SYN, 0x12, 0x06, 0x10, 0xc2), fc.nat(255)),
      fc.integer({ min: 1, max: 0xffff }),
      fc.nat(5),
      fc.boolean(),
      (family, list, flags, most, payload, partial) => {
        const bytes = synOf(family, list, flags, partial ? 'partial' : undefined, payload);
        const clamped = clamp(bytes, most, partial);
        assert.deepEqual(clamped, clampSlowly(bytes, most, partial));
        if (Buffer.compare(clamped, bytes) !== 0) lowered++;
      },
    ),
    { numRuns: 4000 },
  );
  assert.ok(lowered > 150, `${lowered} packets were changed`);
});

test('a wrong checksum stays wrong by the same difference, at even and odd places', () => {
  fc.assert(
    fc.property(fc.nat(3), fc.integer({ min: 1, max: 0xffff }), fc.nat(0xffff), (shift, mss, wrong) => {
      const list = Uint8Array.from([...new Array(shift).fill(1), 2, 4, mss >> 8, mss & 255, ...new Array(4 - shift).fill(1)]);
      const bytes = synOf(4, list);
      bytes.set([wrong >> 8, wrong & 255], 20 + 16);
      const total = (one: Uint8Array) =>
        naiveSum(one, 20, one.length - 20, naivePseudoSum(one.slice(12, 16), one.slice(16, 20), 6, one.length - 20)) % 0xffff;
      assert.equal(total(clamp(bytes, 500)), total(bytes));
    }),
  );
});

test('never raised, nothing added, nothing read or written behind the header', () => {
  for (const [list, most] of [
    [[2, 4, 2, 24], 537],
    [[2, 4, 2, 24], 536],
    [[], 100],
    [[1, 1, 1, 0], 100],
    // The end of the list, and then what looks like an option.
    [[0, 2, 4, 255, 255, 0, 0, 0], 100],
  ] as const) {
    const bytes = synOf(4, Uint8Array.from(list));
    assert.deepEqual(clamp(bytes, most), bytes, String(list));
  }
  // An MSS option that ends in the payload.
  const cut = synOf(4, Uint8Array.of(1, 1, 2, 4), SYN, undefined, 8);
  assert.deepEqual(clamp(cut, 1), cut);
});
