// ICMP to service addresses through the whole path: errors go where the flow's next packet goes, whatever the tables hold, and leave no trace.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { counterAt } from '../../src/base/counters.ts';
import { FlowTable } from '../../src/pipeline/flow-table.ts';
import { ReplyRate } from '../../src/pipeline/reply-rate.ts';
import type { Affinity, IcmpSpec, Spec } from '../../src/pipeline/spec.ts';
import { ip } from '../builder/addresses.ts';
import { type PacketBuilder, packet } from '../builder/packet.ts';
import { checkEncapsulation } from '../check/outer.ts';
import fc from '../property.ts';
import { judgeError } from '../reference/icmp-quote.ts';
import { timeExceededAnswer } from '../reference/too-big.ts';
import { backends, PACKET, Rig, SERVICE4, SERVICE6, specOf, TUN } from './rig.ts';

const ROUTER4 = '203.0.113.7';
const ROUTER6 = '2001:db8:f::7';
const CLIENT4 = '192.0.2.1';
const CLIENT6 = '2001:db8:1::1';
const QUOTED4 = 28;
const QUOTED6 = 48;

type Family = 4 | 6;
const serviceOf = (family: Family) => (family === 4 ? SERVICE4 : SERVICE6);
const clientOf = (family: Family) => (family === 4 ? CLIENT4 : CLIENT6);

/** A packet of the flow, from the client. */
function fromClient(family: Family, port: number, protocol = 6, flags = 'ACK'): Uint8Array {
  const ends = { src: clientOf(family), dst: serviceOf(family) };
  const head = family === 4 ? packet().ipv4(ends) : packet().ipv6(ends);
  return (protocol === 6 ? head.tcp({ sport: port, dport: 443, flags }) : head.udp({ sport: port, dport: 443 }))
    .payload(9)
    .bytes();
}

/** A reply of the worker's, as a router sees it. */
function reply(family: Family, port: number, protocol = 6, head?: PacketBuilder): PacketBuilder {
  const ends = { src: serviceOf(family), dst: clientOf(family) };
  const ip = head ?? (family === 4 ? packet().ipv4(ends) : packet().ipv6(ends));
  return (protocol === 6 ? ip.tcp({ sport: 443, dport: port }) : ip.udp({ sport: 443, dport: port })).payload(1400);
}

/** An error about `quoted`, cut to `bytes` of it. */
function error(
  family: Family,
  quoted: Uint8Array,
  fields: { type?: number; code?: number; rest?: number; checksum?: number } = {},
) {
  const outer =
    family === 4
      ? packet()
          .ipv4({ src: ROUTER4, dst: SERVICE4, df: false, tos: 0xc0 })
          .icmp4({ type: 3, code: 4, rest: 1400, ...fields })
      : packet()
          .ipv6({ src: ROUTER6, dst: SERVICE6 })
          .icmp6({ type: 2, code: 0, rest: 1400, ...fields });
  return outer.payload(quoted).bytes();
}

const about = (family: Family, port: number, protocol = 6) =>
  error(
    family,
    reply(family, port, protocol)
      .bytes()
      .slice(0, family === 4 ? QUOTED4 : 1232),
  );

const PORTS = Array.from({ length: 120 }, (_, k) => 20000 + 7 * k);
const backendsOf = (rig: Rig, frames: readonly Uint8Array[], now = 0) => rig.run(frames, { now }).map((o) => o.backend);
const icmpSpec = (icmp: IcmpSpec, spec: Spec = specOf()): Spec => ({ ...spec, icmp });
const dropped = (rig: Rig, frame: Uint8Array) => rig.one(frame).reason;

for (const family of [4, 6] as const) {
  test(`IPv${family}: an error goes to the backend of the flow it quotes, whole, with 8 bytes of transport`, () => {
    const rig = new Rig(specOf({ backends: backends(5) }));
    const flow = backendsOf(
      rig,
      PORTS.map((port) => fromClient(family, port)),
    );
    const quoted = PORTS.map((port) =>
      reply(family, port)
        .bytes()
        .slice(0, family === 4 ? QUOTED4 : QUOTED6),
    );
    const out = rig.run(quoted.map((bytes) => error(family, bytes)));
    assert.deepEqual(
      out.map((o) => o.backend),
      flow,
    );
    assert.equal(new Set(flow).size, 5);
    const whole = error(family, quoted[3]);
    checkEncapsulation(out[3].bytes as Uint8Array, whole, { ttlDecremented: false });
    assert.equal(rig.bank[counterAt('icmp_too_big_steered_total')], PORTS.length);
    const ethernet = new Rig(specOf({ backends: backends(5) }), PACKET);
    const frame = Uint8Array.from([2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, ...(family === 4 ? [8, 0] : [0x86, 0xdd]), ...whole]);
    checkEncapsulation(ethernet.one(frame).bytes as Uint8Array, whole, { ttlDecremented: true });
  });
}

/** Every state of the tables that a flow can be in: after each step, an error goes where the flow's own next packet goes. */
const steps = fc.oneof(
  fc.record({
    kind: fc.constant('change' as const),
    count: fc.integer({ min: 1, max: 7 }),
    first: fc.integer({ min: 0, max: 3 }),
  }),
  fc.record({ kind: fc.constant('packet' as const), sibling: fc.boolean() }),
  fc.record({ kind: fc.constant('time' as const), seconds: fc.constantFrom(1, 59, 61, 3599, 3601) }),
);

test('whatever the tables hold, an error goes where the flow’s next packet goes, and writes nothing', () => {
  const affinities: Affinity[] = ['5-tuple', '3-tuple', 'source-address'];
  const cases = fc.record({
    family: fc.constantFrom<Family>(4, 6),
    protocol: fc.constantFrom(6, 17),
    affinity: fc.constantFrom(...affinities),
    ports: fc.array(fc.integer({ min: 1, max: 65535 }), { minLength: 1, maxLength: 6 }),
    steps: fc.array(steps, { maxLength: 6 }),
  });
  const each = fc.property(cases, ({ family, protocol, affinity, ports, steps }) => {
    const specWith = (list: ReturnType<typeof backends>) => specOf({ backends: list, affinity, protocol });
    const sibling = new Rig(specWith(backends(4)), TUN);
    const rig = new Rig(specWith(backends(4)), TUN, { siblings: [sibling.flows] });
    let now = 1;
    for (const step of steps) {
      if (step.kind === 'time') now += step.seconds;
      else if (step.kind === 'change') {
        const next = specWith(backends(10).slice(step.first, step.first + step.count));
        for (const one of [rig, sibling]) one.publish(next, now);
      } else
        (step.sibling ? sibling : rig).run(
          ports.map((port) => fromClient(family, port, protocol)),
          { now },
        );
    }
    const words = [rig.flows.words.slice(), sibling.flows.words.slice()];
    const errors = backendsOf(
      rig,
      ports.map((port) => about(family, port, protocol)),
      now,
    );
    assert.deepEqual([rig.flows.words, sibling.flows.words], words, 'no entry was made, refreshed or moved');
    const own = ports.map((port) => rig.one(fromClient(family, port, protocol), { now }).backend);
    assert.deepEqual(errors, own);
  });
  fc.assert(each, { numRuns: 80 });
});

test('an error on another thread: the sibling’s entry, which no table would give', () => {
  const owner = new Rig(specOf({ backends: backends(3) }));
  const flow = backendsOf(
    owner,
    PORTS.map((port) => fromClient(4, port)),
  );
  const key = Int32Array.of(11, 22);
  const other = new Rig(specOf({ backends: backends(6) }), TUN, { siblings: [new FlowTable(16, key), owner.flows] });
  assert.deepEqual(
    backendsOf(
      other,
      PORTS.map((port) => about(4, port)),
    ),
    flow,
  );
  const alone = new Rig(specOf({ backends: backends(6) }));
  assert.notDeepEqual(
    backendsOf(
      alone,
      PORTS.map((port) => about(4, port)),
    ),
    flow,
    'the table alone gives others',
  );
});

test('four threads, flows pinned in their shards before the pool changed: errors on the other threads find each flow’s own backend', () => {
  const shards: FlowTable[] = [];
  const rigs = [0, 1, 2, 3].map(() => {
    const siblings: FlowTable[] = [];
    const rig = new Rig(specOf({ backends: backends(3) }), TUN, { siblings });
    shards.push(rig.flows);
    return { rig, siblings };
  });
  for (const { rig, siblings } of rigs) siblings.push(...shards.filter((shard) => shard !== rig.flows));
  const ports = Array.from({ length: 1000 }, (_, k) => 10_000 + 13 * k);
  const owned = ports.map((port, k) => rigs[k % 4].rig.one(fromClient(4, port)).backend);
  // Two changes: neither the current table nor the one before it gives these flows their backends.
  for (const { rig } of rigs) {
    rig.publish(specOf({ backends: backends(9) }), 10);
    rig.publish(
      specOf({ backends: backends(10).map((one) => (Number(one.name.slice(1)) < 4 ? { ...one, state: 'draining' } : one)) }),
      20,
    );
  }
  let byTable = 0;
  const alone = new Rig(specOf({ backends: backends(10).slice(3) }));
  ports.forEach((port, k) => {
    for (const other of [1, 2, 3]) assert.equal(rigs[(k + other) % 4].rig.one(about(4, port), { now: 21 }).backend, owned[k]);
    if (alone.one(about(4, port)).backend === owned[k]) byTable++;
  });
  assert.equal(byTable, 0, 'only the flow tables know');
});

test('an entry whose backend is gone: the error goes where the flow is steered anew, not where the table before sent it', () => {
  const rig = new Rig(specOf({ backends: backends(4) }));
  const frames = PORTS.map((port) => fromClient(4, port));
  backendsOf(rig, frames);
  rig.publish(specOf({ backends: backends(7) }), 10);
  rig.publish(specOf({ backends: backends(10).slice(4) }), 20);
  const errors = backendsOf(
    rig,
    PORTS.map((port) => about(4, port)),
    21,
  );
  assert.deepEqual(errors, backendsOf(rig, frames, 21));
});

test('a flood of errors moves no flow and takes no room', () => {
  const rig = new Rig(specOf({ backends: backends(3) }), TUN, { entries: 1 });
  const flow = backendsOf(
    rig,
    PORTS.slice(0, 8).map((port) => fromClient(4, port)),
    1,
  );
  const words = rig.flows.words.slice();
  for (let k = 0; k < 300; k++)
    rig.run(
      PORTS.slice(0, 10).map((port) => about(4, port + k)),
      { now: 5 },
    );
  assert.deepEqual(rig.flows.words, words);
  assert.deepEqual(
    backendsOf(
      rig,
      PORTS.slice(0, 8).map((port) => fromClient(4, port)),
      6,
    ),
    flow,
  );
});

test('every kind of error, each under its counter; the others are not steered', () => {
  const rig = new Rig(specOf({ backends: backends(1) }));
  const quoted4 = reply(4, 5555).bytes().slice(0, QUOTED4);
  const quoted6 = reply(6, 5555).bytes().slice(0, QUOTED6);
  const four = (type: number, code: number) => rig.one(error(4, quoted4, { type, code, rest: 0 }));
  const six = (type: number, code: number) => rig.one(error(6, quoted6, { type, code, rest: 0 }));
  const counters = ['unreachable', 'too_big', 'time_exceeded', 'parameter_problem'] as const;
  const counts = () => counters.map((word) => rig.bank[counterAt(`icmp_${word}_steered_total`)]);
  const steered = [four(3, 0), four(3, 1), four(3, 3), four(3, 13), six(1, 0), six(1, 4)];
  assert.ok(steered.every(({ verdict }) => verdict === 'forward'));
  assert.deepEqual(counts(), [6, 0, 0, 0]);
  for (const out of [four(3, 4), six(2, 0), four(11, 0), four(11, 1), six(3, 0), four(12, 0), six(4, 1)])
    assert.equal(out.verdict, 'forward');
  assert.deepEqual(counts(), [6, 2, 3, 2]);
  for (const type of [0, 4, 5, 9, 10, 13, 14, 15, 16, 17, 18, 30, 40, 255])
    assert.equal(four(type, 0).reason, 'icmp-not-steered', `${type}`);
  for (const type of [0, 5, 127, 129, 133, 134, 135, 136, 137, 255])
    assert.equal(six(type, 0).reason, 'icmp-not-steered', `${type}`);
  assert.deepEqual(counts(), [6, 2, 3, 2]);
});

test('what is refused, each with its reason', () => {
  const rig = new Rig(specOf());
  const whole4 = reply(4, 5555).bytes();
  const whole6 = reply(6, 5555).bytes();
  for (let cut = 0; cut < QUOTED4; cut++) assert.equal(dropped(rig, error(4, whole4.slice(0, cut))), 'icmp-quote', `${cut}`);
  for (let cut = 0; cut < QUOTED6; cut++) assert.equal(dropped(rig, error(6, whole6.slice(0, cut))), 'icmp-quote', `${cut}`);
  assert.equal(dropped(rig, error(4, whole6)), 'icmp-quote', 'the other family');
  assert.equal(dropped(rig, error(6, whole4)), 'icmp-quote');
  assert.equal(dropped(rig, error(4, whole4, { checksum: 0x1234 })), 'icmp-checksum');
  assert.equal(dropped(rig, error(6, whole6, { checksum: 0x1234 })), 'icmp-checksum');
  const other = packet().ipv4({ src: '198.51.100.9', dst: CLIENT4 }).tcp({ sport: 443, dport: 5555 }).bytes();
  assert.equal(dropped(rig, error(4, other)), 'icmp-quote', 'sent from another address');
  const ends = { src: SERVICE4, dst: CLIENT4 };
  const fromPort = (sport: number) => packet().ipv4(ends).tcp({ sport, dport: 5555 }).bytes();
  assert.equal(dropped(rig, error(4, fromPort(444))), 'icmp-quote-not-a-service');
  // The flow as the client sends it: it never is what a router refuses on the way to the client.
  assert.equal(dropped(rig, error(4, packet().ipv4(ends).tcp({ sport: 5555, dport: 443 }).bytes())), 'icmp-quote-not-a-service');
  assert.equal(dropped(rig, error(4, packet().ipv4(ends).icmp4({ type: 0 }).payload(20).bytes())), 'icmp-quote-not-a-service');
  assert.equal(
    dropped(
      rig,
      error(
        4,
        packet()
          .ipv4({ ...ends, protocol: 0 })
          .payload(20)
          .bytes(),
      ),
    ),
    'icmp-quote-not-a-service',
  );
  const ethernet = new Rig(specOf(), PACKET);
  const expired = packet()
    .ethernet()
    .ipv4({ src: ROUTER4, dst: SERVICE4, ttl: 1 })
    .icmp4({ type: 3, code: 4 })
    .payload(whole4)
    .bytes();
  assert.equal(dropped(ethernet, expired), 'ttl-expired', 'an error about an error is never sent');
  assert.equal(dropped(new Rig(icmpSpec({ echo: 'answer', errors: 'drop' })), error(4, whole4)), 'icmp-not-steered');
  const down = backends(2).map((one) => ({ ...one, state: 'down' as const }));
  assert.equal(dropped(new Rig(specOf({ backends: down })), error(4, whole4)), 'no-backend');
});

test('the quote’s own lengths are not believed, options and extension headers are stepped over, extensions are opaque', () => {
  const rig = new Rig(specOf({ backends: backends(4) }));
  const flow = backendsOf(rig, [fromClient(4, 5555), fromClient(6, 5555)]);
  const ends4 = { src: SERVICE4, dst: CLIENT4 };
  const options = new Uint8Array(40).fill(1);
  const quotes4 = [
    reply(4, 5555, 6, packet().ipv4({ ...ends4, totalLength: 3 })).bytes(),
    reply(4, 5555, 6, packet().ipv4({ ...ends4, totalLength: 65535, checksum: 1 })).bytes(),
    reply(4, 5555, 6, packet().ipv4({ ...ends4, options }))
      .bytes()
      .slice(0, 68),
    reply(4, 5555, 6, packet().ipv4({ ...ends4, more: true })).bytes(),
  ];
  for (const bytes of quotes4) assert.equal(rig.one(error(4, bytes)).backend, flow[0]);
  const ends6 = { src: SERVICE6, dst: CLIENT6 };
  const long = reply(6, 5555, 6, packet().ipv6(ends6).extension('destination', { units: 11 })).bytes();
  const quotes6 = [
    reply(6, 5555, 6, packet().ipv6({ ...ends6, payloadLength: 1 })).bytes(),
    reply(6, 5555, 6, packet().ipv6(ends6).extension('hop-by-hop').extension('routing')).bytes(),
    reply(6, 5555, 6, packet().ipv6(ends6).fragment({ more: true })).bytes(),
    long,
  ];
  for (const bytes of quotes6) assert.equal(rig.one(error(6, bytes.slice(0, 1232))).backend, flow[1]);
  // RFC 4884: 128 bytes of quote end in the extension header; what lies behind is no transport.
  assert.equal(dropped(rig, error(6, long.slice(0, 400), { type: 3, rest: 16 << 24 })), 'icmp-quote');
  assert.equal(rig.one(error(6, long.slice(0, 400), { type: 3, rest: 17 << 24 })).backend, flow[1]);
  assert.equal(
    rig.one(error(6, long.slice(0, 400), { type: 3, rest: 3 << 24 })).backend,
    flow[1],
    'no length that RFC 4884 knows',
  );
  assert.equal(rig.one(error(6, long.slice(0, 400), { rest: 16 << 24 })).backend, flow[1], 'an MTU, no length');
});

test('a quoted later fragment has no ports: the affinity decides', () => {
  const later4 = packet().ipv4({ src: SERVICE4, dst: CLIENT4, offset: 1480, df: false, protocol: 6 }).payload(100).bytes();
  const later6 = packet().ipv6({ src: SERVICE6, dst: CLIENT6 }).fragment({ offset: 1232, nextHeader: 6 }).payload(100).bytes();
  for (const [family, later] of [
    [4, later4],
    [6, later6],
  ] as const) {
    assert.equal(dropped(new Rig(specOf()), error(family, later)), 'icmp-quote-fragment');
    for (const affinity of ['3-tuple', 'source-address'] as const) {
      const rig = new Rig(specOf({ affinity, backends: backends(7) }));
      assert.equal(rig.one(error(family, later)).backend, backendsOf(rig, [fromClient(family, 4321)])[0], affinity);
    }
    const udp = later.slice();
    if (family === 4) udp[9] = 17;
    else udp[40] = 17;
    assert.equal(
      dropped(new Rig(specOf({ affinity: '3-tuple' })), error(family, udp)),
      'icmp-quote-fragment',
      'no service at all',
    );
  }
});

test('any cut and any damage: what the slow twin says, nothing read behind the packet', () => {
  const rig = new Rig(specOf({ backends: backends(1) }), PACKET);
  const shapes = fc.record({
    family: fc.constantFrom<Family>(4, 6),
    cut: fc.integer({ min: 0, max: 140 }),
    type: fc.constantFrom(1, 2, 3, 4, 11, 12),
    damage: fc.array(fc.record({ at: fc.nat(120), value: fc.nat(255) }), { maxLength: 4 }),
    kind: fc.nat(5),
    repair: fc.boolean(),
    behind: fc.nat(255),
  });
  let steered = 0;
  const each = fc.property(shapes, ({ family, cut, type, damage, kind, repair, behind }) => {
    const ends = family === 4 ? { src: SERVICE4, dst: CLIENT4 } : { src: SERVICE6, dst: CLIENT6 };
    const heads = [
      () =>
        family === 4 ? packet().ipv4({ ...ends, options: new Uint8Array(8).fill(1) }) : packet().ipv6(ends).extension('routing'),
      () => (family === 4 ? packet().ipv4({ ...ends, offset: 64 }) : packet().ipv6(ends).fragment({ offset: 64 })),
      () => (family === 4 ? packet().ipv4(ends) : packet().ipv6(ends)),
    ];
    const quoted = reply(family, 5555, 6, heads[Math.min(kind, 2)]()).bytes().slice(0, cut);
    for (const { at, value } of damage) if (at < quoted.length) quoted[at] = value;
    const bytes = error(family, quoted, repair ? { type, code: 0 } : { type, code: 0, checksum: 77 });
    // Behind the packet lies link padding that would make the quote whole.
    const tail = Uint8Array.from({ length: 64 }, (_, k) => (k % 2 === 0 ? behind : 187));
    const frame = Uint8Array.from([
      2,
      0,
      0,
      0,
      0,
      2,
      2,
      0,
      0,
      0,
      0,
      1,
      ...(family === 4 ? [8, 0] : [0x86, 0xdd]),
      ...bytes,
      ...tail,
    ]);
    const out = rig.one(frame);
    const said = judgeError(bytes);
    if (typeof said === 'string') {
      // Cheap questions come first: of a packet that is wrong in two ways another reason may be told.
      const may = {
        'no-error': ['icmp-not-steered'],
        quote: ['icmp-quote'],
        checksum: ['icmp-checksum', 'icmp-quote-not-a-service', 'icmp-quote-fragment'],
      };
      assert.ok(may[said].includes(out.reason), `${out.reason}, and the twin says ${said}`);
      return;
    }
    const isService = said.protocol === 6 && said.servicePort === 443;
    const hasPorts = [6, 17, 132].includes(said.protocol);
    if (said.servicePort === null && hasPorts) assert.equal(out.reason, 'icmp-quote-fragment');
    else assert.equal(out.reason, isService ? 'none' : 'icmp-quote-not-a-service');
    if (isService) steered++;
  });
  fc.assert(each, { numRuns: 1500 });
  assert.ok(steered > 100, `${steered} were steered`);
});

test('echo: answered, forwarded by the addresses in every affinity, or dropped', () => {
  const ping = (family: Family, src: string) =>
    (family === 4
      ? packet().ipv4({ src, dst: SERVICE4 }).icmp4({ type: 8 })
      : packet().ipv6({ src, dst: SERVICE6 }).icmp6({ type: 128 })
    )
      .payload(40)
      .bytes();
  const sources = Array.from({ length: 60 }, (_, k) => k);
  for (const family of [4, 6] as const) {
    const pings = sources.map((k) => ping(family, family === 4 ? `192.0.2.${k + 1}` : `2001:db8:1::${k + 1}`));
    assert.ok(new Rig(specOf()).run(pings).every(({ verdict }) => verdict === 'reply'));
    assert.ok(new Rig(icmpSpec({ echo: 'drop', errors: 'forward' })).run(pings).every(({ reason }) => reason === 'echo-dropped'));
    for (const affinity of ['5-tuple', '3-tuple', 'source-address'] as const) {
      const rig = new Rig(icmpSpec({ echo: 'forward', errors: 'forward' }, specOf({ affinity, backends: backends(4) })));
      const out = rig.run(pings);
      assert.ok(out.every(({ verdict }) => verdict === 'forward'));
      assert.equal(new Set(out.map((o) => o.backend)).size, 4);
      assert.deepEqual(
        backendsOf(rig, pings),
        out.map((o) => o.backend),
        'the same again',
      );
      checkEncapsulation(out[0].bytes as Uint8Array, pings[0], { ttlDecremented: false });
      assert.equal(rig.flows.occupancy().entries, 0);
      assert.equal(rig.bank[counterAt('echo_forwarded_total')], 120);
    }
  }
});

test('echo to an address of several services: the pool of the first by name, in any order', () => {
  const base = specOf();
  const other = {
    ...base.pools[0],
    name: 'q',
    backends: backends(1).map((one) => ({ ...one, name: 'other', address: ip('10.0.0.77') })),
  };
  const second = { ...base.services[0], name: 'a-first', portFrom: 80, portTo: 80, pool: 'q' };
  for (const services of [
    [...base.services, second],
    [second, ...base.services],
  ]) {
    const rig = new Rig(icmpSpec({ echo: 'forward', errors: 'forward' }, { services, pools: [...base.pools, other] }));
    assert.equal(rig.one(packet().ipv4({ dst: SERVICE4 }).icmp4().payload(8).bytes()).backend, 'other');
  }
});

test('TTL exceeded: answered as the twin says, for steered packets and for ports of no service', () => {
  const cases = [
    packet().ipv4({ dst: SERVICE4, ttl: 1, tos: 0x2e }).tcp({ dport: 443 }).payload(1400),
    packet().ipv4({ dst: SERVICE4, ttl: 0, df: false }).tcp({ dport: 443 }).payload(10),
    packet().ipv4({ dst: SERVICE4, ttl: 1 }).udp({ dport: 33434 }).payload(32),
    packet().ipv4({ dst: SERVICE4, ttl: 1, protocol: 47 }).payload(32),
    packet().ipv6({ dst: SERVICE6, hopLimit: 1 }).tcp({ dport: 443 }).payload(1400),
    packet().ipv6({ dst: SERVICE6, hopLimit: 1 }).udp({ dport: 33434 }).payload(32),
  ].map((builder) => builder.bytes());
  const rig = new Rig(specOf(), PACKET);
  const link = (bytes: Uint8Array) => [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, ...(bytes[0] >> 4 === 4 ? [8, 0] : [0x86, 0xdd])];
  for (const bytes of cases) {
    const out = rig.one(Uint8Array.from([...link(bytes), ...bytes]));
    assert.deepEqual([out.verdict, out.reason], ['reply', 'none']);
    const frame = out.bytes as Uint8Array;
    assert.deepEqual([...frame.slice(0, 12)], [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2]);
    const answer = frame.slice(14);
    assert.deepEqual(answer, timeExceededAnswer(bytes, answer[4] * 256 + answer[5]));
  }
  assert.equal(rig.bank[counterAt('ttl_expired_answers_total')], cases.length);
  const elsewhere = packet().ethernet().ipv4({ dst: '203.0.113.9', ttl: 1 }).udp().payload(9).bytes();
  assert.equal(rig.one(elsewhere).reason, 'not-a-service');
  assert.equal(new Rig(specOf(), TUN).one(cases[0]).verdict, 'forward', 'the kernel has counted the hop');
  const forwarding = new Rig(icmpSpec({ echo: 'forward', errors: 'forward' }), PACKET);
  const ping = packet().ethernet().ipv4({ dst: SERVICE4, ttl: 1 }).icmp4().payload(8).bytes();
  assert.equal(forwarding.one(ping).verdict, 'reply');
  assert.equal(forwarding.bank[counterAt('ttl_expired_answers_total')], 1, 'forwarded pings are traced like any packet');
  assert.equal(rig.one(ping).verdict, 'reply');
  assert.equal(rig.bank[counterAt('ttl_expired_answers_total')], cases.length, 'answered pings end here');
});

test('TTL exceeded: so many in a second, without a word less for packets that are too big', () => {
  const rate = new ReplyRate({ destinationPerSecond: 5, destinationBurst: 5 });
  const rig = new Rig(specOf(), PACKET, { expiredRate: rate, pathMtu: 1500, capacity: 32 });
  const expired = packet().ethernet().ipv4({ dst: SERVICE4, ttl: 1 }).tcp({ dport: 443 }).bytes();
  const out = rig.run(new Array(20).fill(expired), { now: 5 });
  assert.deepEqual(
    out.map(({ reason }) => reason),
    [...new Array(5).fill('none'), ...new Array(15).fill('ttl-expired-rate')],
  );
  const big = packet().ethernet().ipv4({ dst: SERVICE4 }).tcp({ dport: 443, flags: 'SYN' }).payload(1460).bytes();
  assert.equal(rig.one(big, { now: 5 }).verdict, 'reply', 'told that it is too big');
});

test('other protocols: SCTP by its ports, by ports alone, and what has no ports by its addresses', () => {
  for (const [protocol, affinity] of [
    [132, '5-tuple'],
    [132, 'ports'],
    [47, '5-tuple'],
  ] as const) {
    const spec = (list: ReturnType<typeof backends>) =>
      specOf({ backends: list, protocol, affinity, ports: protocol === 47 ? [0, 65535] : [443, 443] });
    const ends = (port: number) => ({ src: protocol === 47 ? `192.0.2.${port % 200}` : CLIENT4, dst: SERVICE4, protocol });
    const ports = (a: number, b: number) => Uint8Array.of(a >> 8, a & 255, b >> 8, b & 255, ...new Array(28).fill(0));
    const owner = new Rig(spec(backends(3)));
    const flow = backendsOf(
      owner,
      PORTS.map((port) => packet().ipv4(ends(port)).payload(ports(port, 443)).bytes()),
    );
    assert.equal(new Set(flow).size, 3);
    const errors = PORTS.map((port) => {
      const { src, dst } = ends(port);
      return error(4, packet().ipv4({ src: dst, dst: src, protocol }).payload(ports(443, port)).bytes().slice(0, QUOTED4));
    });
    assert.deepEqual(backendsOf(owner, errors), flow, `protocol ${protocol}, ${affinity}: its own entries`);
    const other = new Rig(spec(backends(6)), TUN, { siblings: [owner.flows] });
    assert.deepEqual(backendsOf(other, errors), flow, `protocol ${protocol}, ${affinity}: the sibling’s entries`);
  }
});

test('a checksum left to the device is completed where ICMP has it, and nowhere else', () => {
  const request = (checksum?: number) =>
    packet()
      .ipv6({ src: CLIENT6, dst: SERVICE6 })
      .icmp6({ type: 128, code: 0, rest: 7, ...(checksum === undefined ? {} : { checksum }) })
      .payload(21)
      .bytes();
  const whole = request();
  // What a sender leaves: the folded pseudo-header sum.
  let sum = 58 + whole.length - 40;
  for (let at = 8; at < 40; at += 2) sum += (whole[at] << 8) | whole[at + 1];
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  const rig = () => new Rig(specOf({ outer: 6 }), TUN);
  const virtio = (csumOffset: number) => ({ flags: 1, gsoType: 0, gsoSize: 0, headerLength: 0, csumStart: 40, csumOffset });
  const expected = rig().one(whole);
  assert.equal(expected.verdict, 'reply');
  assert.equal(rig().one(request(sum), { virtio: virtio(2) }).verdict, 'reply');
  for (const offset of [0, 4, 28, 30, 200]) {
    const { verdict, reason } = rig().one(request(sum), { virtio: virtio(offset) });
    assert.deepEqual([verdict, reason], ['drop', 'bad-virtio-header'], String(offset));
  }
});
