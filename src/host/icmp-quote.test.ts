// Which ICMP errors are believed: one right message, and the same with every field wrong in turn.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ip } from '../../test/builder/addresses.ts';
import { type TunnelError, tunnelError } from '../../test/host/tunnel-icmp.ts';
import fc from '../../test/property.ts';
import { naiveChecksum } from '../../test/reference/checksum.ts';
import { type IcmpReport, type IgnoreReason, readIcmp4, readIcmp6, type Tunnel, TunnelIndex } from './icmp-quote.ts';

const four = { from: '192.0.2.254', source: '192.0.2.1', backend: '198.51.100.21', port: 6080, sourcePort: 50000 };
const six = { from: '2001:db8::fe', source: '2001:db8::1', backend: '2001:db8:1::21', port: 6080, sourcePort: 50000 };

function tunnel(of: typeof four): Tunnel {
  return { source: ip(of.source), address: ip(of.backend), ports: [of.port], protocols: [17] };
}

const other4: Tunnel = { source: ip('192.0.2.2'), address: ip('198.51.100.22'), ports: [6081], protocols: [17] };
const tunnels = [tunnel(four), tunnel(six), other4];
const index = new TunnelIndex(tunnels, { base: 49152, count: 16384 });

/** Reads a whole IP packet as the raw socket of its family would give it, at an odd place among other bytes. */
function read(bytes: Uint8Array): IcmpReport | IgnoreReason {
  const isSix = bytes[0] >> 4 === 6;
  const given = isSix ? bytes.subarray(40) : bytes;
  const memory = new Uint8Array(given.length + 20).fill(0xee);
  memory.set(given, 7);
  return (isSix ? readIcmp6 : readIcmp4)(new DataView(memory.buffer), 7, 7 + given.length, index);
}

test('a router’s message about a packet of ours is believed', () => {
  assert.deepEqual(read(tunnelError({ ...four, mtu: 1400 })), {
    kind: 'too-big',
    tunnel: tunnel(four),
    mtu: 1400,
    quotedLength: 1028,
  });
  assert.deepEqual(read(tunnelError({ ...six, mtu: 1400 })), {
    kind: 'too-big',
    tunnel: tunnel(six),
    mtu: 1400,
    quotedLength: 1048,
  });
  // All that RFC 792 asks for, and all that fits.
  assert.notEqual(typeof read(tunnelError({ ...four, mtu: 1400, quoted: 24 })), 'string');
  assert.notEqual(typeof read(tunnelError({ ...six, mtu: 1400, quoted: 1232, payload: 1400 })), 'string');
  // As it was written: judging the value is the table's.
  assert.equal((read(tunnelError({ ...four, mtu: 0 })) as { mtu: number }).mtu, 0);
  assert.equal((read(tunnelError({ ...six, mtu: 0xffffffff })) as { mtu: number }).mtu, 0xffffffff);
  // The first and the last source port of the egress.
  for (const sourcePort of [49152, 65535]) assert.notEqual(typeof read(tunnelError({ ...four, sourcePort })), 'string');
});

test('each field that can not be ours is named', () => {
  const wrong4: [IgnoreReason, Partial<TunnelError>][] = [
    ['source', { source: '192.0.2.9' }],
    // Of another tunnel of ours, but not of the one to this backend.
    ['source', { source: '192.0.2.2' }],
    ['backend', { backend: '198.51.100.99' }],
    ['port', { port: 6081 }],
    ['source-port', { sourcePort: 49151 }],
    ['protocol', { protocol: 6 }],
    ['format', { quoteFields: { offset: 8 } }],
    ['format', { quoteFields: { options: Uint8Array.of(1, 1, 1, 0) } }],
    ['format', { quoteFields: { version: 6 } }],
    ['type', { type: 11, code: 0 }],
    ['type', { code: 5 }],
    ['checksum', { checksum: 0x1234 }],
    ['truncated', { quoted: 23 }],
    ['truncated', { quoted: 0 }],
  ];
  for (const [reason, fields] of wrong4)
    assert.equal(read(tunnelError({ ...four, mtu: 1400, ...fields })), reason, `${reason} over IPv4`);
  const wrong6: [IgnoreReason, Partial<TunnelError>][] = [
    ['source', { source: '2001:db8::9' }],
    ['backend', { backend: '2001:db8:1::99' }],
    ['port', { port: 6081 }],
    ['source-port', { sourcePort: 80 }],
    ['protocol', { protocol: 44 }],
    ['format', { quoteFields: { version: 4 } }],
    ['type', { type: 3 }],
    ['type', { type: 1, code: 2 }],
    ['truncated', { quoted: 43 }],
  ];
  for (const [reason, fields] of wrong6)
    assert.equal(read(tunnelError({ ...six, mtu: 1400, ...fields })), reason, `${reason} over IPv6`);
  assert.equal(read(Uint8Array.of(0x45, 0, 0)), 'truncated');
});

test('unreachable messages are told apart', () => {
  for (const [code, what] of [
    [0, 'net'],
    [1, 'host'],
    [2, 'protocol'],
    [3, 'port'],
    [13, 'prohibited'],
  ] as const) {
    assert.deepEqual(read(tunnelError({ ...four, code })), { kind: 'unreachable', tunnel: tunnel(four), what });
  }
  for (const [code, what] of [
    [0, 'net'],
    [1, 'prohibited'],
    [3, 'host'],
    [4, 'port'],
  ] as const) {
    assert.deepEqual(read(tunnelError({ ...six, type: 1, code })), { kind: 'unreachable', tunnel: tunnel(six), what });
  }
  // A next header that the host does not know: the pointer (`mtu`: the same four bytes) names the field in the IPv6 header, or it is none of ours.
  const problem = { ...six, type: 4, code: 1, mtu: 6 };
  assert.deepEqual(read(tunnelError(problem)), { kind: 'unreachable', tunnel: tunnel(six), what: 'protocol' });
  assert.equal(read(tunnelError({ ...problem, mtu: 40 })), 'format');
  for (const code of [0, 2]) assert.equal(read(tunnelError({ ...problem, code })), 'type');
});

test('any bytes at all: no exception, nothing read behind the end, and only a known tunnel is ever reported', () => {
  const base = [tunnelError({ ...four, mtu: 1400, quoted: 60 }), tunnelError({ ...six, mtu: 1400, quoted: 60 })];
  const mutation = fc.record({ at: fc.nat(), value: fc.nat(255) });
  fc.assert(
    fc.property(fc.nat(1), fc.array(mutation, { maxLength: 4 }), fc.nat(), fc.boolean(), (family, mutations, cut, repaired) => {
      const bytes = Uint8Array.from(base[family]);
      for (const { at, value } of mutations) bytes[at % bytes.length] = value;
      if (family === 0 && repaired) {
        // Or nearly every mutant would end at its checksum.
        bytes.set([0, 0], 22);
        const sum = naiveChecksum(bytes, 20, bytes.length - 20);
        bytes.set([sum >> 8, sum & 0xff], 22);
      }
      const given = (family === 1 ? bytes.subarray(40) : bytes).subarray(0, cut % (bytes.length + 1));
      // The view ends where the message ends: a read behind it would throw.
      const copy = Uint8Array.from(given);
      const found = (family === 1 ? readIcmp6 : readIcmp4)(new DataView(copy.buffer), 0, copy.length, index);
      if (typeof found !== 'string') assert.ok(tunnels.some((known) => known === found.tunnel));
    }),
    { numRuns: 20_000 },
  );
});

test('tunnels without UDP are known by their protocol, addresses, and what we write behind the outer header', () => {
  const gre: Tunnel = { ...tunnel(four), ports: [], protocols: [47] };
  const ipip: Tunnel = { ...tunnel(six), ports: [], protocols: [4, 41] };
  const both = new TunnelIndex([gre, ipip], { base: 49152, count: 16384 });
  // What stands in the place of the UDP ports: GRE's flags and type, or the first bytes of the inner packet.
  const about = (of: typeof four, protocol: number, sourcePort: number, port: number) => {
    const bytes = tunnelError({ ...of, protocol, sourcePort, port, mtu: 1400 });
    const given = bytes[0] >> 4 === 6 ? bytes.slice(40) : bytes.slice();
    const found = (bytes[0] >> 4 === 6 ? readIcmp6 : readIcmp4)(new DataView(given.buffer), 0, given.length, both);
    return typeof found === 'string' ? found : found.tunnel;
  };
  assert.equal(about(four, 47, 0, 0x0800), gre);
  assert.equal(about(four, 47, 0x8000, 0x86dd), gre);
  // A key, a version, another type.
  for (const [flags, type] of [
    [0x2000, 0x0800],
    [0x0001, 0x880b],
    [0, 0x6558],
  ]) {
    assert.equal(about(four, 47, flags, type), 'format');
  }
  assert.equal(about(six, 4, 0x4500, 0x0054), ipip);
  assert.equal(about(six, 41, 0x6000, 0), ipip);
  assert.equal(about(six, 4, 0x6000, 0), 'format');
  assert.equal(about(six, 41, 0x4500, 0), 'format');
  assert.equal(about(four, 4, 0x4500, 0), 'protocol');
  assert.equal(about(six, 47, 0, 0x0800), 'protocol');
  assert.equal(about(four, 17, 50000, 6080), 'protocol');
  assert.equal(about({ ...four, backend: '198.51.100.99' }, 47, 0, 0x0800), 'backend');
});

test('a source that is spread over a prefix, and source ports of a rule of its own', () => {
  const spread4 = { ...tunnel(four), source: ip('172.16.0.0'), sourceSpread: 16, sourcePorts: { base: 0, count: 65536 } };
  const spread6 = { ...tunnel(six), source: ip('100::'), sourceSpread: 32, sourcePorts: { base: 32768, count: 28231 } };
  const spread = new TunnelIndex([spread4, spread6], { base: 49152, count: 16384 });
  const kind = (fields: Partial<TunnelError>, of: typeof four) => {
    const message = tunnelError({ ...of, mtu: 1400, ...fields });
    const isSix = of === six;
    const bytes = isSix ? message.subarray(40) : message;
    const report = (isSix ? readIcmp6 : readIcmp4)(new DataView(bytes.buffer, bytes.byteOffset), 0, bytes.length, spread);
    return typeof report === 'string' ? report : report.kind;
  };
  assert.equal(kind({ source: '172.16.255.1', sourcePort: 0 }, four), 'too-big');
  assert.equal(kind({ source: '172.16.0.0', sourcePort: 65535 }, four), 'too-big');
  assert.equal(kind({ source: '172.17.0.1' }, four), 'source');
  assert.equal(kind({ source: '100::ffff:1', sourcePort: 60998 }, six), 'too-big');
  assert.equal(kind({ source: '100::1:0:0', sourcePort: 60998 }, six), 'source');
  assert.equal(kind({ source: '100::1', sourcePort: 60999 }, six), 'source-port');
});
