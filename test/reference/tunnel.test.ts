import assert from 'node:assert/strict';
import { test } from 'node:test';
import { naiveChecksum, naivePseudoSum } from './checksum.ts';
import { decodeTunnel } from './tunnel.ts';

/** A right packet, made by hand: IPv4 in IPv4 with a UDP checksum. */
function right(): Uint8Array {
  const inner = Uint8Array.from([0x45, 0, 0, 21, 0, 1, 0x40, 0, 63, 253, 0, 0, 198, 51, 100, 7, 192, 0, 2, 1, 99]);
  new DataView(inner.buffer).setUint16(10, naiveChecksum(inner, 0, 20));
  const packet = Uint8Array.from([
    0x45,
    0,
    0,
    53,
    0,
    0,
    0x40,
    0,
    64,
    17,
    0,
    0,
    10,
    0,
    0,
    1,
    10,
    0,
    0,
    2,
    0xc0,
    0,
    0x17,
    0xc0,
    0,
    33,
    0,
    0,
    0,
    4,
    0,
    0,
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
