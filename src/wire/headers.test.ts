import assert from 'node:assert/strict';
import { test } from 'node:test';
import { packet } from '../../test/builder/packet.ts';
import fc from '../../test/property.ts';
import { naiveChecksum, naiveSum } from '../../test/reference/checksum.ts';
import * as arp from './arp.ts';
import { WIRE_MALFORMED, WIRE_OK, WIRE_TRUNCATED } from './check.ts';
import * as ethernet from './ethernet.ts';
import * as gre from './gre.ts';
import * as gue from './gue.ts';
import * as icmpv4 from './icmpv4.ts';
import * as icmpv6 from './icmpv6.ts';
import * as ipv4 from './ipv4.ts';
import * as ipv6 from './ipv6.ts';
import * as ndp from './ndp.ts';
import * as tcp from './tcp.ts';
import * as udp from './udp.ts';
import * as virtioNet from './virtio-net.ts';
import * as vlan from './vlan.ts';

const viewOf = (bytes: Uint8Array) => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
const hex = (text: string) => Uint8Array.from(text.replace(/\s/g, '').match(/../g)!, (pair) => Number.parseInt(pair, 16));

test('IPv4: a real header (ping, IHL 5) reads field by field', () => {
  const bytes = hex('4500 0054 a6f2 4000 4001 0000 c000 0201 c633 6401');
  const view = viewOf(bytes);
  ipv4.setChecksum(view, 0, ipv4.computeChecksum(view, 0));
  assert.equal(ipv4.checksum(view, 0), naiveChecksum(hex('4500 0054 a6f2 4000 4001 0000 c000 0201 c633 6401'), 0, 20));
  assert.equal(ipv4.check(view, 0, 20), WIRE_TRUNCATED);
  const whole = new Uint8Array(84);
  whole.set(bytes);
  assert.equal(ipv4.text(ipv4.parse(viewOf(whole), 0, 84)!), 'IPv4 192.0.2.1 > 198.51.100.1 protocol 1 length 84 ttl 64 DF');
});

test('IPv4: check tells truncated from malformed', () => {
  const good = packet()
    .ipv4({ options: hex('01010101') })
    .udp()
    .payload(5)
    .bytes();
  assert.equal(ipv4.check(viewOf(good), 0, good.length), WIRE_OK);
  assert.equal(ipv4.headerLength(viewOf(good), 0), 24);
  assert.equal(ipv4.verifyChecksum(viewOf(good), 0), true);
  assert.equal(ipv4.check(viewOf(good), 0, good.length - 1), WIRE_TRUNCATED);
  for (const wrong of [{ version: 6 }, { ihl: 4 }, { totalLength: 19 }, { ihl: 15, totalLength: 50 }]) {
    const bytes = packet().ipv4(wrong).udp().payload(80).bytes();
    assert.equal(ipv4.check(viewOf(bytes), 0, bytes.length), WIRE_MALFORMED, JSON.stringify(wrong));
  }
});

test('IPv4: write equals the builder, and decrementTtl equals a recomputation, for any field values', () => {
  const byte = fc.nat(255);
  const short = fc.nat(65535);
  fc.assert(
    fc.property(
      byte,
      short,
      short,
      fc.integer({ min: 1, max: 255 }),
      byte,
      fc.integer(),
      fc.integer(),
      (tos, total, id, ttl, proto, a, b) => {
        const view = new DataView(new ArrayBuffer(24));
        ipv4.write(view, 3, tos, total, id, ipv4.DONT_FRAGMENT, ttl, proto, a, b);
        const address = (value: number) => Uint8Array.of(value >>> 24, value >>> 16, value >>> 8, value);
        const fields = { src: address(a), dst: address(b), tos, totalLength: total, id, ttl, protocol: proto };
        const bytes = new Uint8Array(view.buffer, 3, 20);
        assert.deepEqual(bytes, packet().ipv4(fields).bytes());
        ipv4.decrementTtl(view, 3);
        assert.deepEqual(
          bytes,
          packet()
            .ipv4({ ...fields, ttl: ttl - 1 })
            .bytes(),
        );
      },
    ),
  );
});

test('IPv4: a wrong checksum stays wrong after decrementTtl', () => {
  const bytes = packet().ipv4({ checksum: 0x1234 }).udp().bytes();
  ipv4.decrementTtl(viewOf(bytes), 0);
  assert.equal(ipv4.verifyChecksum(viewOf(bytes), 0), false);
});

test('IPv6: the walk finds the transport behind every kind of extension header', () => {
  const all = packet().ipv6({ trafficClass: 0xb8, flowLabel: 0x12345 });
  all.extension('hop-by-hop').extension('destination', { units: 3 }).extension('routing', { units: 2 });
  all.extension('authentication', { units: 3 }).extension('mobility').fragment();
  const bytes = all.tcp().payload(3).bytes();
  const found = ipv6.findTransport6(viewOf(bytes), 0, bytes.length);
  assert.equal(ipv6.transportOffset(found), 40 + 8 + 24 + 16 + 24 + 8 + 8);
  assert.equal(ipv6.transportProtocol(found), 6);
  // The fragment header is an atomic one (RFC 6946): not a fragment.
  assert.equal(ipv6.isFragment(found), false);
  assert.equal(ipv6.trafficClass(viewOf(bytes), 0), 0xb8);
  assert.equal(ipv6.flowLabel(viewOf(bytes), 0), 0x12345);
  assert.equal(tcp.check(viewOf(bytes), ipv6.transportOffset(found), bytes.length), WIRE_OK);
});

test('IPv6: fragments are told apart, later ones end the walk', () => {
  const find = (bytes: Uint8Array) => ipv6.findTransport6(viewOf(bytes), 0, bytes.length);
  const first = find(packet().ipv6().fragment({ more: true }).udp().payload(16).bytes());
  assert.deepEqual([ipv6.isFragment(first), ipv6.isLaterFragment(first), ipv6.transportProtocol(first)], [true, false, 17]);
  const later = find(packet().ipv6().fragment({ offset: 1448, nextHeader: 60 }).payload(16).bytes());
  assert.deepEqual([ipv6.isFragment(later), ipv6.isLaterFragment(later), ipv6.transportProtocol(later)], [true, true, 60]);
  assert.equal(ipv6.transportOffset(later), 48);
});

test('IPv6: what can not be followed is refused', () => {
  const find = (bytes: Uint8Array) => ipv6.findTransport6(viewOf(bytes), 0, bytes.length);
  const long = packet().ipv6();
  for (let i = 0; i < 8; i++) long.extension('destination');
  assert.equal(ipv6.transportOffset(find(long.udp().bytes())), 104);
  const longer = packet().ipv6();
  for (let i = 0; i < 9; i++) longer.extension('destination');
  assert.equal(find(longer.udp().bytes()), ipv6.TRANSPORT_NOT_FOLLOWABLE);
  assert.equal(
    find(packet().ipv6().extension('destination').extension('hop-by-hop').udp().bytes()),
    ipv6.TRANSPORT_NOT_FOLLOWABLE,
  );
  assert.equal(find(packet().ipv6().extension('routing', { length: 9 }).udp().bytes()), ipv6.TRANSPORT_TRUNCATED);
  assert.equal(find(packet().ipv6({ nextHeader: 0 }).payload(7).bytes()), ipv6.TRANSPORT_TRUNCATED);
  assert.equal(ipv6.transportProtocol(find(packet().ipv6({ nextHeader: 59 }).bytes())), 59);
});

test('IPv6: writing fields changes only them', () => {
  const bytes = packet().ipv6().udp().payload(4).bytes();
  const view = viewOf(bytes);
  ipv6.setTrafficClass(view, 0, 0x2e);
  ipv6.setFlowLabel(view, 0, 0xabcde);
  ipv6.decrementHopLimit(view, 0);
  assert.deepEqual(bytes, packet().ipv6({ trafficClass: 0x2e, flowLabel: 0xabcde, hopLimit: 63 }).udp().payload(4).bytes());
  ipv6.writeStart(view, 0, 1, 2, 12, 17, 9);
  assert.deepEqual(bytes, packet().ipv6({ trafficClass: 1, flowLabel: 2, hopLimit: 9 }).udp().payload(4).bytes());
});

test('TCP and UDP: fields, and impossible lengths', () => {
  const bytes = packet()
    .ipv4()
    .tcp({ sport: 40001, dport: 443, flags: 'SYN,ECE,CWR', options: hex('020405b4') })
    .bytes();
  const header = tcp.parse(viewOf(bytes), 20, bytes.length)!;
  assert.equal(tcp.text(header), 'TCP 40001 > 443 SYN,ECE,CWR seq 16909060 ack 84281096 win 65535');
  assert.equal(header.headerLength, 24);
  assert.equal(tcp.isInitialSyn(header.flags), true);
  assert.equal(tcp.isInitialSyn(tcp.SYN | tcp.ACK), false);
  assert.equal(tcp.ports(viewOf(bytes), 20), (40001 << 16) | 443);
  for (const dataOffset of [4, 7]) {
    const wrong = packet().ipv4().tcp({ dataOffset }).bytes();
    assert.equal(tcp.check(viewOf(wrong), 20, wrong.length), WIRE_MALFORMED);
  }
  const datagram = packet().ipv4().udp({ sport: 1, dport: 2 }).payload(10).bytes();
  assert.equal(udp.text(udp.parse(viewOf(datagram), 20, datagram.length)!), 'UDP 1 > 2 length 18');
  assert.equal(udp.check(viewOf(datagram), 20, datagram.length - 1), WIRE_MALFORMED);
  assert.equal(udp.check(viewOf(packet().ipv4().udp({ length: 7 }).bytes()), 20, 28), WIRE_MALFORMED);
  udp.write(viewOf(datagram), 20, 0xfffe, 6080, 18, 0);
  assert.deepEqual(datagram, packet().ipv4().udp({ sport: 0xfffe, dport: 6080, checksum: 'none' }).payload(10).bytes());
});

test('GUE: the header that Linux IPVS writes, extension fields, control, and the other variants', () => {
  const view = new DataView(new ArrayBuffer(4));
  gue.write(view, 0, gue.PROTOCOL_IPV4);
  assert.deepEqual(new Uint8Array(view.buffer), hex('00040000'));
  // IPVS with remote checksum offload: hlen 2, private flags, start and offset.
  const remote = hex('02 04 0001 80000000 0014 0024');
  assert.equal(gue.check(viewOf(remote), 0, 12), WIRE_OK);
  assert.equal(gue.headerLength(viewOf(remote), 0), 12);
  assert.equal(gue.privateFlags(viewOf(remote), 0), gue.PRIVATE_REMOTE_CHECKSUM);
  assert.equal(gue.check(viewOf(remote), 0, 11), WIRE_TRUNCATED);
  assert.equal(gue.isControl(viewOf(hex('20ff0000')), 0), true);
  assert.equal(gue.check(viewOf(hex('45000000')), 0, 4), WIRE_MALFORMED);
  assert.equal(gue.parse(viewOf(hex('60000000')), 0, 4)!.protocol, gue.PROTOCOL_IPV6);
  assert.equal(gue.parse(viewOf(hex('50000000')), 0, 4), null);
  assert.equal(gue.parse(viewOf(hex('80000000')), 0, 4), null);
});

test('ICMP echo requests become replies in place, with a right checksum', () => {
  const four = packet().ipv4().icmp4({ rest: 0xabcd0007 }).payload(33).bytes();
  assert.equal(icmpv4.isEchoRequest(viewOf(four), 20), true);
  icmpv4.requestToReply(viewOf(four), 20);
  assert.deepEqual(four, packet().ipv4().icmp4({ type: 0, rest: 0xabcd0007 }).payload(33).bytes());
  assert.equal(icmpv4.verifyChecksum(viewOf(four), 20, four.length), true);
  // The reply to an empty ping 0 is of zeros alone: its checksum must not be zero too.
  const empty = packet().ipv4().icmp4({ rest: 0 }).bytes();
  icmpv4.requestToReply(viewOf(empty), 20);
  assert.equal(icmpv4.verifyChecksum(viewOf(empty), 20, empty.length), true);
  assert.equal(viewOf(empty).getUint16(22), 0xffff);
  const six = packet().ipv6().icmp6({ rest: 0xabcd0007 }).payload(33).bytes();
  icmpv6.requestToReply(viewOf(six), 40);
  assert.deepEqual(six, packet().ipv6().icmp6({ type: 129, rest: 0xabcd0007 }).payload(33).bytes());
  assert.equal(icmpv6.verifyChecksum(viewOf(six), 8, 40, six.length), true);
  six[60] ^= 1;
  assert.equal(icmpv6.verifyChecksum(viewOf(six), 8, 40, six.length), false);
});

test('ARP and neighbour solicitations are answered', () => {
  const request = packet().ethernet({ dst: 'ff:ff:ff:ff:ff:ff' }).arp().bytes();
  const view = viewOf(request);
  assert.equal(arp.text(arp.parse(view, 14, request.length)!), 'ARP who has 198.51.100.1, tell 192.0.2.1');
  arp.requestToReply(view, 14, 0x02000000, 0x0042);
  ethernet.turnAround(view, 0, 0x02000000, 0x0042);
  const us = '02:00:00:00:00:42';
  const reply = { operation: 2, senderMac: us, sender: '198.51.100.1', targetMac: '02:00:00:00:00:01', target: '192.0.2.1' };
  assert.deepEqual(request, packet().ethernet({ dst: '02:00:00:00:00:01', src: us }).arp(reply).bytes());
  assert.equal(arp.check(viewOf(hex('0006 0800 0604 0001 000000000000 00000000 000000000000 00000000')), 0, 28), WIRE_MALFORMED);

  const asked = packet().ipv6({ hopLimit: 255, dst: 'ff02::1:ff00:1' }).ns().bytes();
  assert.equal(ndp.text(ndp.parse(viewOf(asked), 40, asked.length)!), 'neighbour solicitation who has 2001:db8:2::1');
  assert.equal(ndp.sourceLinkLayerAt(viewOf(asked), 40, asked.length), 66);
  const answer = packet()
    .ipv6({ hopLimit: 255, src: '2001:db8:2::1', dst: '2001:db8:1::1' })
    .payload(ndp.ADVERTISEMENT_LENGTH)
    .bytes();
  answer.set(asked.subarray(48, 64), 48);
  ndp.writeAdvertisement(viewOf(answer), 8, 40, 48, ndp.FLAG_SOLICITED | ndp.FLAG_OVERRIDE, 0x02000000, 0x0042);
  assert.deepEqual(answer.subarray(40, 44), Uint8Array.of(136, 0, answer[42], answer[43]));
  assert.equal(answer[44], 0x60);
  assert.equal(icmpv6.verifyChecksum(viewOf(answer), 8, 40, 72), true);
  assert.equal(ndp.text(ndp.parse(viewOf(answer), 40, 72)!), `neighbour advertisement 2001:db8:2::1 is at ${us}`);
  asked[65] = 0;
  assert.equal(ndp.check(viewOf(asked), 40, asked.length), WIRE_MALFORMED);
});

test('virtio-net: behind the ten bytes the offsets of a UDP tunnel, and nothing else', () => {
  const bytes = new Uint8Array(25).fill(0xff);
  const view = new DataView(bytes.buffer);
  virtioNet.writeTunnel(view, 0, 34, 0x0146);
  assert.deepEqual([...bytes], [...Array(10).fill(0xff), ...Array(10).fill(0), 34, 0, 0x46, 1, 0xff]);
  assert.deepEqual([virtioNet.outerTransport(view, 0), virtioNet.innerNetwork(view, 0)], [34, 0x0146]);
});

test('virtio-net: ten little-endian bytes, and contradictions', () => {
  const bytes = new Uint8Array(10 + 60);
  const view = viewOf(bytes);
  virtioNet.write(view, 0, virtioNet.FLAG_NEEDS_CSUM, virtioNet.GSO_TCPV4, 54, 1448, 34, 16);
  assert.deepEqual(bytes.subarray(0, 10), hex('01 01 3600 a805 2200 1000'));
  assert.equal(virtioNet.check(view, 0, 10, 70), WIRE_OK);
  assert.equal(virtioNet.check(view, 0, 10, 61), WIRE_MALFORMED);
  assert.equal(virtioNet.text(virtioNet.parse(view, 0, 70)!), 'virtio-net partial-checksum 34+16 gso type 0x1 size 1448');
  virtioNet.write(view, 0, 0, virtioNet.GSO_TCPV4, 54, 0, 0, 0);
  assert.equal(virtioNet.check(view, 0, 10, 70), WIRE_MALFORMED);
  virtioNet.writeEmpty(view, 0);
  assert.deepEqual(bytes.subarray(0, 10), new Uint8Array(10));
});

test('Ethernet and VLAN tags', () => {
  const bytes = packet().ethernet().vlan({ id: 100, service: true }).vlan({ id: 7, priority: 5 }).ipv6().bytes();
  const view = viewOf(bytes);
  assert.equal(
    ethernet.text(ethernet.parse(view, 0, bytes.length)!),
    'Ethernet 02:00:00:00:00:01 > 02:00:00:00:00:02 type 0x88a8',
  );
  assert.equal(vlan.isTag(vlan.type(view, 14)), true);
  assert.equal(vlan.text(vlan.parse(view, 18, bytes.length)!), 'VLAN 7 priority 5 type 0x86dd');
  vlan.write(view, 18, 1, 8, 0x0800);
  assert.deepEqual(vlan.parse(view, 18, 22), { priority: 1, id: 8, type: 0x0800 });
});

test('parse never throws, and never looks behind the end it is given', () => {
  const formats = [ethernet, vlan, arp, ndp, ipv4, ipv6, tcp, udp, icmpv4, icmpv6, gue, virtioNet];
  const starts = [0x45, 0x60, 0x00, 0x87, 0x88];
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 120 }), fc.nat(30), fc.constantFrom(...starts, null), (noise, at, start) => {
      const end = at + noise.length;
      const one = new Uint8Array(end + 64).fill(0x00);
      const other = new Uint8Array(end + 64).fill(0xff);
      if (start !== null && noise.length > 0) noise[0] = start;
      one.set(noise, at);
      other.fill(0, 0, at);
      other.set(noise, at);
      for (const format of formats) {
        const parsed = format.parse(viewOf(one), at, end);
        assert.deepEqual(format.parse(viewOf(other), at, end), parsed);
        // And with nothing at all behind it.
        assert.deepEqual(format.parse(viewOf(one.slice(0, end)), at, end), parsed);
        if (parsed !== null) assert.equal(typeof format.text(parsed as never), 'string');
      }
    }),
    { numRuns: 2000 },
  );
});

test('a valid packet changed in one place: the IPv6 walk stays inside the packet', () => {
  const base = packet()
    .ipv6()
    .extension('hop-by-hop')
    .extension('authentication', { units: 2 })
    .fragment()
    .udp()
    .payload(9)
    .bytes();
  fc.assert(
    fc.property(fc.integer({ min: 6, max: base.length - 1 }), fc.nat(255), fc.nat(base.length - 40), (where, value, cut) => {
      const bytes = base.slice(0, base.length - cut);
      if (where < bytes.length) bytes[where] = value;
      const found = ipv6.findTransport6(viewOf(bytes), 0, bytes.length);
      assert.ok(found < 0 || ipv6.transportOffset(found) <= bytes.length);
    }),
    { numRuns: 2000 },
  );
});

test("the builder's own checksums verify by the byte-wise reference", () => {
  const bytes = packet().ipv4().tcp().payload(7).bytes();
  assert.equal(naiveSum(bytes, 0, 20, 0), 0xffff);
  assert.equal(naiveSum(bytes, 20, 27, naiveSum(Uint8Array.of(...bytes.subarray(12, 20), 0, 6, 0, 27), 0, 12, 0)), 0xffff);
});

test('GRE: written, checked and read; only version 0 with or without a checksum is known (RFC 2784)', () => {
  const bytes = new Uint8Array(20);
  const view = viewOf(bytes);
  gre.write(view, 0, 0x0800, false);
  assert.deepEqual([...bytes.subarray(0, 4)], [0, 0, 8, 0]);
  assert.equal(gre.check(view, 0, 4), WIRE_OK);
  assert.equal(gre.check(view, 0, 3), WIRE_TRUNCATED);
  assert.deepEqual(gre.parse(view, 0, 20), { headerLength: 4, protocolType: 0x0800, checksum: null });
  bytes.fill(0xff);
  gre.write(view, 0, 0x86dd, true);
  gre.setChecksum(view, 0, naiveChecksum(bytes, 0, 20));
  assert.deepEqual([...bytes.subarray(0, 4), ...bytes.subarray(6, 8)], [0x80, 0, 0x86, 0xdd, 0, 0]);
  assert.equal(naiveSum(bytes, 0, 20, 0), 0xffff);
  assert.equal(gre.check(view, 0, 8), WIRE_OK);
  assert.equal(gre.check(view, 0, 7), WIRE_TRUNCATED);
  assert.equal(
    gre.text(gre.parse(view, 0, 20)!),
    `GRE type 0x86dd checksum 0x${gre.checksum(view, 0).toString(16).padStart(4, '0')}`,
  );
  // Routing, key, sequence number, version 1.
  for (const flags of [0x4000, 0x2000, 0x1000, 0x0001]) {
    view.setUint16(0, flags);
    assert.equal(gre.check(view, 0, 20), WIRE_MALFORMED, flags.toString(16));
  }
});
