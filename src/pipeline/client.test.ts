import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ip } from '../../test/builder/addresses.ts';
import { packet } from '../../test/builder/packet.ts';
import { Rig, specOf, TUN } from '../../test/pipeline/rig.ts';
import { LOOKUP_FLOW, LOOKUP_FRAGMENT, LOOKUP_QUOTE } from '../base/batch.ts';
import { clientAddressAt, clientPort, packetMark } from './client.ts';

const CLIENT4 = '192.0.2.77';
const CLIENT6 = '2001:db8:1::4d';
const WORKER4 = '198.51.100.1';
const WORKER6 = '2001:db8:2::1';

/** A batch of one packet, its columns as classify sets them. */
function batchOf(bytes: Uint8Array, transport: number, protocol: number, lookup = LOOKUP_FLOW) {
  const { batch } = new Rig(specOf(), TUN);
  const at = batch.slotAt[0] + 128;
  batch.arena.bytes.set(bytes, at);
  batch.networkAt[0] = at;
  batch.networkLength[0] = bytes.length;
  batch.transportAt[0] = at + transport;
  batch.family[0] = bytes[0] >> 4;
  batch.protocol[0] = protocol;
  batch.lookup[0] = lookup;
  return batch;
}

function read(bytes: Uint8Array, transport: number, protocol: number, lookup = LOOKUP_FLOW) {
  const batch = batchOf(bytes, transport, protocol, lookup);
  const at = clientAddressAt(batch, 0);
  const length = batch.family[0] === 4 ? 4 : 16;
  return { address: batch.arena.bytes.slice(at, at + length), port: clientPort(batch, 0) };
}

test('of a packet of its own flow: its source', () => {
  const four = packet().ipv4({ src: CLIENT4 }).tcp({ sport: 40000 }).payload(9).bytes();
  assert.deepEqual(read(four, 20, 6), { address: ip(CLIENT4), port: 40000 });
  const six = packet().ipv6({ src: CLIENT6 }).udp({ sport: 1 }).bytes();
  assert.deepEqual(read(six, 40, 17), { address: ip(CLIENT6), port: 1 });
});

test('without ports there is none', () => {
  const echo = packet().ipv4({ src: CLIENT4, id: 0x1234 }).icmp4({ type: 8, code: 0 }).bytes();
  assert.equal(read(echo, 20, 1).port, 0);
  assert.equal(packetMark(batchOf(echo, 20, 1), 0), 0x1234);
  const fragment = packet().ipv4({ src: CLIENT4, offset: 1480 }).payload(40).bytes();
  assert.equal(read(fragment, 20, 17, LOOKUP_FRAGMENT).port, 0);
  const six = packet().ipv6({ src: CLIENT6, flowLabel: 0xabcde }).udp({}).bytes();
  assert.equal(packetMark(batchOf(six, 40, 17), 0), 0xabcde);
});

/** An ICMP error whose quote is cut to the least: the IP header and 8 bytes. */
function error(quoted: Uint8Array, six: boolean): Uint8Array {
  const header = six
    ? packet().ipv6({ src: '2001:db8:9::9' }).icmp6({ type: 2, code: 0 })
    : packet().ipv4({ src: '203.0.113.9' }).icmp4({ type: 3, code: 4 });
  return header.payload(quoted).bytes();
}

test('of an ICMP error: the destination of what it quotes', () => {
  const options = Uint8Array.of(1, 1, 1, 1);
  for (const [quoted, wanted] of [
    [packet().ipv4({ src: WORKER4, dst: CLIENT4 }).tcp({ sport: 443, dport: 40000 }).bytes().subarray(0, 28), CLIENT4],
    [packet().ipv4({ src: WORKER4, dst: CLIENT4, options }).udp({ sport: 443, dport: 40000 }).bytes().subarray(0, 32), CLIENT4],
    [packet().ipv6({ src: WORKER6, dst: CLIENT6 }).tcp({ sport: 443, dport: 40000 }).bytes().subarray(0, 48), CLIENT6],
    [packet().ipv6({ src: WORKER6, dst: CLIENT6 }).extension('destination').udp({ sport: 443, dport: 40000 }).bytes(), CLIENT6],
  ] as const) {
    const six = wanted === CLIENT6;
    const transport = six ? 40 : 20;
    assert.deepEqual(read(error(quoted, six), transport, six ? 58 : 1, LOOKUP_QUOTE), { address: ip(wanted), port: 40000 });
  }
});

test('of a ping that is forwarded: its source, whatever lies behind its header', () => {
  const fake = packet().ipv4({ src: WORKER4, dst: '203.0.113.1' }).tcp({ sport: 443, dport: 1234 }).bytes();
  for (const payload of [new Uint8Array(0), fake]) {
    const four = packet().ipv4({ src: CLIENT4 }).icmp4({ type: 8 }).payload(payload).bytes();
    assert.deepEqual(read(four, 20, 1, LOOKUP_QUOTE), { address: ip(CLIENT4), port: 0 });
    const six = packet().ipv6({ src: CLIENT6 }).icmp6({ type: 128 }).payload(payload).bytes();
    assert.deepEqual(read(six, 40, 58, LOOKUP_QUOTE), { address: ip(CLIENT6), port: 0 });
  }
});

test('of an ICMP error about a later fragment: no port', () => {
  const later = packet().ipv4({ src: WORKER4, dst: CLIENT4, offset: 1480, protocol: 17 }).payload(8).bytes();
  assert.deepEqual(read(error(later, false), 20, 1, LOOKUP_QUOTE), { address: ip(CLIENT4), port: 0 });
});
