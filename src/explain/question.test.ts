import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LINK_ETHERNET, LINK_RAW_IP } from '../base/batch.ts';
import * as ipv4 from '../wire/ipv4.ts';
import * as tcp from '../wire/tcp.ts';
import { flowFrame, hexFrame } from './question.ts';
import { readTuple, tupleText } from './tuple.ts';

const viewOf = (bytes: Uint8Array) => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
const tupleOf = (bytes: Uint8Array) => tupleText(readTuple(viewOf(bytes), 0, bytes.length, LINK_RAW_IP));

test('a flow in words is a packet of that flow, and reads the same again', () => {
  for (const text of [
    'tcp 192.0.2.7:40000 → 198.51.100.1:443',
    'udp [2001:db8::7]:5353 → [2001:db8:1::1]:53',
    'sctp 192.0.2.7:1 → 198.51.100.1:2',
    '50 192.0.2.7 → 198.51.100.1',
  ]) {
    const { frame, link } = flowFrame(text);
    assert.equal(link, LINK_RAW_IP);
    assert.equal(tupleOf(frame), text);
    assert.deepEqual(flowFrame(text.replace('→', '>')), { frame, link });
    assert.deepEqual(flowFrame(text.replace('→ ', '')), { frame, link });
  }
});

test('its checksums are right, its flags and length those that were wished for', () => {
  const { frame } = flowFrame('tcp 192.0.2.7:40000 198.51.100.1:443', { flags: 'syn,ECE', length: 1500 });
  assert.equal(frame.length, 1500);
  const view = viewOf(frame);
  assert.ok(ipv4.verifyChecksum(view, 0));
  assert.equal(tcp.flags(view, 20), tcp.SYN | tcp.ECE);
  assert.equal(ipv4.totalLength(view, 0), 1500);
  assert.equal(flowFrame('tcp 192.0.2.7:40000 198.51.100.1:443', { length: 1 }).frame.length, 40);
});

test('what is no flow is refused with what to write', () => {
  for (const [text, message] of [
    ['tcp 192.0.2.7:40000', /no flow: it has a protocol, a source and a destination/],
    ['icmp 192.0.2.7 198.51.100.1', /"icmp" is no protocol/],
    ['tcp 192.0.2.7 198.51.100.1:443', /"192.0.2.7" is not ADDRESS:PORT/],
    ['tcp 192.0.2.7:70000 198.51.100.1:443', /70000 is not a port/],
    ['tcp 192.0.2.256:1 198.51.100.1:443', /not an IPv4 address/],
    ['tcp 192.0.2.7:1 [2001:db8::1]:443', /two IP versions/],
    ['tcp 2001:db8::7:1 [2001:db8::1]:443', /is not ADDRESS:PORT/],
  ] as const) {
    assert.throws(
      () => flowFrame(text),
      (error: { code: string; exitCode: number; message: string; hint: string }) => {
        assert.equal(error.code, 'GD_EXPLAIN_QUESTION');
        assert.equal(error.exitCode, 2);
        assert.match(error.message, message);
        assert.notEqual(error.hint, '');
        return true;
      },
    );
  }
  assert.throws(() => flowFrame('tcp 192.0.2.7:1 198.51.100.1:443', { flags: 'syn,foo' }), /"foo" is no TCP flag/);
});

test('hexadecimal digits: blanks, colons and 0x do not matter; IP and Ethernet are told apart', () => {
  const { frame } = flowFrame('udp 192.0.2.7:1 198.51.100.1:2');
  const hex = Buffer.from(frame).toString('hex');
  assert.deepEqual(hexFrame(hex), { frame, link: LINK_RAW_IP });
  assert.deepEqual(hexFrame(`0x${hex.replace(/(....)/g, '$1 ')}\n`), { frame, link: LINK_RAW_IP });
  const ethernet = `450000000001450000000002 0800 ${hex}`;
  assert.equal(hexFrame(ethernet).link, LINK_ETHERNET);
  assert.equal(hexFrame(hex, 'ethernet').link, LINK_ETHERNET);
  assert.throws(() => hexFrame('45 0x'), /"x" at digit 4/);
  assert.throws(() => hexFrame('450'), /3 digits/);
  assert.throws(() => hexFrame(''), /0 digits/);
});
