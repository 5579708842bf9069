import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EMPTY_SLOT } from '../permutation.ts';
import { katranIdentity } from './identity.ts';
import { katranHash4, katranHash6, katranSlot } from './packet-hash.ts';
import { buildKatranRing, katranPermutation, murmur64 } from './ring.ts';

const hex = (word: bigint) => word.toString(16).padStart(16, '0');

/** FNV-1a, 64 bits, of the ring with each backend's number as a little-endian int32. */
function digest(ring: Uint16Array, numbers: readonly number[]): string {
  const bytes = new Uint8Array(Int32Array.from(ring, (i) => numbers[i]).buffer);
  let hash = 0xcbf29ce484222325n;
  for (const byte of bytes) hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * 0x100000001b3n);
  return hex(hash);
}

function address6(last: number): Uint8Array {
  const bytes = new Uint8Array(16);
  bytes[0] = 0xfc;
  bytes[15] = last;
  return bytes;
}

/** Source port first, as a little-endian load of the packet. */
function portsWord(source: number, destination: number): number {
  return (source >> 8) | ((source & 0xff) << 8) | ((destination >> 8) << 16) | ((destination & 0xff) << 24);
}

test('murmur64: known answers', () => {
  assert.equal(hex(murmur64(0n, 0n, 0n)), '4bbd1bf27da918d6');
  assert.equal(hex(murmur64(1n, 2n, 3n)), '911f9cd942587832');
  assert.equal(hex(murmur64(0x2an, 0x903n, 7n)), '0f4a3e9888680f09');
  assert.equal(hex(murmur64(0x0123456789abcdefn, 0xfedcba9876543210n, 0xdeadbeefn)), '847d4196c8b62ca1');
  assert.equal(hex(murmur64(0xffffffffffffffffn, 1n, 0xffffffffn)), '45ddca8a2880866f');
});

test('offsets and skips as Katran computes them', () => {
  // By size 7, 11, 65537: offset and skip.
  const rows: [bigint, ...[number, number][]][] = [
    [1n, [1, 1], [2, 9], [3304, 19461]],
    [2n, [4, 3], [9, 7], [43699, 25045]],
    [3n, [0, 5], [7, 7], [8737, 46941]],
    [1000n, [2, 2], [0, 6], [14056, 60674]],
    [2000n, [3, 6], [0, 4], [4842, 8266]],
    [42n, [5, 4], [1, 10], [41180, 65402]],
    [16045690984503111693n, [0, 4], [4, 2], [24643, 47462]],
  ];
  for (const [hash, ...pairs] of rows) {
    pairs.forEach(([offset, skip], i) => {
      assert.deepEqual(katranPermutation(hash, [7, 11, 65537][i]), { offset, skip }, `${hash}`);
    });
  }
});

test('rings: as Katran builds them, both variants, weights equal and not', () => {
  const members = (...rows: [weight: number, hash: number][]) => rows.map(([weight, hash]) => ({ weight, hash: BigInt(hash) }));
  const rows: [ReturnType<typeof members>, number[], number, string, string][] = [
    [members([1, 1], [1, 2], [1, 3]), [1, 2, 3], 65537, 'f92cab62a0009636', 'f92cab62a0009636'],
    [members([1, 1], [1, 2], [1, 3]), [1, 2, 3], 7, '40ab1bed2a822a84', '40ab1bed2a822a84'],
    [members([1, 1], [1, 2], [1, 3]), [1, 2, 3], 11, '2604a02044a71876', '2604a02044a71876'],
    [members([3, 1], [2, 2], [1, 3]), [1, 2, 3], 65537, '2b8324c9c25c1394', '2ef2990255e8b7a4'],
    [members([3, 1], [2, 2], [1, 3]), [1, 2, 3], 11, '60e08479c8f8e874', '2ae881427eea1596'],
    [members([1, 1], [0, 2], [1, 3]), [1, 2, 3], 65537, '857da45f59dfcd44', '857da45f59dfcd44'],
    [members([1, 1000], [1, 2000]), [0, 1], 7, '98c25023b6f35704', '98c25023b6f35704'],
    [members([2, 1000], [1, 2000]), [0, 1], 7, '98c25023b6f35704', '1016d2781fb39d25'],
    [
      members(...Array.from({ length: 10 }, (_, i): [number, number] => [1, 10 * i])),
      [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
      65537,
      'cc424c65f9825c93',
      'cc424c65f9825c93',
    ],
  ];
  for (const [list, numbers, size, v1, v2] of rows) {
    assert.equal(digest(buildKatranRing(list, size, 'v1'), numbers), v1);
    assert.equal(digest(buildKatranRing(list, size, 'v2'), numbers), v2);
  }
});

test('rings: their first slots, and how many slots each backend has', () => {
  const members = (...rows: [weight: number, hash: number][]) => rows.map(([weight, hash]) => ({ weight, hash: BigInt(hash) }));
  const three = members([3, 1], [2, 2], [1, 3]);
  const ten = members(...Array.from({ length: 10 }, (_, i): [number, number] => [1, 10 * i]));
  // Members by their place from 0 on.
  const rows: [ReturnType<typeof members>, number, 'v1' | 'v2', string, number[]][] = [
    [members([1, 1], [1, 2], [1, 3]), 65537, 'v1', '01220202110111222220', [21846, 21846, 21845]],
    [members([1, 1], [1, 2], [1, 3]), 7, 'v2', '2001120', [3, 2, 2]],
    [members([1, 1], [1, 2], [1, 3]), 11, 'v1', '00021102112', [4, 4, 3]],
    [three, 65537, 'v1', '01220202110111222220', [21847, 21846, 21844]],
    [three, 65537, 'v2', '01220000110110222020', [32769, 21846, 10922]],
    [three, 11, 'v1', '01001102102', [5, 4, 2]],
    [three, 11, 'v2', '00021100110', [6, 4, 1]],
    [members([1, 1], [0, 2], [1, 3]), 65537, 'v1', '00220202000020222220', [32769, 0, 32768]],
    [members([2, 1000], [1, 2000]), 7, 'v1', '1101000', [4, 3]],
    [members([2, 1000], [1, 2000]), 7, 'v2', '1001000', [5, 2]],
    [ten, 65537, 'v1', '73422945374730632678', [...Array(7).fill(6554), ...Array(3).fill(6553)]],
  ];
  for (const [list, size, variant, first, counts] of rows) {
    const ring = buildKatranRing(list, size, variant);
    assert.equal([...ring.subarray(0, 20)].join(''), first);
    assert.deepEqual(
      list.map((_, i) => ring.filter((owner) => owner === i).length),
      counts,
    );
  }
});

test('V1 adds weights up: a thousand backends of weight 100 fill the ring in the first round, and a third of them get nothing; V2 is even', () => {
  const addresses = Array.from({ length: 1000 }, (_, i) => katranIdentity(Uint8Array.of(10, 1, i >> 8, i & 255)));
  const members = addresses.sort((a, b) => (a < b ? -1 : 1)).map((hash) => ({ hash, weight: 100 }));
  const counts = (variant: 'v1' | 'v2') => {
    const slots = new Int32Array(members.length);
    for (const owner of buildKatranRing(members, 65537, variant)) slots[owner]++;
    return slots;
  };
  const first = counts('v1');
  assert.deepEqual([Math.min(...first), Math.max(...first)], [0, 100]);
  assert.equal(first.filter((slots) => slots === 0).length, 344);
  const second = counts('v2');
  assert.deepEqual([Math.min(...second), Math.max(...second)], [65, 66]);
});

test('nobody, and one alone', () => {
  assert.ok(buildKatranRing([{ hash: 1n, weight: 0 }], 11, 'v1').every((slot) => slot === EMPTY_SLOT));
  assert.ok(
    buildKatranRing(
      [
        { hash: 1n, weight: 0 },
        { hash: 2n, weight: 7 },
      ],
      11,
      'v2',
    ).every((slot) => slot === 1),
  );
  assert.throws(() => buildKatranRing([{ hash: 1n, weight: -1 }], 11, 'v1'), /member 0 has weight -1/);
});

test('hashes of addresses', () => {
  const ipv4 = (last: number) => hex(katranIdentity(Uint8Array.of(10, 0, 0, last)));
  assert.deepEqual([1, 2, 3].map(ipv4), ['d671359dbaa15954', '2cd426d008b90279', '6eb4a2989236785d']);
  const ipv6 = (last: number) => hex(katranIdentity(address6(last)));
  assert.deepEqual([1, 2, 3].map(ipv6), ['64e74a25b986d744', '87d247835b02295b', '0b2e5ea98827f017']);
  assert.throws(() => katranIdentity(new Uint8Array(5)), /4 or 16 bytes, not 5/);
});

test('the ring of three addresses in hash order, and what packets hash to', () => {
  const addresses = [1, 2, 3].map((last) => Uint8Array.of(10, 0, 0, last));
  const members = addresses.map((address, i) => ({ number: i + 1, hash: katranIdentity(address), weight: 1 }));
  members.sort((a, b) => (a.hash < b.hash ? -1 : 1));
  const ring = buildKatranRing(members, 65537, 'v1');
  const numbers = members.map(({ number }) => number);
  assert.equal(digest(ring, numbers), '4110148491ea0e24');
  const rows: [client: number[], source: number, destination: number, hash: number, slot: number, backend: number][] = [
    [[192, 168, 1, 1], 31337, 80, 0xc7e68632, 48717, 3],
    [[192, 168, 1, 1], 31337, 0, 0x01c79de1, 39962, 2],
    [[192, 168, 1, 42], 31337, 443, 0x900ba7c9, 6078, 2],
    [[0, 0, 0, 0], 42, 42, 0xdf5e9469, 46348, 2],
  ];
  for (const [client, source, destination, hash, slot, backend] of rows) {
    const word = new DataView(Uint8Array.from(client).buffer).getInt32(0, true);
    const got = katranHash4(word, portsWord(source, destination));
    assert.deepEqual([got >>> 0, katranSlot(got, 65537), numbers[ring[katranSlot(got, 65537)]]], [hash, slot, backend]);
  }
  const client = new DataView(Uint8Array.of(0xfc, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1).buffer);
  const got = katranHash6(client, 0, portsWord(31337, 80));
  assert.deepEqual([got >>> 0, katranSlot(got, 65537)], [0x9c5a2eda, 37505]);
});
