// Services of other protocols than TCP and UDP, and UDP without flows, through the whole packet path.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { counterAt } from '../../src/base/counters.ts';
import { PROTOCOL_ANY, type ServiceSpec, type Spec } from '../../src/pipeline/spec.ts';
import * as sctp from '../../src/wire/sctp.ts';
import { ip } from '../builder/addresses.ts';
import { packet, patternBytes } from '../builder/packet.ts';
import { checkEncapsulation } from '../check/outer.ts';
import { backends, PACKET, Rig, SERVICE4, SERVICE6, type SpecOptions, specOf, TUN } from './rig.ts';

const ESP = 50;
const AH = 51;
const GRE = 47;
const SCTP = 132;

function services(protocol: number, more: Partial<ServiceSpec> = {}, options: SpecOptions = {}): Spec {
  const spec = specOf({ ...options, protocol, ports: [0, 65535] });
  return { ...spec, services: spec.services.map((service) => ({ ...service, ...more })) };
}

/** `protocol` with these first bytes and 40 more. */
function other(protocol: number, first: readonly number[] = [], src = '192.0.2.1', length = 40): Uint8Array {
  return packet()
    .ipv4({ src, dst: SERVICE4, protocol })
    .payload(Uint8Array.of(...first, ...patternBytes(length)))
    .bytes();
}

function other6(protocol: number, first: readonly number[] = []): Uint8Array {
  return packet()
    .ipv6({ dst: SERVICE6, nextHeader: protocol })
    .payload(Uint8Array.of(...first, ...patternBytes(40)))
    .bytes();
}

const ports = (source: number, destination: number) => [source >> 8, source & 255, destination >> 8, destination & 255];

test('ESP: by addresses, whatever the SPI; IPv4 and IPv6; the bytes go through untouched', () => {
  for (const outer of [4, 6] as const) {
    const rig = new Rig(services(ESP, {}, { outer, checksum: 'full' }));
    const frames = Array.from({ length: 16 }, (_, spi) => other(ESP, [0, 0, 7, spi, 0, 0, 0, spi]));
    const outcomes = rig.run(frames);
    assert.equal(new Set(outcomes.map((o) => o.backend)).size, 1);
    outcomes.forEach((out, k) => {
      checkEncapsulation(out.bytes as Uint8Array, frames[k], { ttlDecremented: false });
    });
    assert.equal(rig.bank[counterAt('flow_table_inserts_total')], 1);
    assert.equal(rig.bank[counterAt('flow_table_hits_total')], 15);
    const six = rig.one(other6(ESP, [1, 2, 3, 4]));
    checkEncapsulation(six.bytes as Uint8Array, other6(ESP, [1, 2, 3, 4]), { ttlDecremented: false });
    const spread = rig.run(Array.from({ length: 16 }, (_, k) => other(ESP, [], `192.0.2.${k + 1}`)));
    assert.equal(new Set(spread.map((o) => o.backend)).size, 3);
  }
});

test('a packet that ends with its IP header has a flow too', () => {
  const out = new Rig(services(ESP)).one(other(ESP, [], '192.0.2.1', 0));
  assert.equal(out.verdict, 'forward');
});

test('a protocol without service is none, also where another has one', () => {
  const rig = new Rig(services(ESP));
  assert.equal(rig.one(other(GRE)).reason, 'not-a-service');
  assert.equal(rig.one(packet().ipv4({ dst: SERVICE4 }).udp({ dport: 443 }).payload(9).bytes()).reason, 'not-a-service');
});

test('IPv4 of protocol 0 is for a service of any protocol, and for no other', () => {
  const frame = other(0, [8, 0, 0xaf, 0x73]);
  assert.equal(new Rig(services(ESP)).one(frame).reason, 'not-a-service');
  assert.equal(new Rig(specOf()).one(frame).reason, 'not-a-service');
  assert.equal(new Rig(services(PROTOCOL_ANY)).one(frame).verdict, 'forward');
});

test('a flow keeps its backend when the table changes, and leaves one that is down', () => {
  const rig = new Rig(services(GRE));
  const first = rig.one(other(GRE));
  const rest = backends(3).filter(({ name }) => name !== first.backend);
  const own = backends(3).find(({ name }) => name === first.backend)!;
  rig.publish(services(GRE, {}, { backends: [...rest, { ...own, state: 'draining' }] }), 10);
  assert.equal(rig.one(other(GRE), { now: 11 }).backend, first.backend);
  rig.publish(services(GRE, {}, { backends: [...rest, { ...own, state: 'down' }] }), 20);
  assert.notEqual(rig.one(other(GRE), { now: 21 }).backend, first.backend);
});

test('source-address affinity keeps ESP and IKE of one peer together', () => {
  const esp = services(ESP, { affinity: 'source-address' });
  const ike = services(17, { affinity: 'source-address', portFrom: 500, portTo: 500 });
  const rig = new Rig({ ...esp, services: [...esp.services, ...ike.services.map((s) => ({ ...s, name: `${s.name}-ike` }))] });
  for (let peer = 1; peer < 20; peer++) {
    const src = `192.0.2.${peer}`;
    const udp = packet().ipv4({ src, dst: SERVICE4 }).udp({ sport: 500, dport: 500 }).payload(40).bytes();
    assert.equal(rig.one(other(ESP, [], src)).backend, rig.one(udp).backend);
  }
});

test('AH over IPv6 has a service of its own; without one its payload counts', () => {
  const inside = () =>
    packet().ipv6({ dst: SERVICE6 }).extension('authentication', { units: 3 }).tcp({ dport: 443 }).payload(5).bytes();
  assert.equal(new Rig(specOf()).one(inside()).verdict, 'forward');
  assert.equal(new Rig(services(AH)).one(inside()).verdict, 'forward');
  assert.equal(
    new Rig(services(AH)).one(packet().ipv6({ dst: SERVICE6 }).tcp({ dport: 443 }).payload(5).bytes()).reason,
    'not-a-service',
  );
  const both = packet()
    .ipv6({ dst: SERVICE6 })
    .extension('hop-by-hop')
    .extension('authentication', { units: 3 })
    .udp({ dport: 9 });
  assert.equal(new Rig(services(AH)).one(both.payload(5).bytes()).verdict, 'forward');
  assert.equal(new Rig(services(AH)).one(other(AH, [6, 4, 0, 0])).verdict, 'forward');
});

test('any: what nobody else takes, TCP and UDP too; the longer prefix and the named protocol go first', () => {
  const named = specOf({ ports: [443, 443] });
  const wide: ServiceSpec = {
    ...named.services[0],
    name: 'any',
    prefix: { bytes: ip('198.51.100.0'), length: 24 },
    protocol: PROTOCOL_ANY,
    portFrom: 0,
    portTo: 65535,
    pool: 'q',
  };
  const own: ServiceSpec = { ...wide, name: 'own', prefix: named.services[0].prefix, pool: 'r' };
  const gre: ServiceSpec = { ...wide, name: 'gre', protocol: GRE, pool: 's' };
  const pool = (name: string, at: string) => ({
    ...named.pools[0],
    name,
    backends: [{ name, address: ip(at), weight: 1, state: 'active' as const }],
  });
  const pools = [...named.pools, pool('q', '10.0.1.1'), pool('r', '10.0.1.2'), pool('s', '10.0.1.3')];
  const at = (dst: string, make: (p: ReturnType<typeof packet>) => ReturnType<typeof packet>) =>
    make(packet().ipv4({ dst })).payload(20).bytes();
  const tcp = (dst: string, dport: number) => at(dst, (p) => p.tcp({ dport }));
  const to = (dst: string, protocol: number) => packet().ipv4({ dst, protocol }).payload(20).bytes();

  const rig = new Rig({ services: [...named.services, wide, own, gre], pools });
  assert.match(rig.one(tcp(SERVICE4, 443)).backend!, /^w/);
  assert.equal(rig.one(tcp(SERVICE4, 80)).backend, 'r');
  assert.equal(rig.one(to(SERVICE4, ESP)).backend, 'r');
  assert.equal(rig.one(to(SERVICE4, GRE)).backend, 'r', 'any at the longer prefix before GRE at the shorter');
  assert.equal(rig.one(tcp('198.51.100.9', 443)).backend, 'q');
  assert.equal(rig.one(to('198.51.100.9', GRE)).backend, 's', 'of one prefix the named protocol');
  assert.equal(rig.one(to('198.51.100.9', 89)).backend, 'q');
  assert.equal(rig.one(packet().ipv4({ dst: SERVICE4 }).icmp4().payload(8).bytes()).verdict, 'reply');
  assert.equal(rig.one(to('198.51.101.9', 89)).reason, 'not-a-service');
});

test('SCTP: ports as TCP has them, flows as UDP has them, the checksum as it came', () => {
  const rig = new Rig(services(SCTP, { portFrom: 2905, portTo: 2905 }));
  const frame = other(SCTP, ports(40000, 2905));
  const out = rig.one(frame);
  checkEncapsulation(out.bytes as Uint8Array, frame, { ttlDecremented: false });
  assert.equal(rig.one(frame).backend, out.backend);
  assert.equal(rig.bank[counterAt('flow_table_hits_total')], 1);
  assert.equal(rig.one(other(SCTP, ports(40000, 2906))).reason, 'not-a-service');
  const spread = rig.run(Array.from({ length: 16 }, (_, k) => other(SCTP, ports(40000 + k, 2905))));
  assert.equal(new Set(spread.map((o) => o.backend)).size, 3);
  const short = (length: number) =>
    packet()
      .ipv4({ dst: SERVICE4, protocol: SCTP })
      .payload(Uint8Array.of(...ports(40000, 2905), ...new Uint8Array(7)).slice(0, length))
      .bytes();
  assert.equal(rig.one(short(11)).reason, 'malformed-transport');
  assert.equal(rig.one(short(3)).reason, 'not-a-service');
});

test('SCTP with affinity ports: every path of an association, from any address to any of its addresses', () => {
  const rig = new Rig(services(SCTP, { affinity: 'ports', portFrom: 2905, portTo: 2905 }));
  for (let association = 0; association < 20; association++) {
    const paths = Array.from({ length: 8 }, (_, k) => other(SCTP, ports(40000 + association, 2905), `192.0.2.${k + 1}`));
    assert.equal(new Set(rig.run(paths).map((o) => o.backend)).size, 1);
  }
  assert.equal(rig.bank[counterAt('flow_table_inserts_total')], 20);
  // A path that first shows itself after the table changed still finds the association's entry.
  const before = rig.one(other(SCTP, ports(40000, 2905))).backend;
  rig.publish(services(SCTP, { affinity: 'ports', portFrom: 2905, portTo: 2905 }, { backends: backends(9) }), 10);
  assert.equal(rig.one(other(SCTP, ports(40000, 2905), '203.0.113.77'), { now: 5000 }).backend, before);
});

test('SCTP whose checksum was left to the device gets it, where the ingress can not say so too', () => {
  const rig = new Rig(services(SCTP));
  const frame = other(SCTP, [...ports(40000, 2905), 1, 2, 3, 4, 0, 0, 0, 0]);
  const out = rig.one(frame, { virtio: { flags: 1, csumStart: 20, csumOffset: 8 } });
  const inner = (out.bytes as Uint8Array).slice(-frame.length);
  const view = new DataView(inner.buffer);
  assert.notEqual(sctp.checksum(view, 20), 0);
  assert.equal(sctp.checksum(view, 20), sctp.computeChecksum(view, 20, inner.length));
  assert.equal(rig.bank[counterAt('completed_checksums_total')], 1);
  assert.equal(rig.one(frame, { virtio: { flags: 1, csumStart: 20, csumOffset: 16 } }).reason, 'bad-virtio-header');
  const unknown = new Rig(services(SCTP), { ...TUN, checksumsUnknown: true });
  assert.deepEqual(unknown.one(frame).bytes, out.bytes);
  const wrong = other(SCTP, [...ports(40000, 2905), 1, 2, 3, 4, 9, 9, 9, 9]);
  assert.deepEqual(unknown.one(wrong).bytes?.slice(-wrong.length + 20), wrong.slice(20));
});

test('what virtio-net says of other protocols must fit: inside the packet, and never a super-packet', () => {
  const rig = new Rig(services(GRE));
  const frame = other(GRE);
  assert.equal(rig.one(frame, { virtio: { flags: 1, csumStart: 24, csumOffset: 16 } }).verdict, 'forward');
  assert.equal(rig.one(frame, { virtio: { flags: 1, csumStart: 10, csumOffset: 16 } }).reason, 'bad-virtio-header');
  assert.equal(rig.one(frame, { virtio: { flags: 1, csumStart: 58, csumOffset: 16 } }).reason, 'bad-virtio-header');
  assert.equal(rig.one(frame, { virtio: { flags: 1, csumStart: 900, csumOffset: 0 } }).reason, 'bad-virtio-header');
  assert.equal(rig.one(frame, { virtio: { gsoType: 1, gsoSize: 10 } }).reason, 'bad-virtio-header');
});

test('the hop counts for every protocol', () => {
  const rig = new Rig(services(GRE), PACKET);
  const frame = (ttl: number) => packet().ethernet().ipv4({ dst: SERVICE4, protocol: GRE, ttl }).payload(20).bytes();
  assert.equal(rig.one(frame(1)).verdict, 'reply', 'time exceeded');
  const out = rig.one(frame(9));
  checkEncapsulation(out.bytes as Uint8Array, frame(9).slice(14), { ttlDecremented: true });
});

test('too big for the tunnel: never cut, but fragmented or answered', () => {
  for (const protocol of [ESP, SCTP, GRE]) {
    const rig = new Rig(services(protocol), undefined, { pathMtu: 1400, records: 64 });
    const big = (df: boolean) =>
      packet()
        .ipv4({ dst: SERVICE4, protocol, df })
        .payload(Uint8Array.of(...ports(1, 2), ...new Uint8Array(1440).fill(0x50)))
        .bytes();
    assert.equal(rig.one(big(true)).verdict, 'reply');
    rig.load([big(false)]);
    rig.pipeline.process(rig.batch, 0);
    assert.equal(rig.outcome(0).verdict, 'forward');
    assert.equal(rig.batch.segmentCount[0], 2);
    assert.equal(rig.batch.segmentSize[0], 0);
    rig.pipeline.account(rig.batch);
  }
});

test('affinity none: every datagram by itself, shares exact over a pass of the table, no flow entry', () => {
  const weighted = backends(3).map((backend, k) => ({ ...backend, weight: k + 1 }));
  const rig = new Rig(services(17, { affinity: 'none', portFrom: 53, portTo: 53 }, { backends: weighted }));
  const frame = packet().ipv4({ dst: SERVICE4 }).udp({ dport: 53 }).payload(30).bytes();
  const counts = new Map<string, number>();
  for (const { backend } of rig.run(new Array(1009).fill(frame))) counts.set(backend!, (counts.get(backend!) ?? 0) + 1);
  const slots = new Map(
    rig.builder.build(services(17, { affinity: 'none' }, { backends: weighted })).names.backends.map((b) => [b.name, b.slots]),
  );
  assert.deepEqual([...counts].sort(), [...slots].sort());
  assert.equal(rig.flows.occupancy().entries, 0);
  rig.publish(services(17, { affinity: 'none', portFrom: 53, portTo: 53 }, { backends: [] }), 5);
  assert.equal(rig.one(frame).reason, 'no-backend');
});

test('fragments of ESP and SCTP stay together, in any order', () => {
  for (const [protocol, more] of [
    [ESP, {}],
    [SCTP, { affinity: 'ports', portFrom: 2905, portTo: 2905 }],
    [SCTP, { portFrom: 2905, portTo: 2905 }],
  ] as const) {
    const rig = new Rig(services(protocol, more));
    for (let client = 1; client <= 12; client++) {
      const part = (offset: number, isLast: boolean, first: readonly number[] = []) =>
        packet()
          .ipv4({ src: `192.0.2.${client}`, dst: SERVICE4, protocol, df: false, id: 77, offset, more: !isLast })
          .payload(Uint8Array.of(...first, ...patternBytes(64 - first.length)))
          .bytes();
      const outcomes = rig.run([part(64, false), part(0, false, ports(40000 + client, 2905)), part(128, true)]);
      const whole = rig.one(other(protocol, ports(40000 + client, 2905), `192.0.2.${client}`)).backend;
      for (const { backend, verdict } of outcomes) assert.deepEqual([verdict, backend], ['forward', whole]);
    }
  }
});
