// Routing by QUIC connection id through the whole packet path: both schemes, what is left to the flow, and what stays in the flow table.
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { counterAt } from '../../src/base/counters.ts';
import type { BackendSpec, QuicSpec, Spec } from '../../src/pipeline/spec.ts';
import { ip } from '../builder/addresses.ts';
import { packet } from '../builder/packet.ts';
import { checkEncapsulation } from '../check/outer.ts';
import fc from '../property.ts';
import { backends, Rig, SERVICE4, SERVICE6, specOf } from './rig.ts';

const LB: QuicSpec = { scheme: 'quic-lb', rotations: [0, 3], serverIdLength: 2 };
const KATRAN: QuicSpec = { scheme: 'katran' };
const ROUTED = counterAt('quic_routed_packets_total');
const UNKNOWN = counterAt('quic_unknown_server_packets_total');
const INSERTS = counterAt('flow_table_inserts_total');

function id(value: number): Uint8Array {
  return Uint8Array.from(Buffer.from(value.toString(16).padStart(32, '0'), 'hex'));
}

/** w1, w2, w3 … have the server ids 257, 258, 259 …: both bytes count. */
function workers(count = 5, state: Partial<Record<string, BackendSpec['state']>> = {}): BackendSpec[] {
  return backends(count).map((b, k) => ({ ...b, state: state[b.name] ?? 'active', serverIds: [id(0x101 + k)] }));
}

function quicSpec(quic: QuicSpec | undefined, members = workers()): Spec {
  const spec = specOf({ protocol: 17, backends: members });
  return { ...spec, services: spec.services.map((s) => (quic === undefined ? s : { ...s, quic })) };
}

const short = (cid: readonly number[]) => Uint8Array.of(0x40, ...cid, ...new Uint8Array(24).fill(0xaa));
const long = (type: number, cid: readonly number[], version = 1) =>
  Uint8Array.of(0xc0 | (type << 4), 0, 0, 0, version, cid.length, ...cid, 0, ...new Uint8Array(40).fill(0xbb));
const lb = (server: number, rotation = 0) => [(rotation << 5) | 0x11, server >> 8, server & 255, 9, 9, 9, 9];
const from = (client: number, payload: Uint8Array) =>
  packet()
    .ipv4({ src: `192.0.${client >> 8}.${client & 255}`, dst: SERVICE4 })
    .udp({ sport: 20000 + client, dport: 443 })
    .payload(payload)
    .bytes();
const from6 = (client: number, payload: Uint8Array) =>
  packet()
    .ipv6({ src: `2001:db8:1::${client.toString(16)}`, dst: SERVICE6 })
    .udp({ sport: 20000, dport: 443 })
    .payload(payload)
    .bytes();

test('QUIC-LB: wherever the client is, its worker is the one that its connection id names', () => {
  const rig = new Rig(quicSpec(LB));
  for (let client = 1; client <= 40; client++) {
    for (const frame of [from(client, short(lb(0x103))), from(client, long(2, lb(0x103, 3))), from6(client, short(lb(0x103)))]) {
      const out = rig.one(frame);
      assert.equal(out.backend, 'w3');
      checkEncapsulation(out.bytes as Uint8Array, frame, { ttlDecremented: false });
    }
  }
  assert.equal(rig.bank[ROUTED], 120);
  assert.equal(rig.bank[UNKNOWN], 0);
  assert.equal(rig.flows.occupancy().entries, 0, 'nothing is remembered of it');
});

test('without the option the same packets go by their flow', () => {
  const rig = new Rig(quicSpec(undefined));
  const places = rig.run(Array.from({ length: 40 }, (_, k) => from(k + 1, short(lb(0x103)))));
  assert.equal(new Set(places.map((o) => o.backend)).size, 5);
});

test('Initial and 0-RTT go by their flow, also with a connection id that names somebody', () => {
  const rig = new Rig(quicSpec(LB));
  const plain = new Rig(quicSpec(undefined));
  for (let client = 1; client <= 40; client++) {
    for (const type of [0, 1]) {
      const frame = from(client, long(type, lb(0x103)));
      assert.equal(rig.one(frame).backend, plain.one(frame).backend);
    }
  }
  assert.equal(rig.bank[ROUTED] + rig.bank[UNKNOWN], 0);
  assert.equal(rig.bank[INSERTS], plain.bank[INSERTS]);
});

test('a packet routed by its id neither makes nor moves a flow entry', () => {
  const rig = new Rig(quicSpec(LB));
  const initial = from(7, long(0, [1, 2, 3, 4, 5, 6, 7, 8]));
  const own = rig.one(initial).backend!;
  const other = own === 'w1' ? 0x102 : 0x101;
  assert.notEqual(rig.one(from(7, short(lb(other)))).backend, own);
  assert.equal(rig.one(initial).backend, own);
});

test('draining keeps its connections, down does not; an id that nobody has is left to the flow and counted', () => {
  const rig = new Rig(quicSpec(LB, workers(5, { w2: 'draining', w3: 'down' })));
  assert.equal(rig.one(from(1, short(lb(0x102)))).backend, 'w2');
  assert.notEqual(rig.one(from(1, short(lb(0x103)))).backend, 'w3');
  assert.equal(rig.bank[UNKNOWN], 1);
  const plain = new Rig(quicSpec(undefined, workers(5, { w2: 'draining', w3: 'down' })));
  for (let client = 1; client <= 20; client++) {
    const frame = from(client, short(lb(0x7777)));
    assert.equal(rig.one(frame).backend, plain.one(frame).backend);
  }
  assert.equal(rig.bank[UNKNOWN], 21);
  assert.equal(rig.bank[ROUTED], 1);
});

test('the id counts before the table: a changed table, and weight 0, move no connection', () => {
  const rig = new Rig(quicSpec(LB));
  rig.publish(
    quicSpec(
      LB,
      workers(5).map((b) => ({ ...b, weight: b.name === 'w4' ? 0 : 7 })),
    ),
    10,
  );
  assert.equal(rig.one(from(3, short(lb(0x104))), { now: 5000 }).backend, 'w4');
  // A new number for the same backend is another snapshot; the old one names nobody any more.
  rig.publish(
    quicSpec(
      LB,
      workers(5).map((b) => (b.name === 'w4' ? { ...b, serverIds: [id(0x555)] } : b)),
    ),
    20,
  );
  assert.equal(rig.one(from(3, short(lb(0x555))), { now: 5001 }).backend, 'w4');
  rig.one(from(3, short(lb(0x104))), { now: 5001 });
  assert.equal(rig.bank[UNKNOWN], 1);
});

test('numbers are of a pool: another pool’s server is not named', () => {
  const one = quicSpec(LB, workers(2));
  const two = quicSpec(LB, [{ ...backends(9)[8], name: 'other', serverIds: [id(0x101)] }]);
  const rig = new Rig({
    services: [one.services[0], { ...two.services[1], pool: 'q' }],
    pools: [one.pools[0], { ...two.pools[0], name: 'q' }],
  });
  assert.equal(rig.one(from(1, short(lb(0x101)))).backend, 'w1');
  assert.equal(rig.one(from6(1, short(lb(0x101)))).backend, 'other');
});

test('property: any UDP payload, any length field: a verdict, and never another backend than its flow’s or one with that number', () => {
  const rig = new Rig(quicSpec(LB));
  const katran = new Rig(quicSpec(KATRAN));
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 60 }), fc.integer({ min: 8, max: 80 }), (payload, length) => {
      const frame = packet().ipv4({ dst: SERVICE4 }).udp({ dport: 443, length }).payload(payload).bytes();
      for (const each of [rig, katran]) {
        const out = each.one(frame);
        assert.equal(
          out.verdict === 'forward' ? 'none' : out.reason,
          length > payload.length + 8 ? 'malformed-transport' : 'none',
        );
      }
    }),
    { numRuns: 500 },
  );
});

// Katran's own packets, when they are there: its reals, its server ids, its order (a packet without a usable id follows the last that had one).
const golden = new URL('../../../shared/peers/katran-golden.json', import.meta.url);
const reason = existsSync(golden) ? false : 'katran-golden.json is not beside the repository';

test("Katran's vectors of QUIC, in order", { skip: reason }, () => {
  const reals = ['10.0.0.1', '10.0.0.2', '10.0.0.3', 'fc00::1', 'fc00::2', 'fc00::3'];
  const numbers = [1022, 1023, 1025, 1024, 1026, 1027];
  const members = reals.map((address, k): BackendSpec => {
    // The others are not in the ring.
    const weight = address.includes(':') ? 0 : 1;
    return {
      name: address,
      address: ip(address),
      weight,
      state: 'active',
      serverIds: [id(numbers[k]), id(numbers[k] | 0x030000)],
    };
  });
  const spec = quicSpec(KATRAN, members);
  const services = spec.services.map((s) => ({
    ...s,
    prefix: s.name === 'web4' ? { bytes: ip('10.200.1.5'), length: 32 } : { bytes: ip('fc00:1::2'), length: 128 },
  }));
  const rig = new Rig({ ...spec, services });
  const { vectors } = JSON.parse(readFileSync(golden, 'utf8')) as {
    vectors: { set: string; description: string; in_hex: string; out_fields?: { outer?: { dst?: string } } }[];
  };
  const quic = vectors.filter(({ set, description }) => set === 'gue' && description.startsWith('QUIC'));
  let byId = 0;
  for (const { description, in_hex: hex, out_fields: fields } of quic) {
    const out = rig.one(Uint8Array.from(Buffer.from(hex, 'hex')).slice(14));
    if (/Client Initial|client initial|0-RTT/.test(description)) continue;
    assert.equal(out.backend, fields?.outer?.dst, description);
    byId++;
  }
  assert.equal(byId, 8);
});
