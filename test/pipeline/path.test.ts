// The packet path from frame to encapsulated packet: every verdict, every reason, judged by the reference decoder.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Arena } from '../../src/base/arena.ts';
import { Batch } from '../../src/base/batch.ts';
import { counterAt, DROPS_AT } from '../../src/base/counters.ts';
import { dropReason } from '../../src/base/drop-reason.ts';
import { VERDICT_FORWARD } from '../../src/base/verdict.ts';
import { encapsulateStage } from '../../src/pipeline/encapsulate.ts';
import { Identifiers } from '../../src/pipeline/identifiers.ts';
import { nearBackends } from '../../src/pipeline/near-backends.ts';
import { guardStage, offsetsOf } from '../../src/pipeline/offsets.ts';
import { ip } from '../builder/addresses.ts';
import { packet } from '../builder/packet.ts';
import { checkEncapsulation, decodeOuter } from '../check/outer.ts';
import { backends, PACKET, Rig, SERVICE4, SERVICE6, SOURCE4, specOf, TUN, XDP } from './rig.ts';

const tcp4 = (payload = 10) => packet().ipv4({ dst: SERVICE4 }).tcp({ sport: 40000, dport: 443 }).payload(payload).bytes();
const tcp6 = (payload = 10) => packet().ipv6({ dst: SERVICE6 }).tcp({ sport: 40000, dport: 443 }).payload(payload).bytes();

for (const outer of [4, 6] as const) {
  for (const [name, frame] of [
    ['IPv4', tcp4],
    ['IPv6', tcp6],
  ] as const) {
    for (const checksum of ['auto', 'none', 'full'] as const) {
      test(`${name} in IPv${outer}, checksum ${checksum}: lengths and checksums right, inner bytes untouched`, () => {
        const rig = new Rig(specOf({ outer, checksum }));
        for (const payload of [0, 1, 2, 3, 10, 1399, 1460, 8960]) {
          const input = frame(payload);
          const out = rig.one(input);
          assert.equal(out.verdict, 'forward');
          const decoded = checkEncapsulation(out.bytes as Uint8Array, input, { ttlDecremented: false });
          assert.equal(decoded.outer.family, outer);
          assert.equal(decoded.outer.ttl, 64);
          const filled = checksum === 'full' || (checksum === 'auto' && outer === 6);
          const udp = outer === 4 ? 20 : 40;
          const field = ((out.bytes as Uint8Array)[udp + 6] << 8) | (out.bytes as Uint8Array)[udp + 7];
          assert.equal(field !== 0, filled);
        }
      });
    }
  }
}

test("the incident's own packet: inner 1,512 bytes become 1,544 on the 1,600-byte link", () => {
  const input = tcp4(1512 - 40);
  assert.equal(input.length, 1512);
  const out = new Rig(specOf()).one(input);
  assert.equal(out.bytes?.length, 1544);
  checkEncapsulation(out.bytes as Uint8Array, input, { ttlDecremented: false });
});

test("the incident's mistake is caught: an inner offset stale by an Ethernet header makes the tunnel header 0x44 − 0x46 = −2", () => {
  const rig = new Rig(specOf());
  rig.load([tcp4()]);
  rig.pipeline.process(rig.batch, 0);
  const { batch } = rig;
  assert.equal(batch.verdict[0], VERDICT_FORWARD);
  const offsetsAgree = offsetsOf(batch);
  assert.equal(offsetsAgree(0), true);
  // In the kernel: outer transport header at 0x46, inner MAC header left at 0x44.
  batch.networkAt[0] = batch.outerTransportAt[0] + (0x44 - 0x46);
  assert.equal(batch.networkAt[0] - batch.outerTransportAt[0], -2);
  assert.equal(offsetsAgree(0), false);
  guardStage(batch)();
  rig.pipeline.account(batch);
  assert.equal(rig.outcome(0).reason, 'tunnel-length');
  assert.equal(rig.bank[DROPS_AT + dropReason('tunnel-length')], 1);
});

test('every single offset that is wrong, by any amount, is caught', () => {
  for (const column of [
    'outAt',
    'outerNetworkAt',
    'outerTransportAt',
    'tunnelAt',
    'networkAt',
    'transportAt',
    'outLength',
    'networkLength',
  ] as const) {
    for (const by of [-70, -14, -4, -2, -1, 1, 2, 4, 14, 70]) {
      const rig = new Rig(specOf());
      rig.load([tcp4(100)]);
      rig.pipeline.process(rig.batch, 0);
      rig.batch[column][0] += by;
      assert.equal(offsetsOf(rig.batch)(0), false, `${column} ${by}`);
    }
  }
});

test('an outer header that does not begin where the packet to send begins is caught, also when its end is right', () => {
  for (const by of [-70, -14, -4, -1, 1, 4, 14]) {
    const rig = new Rig(specOf());
    rig.load([tcp4(100)]);
    rig.pipeline.process(rig.batch, 0);
    rig.batch.outAt[0] += by;
    rig.batch.outLength[0] -= by;
    assert.equal(offsetsOf(rig.batch)(0), false, `${by}`);
  }
});

test('an inner transport offset that is off by an Ethernet header is caught over IPv6 too; one behind an odd extension header is not wrong', () => {
  const rig = new Rig(specOf());
  for (const by of [-14, -2, 0, 2, 14]) {
    rig.load([tcp6(100)]);
    rig.pipeline.process(rig.batch, 0);
    rig.batch.transportAt[0] += by;
    assert.equal(offsetsOf(rig.batch)(0), by === 0, `${by}`);
  }
  // An authentication header of 12 bytes: its length counts words of 4 (RFC 4302 §2.2).
  const header = packet()
    .ipv6({ dst: SERVICE6, nextHeader: 51, payloadLength: 12 + 20 })
    .bytes();
  const segment = packet().ipv6({ dst: SERVICE6 }).tcp({ sport: 40000, dport: 443 }).bytes().slice(40);
  const authenticated = Buffer.concat([header.slice(0, 40), Buffer.from([6, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1]), segment]);
  assert.equal(rig.one(authenticated).verdict, 'forward');
});

test('a destination that encapsulation leaves untouched stays untouched: the batch before and behind', () => {
  const rig = new Rig(specOf());
  rig.load([tcp4(), packet().ipv4({ dst: '203.0.113.9' }).tcp({ dport: 443 }).bytes(), tcp6()]);
  rig.pipeline.process(rig.batch, 0);
  assert.deepEqual(
    [0, 1, 2].map((i) => rig.outcome(i).verdict),
    ['forward', 'drop', 'forward'],
  );
});

test('the hop is counted once: by us on Ethernet ingress, by the kernel before TUN', () => {
  const ethernet = packet().ethernet().ipv4({ dst: SERVICE4, ttl: 2 }).tcp({ dport: 443 }).bytes();
  const out = new Rig(specOf(), PACKET).one(ethernet);
  checkEncapsulation(out.bytes as Uint8Array, ethernet.slice(14), { ttlDecremented: true });
  const six = packet().ethernet().vlan({ id: 7 }).ipv6({ dst: SERVICE6, hopLimit: 2 }).tcp({ dport: 443 }).bytes();
  checkEncapsulation(new Rig(specOf(), PACKET).one(six).bytes as Uint8Array, six.slice(18), { ttlDecremented: true });
  const raw = packet().ipv4({ dst: SERVICE4, ttl: 1 }).tcp({ dport: 443 }).bytes();
  assert.equal(new Rig(specOf(), TUN).one(raw).verdict, 'forward');
  const expired = packet().ethernet().ipv4({ dst: SERVICE4, ttl: 1 }).tcp({ dport: 443 }).bytes();
  assert.equal(new Rig(specOf(), PACKET).one(expired).verdict, 'reply', 'time exceeded');
});

test('link padding is not part of the packet', () => {
  const frame = packet().ethernet().ipv4({ dst: SERVICE4 }).tcp({ dport: 443 }).bytes();
  const padded = new Uint8Array(64);
  padded.set(frame);
  const out = new Rig(specOf(), PACKET).one(padded);
  assert.equal(out.bytes?.length, 40 + 32);
});

test('traffic class, ECN included, is copied outside; DF and ID 0 make the outer datagram atomic', () => {
  const input = packet().ipv4({ dst: SERVICE4, tos: 0x8b }).tcp({ dport: 443 }).bytes();
  const out4 = decodeOuter(new Rig(specOf()).one(input).bytes as Uint8Array);
  assert.equal(out4.outer.trafficClass, 0x8b);
  const six = packet().ipv6({ dst: SERVICE6, trafficClass: 0x8b }).tcp({ dport: 443 }).bytes();
  const out6 = decodeOuter(new Rig(specOf({ outer: 6 })).one(six).bytes as Uint8Array);
  assert.equal(out6.outer.trafficClass, 0x8b);
  const bytes = new Rig(specOf()).one(input).bytes as Uint8Array;
  assert.deepEqual([...bytes.slice(4, 8)], [0, 0, 0x40, 0]);
});

test('a partial checksum (virtio-net NEEDS_CSUM) is completed, TCP and UDP, IPv4 and IPv6', () => {
  for (const protocol of [6, 17]) {
    for (const v of [4, 6]) {
      const build = (sum?: number) => {
        const network = v === 4 ? packet().ipv4({ dst: SERVICE4 }) : packet().ipv6({ dst: SERVICE6 });
        const force = sum === undefined ? {} : { checksum: sum };
        return (protocol === 6 ? network.tcp({ dport: 443, ...force }) : network.udp({ dport: 443, ...force }))
          .payload(33)
          .bytes();
      };
      const right = build();
      const start = v === 4 ? 20 : 40;
      const field = protocol === 6 ? 16 : 6;
      // The pseudo-header sum alone, as the kernel leaves it: sum of addresses, protocol and length.
      let sum = protocol + (right.length - start);
      for (let i = v === 4 ? 12 : 8; i < start; i += 2) sum += (right[i] << 8) | right[i + 1];
      while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
      const rig = new Rig(specOf({ protocol }));
      const virtio = { flags: 1, csumStart: start, csumOffset: field };
      const out = rig.one(build(sum), { virtio });
      assert.equal(out.verdict, 'forward');
      checkEncapsulation(out.bytes as Uint8Array, right, { ttlDecremented: false });
      assert.equal(rig.bank[counterAt('completed_checksums_total')], 1);
      assert.equal(rig.one(build(sum), { virtio: { ...virtio, csumStart: start + 2 } }).reason, 'bad-virtio-header');
      assert.equal(rig.one(build(sum), { virtio: { ...virtio, csumOffset: 60000 } }).reason, 'bad-virtio-header');
    }
  }
});

test('every drop reason of the path, by a packet that earns it', () => {
  const rig = new Rig(specOf(), PACKET);
  const eth = () => packet().ethernet();
  const to = { dst: SERVICE4 };
  const first4 = () => eth().ipv4({ ...to, more: true, df: false });
  const cut = (bytes: Uint8Array, length: number) => bytes.slice(0, length);
  const cases: [string, Uint8Array][] = [
    ['not-a-service', eth().ipv4({ dst: '203.0.113.1' }).tcp({ dport: 443 }).bytes()],
    ['not-a-service', eth().ipv4(to).tcp({ dport: 444 }).bytes()],
    ['not-a-service', eth().ipv4(to).udp({ dport: 443 }).bytes()],
    [
      'not-a-service',
      eth()
        .ipv4({ ...to, protocol: 47 })
        .payload(20)
        .bytes(),
    ],
    ['not-ip', eth().arp().bytes()],
    ['truncated', cut(eth().ipv4(to).tcp({ dport: 443 }).bytes(), 13)],
    ['truncated', cut(eth().ipv4(to).tcp({ dport: 443 }).bytes(), 30)],
    ['truncated', cut(eth().ipv4(to).tcp({ dport: 443 }).bytes(), 50)],
    ['truncated', cut(eth().ipv6({ dst: SERVICE6 }).tcp({ dport: 443 }).bytes(), 60)],
    [
      'malformed-ip',
      eth()
        .ipv4({ ...to, ihl: 4 })
        .tcp({ dport: 443 })
        .bytes(),
    ],
    [
      'ip-checksum',
      eth()
        .ipv4({ ...to, checksum: 0x1234 })
        .tcp({ dport: 443 })
        .bytes(),
    ],
    [
      'malformed-transport',
      eth()
        .ipv4({ ...to, protocol: 6 })
        .payload(3)
        .bytes(),
    ],
    ['malformed-transport', eth().ipv4(to).tcp({ dport: 443, dataOffset: 4 }).bytes()],
    ['fragment-length', first4().tcp({ dport: 443 }).bytes()],
    [
      'fragment-tiny',
      first4()
        .tcp({ dport: 443, options: new Uint8Array(4), dataOffset: 7 })
        .bytes(),
    ],
    [
      'fragment-tiny',
      eth()
        .ipv4({ ...to, offset: 8, df: false, protocol: 6 })
        .payload(64)
        .bytes(),
    ],
    [
      'fragment-not-held',
      eth()
        .ipv4({ ...to, offset: 1480, df: false })
        .tcp({ dport: 443 })
        .bytes(),
    ],
    [
      'fragment',
      eth()
        .ipv4({ ...to, more: true, df: false })
        .icmp4({ type: 8 })
        .payload(8)
        .bytes(),
    ],
    ['fragment-length', eth().ipv6({ dst: SERVICE6 }).fragment({ offset: 0, more: true }).tcp({ dport: 443 }).bytes()],
    [
      'ttl-expired',
      eth()
        .ipv4({ ...to, ttl: 1, src: '224.0.0.1' })
        .tcp({ dport: 443 })
        .bytes(),
    ],
    ['ttl-expired', eth().ipv6({ dst: SERVICE6, hopLimit: 0, src: 'ff02::1' }).tcp({ dport: 443 }).bytes()],
    ['icmp-not-steered', eth().ipv4(to).icmp4({ type: 5 }).payload(28).bytes()],
    ['icmp-not-steered', eth().ipv6({ dst: SERVICE6 }).icmp6({ type: 137 }).payload(48).bytes()],
    ['icmp-quote', eth().ipv4(to).icmp4({ type: 3, code: 4 }).payload(28).bytes()],
    ['icmp-quote', eth().ipv6({ dst: SERVICE6 }).icmp6({ type: 2 }).payload(48).bytes()],
  ];
  const chain = eth().ipv6({ dst: SERVICE6 });
  for (let i = 0; i < 9; i++) chain.extension('destination');
  cases.push(['ipv6-extension', chain.tcp({ dport: 443 }).bytes()]);
  for (const [reason, frame] of cases) {
    const out = rig.one(frame);
    assert.deepEqual([out.verdict, out.reason], ['drop', reason]);
  }
  const merged = eth().ipv4(to).tcp({ dport: 443 }).payload(3000).bytes();
  assert.equal(rig.one(merged, { virtio: { gsoType: 1, gsoSize: 1000 } }).reason, 'super-packet', 'no room for header records');
  assert.equal(rig.one(merged, { virtio: { gsoType: 1 } }).reason, 'bad-virtio-header');
  const empty = new Rig(specOf({ backends: backends(1).map((b) => ({ ...b, state: 'down' as const })) }));
  assert.equal(empty.one(tcp4()).reason, 'no-backend');
  const counted = new Map<string, number>();
  for (const [reason] of cases) counted.set(reason, (counted.get(reason) ?? 0) + 1);
  for (const [reason, count] of counted) assert.equal(rig.bank[DROPS_AT + dropReason(reason as 'truncated')], count, reason);
});

test('IPv6 extension headers are walked: the flow behind them is steered, the packet leaves whole', () => {
  const input = packet()
    .ipv6({ dst: SERVICE6 })
    .extension('hop-by-hop')
    .extension('destination')
    .tcp({ sport: 40000, dport: 443 })
    .bytes();
  const out = new Rig(specOf({ outer: 6 })).one(input);
  assert.equal(out.verdict, 'forward');
  checkEncapsulation(out.bytes as Uint8Array, input, { ttlDecremented: false });
});

test('our own tunnel packets come back as a client are dropped as a loop', () => {
  const rig = new Rig(specOf({ protocol: 17, ports: [0, 65535] }));
  assert.equal(rig.one(packet().ipv4({ src: SOURCE4, dst: SERVICE4 }).udp({ dport: 6080 }).bytes()).reason, 'encapsulation-loop');
  assert.equal(
    rig.one(packet().ipv6({ src: 'fd00::fe', dst: SERVICE6 }).udp({ dport: 6080 }).bytes()).reason,
    'encapsulation-loop',
  );
  assert.equal(rig.one(packet().ipv4({ dst: SERVICE4 }).udp({ dport: 6080 }).bytes()).verdict, 'forward');
});

test('every tunnel source of ours is known, whichever pool sends from it', () => {
  const spec = specOf({ protocol: 17, ports: [0, 65535] });
  const other = { ...spec.pools[0], name: 'q', tunnel: { ...spec.pools[0].tunnel, port: 7000, source4: ip('10.0.0.99') } };
  const rig = new Rig({ services: spec.services, pools: [...spec.pools, other] });
  const from = (src: string, dport: number) => rig.one(packet().ipv4({ src, dst: SERVICE4 }).udp({ dport }).bytes());
  assert.equal(from('10.0.0.99', 7000).reason, 'encapsulation-loop');
  assert.equal(from(SOURCE4, 6080).reason, 'encapsulation-loop');
  assert.equal(from(SOURCE4, 7000).verdict, 'forward');
  assert.equal(from('10.0.0.98', 7000).verdict, 'forward');
});

test('a frame to a group MAC is neither forwarded nor answered: every host on the link has a copy', () => {
  for (const dst of ['ff:ff:ff:ff:ff:ff', '01:00:5e:00:00:01']) {
    const ping = packet().ethernet({ dst }).ipv4({ dst: SERVICE4 }).icmp4({ type: 8 }).bytes();
    const tcp = packet().ethernet({ dst }).ipv6({ dst: SERVICE6 }).tcp({ dport: 443 }).bytes();
    for (const frame of [ping, tcp]) {
      assert.equal(new Rig(specOf(), PACKET).one(frame).reason, 'wrong-host');
      assert.equal(new Rig(specOf(), XDP).one(frame).verdict, 'pass');
    }
  }
});

test('what is not for us is passed where the driver can, dropped with its reason elsewhere', () => {
  const other = packet().ethernet().ipv4({ dst: '203.0.113.1' }).tcp({ dport: 443 }).bytes();
  const arp = packet().ethernet().arp().bytes();
  const otherFragment = packet().ethernet().ipv4({ dst: '203.0.113.1', more: true, df: false }).udp().payload(8).bytes();
  const rig = new Rig(specOf(), XDP);
  for (const frame of [other, arp, otherFragment]) assert.equal(rig.one(frame).verdict, 'pass');
  assert.equal(rig.bank[counterAt('passed_packets_total')], 3);
  assert.equal(new Rig(specOf(), PACKET).one(other).reason, 'not-a-service');
});

test('a ping to a service address is answered in place, over raw IP and Ethernet, IPv4 and IPv6', () => {
  const raw = new Rig(specOf(), TUN);
  const request = packet().ipv4({ src: '192.0.2.77', dst: SERVICE4, ttl: 9 }).icmp4({ type: 8 }).payload(57).bytes();
  const reply = packet().ipv4({ src: SERVICE4, dst: '192.0.2.77', ttl: 64 }).icmp4({ type: 0 }).payload(57).bytes();
  assert.deepEqual(raw.one(request), { verdict: 'reply', reason: 'none', backend: null, sourcePort: 0, bytes: reply });

  const ether = new Rig(specOf(), PACKET);
  const macs = { src: '02:00:00:00:00:01', dst: '02:00:00:00:00:02' };
  const back = { src: macs.dst, dst: macs.src };
  const request6 = packet().ethernet(macs).ipv6({ src: '2001:db8:1::7', dst: SERVICE6 }).icmp6({ type: 128 }).payload(9).bytes();
  const reply6 = packet()
    .ethernet(back)
    .ipv6({ src: SERVICE6, dst: '2001:db8:1::7', hopLimit: 64 })
    .icmp6({ type: 129 })
    .payload(9)
    .bytes();
  assert.deepEqual(ether.one(request6).bytes, reply6);
  for (const src of ['0.0.0.0', '127.0.0.1', '224.0.0.1', '255.255.255.255']) {
    assert.equal(raw.one(packet().ipv4({ src, dst: SERVICE4 }).icmp4({ type: 8 }).bytes()).reason, 'icmp-not-steered', src);
  }
  assert.equal(raw.one(packet().ipv4({ dst: '203.0.113.1' }).icmp4({ type: 8 }).bytes()).reason, 'not-a-service');
});

test('a packet that no outer datagram can carry is dropped as too-big, its neighbours leave', () => {
  const rig = new Rig(specOf());
  const big = packet()
    .ipv4({ dst: SERVICE4 })
    .tcp({ dport: 443 })
    .payload(65535 - 40)
    .bytes();
  const fits = packet()
    .ipv4({ dst: SERVICE4 })
    .tcp({ dport: 443 })
    .payload(65535 - 40 - 32)
    .bytes();
  const outs = rig.run([tcp4(), big, fits]);
  assert.deepEqual(
    outs.map((o) => o.reason),
    ['none', 'too-big', 'none'],
  );
  checkEncapsulation(outs[2].bytes as Uint8Array, fits, { ttlDecremented: false });
});

test('one flow keeps one source port; flows spread over the range', () => {
  const rig = new Rig(specOf());
  const ports = new Set<number>();
  for (let sport = 1024; sport < 3072; sport++) {
    const frame = packet().ipv4({ dst: SERVICE4 }).tcp({ sport, dport: 443 }).bytes();
    const [a, b] = rig.run([frame, frame]);
    assert.equal(a.sourcePort, b.sourcePort);
    assert.ok(a.sourcePort >= 49152 && a.sourcePort <= 65535);
    ports.add(a.sourcePort);
  }
  assert.ok(ports.size > 1850, `${ports.size} ports for 2,048 flows`);
});

test('a frame that the driver gave a reason is neither parsed nor sent', () => {
  const rig = new Rig(specOf());
  rig.load([tcp4()]);
  rig.batch.reason[0] = dropReason('truncated');
  rig.pipeline.process(rig.batch, 0);
  assert.equal(rig.outcome(0).reason, 'truncated');
});

test('encapsulation needs exactly the headroom that the arena promises, for every mix', () => {
  const batch = new Batch(Arena.inProcess(1), TUN);
  assert.ok(batch.frameAt[0] - batch.slotAt[0] >= 52 + 18);
  const rig = new Rig(specOf({ outer: 6 }));
  rig.load([tcp6()]);
  rig.pipeline.process(rig.batch, 0);
  assert.equal(rig.batch.outAt[0], rig.batch.frameAt[0] - 52);
  encapsulateStage(rig.batch, nearBackends(rig.batch.arena), new Identifiers(), 49152, 16383)(rig.pipeline.snapshot);
  assert.equal(rig.batch.outAt[0], rig.batch.frameAt[0] - 52, 'encapsulating again writes the same place');
});
