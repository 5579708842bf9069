// Whole packets as Katran and GLB director send them, by configuration: facts about their outputs, for packets of our own builder.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type IngressFacts, LINK_ETHERNET } from '../../src/base/batch.ts';
import { loadText } from '../../src/config/load.ts';
import { packet } from '../builder/packet.ts';
import { decodeTunnel } from '../reference/tunnel.ts';
import { Rig } from './rig.ts';

/** As a driver that has counted the hop: Katran and GLB leave the inner TTL as it is. */
const FACTS: IngressFacts = { link: LINK_ETHERNET, hopDone: true, canPass: true, headerVerified: false };
const CONTENT = new TextEncoder().encode('katran test pkt');
const V4 = 'backends: [{ name: a, address: 10.0.0.1 }, { name: b, address: 10.0.0.2 }, { name: c, address: 10.0.0.3 }]';
const V6 = 'backends: [{ name: a, address: "fc00::1" }, { name: b, address: "fc00::2" }, { name: c, address: "fc00::3" }]';

const KATRAN = `services:
  - { name: udp, address: 10.200.1.1, protocol: udp, port: 80, pool: v4 }
  - { name: tcp, address: 10.200.1.1, protocol: tcp, port: 80, pool: v4 }
  - { name: any, address: 10.200.1.2, protocol: tcp, port: all, pool: v4 }
  - { name: over6, address: 10.200.1.3, protocol: tcp, port: 80, pool: v6 }
  - { name: ports, address: 10.200.1.4, protocol: tcp, port: all, pool: ports }
  - { name: six, address: "fc00:1::1", protocol: tcp, port: 80, pool: v6 }
pools:
  v4: { scheme: katran, ${V4} }
  ports: { scheme: { name: katran, hash: destination-port-only }, ${V4} }
  v6: { scheme: katran, ${V6} }
tunnel: { encapsulation: gue-v1, port: 9886, checksum: full, headers: katran, source: { ipv4: 10.0.13.37, ipv6: "fc00:2307::1337" } }
`;

const four = (src: string, dst: string, tos = 0) => packet().ethernet().ipv4({ src, dst, id: 1, df: false, tos });
const six = (src: string, dst: string, trafficClass = 0) => packet().ethernet().ipv6({ src, dst, trafficClass });

/** Client's packet, outer destination, outer source port and checksum as Katran's own program had them. */
const SENT: readonly [string, Uint8Array, string, number, number][] = [
  ['UDP', four('192.168.1.1', '10.200.1.1').udp({ sport: 31337, dport: 80 }).payload(CONTENT).bytes(), '10.0.0.3', 26747, 0x1ce2],
  ['TCP', tcp4('192.168.1.1', '10.200.1.1', 80), '10.0.0.3', 26747, 0x1ccb],
  ['TCP, all ports', tcp4('192.168.1.1', '10.200.1.2', 42), '10.0.0.2', 26747, 0x1ccd],
  ['TCP over IPv6', tcp4('192.168.1.1', '10.200.1.3', 80), 'fc00::1', 31592, 0xfcc6],
  ['TCP in IPv6', tcp6('fc00:2::1', 'fc00:1::1'), 'fc00::3', 31337, 0xc9c3],
  ['TCP by destination port', tcp4('192.168.1.1', '10.200.1.4', 42), '10.0.0.2', 27002, 0x1bd0],
  ['TCP of a client with a class', tcp4('192.168.1.1', '10.200.1.1', 80, 0x8c), '10.0.0.3', 26747, 0x1ccb],
  ['TCP in IPv6 with a class', tcp6('fc00:2::1', 'fc00:1::1', 0x8c), 'fc00::3', 31337, 0xc103],
];

function tcp4(src: string, dst: string, dport: number, tos = 0): Uint8Array {
  return four(src, dst, tos).tcp({ sport: 31337, dport, flags: 'ACK', seq: 0, ack: 0, window: 8192 }).payload(CONTENT).bytes();
}

function tcp6(src: string, dst: string, trafficClass = 0): Uint8Array {
  const link = six(src, dst, trafficClass);
  return link.tcp({ sport: 31337, dport: 80, flags: 'ACK', seq: 0, ack: 0, window: 8192 }).payload(CONTENT).bytes();
}

const text = (address: Uint8Array) =>
  address.length === 4
    ? address.join('.')
    : `${((address[0] << 8) | address[1]).toString(16)}::${((address[14] << 8) | address[15]).toString(16)}`;

for (const [what, frame, destination, port, checksum] of SENT) {
  test(`Katran: ${what} goes to ${destination} from port ${port}`, () => {
    const rig = new Rig(loadText(KATRAN, 'katran.yaml').spec, FACTS);
    const bytes = rig.one(frame).bytes as Uint8Array;
    const read = decodeTunnel(bytes, { kind: 'gue-v1' });
    assert.deepEqual([text(read.destination), read.sourcePort, read.destinationPort], [destination, port, 9886]);
    const inner = frame.subarray(14);
    const trafficClass = inner[0] >> 4 === 4 ? inner[1] : ((inner[0] << 4) | (inner[1] >> 4)) & 0xff;
    assert.deepEqual(read.outer, { ttl: 64, trafficClass, dontFragment: false, identification: 0, flowLabel: 0 });
    assert.deepEqual(Buffer.from(read.inner), Buffer.from(inner));
    const transport = read.outerFamily === 4 ? 20 : 40;
    // Of a class of its own the fixture has another inner checksum in its IPv6 case only: the sum covers the inner IPv6 header.
    assert.equal((bytes[transport + 6] << 8) | bytes[transport + 7], checksum);
  });
}

const GLB = (extra: string) => `services:
  - { name: s, address: 1.1.1.1, protocol: tcp, port: 80, pool: p }
pools:
  p:
    scheme: { name: glb, seed: "34567890123456783456789012345678", hash-key: "12345678901234561234567890123456"${extra} }
    backends: [{ name: a, address: 1.2.3.4 }, { name: b, address: 2.3.4.5 }, { name: c, address: 3.4.5.6 }]
tunnel: { port: 19523, checksum: none, headers: glb, source: { ipv4: 65.65.65.65 } }
icmp: { echo: forward }
`;
const BY_PORT = ', hash-fields: [source-address, source-port]';
const TWICE = `${BY_PORT}, second-hash-fields: [source-address]`;

/** Client's port, all hops and source port as GLB director's own program had them. */
const ROUTED: readonly [string, number, string[], number][] = [
  ['', 45678, ['3.4.5.6', '2.3.4.5'], 61139],
  ['', 45679, ['3.4.5.6', '2.3.4.5'], 61138],
  ['', 45680, ['3.4.5.6', '2.3.4.5'], 61133],
  [BY_PORT, 45678, ['1.2.3.4', '2.3.4.5'], 39812],
  [BY_PORT, 45679, ['1.2.3.4', '3.4.5.6'], 43150],
  [BY_PORT, 45680, ['2.3.4.5', '3.4.5.6'], 32948],
  [TWICE, 45678, ['1.2.3.4', '2.3.4.5', '3.4.5.6', '2.3.4.5'], 39812],
  [TWICE, 45680, ['2.3.4.5', '3.4.5.6', '3.4.5.6', '2.3.4.5'], 32948],
];

for (const [extra, sport, hops, port] of ROUTED) {
  test(`GLB: client port ${sport} goes to ${hops} from port ${port}`, () => {
    const rig = new Rig(loadText(GLB(extra), 'glb.yaml').spec, FACTS);
    const link = packet().ethernet().ipv4({ src: '10.11.12.13', dst: '1.1.1.1', id: 1, df: false });
    const frame = link.tcp({ sport, dport: 80, flags: 'SYN' }).bytes();
    const read = decodeTunnel(rig.one(frame).bytes as Uint8Array, { privateData: true });
    const named = Array.from({ length: read.privateData[3] }, (_, k) => text(read.privateData.subarray(4 + 4 * k, 8 + 4 * k)));
    assert.deepEqual([text(read.destination), ...named], hops);
    assert.deepEqual([read.sourcePort, read.destinationPort, read.hasChecksum], [port, 19523, false]);
    assert.deepEqual(read.outer, { ttl: 64, trafficClass: 0, dontFragment: true, identification: 0, flowLabel: 0 });
    assert.deepEqual(Buffer.from(read.inner), Buffer.from(frame.subarray(14)));
  });
}

test('GLB: an error goes with the hops of the flow that it quotes, a ping with those of its addresses', () => {
  const rig = new Rig(loadText(GLB(''), 'glb.yaml').spec, FACTS);
  const hops = (frame: Uint8Array) => {
    const read = decodeTunnel(rig.one(frame).bytes as Uint8Array, { privateData: true });
    return [text(read.destination), text(read.privateData.subarray(4, 8)), read.sourcePort];
  };
  const quoted = packet().ipv4({ src: '1.1.1.1', dst: '10.11.12.13', id: 1, df: false }).tcp({ sport: 80, dport: 45678 }).bytes();
  const link = packet().ethernet().ipv4({ src: '10.11.99.99', dst: '1.1.1.1', id: 1, df: false });
  assert.deepEqual(hops(link.icmp4({ type: 3, code: 4, rest: 1400 }).payload(quoted).bytes()), ['3.4.5.6', '2.3.4.5', 61139]);
  const ping = packet().ethernet().ipv4({ src: '10.11.12.13', dst: '1.1.1.1', id: 1, df: false }).icmp4({ type: 8 }).bytes();
  assert.deepEqual(hops(ping), ['3.4.5.6', '2.3.4.5', 0xdcbc]);
});
