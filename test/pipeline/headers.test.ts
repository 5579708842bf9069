// Header policies through the whole path: for any policy, encapsulation and family, single packets and every segment of trains have the outer headers of
// the slow twin around exactly the inner packets that the default policy sends.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type IngressFacts, VIRTIO_NEEDS_CSUM } from '../../src/base/batch.ts';
import { segmentBytes } from '../../src/base/segment-bytes.ts';
import { VERDICT_FORWARD } from '../../src/base/verdict.ts';
import { DEFAULT_HEADERS, type Encapsulation, type HeaderSpec, type Spec, type TunnelSpec } from '../../src/pipeline/spec.ts';
import { ip } from '../builder/addresses.ts';
import { everyPort } from '../builder/every-port.ts';
import { packet } from '../builder/packet.ts';
import { DESTINATION4, DESTINATION6, randomShape, superPacket } from '../builder/super-packet.ts';
import { Random } from '../full/random.ts';
import { katranPort, outerFields } from '../reference/header-policy.ts';
import { fillPartialChecksum, transportOf } from '../reference/segment.ts';
import { decodeTunnel, type Tunnel, type TunnelKind } from '../reference/tunnel.ts';
import { PACKET, Rig, SERVICE4, SERVICE6, specOf, TUN } from './rig.ts';

const KINDS: Partial<Record<Encapsulation, TunnelKind>> = { gue: 'gue', 'gue-v1': 'gue-v1', ipip: 'ipip', gre: 'gre' };

function specWith(outer: 4 | 6, tunnel: Partial<TunnelSpec>): Spec {
  const base = specOf({ outer, checksum: 'full' });
  const services = everyPort([DESTINATION4, DESTINATION6, ip(SERVICE4), ip(SERVICE6)]);
  return { services, pools: base.pools.map((pool) => ({ ...pool, tunnel: { ...pool.tunnel, ...tunnel } })) };
}

function rigWith(outer: 4 | 6, tunnel: Partial<TunnelSpec>, facts: IngressFacts = TUN): Rig {
  return new Rig(specWith(outer, tunnel), facts, { records: 1100, capacity: 1 });
}

/** What leaves of packet 0, decoded. */
function leaving(rig: Rig, kind: TunnelKind): Tunnel[] {
  assert.equal(rig.batch.verdict[0], VERDICT_FORWARD);
  return Array.from({ length: rig.batch.segmentCount[0] }, (_, k) => decodeTunnel(segmentBytes(rig.batch, 0, k), { kind }));
}

function randomPolicy(random: Random): HeaderSpec {
  return {
    ttl: random.pick(['copy', 64, 1 + random.below(255)] as const),
    dscp: random.pick(['copy', random.below(64)] as const),
    ecn: random.pick(['copy', 'zero', 'rfc3168'] as const),
    df: random.pick(['set', 'copy', 'clear'] as const),
    identification: random.pick(['fresh', 'zero'] as const),
    flowLabel: random.pick(['auto', 'hash', 'zero'] as const),
    sourcePort: random.pick(['default', 'ipvs', 'katran'] as const),
  };
}

/** A packet or super-packet of the builder's services; the same for both rigs. */
function load(rig: Rig, bytes: Uint8Array, segmentSize: number): void {
  if (segmentSize === 0) {
    rig.load([bytes]);
    return;
  }
  const { at, protocol } = transportOf(bytes);
  const partial = bytes.slice();
  fillPartialChecksum(partial);
  const gsoType = protocol === 17 ? 5 : bytes[0] >> 4 === 4 ? 1 : 4;
  const csumOffset = protocol === 6 ? 16 : 6;
  rig.load([partial], [{ flags: VIRTIO_NEEDS_CSUM, gsoType, gsoSize: segmentSize, csumStart: at, csumOffset }]);
}

const hasUdp = (encapsulation: Encapsulation) => encapsulation === 'gue' || encapsulation === 'gue-v1';

/** One packet under a policy and without: everything that the twin can say about what leaves. */
function checkPolicy(
  random: Random,
  outer: 4 | 6,
  encapsulation: Encapsulation,
  plain: Rig,
  numbers: Map<string, Set<number>>,
): number {
  const policy = randomPolicy(random);
  const spread = random.chance(3) ? random.pick([8, 16]) : 0;
  const source = spread === 0 ? {} : { source4: ip('172.16.0.0'), source6: ip('100::'), spread4: spread, spread6: spread };
  const rig = rigWith(outer, { encapsulation, headers: policy, ...source });
  const shape = randomShape(random, random.pick([4, 6] as const), random.pick([6, 17] as const));
  const bytes = superPacket(shape);
  const segmentSize = bytes.length > 1500 ? shape.segmentSize : 0;
  for (const each of [plain, rig]) {
    load(each, bytes, segmentSize);
    each.pipeline.process(each.batch, 0);
  }
  assert.equal(rig.batch.verdict[0], plain.batch.verdict[0]);
  if (rig.batch.verdict[0] !== VERDICT_FORWARD) return 0;
  const kind = KINDS[encapsulation] as TunnelKind;
  const got = leaving(rig, kind);
  const before = leaving(plain, kind);
  const about = JSON.stringify({ policy, spread, encapsulation, outer, family: shape.family });
  assert.equal(got.length, before.length, about);
  const seen = numbers.get(about) ?? new Set<number>();
  numbers.set(about, seen);
  got.forEach((part, k) => {
    assert.deepEqual(part.inner, before[k].inner, `part ${k} ${about}`);
    const { identification, ...fields } = outerFields(policy, outer, part.inner);
    const { identification: number, flowLabel, ...given } = part.outer;
    assert.deepEqual(given, fields, `part ${k} ${about}`);
    if (identification === 0) assert.equal(number, 0, about);
    else {
      assert.ok(number > 0 && !seen.has(number), `part ${k}: identification ${number} again; ${about}`);
      seen.add(number);
    }
    const labelled = outer === 6 && (policy.flowLabel === 'hash' || (policy.flowLabel === 'auto' && !hasUdp(encapsulation)));
    assert.equal(flowLabel !== 0, labelled, about);
    assert.equal(flowLabel, got[0].outer.flowLabel);
    assert.deepEqual(part.destination, before[k].destination);
    assert.deepEqual(part.source, got[0].source);
    if (spread === 0) assert.deepEqual(part.source, before[k].source);
    else checkSpread(part.source, spread, about);
    assert.equal(part.sourcePort, got[0].sourcePort);
    if (hasUdp(encapsulation)) checkPort(part, policy, before[k].sourcePort, bytes, outer, about);
  });
  return got.length;
}

function checkSpread(source: Uint8Array, bits: number, about: string): void {
  const base = source.length === 4 ? ip('172.16.0.0') : ip('100::');
  const fixed = source.length - bits / 8;
  assert.deepEqual(source.subarray(0, fixed), base.subarray(0, fixed), about);
}

function checkPort(part: Tunnel, policy: HeaderSpec, plain: number, bytes: Uint8Array, outer: 4 | 6, about: string): void {
  if (policy.sourcePort === 'default') assert.equal(part.sourcePort, plain, about);
  if (policy.sourcePort === 'ipvs') assert.ok(part.sourcePort >= 32768 && part.sourcePort <= 60998, about);
  if (policy.sourcePort !== 'katran') return;
  const six = bytes[0] >> 4 === 6;
  // Katran has no IPv6 in IPv4.
  if (six && outer === 4) return;
  const { at } = transportOf(bytes);
  const address = six ? bytes.slice(8, 24) : bytes.slice(12, 16);
  assert.equal(part.sourcePort, katranPort(address, bytes[at] * 256 + bytes[at + 1], outer), about);
}

for (const outer of [4, 6] as const) {
  for (const encapsulation of Object.keys(KINDS) as Encapsulation[]) {
    test(`any header policy over IPv${outer}, ${encapsulation}: outer headers are the twin's, inner packets the default's`, () => {
      const random = new Random(outer * 10 + encapsulation.length);
      const plain = rigWith(outer, { encapsulation });
      let parts = 0;
      for (let n = 0; n < 40; n++) parts += checkPolicy(random, outer, encapsulation, plain, new Map());
      assert.ok(parts > 100, `${parts} parts`);
    });
  }
}

test('a policy that says what the default says sends the bytes of the default, and by the same way', () => {
  const random = new Random(7);
  for (const outer of [4, 6] as const) {
    const plain = rigWith(outer, {});
    const told = rigWith(outer, { headers: DEFAULT_HEADERS });
    // One that is not the default, made by the general writer, and yet the same for packets of this class.
    const general = rigWith(outer, { headers: { ...DEFAULT_HEADERS, ecn: 'rfc3168' } });
    for (let n = 0; n < 40; n++) {
      const shape = { ...randomShape(random, random.pick([4, 6] as const), random.pick([6, 17] as const)), trafficClass: 0xb8 };
      const bytes = superPacket(shape);
      const size = bytes.length > 1500 ? shape.segmentSize : 0;
      const all = [plain, told, general].map((rig) => {
        load(rig, bytes, size);
        rig.pipeline.process(rig.batch, 0);
        if (rig.batch.verdict[0] !== VERDICT_FORWARD) return rig.batch.reason[0];
        return Array.from({ length: rig.batch.segmentCount[0] }, (_, k) =>
          Buffer.from(segmentBytes(rig.batch, 0, k)).toString('hex'),
        );
      });
      assert.deepEqual(all[1], all[0]);
      assert.deepEqual(all[2], all[0]);
    }
  }
});

test('the inner TTL is decremented once, where the kernel has not, and the copied TTL is what is left', () => {
  for (const [facts, link, left] of [
    [TUN, false, 33],
    [PACKET, true, 32],
  ] as const) {
    for (const outer of [4, 6] as const) {
      for (const ttl of ['copy', 64] as const) {
        const rig = rigWith(outer, { headers: { ...DEFAULT_HEADERS, ttl, ecn: 'zero' } }, facts);
        for (const six of [false, true]) {
          const layers = link ? packet().ethernet() : packet();
          const client = six ? layers.ipv6({ dst: SERVICE6, hopLimit: 33 }) : layers.ipv4({ dst: SERVICE4, ttl: 33 });
          rig.load([client.tcp({ dport: 443 }).payload(64).bytes()]);
          rig.pipeline.process(rig.batch, 0);
          const [part] = leaving(rig, 'gue');
          assert.equal(part.inner[six ? 7 : 8], left);
          assert.equal(part.outer.ttl, ttl === 'copy' ? left : 64);
        }
      }
    }
  }
});

test('CE of a super-packet is on every segment, outside as the policy says', () => {
  for (const [ecn, outside] of [
    ['copy', 3],
    ['zero', 0],
    ['rfc3168', 2],
  ] as const) {
    const rig = rigWith(4, { headers: { ...DEFAULT_HEADERS, ecn, dscp: 46 } });
    const shape = { ...randomShape(new Random(3), 4, 6), payload: 14_480, segmentSize: 1448, trafficClass: 0x03, finished: true };
    load(rig, superPacket(shape), 1448);
    rig.pipeline.process(rig.batch, 0);
    const parts = leaving(rig, 'gue');
    assert.equal(parts.length, 10);
    for (const part of parts) {
      assert.equal(part.inner[1], 0x03);
      assert.equal(part.outer.trafficClass, 46 * 4 + outside);
    }
  }
});

test('a flow has one source, port and label, for single packets and trains; flows have many', () => {
  const headers: HeaderSpec = { ...DEFAULT_HEADERS, flowLabel: 'hash', sourcePort: 'ipvs' };
  for (const outer of [4, 6] as const) {
    const spread = { source4: ip('172.16.0.0'), source6: ip('100::'), spread4: 16, spread6: 32 };
    const rig = rigWith(outer, { headers, ...spread });
    const ways = new Set<string>();
    for (let sport = 1000; sport < 1300; sport++) {
      const of = (payload: number): string => {
        const bytes = packet().ipv4({ dst: SERVICE4 }).tcp({ sport, dport: 443 }).payload(payload).bytes();
        load(rig, bytes, payload > 1448 ? 1448 : 0);
        rig.pipeline.process(rig.batch, 0);
        const [{ source, sourcePort, outer: fields }] = leaving(rig, 'gue');
        return `${source} ${sourcePort} ${fields.flowLabel}`;
      };
      const single = of(100);
      assert.equal(of(4000), single);
      ways.add(single);
    }
    assert.ok(ways.size > 290, `${ways.size} of 300`);
  }
});

test('our own packets are known again whatever source they were spread to', () => {
  const rig = rigWith(4, { source4: ip('172.16.0.0'), spread4: 16 });
  const outcome = (src: string, dport: number) => {
    rig.load([packet().ipv4({ src, dst: SERVICE4 }).udp({ sport: 5000, dport }).payload(40).bytes()]);
    rig.pipeline.process(rig.batch, 0);
    return rig.outcome(0).reason;
  };
  assert.equal(outcome('172.16.0.0', 6080), 'encapsulation-loop');
  assert.equal(outcome('172.16.255.255', 6080), 'encapsulation-loop');
  assert.equal(outcome('172.17.0.0', 6080), 'none');
  assert.equal(outcome('172.16.1.1', 6081), 'none');
});

test('a backend whose source is by route has its own; the guard of loops knows them all', () => {
  const base = specWith(4, { source4: null, byRoute4: true });
  const spec: Spec = {
    ...base,
    pools: base.pools.map((pool) => ({
      ...pool,
      backends: pool.backends.map((backend, i) => ({ ...backend, source: ip(`10.5.0.${i + 1}`) })),
    })),
  };
  const rig = new Rig(spec, TUN, { records: 64, capacity: 1 });
  const sources = new Map<string, string>();
  for (let sport = 1; sport < 60; sport++) {
    load(rig, packet().ipv4({ dst: SERVICE4 }).udp({ sport, dport: 9 }).payload(40).bytes(), 0);
    rig.pipeline.process(rig.batch, 0);
    const [{ source, destination }] = leaving(rig, 'gue');
    assert.equal(sources.get(destination.join('.')) ?? source.join('.'), source.join('.'));
    sources.set(destination.join('.'), source.join('.'));
  }
  assert.deepEqual(
    [...sources].sort(),
    [1, 2, 3].map((n) => [`10.0.0.${n}`, `10.5.0.${n}`]),
  );
  rig.load([packet().ipv4({ src: '10.5.0.3', dst: SERVICE4 }).udp({ sport: 5000, dport: 6080 }).payload(40).bytes()]);
  rig.pipeline.process(rig.batch, 0);
  assert.equal(rig.outcome(0).reason, 'encapsulation-loop');
  const unrouted = {
    ...spec,
    pools: spec.pools.map((pool) => ({ ...pool, backends: pool.backends.map(({ source: _, ...b }) => b) })),
  };
  assert.throws(() => new Rig(unrouted, TUN), { code: 'GD_SNAPSHOT_SOURCE' });
});

test('what no UDP socket could send is marked for the others: each reason by itself, and nothing else', () => {
  const marked = (tunnel: Partial<TunnelSpec>, df = true): number => {
    const rig = rigWith(4, tunnel);
    load(rig, packet().ipv4({ dst: SERVICE4, df }).tcp({ dport: 443 }).payload(40).bytes(), 0);
    rig.pipeline.process(rig.batch, 0);
    assert.equal(rig.batch.verdict[0], VERDICT_FORWARD);
    assert.equal(rig.batch.rawOnlyPackets, rig.batch.rawOnly[0]);
    return rig.batch.rawOnly[0];
  };
  const headers = (part: Partial<HeaderSpec>) => ({ headers: { ...DEFAULT_HEADERS, ...part } });
  assert.equal(marked({}), 0);
  assert.equal(marked(headers({ ttl: 'copy', dscp: 3, ecn: 'zero', flowLabel: 'hash' })), 0);
  assert.equal(marked(headers({ df: 'copy' })), 0);
  assert.equal(marked(headers({ df: 'copy' }), false), 1);
  assert.equal(marked(headers({ df: 'clear' })), 1);
  // The rig's ports are 49152 to 65535: a rule's port among them is a socket's, too.
  assert.equal(marked(headers({ sourcePort: 'katran' })), 1);
  assert.equal(marked({ source4: ip('172.16.0.0'), spread4: 8 }), 1);
  assert.equal(marked({ encapsulation: 'ipip' }), 1);
  const rig = rigWith(4, { encapsulation: 'ipip' });
  load(rig, packet().ipv4({ dst: SERVICE4 }).tcp({ dport: 443 }).bytes(), 0);
  rig.pipeline.process(rig.batch, 0);
  rig.publish(specWith(4, {}), 1);
  rig.pipeline.process(rig.batch, 1);
  assert.equal(rig.batch.rawOnlyPackets, 0);
});
