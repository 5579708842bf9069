// The packet path on an Ethernet link where the director answers for its service addresses (TAP).

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { IngressFacts } from '../../src/base/batch.ts';
import { packet } from '../builder/packet.ts';
import { Rig, SERVICE4, SERVICE6, specOf, TAP, XDP } from './rig.ts';

const OURS = '02:00:00:00:00:fe';
const CLIENT = '02:00:00:00:00:01';
const BROADCAST = 'ff:ff:ff:ff:ff:ff';
const OTHER = '02:00:00:00:00:77';

const request = (target = SERVICE4) =>
  packet().ethernet({ dst: BROADCAST, src: CLIENT }).arp({ senderMac: CLIENT, sender: '192.0.2.1', target }).bytes();
const solicitation = (target = SERVICE6) =>
  packet()
    .ethernet({ dst: '33:33:ff:00:00:01', src: CLIENT })
    .ipv6({ src: 'fd00:1::1', dst: 'ff02::1:ff00:1', hopLimit: 255 })
    .ns({ target, source: CLIENT })
    .bytes();
const syn = (dst: string) => packet().ethernet({ dst, src: CLIENT }).ipv4({ dst: SERVICE4 }).tcp({ dport: 443 }).bytes();
const syn6 = (dst: string) => packet().ethernet({ dst, src: CLIENT }).ipv6({ dst: SERVICE6 }).tcp({ dport: 443 }).bytes();
const ping = (dst: string) => packet().ethernet({ dst, src: CLIENT }).ipv4({ dst: SERVICE4 }).icmp4().bytes();

const short = (outcome: { verdict: string; reason: string }) => `${outcome.verdict} ${outcome.reason}`;

test('questions for a service address are answered, those for others are not, service packets are forwarded', () => {
  const rig = new Rig(specOf(), TAP);
  const outcomes = rig.run([
    request(),
    request('203.0.113.99'),
    solicitation(),
    solicitation('2001:db8:ffff::1'),
    syn(OURS),
    syn6(OURS),
    ping(OURS),
  ]);
  assert.deepEqual(outcomes.map(short), [
    'reply none',
    'drop not-ip',
    'reply none',
    'drop wrong-host',
    'forward none',
    'forward none',
    'reply none',
  ]);
  const arp = Buffer.from(outcomes[0].bytes ?? []);
  assert.equal(arp.subarray(0, 14).toString('hex'), '020000000001' + '0200000000fe' + '0806');
  assert.equal(arp.readUInt16BE(20), 2);
  const advertisement = Buffer.from(outcomes[2].bytes ?? []);
  assert.equal(advertisement.length, 86);
  assert.equal(advertisement[54], 136);
  assert.equal(Buffer.from(outcomes[6].bytes ?? []).toString('hex', 0, 12), '020000000001' + '0200000000fe');
});

test('a frame to another host, and a service packet to all hosts, is not taken', () => {
  const rig = new Rig(specOf(), TAP);
  const frames = [syn(OTHER), syn6(OTHER), ping(OTHER), syn(BROADCAST), syn6('33:33:00:00:00:01'), ping(BROADCAST)];
  assert.deepEqual(rig.run(frames).map(short), Array(6).fill('drop wrong-host'));
});

test('where the link is not ours to answer for, nothing changes', () => {
  const { linkAddress: _, ...facts } = TAP;
  const rig = new Rig(specOf(), facts as IngressFacts);
  const reasons = rig.run([request(), solicitation(), syn(OTHER), syn(BROADCAST)]).map(short);
  assert.deepEqual(reasons, ['drop not-ip', 'drop wrong-host', 'forward none', 'drop wrong-host']);
  assert.deepEqual(new Rig(specOf(), XDP).run([request(), solicitation()]).map(short), ['pass none', 'pass none']);
});
