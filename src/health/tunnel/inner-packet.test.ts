import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ip } from '../../../test/builder/addresses.ts';
import { packet } from '../../../test/builder/packet.ts';
import fc from '../../../test/property.ts';
import { echoPacket, tcpPacket, udpPacket } from './inner-packet.ts';

const PLACES = {
  4: { src: '10.0.0.254', dst: '198.51.100.1' },
  6: { src: 'fd00::fe', dst: '2001:db8:2::1' },
} as const;

function headOf(family: 4 | 6, hops: number) {
  const place = PLACES[family];
  return family === 4 ? packet().ipv4({ ...place, ttl: hops, id: 0 }) : packet().ipv6({ ...place, hopLimit: hops });
}

const any = fc.record({
  family: fc.constantFrom(4, 6) as fc.Arbitrary<4 | 6>,
  sport: fc.integer({ min: 1, max: 65535 }),
  dport: fc.integer({ min: 1, max: 65535 }),
  seq: fc.integer({ min: 0, max: 0xffffffff }),
  ack: fc.integer({ min: 0, max: 0xffffffff }),
  flags: fc.nat(63),
  hops: fc.integer({ min: 1, max: 255 }),
  payload: fc.uint8Array({ maxLength: 300 }),
});

test('every packet is the one that an independent encoder writes', () => {
  fc.assert(
    fc.property(any, ({ family, sport, dport, seq, ack, flags, hops, payload }) => {
      const { src, dst } = PLACES[family];
      const ends = { source: ip(src), destination: ip(dst), sourcePort: sport, destinationPort: dport };
      const isSyn = (flags & 2) !== 0;
      const isReset = (flags & 4) !== 0;
      const mss = family === 4 ? [2, 4, 0x02, 0x18] : [2, 4, 0x04, 0xc4];
      const segment = { flags, sequence: seq, acknowledgement: ack, payload };
      const options = isSyn ? { options: Uint8Array.from(mss) } : {};
      const tcp = { sport, dport, seq, ack, flags, window: isReset ? 0 : 8192, ...options };
      assert.deepEqual(tcpPacket(ends, segment, hops), headOf(family, hops).tcp(tcp).payload(payload).bytes());
      assert.deepEqual(udpPacket(ends, payload, hops), headOf(family, hops).udp({ sport, dport }).payload(payload).bytes());
      const rest = ((sport << 16) | (seq & 0xffff)) >>> 0;
      const echo = { type: family === 4 ? 8 : 128, code: 0, rest };
      const head = headOf(family, hops);
      const wanted = (family === 4 ? head.icmp4(echo) : head.icmp6(echo)).payload(payload).bytes();
      assert.deepEqual(echoPacket({ ...ends, destinationPort: 0 }, seq & 0xffff, payload, hops), wanted);
    }),
  );
});
