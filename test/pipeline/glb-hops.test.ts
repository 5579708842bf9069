// Scheme glb: every packet's GUE header names the row's other backends, as glb-redirect on the workers reads them.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { VIRTIO_NEEDS_CSUM } from '../../src/base/batch.ts';
import { segmentBytes } from '../../src/base/segment-bytes.ts';
import { buildGlbRows, GlbHash, sipKey } from '../../src/maglev-hash/index.ts';
import { FragmentTable } from '../../src/pipeline/fragment-table.ts';
import type { BackendSpec, GlbField, Oversize, Spec } from '../../src/pipeline/spec.ts';
import { ip } from '../builder/addresses.ts';
import { everyPort } from '../builder/every-port.ts';
import { packet } from '../builder/packet.ts';
import { DESTINATION4, DESTINATION6, randomShape, superPacket } from '../builder/super-packet.ts';
import { Random } from '../full/random.ts';
import { fragmentSlowly } from '../reference/fragment4.ts';
import { fillPartialChecksum, segmentSlowly, transportOf } from '../reference/segment.ts';
import { decodeTunnel } from '../reference/tunnel.ts';
import { Rig, TUN } from './rig.ts';

const hex = (text: string) => Uint8Array.from(Buffer.from(text, 'hex'));
const SEED = hex('34567890123456783456789012345678');
const KEY = hex('12345678901234561234567890123456');
const WORKERS = ['172.16.0.1', '172.16.0.2', '172.16.0.3', '172.16.0.4', '172.16.0.5'];
const SERVICES = [DESTINATION4, DESTINATION6];

function specOf(
  second: readonly GlbField[],
  options: { count?: number; checksum?: 'none' | 'full'; oversize?: Oversize } = {},
): Spec {
  const backends = WORKERS.slice(0, options.count ?? WORKERS.length).map(
    (name): BackendSpec => ({ name, address: ip(name), weight: 1, state: 'active' }),
  );
  const hops = backends.length < 2 ? 0 : second.length > 0 ? 3 : 1;
  const tunnel = {
    encapsulation: 'gue',
    port: 19523,
    source4: ip('172.16.9.1'),
    source6: null,
    checksum: options.checksum ?? 'none',
    hops,
  } as const;
  const scheme = { name: 'glb', seed: SEED, hashKey: KEY, fields: ['source-address'], secondFields: second } as const;
  const services = everyPort(SERVICES, options.oversize === undefined ? {} : { oversize: options.oversize });
  return { services, pools: [{ name: 'p', scheme, tableSize: 65536, seed: 0, tunnel, backends }] };
}

const { primary, secondary } = buildGlbRows(
  WORKERS.map((address) => ({ address: ip(address), active: true, healthy: true })),
  sipKey(SEED),
);
const none = { sourceAddress: false, destinationAddress: false, sourcePort: false, destinationPort: false };
const bySource = new GlbHash(sipKey(KEY), { ...none, sourceAddress: true });
const byPorts = new GlbHash(sipKey(KEY), { ...none, sourcePort: true, destinationPort: true });

/** All hops of a client's packet, from the rows themselves. */
function hopsOf(inner: Uint8Array, second: boolean): string[] {
  const view = new DataView(inner.buffer, inner.byteOffset, inner.length);
  const [at, bytes] = inner[0] >> 4 === 4 ? [12, 4] : [8, 16];
  const transport = transportOf(inner).at;
  const row = bySource.hash(view, at, bytes, transport) & 0xffff;
  const other = byPorts.hash(view, at, bytes, transport) & 0xffff;
  const rows = [primary[row], secondary[row], ...(second ? [primary[other], secondary[other]] : [])];
  return rows.map((member) => WORKERS[member]);
}

/** Outer destination and private data's addresses; throws on anything that the twin reads differently. */
function namedIn(bytes: Uint8Array): { hops: string[]; inner: Uint8Array } {
  const { destination, privateData, inner } = decodeTunnel(bytes, { privateData: true });
  const [type, typeLow, next, count] = privateData;
  assert.deepEqual([type, typeLow, next], [0, 0, 0]);
  assert.equal(privateData.length, 4 + 4 * count);
  const named = Array.from({ length: count }, (_, k) => privateData.subarray(4 + 4 * k, 8 + 4 * k).join('.'));
  return { hops: [destination.join('.'), ...named], inner };
}

for (const second of [[], ['source-port', 'destination-port']] as const) {
  const what = second.length === 0 ? 'one further hop' : 'three further hops';
  for (const checksum of ['none', 'full'] as const) {
    test(`single packets, ${what}, checksum ${checksum}: the row's backends in order`, () => {
      const rig = new Rig(specOf(second, { checksum }), TUN);
      for (let n = 0; n < 60; n++) {
        for (const six of [false, true]) {
          const dst = six ? DESTINATION6 : DESTINATION4;
          const network = six ? packet().ipv6({ src: `2001:db8:5::${n}`, dst }) : packet().ipv4({ src: `192.0.2.${n}`, dst });
          const transport =
            n % 2 === 0 ? network.tcp({ sport: 1000 + n, dport: 80 }) : network.udp({ sport: 1000 + n, dport: 53 });
          const frame = transport.payload(n).bytes();
          const outcome = rig.one(frame);
          assert.equal(outcome.verdict, 'forward');
          const { hops, inner } = namedIn(outcome.bytes as Uint8Array);
          assert.deepEqual(hops, hopsOf(frame, second.length > 0));
          assert.equal(outcome.backend, hops[0]);
          assert.deepEqual(Buffer.from(inner), Buffer.from(frame));
        }
      }
    });

    test(`trains, ${what}, checksum ${checksum}: every segment has them, and is the twin's`, () => {
      const random = new Random(second.length + (checksum === 'full' ? 10 : 20));
      const rig = new Rig(specOf(second, { checksum }), TUN, { records: 1100, capacity: 1 });
      let trains = 0;
      for (let n = 0; n < 60; n++) {
        const shape = randomShape(random, random.pick([4, 6] as const), random.pick([6, 17] as const));
        const whole = superPacket(shape);
        const { at, protocol } = transportOf(whole);
        const partial = whole.slice();
        fillPartialChecksum(partial);
        const gsoType = shape.protocol === 17 ? 5 : shape.family === 4 ? 1 : 4;
        rig.load(
          [partial],
          [{ flags: VIRTIO_NEEDS_CSUM, gsoType, gsoSize: shape.segmentSize, csumStart: at, csumOffset: protocol === 6 ? 16 : 6 }],
        );
        rig.pipeline.process(rig.batch, 0);
        if (rig.batch.segmentCount[0] < 2) continue;
        trains++;
        assert.equal(rig.outcome(0).verdict, 'forward');
        const expected = segmentSlowly(whole, shape.segmentSize);
        assert.equal(rig.batch.segmentCount[0], expected.length);
        expected.forEach((segment, k) => {
          const { hops, inner } = namedIn(segmentBytes(rig.batch, 0, k));
          assert.deepEqual(hops, hopsOf(whole, second.length > 0));
          assert.deepEqual(Buffer.from(inner), Buffer.from(segment));
        });
      }
      assert.ok(trains > 30, `${trains}`);
    });
  }
}

test('what fits the path is counted with the hops: a packet of just that size leaves whole, one byte more is cut', () => {
  for (const [second, overhead] of [
    [[], 40],
    [['source-port'], 48],
  ] as const) {
    const rig = new Rig(specOf(second), TUN, { records: 64, capacity: 1, pathMtu: 1500 });
    const of = (length: number) =>
      packet()
        .ipv4({ src: '192.0.2.9', dst: DESTINATION4 })
        .tcp({ dport: 80 })
        .payload(length - 40)
        .bytes();
    const fits = rig.one(of(1500 - overhead));
    assert.deepEqual([fits.verdict, fits.bytes?.length, rig.batch.segmentCount[0]], ['forward', 1500, 1]);
    rig.one(of(1501 - overhead));
    assert.equal(rig.batch.segmentCount[0], 2);
    for (const k of [0, 1]) {
      const part = segmentBytes(rig.batch, 0, k);
      assert.ok(part.length <= 1500);
      assert.equal(namedIn(part).hops.length, second.length === 0 ? 2 : 4);
    }
  }
});

test('inner fragments have the hops too', () => {
  const rig = new Rig(specOf([], { oversize: 'fragment-inner' }), TUN, { records: 64, capacity: 1, pathMtu: 1500 });
  const frame = packet().ipv4({ src: '192.0.2.9', dst: DESTINATION4, df: false }).udp({ dport: 53 }).payload(3000).bytes();
  rig.one(frame);
  assert.equal(rig.outcome(0).verdict, 'forward');
  assert.equal(rig.batch.segmentCount[0], 3);
  const outer = hopsOf(frame, false);
  for (let k = 0; k < 3; k++) assert.deepEqual(namedIn(segmentBytes(rig.batch, 0, k)).hops, outer);
});

test("a client's own fragments: the later ones name the backends of the first one's row, whose ports they do not have", () => {
  const spec = specOf(['source-port', 'destination-port']);
  const rig = new Rig(spec, TUN, { fragments: new FragmentTable(64, Int32Array.of(1, 2), 5) });
  for (let n = 0; n < 8; n++) {
    const client = { src: `192.0.2.${n}`, dst: DESTINATION4, df: false, id: n + 1 };
    const whole = packet()
      .ipv4(client)
      .udp({ sport: 2000 + n, dport: 53 })
      .payload(3000)
      .bytes();
    const parts = fragmentSlowly(whole, 1400, n + 1);
    assert.equal(parts.length, 3);
    for (const part of parts) {
      const outcome = rig.one(part);
      assert.equal(outcome.verdict, 'forward', outcome.reason);
      assert.deepEqual(namedIn(outcome.bytes as Uint8Array).hops, hopsOf(whole, true));
    }
  }
});

test('a backend that is alone names no other, in private data all the same', () => {
  const rig = new Rig(specOf([], { count: 1 }), TUN);
  const bytes = rig.one(packet().ipv4({ dst: DESTINATION4 }).tcp({ dport: 80 }).bytes()).bytes as Uint8Array;
  assert.deepEqual(namedIn(bytes).hops, ['172.16.0.1']);
  assert.deepEqual([...bytes.subarray(28, 36)], [1, 4, 0, 0, 0, 0, 0, 0]);
});
