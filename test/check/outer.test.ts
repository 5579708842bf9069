/** The checker itself must be able to fail: every kind of fault is made once, and its complaint expected. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { packet } from '../builder/packet.ts';
import { checkEncapsulation, decodeOuter } from './outer.ts';

const inner4 = () => packet().ipv4({ ttl: 63 }).tcp().payload(100);
const wrap = (inner: Uint8Array, protocol = 4) =>
  packet().ipv4({ src: '203.0.113.1', dst: '203.0.113.9' }).udp({ dport: 6080 }).gue({ protocol }).payload(inner);

test('all four mixes of families decode without complaint, and the parts come out', () => {
  for (const outer of [4, 6]) {
    for (const family of [4, 6]) {
      const inner = (family === 4 ? packet().ipv4() : packet().ipv6()).udp().payload(31).bytes();
      const tunnel = (outer === 4 ? packet().ipv4() : packet().ipv6()).udp({ sport: 50000, dport: 6080 });
      const output = tunnel
        .gue({ protocol: family === 4 ? 4 : 41 })
        .payload(inner)
        .bytes();
      const decoded = decodeOuter(output);
      assert.deepEqual(decoded.complaints, []);
      assert.equal(decoded.outer.family, outer);
      assert.deepEqual(decoded.inner, inner);
      assert.equal(decoded.udp.sourcePort, 50000);
      assert.equal(decoded.gue.headerLength, 4);
    }
  }
});

test('each fault has its complaint', () => {
  const inner = inner4().bytes();
  const complaints = (output: Uint8Array) => decodeOuter(output).complaints.join('; ');
  const around = (fields: object, udp: object = {}, gue: object = {}) =>
    packet()
      .ipv4(fields)
      .udp({ dport: 6080, ...udp })
      .gue({ protocol: 4, ...gue })
      .payload(inner)
      .bytes();
  assert.equal(complaints(around({})), '');
  assert.match(complaints(around({ totalLength: 99 })), /outer total length 99/);
  assert.match(complaints(around({ checksum: 1 })), /outer IPv4 checksum/);
  assert.match(complaints(around({ protocol: 6 })), /protocol 6 is not UDP/);
  assert.match(complaints(around({ more: true })), /fragment/);
  assert.match(complaints(around({ ttl: 0 })), /outer TTL is 0/);
  assert.match(complaints(around({}, { length: 30, checksum: 'none' })), /UDP length 30/);
  assert.match(complaints(around({}, { checksum: 5 })), /outer UDP checksum/);
  assert.equal(complaints(around({}, { checksum: 'none' })), '');
  assert.match(complaints(around({}, {}, { protocol: 41 })), /inner version 4 under GUE protocol 41/);
  assert.match(complaints(around({}, {}, { control: true })), /control bit/);
  assert.match(complaints(around({}, {}, { variant: 1 })), /GUE variant 1/);
  assert.match(complaints(around({}, {}, { hlen: 1 })), /inner/);
  assert.match(complaints(wrap(packet().ipv4({ checksum: 3 }).udp().bytes()).bytes()), /inner IPv4 checksum/);
  assert.match(complaints(wrap(packet().ipv4().tcp({ checksum: 3 }).bytes()).bytes()), /inner checksum of protocol 6/);
  assert.match(complaints(wrap(packet().ipv6().udp({ checksum: 'none' }).bytes(), 41).bytes()), /no checksum/);
  assert.match(complaints(wrap(packet().ipv6({ payloadLength: 3 }).udp().bytes(), 41).bytes()), /inner payload length 3/);
});

test('an encapsulation is held against its input: only the declared rewrites pass', () => {
  const came = packet().ipv4({ ttl: 64 }).tcp().payload(100).bytes();
  const output = wrap(inner4().bytes()).bytes();
  checkEncapsulation(output, came, { ttlDecremented: true });
  assert.throws(() => checkEncapsulation(output, came, { ttlDecremented: false }), /the inner packet is the one that came in/);
  const partial = packet().ipv6().udp({ checksum: 'partial' }).payload(9).bytes();
  const full = wrap(packet().ipv6().udp().payload(9).bytes(), 41).bytes();
  checkEncapsulation(full, partial, { ttlDecremented: false, checksumCompleted: true });
  assert.throws(() => checkEncapsulation(full, partial, { ttlDecremented: false }));
});
