import assert from 'node:assert/strict';
import { test } from 'node:test';
import { packet } from '../builder/packet.ts';
import { naiveChecksum, naivePseudoSum } from './checksum.ts';
import { decodeTunnel, type Expected, type TunnelKind } from './tunnel.ts';
import { afterHop, encodeTunnel, type TunnelWay, withPartialChecksum } from './tunnel-writer.ts';

/** A right packet, made by hand: IPv4 in IPv4 with a UDP checksum. */
function right(): Uint8Array {
  const inner = Uint8Array.from([0x45, 0, 0, 21, 0, 1, 0x40, 0, 63, 253, 0, 0, 198, 51, 100, 7, 192, 0, 2, 1, 99]);
  new DataView(inner.buffer).setUint16(10, naiveChecksum(inner, 0, 20));
  // biome-ignore format: one header a line
  const packet = Uint8Array.from([
    0x45, 0, 0, 53, 0, 0, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
    0xc0, 0, 0x17, 0xc0, 0, 33, 0, 0,
    0, 4, 0, 0,
    ...inner,
  ]);
  const view = new DataView(packet.buffer);
  view.setUint16(10, naiveChecksum(packet, 0, 20));
  view.setUint16(26, naiveChecksum(packet, 20, 33, naivePseudoSum(packet.subarray(12, 16), packet.subarray(16, 20), 17, 33)));
  return packet;
}

test('a right packet is taken apart', () => {
  const tunnel = decodeTunnel(right());
  assert.equal(tunnel.sourcePort, 0xc000);
  assert.equal(tunnel.destinationPort, 6080);
  assert.equal(tunnel.hasChecksum, true);
  assert.equal(tunnel.inner.length, 21);
  assert.equal(tunnel.innerFamily, 4);
});

test('every single flipped bit is noticed', () => {
  const packet = right();
  for (let bit = 0; bit < packet.length * 8; bit++) {
    const broken = packet.slice();
    broken[bit >> 3] ^= 1 << (bit & 7);
    assert.throws(() => decodeTunnel(broken), Error, `bit ${bit}`);
  }
});

test('every cut is noticed', () => {
  for (let length = 0; length < right().length; length++) assert.throws(() => decodeTunnel(right().subarray(0, length)));
});

test('the writer makes the packet that was made by hand', () => {
  const written = encodeTunnel(right().slice(32), {
    kind: 'gue',
    source: Uint8Array.of(10, 0, 0, 1),
    destination: Uint8Array.of(10, 0, 0, 2),
    sourcePort: 0xc000,
    checksum: 'full',
  });
  assert.deepEqual(written, right());
});

const FOUR = [Uint8Array.of(10, 0, 0, 1), Uint8Array.of(10, 0, 0, 2)] as const;
const SIX = [1, 2].map((last) => Uint8Array.of(0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last));
const INNER = {
  4: packet().ipv4({ ttl: 7, tos: 0xb9, id: 77 }).tcp().payload(33).bytes(),
  6: packet().ipv6({ hopLimit: 7, trafficClass: 0xb9, flowLabel: 0x54321 }).udp().payload(33).bytes(),
};

/** Header bytes between the outer IP header and the inner packet, spelled out. */
const BETWEEN: Record<TunnelKind, (inner: 4 | 6) => number[]> = {
  gue: (inner) => [0xc0, 0, 0x17, 0xc0, 0, 12 + INNER[inner].length, 0, 0, 0, inner === 4 ? 4 : 41, 0, 0],
  'gue-v1': (inner) => [0xc0, 0, 0x17, 0xc0, 0, 8 + INNER[inner].length, 0, 0],
  fou: (inner) => [0xc0, 0, 0x17, 0xc0, 0, 8 + INNER[inner].length, 0, 0],
  gre: (inner) => [0, 0, ...(inner === 4 ? [0x08, 0x00] : [0x86, 0xdd])],
  ipip: () => [],
};
const NUMBER: Record<TunnelKind, (inner: 4 | 6) => number> = {
  gue: () => 17,
  'gue-v1': () => 17,
  fou: () => 17,
  gre: () => 47,
  ipip: (inner) => (inner === 4 ? 4 : 41),
};

for (const kind of Object.keys(BETWEEN) as TunnelKind[]) {
  for (const outer of [4, 6] as const) {
    for (const inner of [4, 6] as const) {
      test(`${kind}, IPv${inner} in IPv${outer}: the bytes of the books, and read back`, () => {
        const [source, destination] = outer === 4 ? FOUR : SIX;
        const way: TunnelWay = { kind, source, destination };
        const between = BETWEEN[kind](inner);
        const written = encodeTunnel(INNER[inner], way);
        const ip = outer === 4 ? 20 : 40;
        assert.deepEqual([...written.subarray(ip)], [...between, ...INNER[inner]]);
        assert.equal(written[outer === 4 ? 9 : 6], NUMBER[kind](inner));
        const read = decodeTunnel(written, { kind });
        assert.deepEqual(read.inner, INNER[inner]);
        assert.deepEqual(
          [read.innerFamily, read.outerFamily, read.hasChecksum, read.outer.ttl, read.outer.trafficClass],
          [inner, outer, false, 64, 0xb9],
        );
        if (kind === 'ipip') return;
        const summed = encodeTunnel(INNER[inner], { ...way, checksum: 'full' });
        assert.equal(decodeTunnel(summed, { kind }).hasChecksum, true);
        // Every bit behind the outer IP header is under the sum.
        for (let bit = ip * 8; bit < summed.length * 8; bit++) {
          const broken = summed.slice();
          broken[bit >> 3] ^= 1 << (bit & 7);
          assert.throws(() => decodeTunnel(broken, { kind }), Error, `bit ${bit}`);
        }
      });
    }
  }
}

test('what a policy decides stands in the outer header and is read back', () => {
  const outer = { ttl: 9, trafficClass: 0x2e, dontFragment: false, identification: 4711, flowLabel: 0 };
  const four = encodeTunnel(INNER[6], { kind: 'ipip', source: FOUR[0], destination: FOUR[1], outer });
  assert.deepEqual(decodeTunnel(four, { kind: 'ipip' }).outer, outer);
  const label = { ttl: 9, trafficClass: 0x2e, dontFragment: false, identification: 0, flowLabel: 0xabcde };
  const six = encodeTunnel(INNER[4], {
    kind: 'gre',
    source: SIX[0],
    destination: SIX[1],
    outer: (inner) => ({ ...label, trafficClass: inner[1] - 0xb9 + 0x2e }),
  });
  assert.deepEqual(decodeTunnel(six, { kind: 'gre' }).outer, label);
});

for (const inner of [4, 6] as const) {
  test(`a remote checksum of IPv${inner} is written as IPVS writes it and completed as fou completes it`, () => {
    const { packet: partial, remoteChecksum } = withPartialChecksum(INNER[inner]);
    assert.notDeepEqual(partial, INNER[inner]);
    const way: TunnelWay = { kind: 'gue', source: FOUR[0], destination: FOUR[1], checksum: 'full', remoteChecksum };
    const written = encodeTunnel(partial, way);
    const start = inner === 4 ? 20 : 40;
    const offset = inner === 4 ? 36 : 46;
    assert.deepEqual([...written.subarray(28, 40)], [2, inner === 4 ? 4 : 41, 0, 1, 0x80, 0, 0, 0, 0, start, 0, offset]);
    // A Buffer, as captures give them: reading changes nothing.
    const buffer = Buffer.from(written);
    const read = decodeTunnel(buffer, { remoteChecksum: true });
    assert.deepEqual(Uint8Array.from(buffer), written);
    assert.deepEqual(read.inner, INNER[inner]);
    assert.deepEqual(read.remoteChecksum, { start, offset });
    assert.throws(() => decodeTunnel(written), /GUE flags 1/);
    for (const [at, value] of [
      [0, 1],
      [7, 1],
      [4, 0x40],
    ] as const) {
      const wrong = encodeTunnel(partial, { ...way, checksum: 'none' });
      wrong[28 + at] = value;
      assert.throws(() => decodeTunnel(wrong, { remoteChecksum: true }), Error, `byte ${at}`);
    }
  });
}

test('private data is carried behind the fields, and refused where nobody expects it', () => {
  const privateData = Uint8Array.of(0, 0, 0, 1, 10, 9, 8, 7);
  const expected: Expected = { privateData: true, remoteChecksum: true };
  const { packet: partial, remoteChecksum } = withPartialChecksum(INNER[4]);
  const way: TunnelWay = { kind: 'gue', source: FOUR[0], destination: FOUR[1], privateData };
  const plain = encodeTunnel(INNER[4], way);
  assert.deepEqual([...plain.subarray(28, 32)], [2, 4, 0, 0]);
  assert.deepEqual(decodeTunnel(plain, expected).privateData, privateData);
  assert.throws(() => decodeTunnel(plain), /private data/);
  const both = decodeTunnel(encodeTunnel(partial, { ...way, remoteChecksum }), expected);
  assert.deepEqual([both.privateData, both.inner], [privateData, INNER[4]]);
});

test('a hop later: TTL one less and the header checksum right', () => {
  assert.deepEqual(afterHop(INNER[4]), packet().ipv4({ ttl: 6, tos: 0xb9, id: 77 }).tcp().payload(33).bytes());
  assert.equal(afterHop(INNER[6])[7], 6);
});
