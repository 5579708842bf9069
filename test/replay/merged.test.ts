// Frames that never were on a wire, as captures hold them: cut, completed, fragmented or dropped by `replay`, never forwarded wrong. The
// kernel makes them at the end.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { Config } from '../../src/config/config.ts';
import { Actor } from '../../src/demo/cast.ts';
import { WEB_PORT } from '../../src/demo/configuration.ts';
import { Capture } from '../../src/demo/lab/capture.ts';
import { Lab } from '../../src/demo/lab/topology.ts';
import type { TransferOrder } from '../../src/demo/transfer.ts';
import { MemoryEgress } from '../../src/io/memory/egress.ts';
import { PcapFileIngress } from '../../src/io/pcap-file/ingress.ts';
import type { Spec } from '../../src/pipeline/spec.ts';
import { innerMtuOf, type ReplayedPacket, replay } from '../../src/replay/replay.ts';
import { ip } from '../builder/addresses.ts';
import { everyPort } from '../builder/every-port.ts';
import { packet } from '../builder/packet.ts';
import { DESTINATION4, DESTINATION6, randomShape, superPacket } from '../builder/super-packet.ts';
import { decodeOuter } from '../check/outer.ts';
import { Random } from '../full/random.ts';
import { needs } from '../needs.ts';
import { specOf } from '../pipeline/rig.ts';
import { fillPartialChecksum, fillTransportChecksum, segmentSlowly, transportOf } from '../reference/segment.ts';

const folder = mkdtempSync(join(tmpdir(), 'gd-merged-'));
after(() => rmSync(folder, { recursive: true }));

const RAW = 101;
const ETHERNET = 1;

function specFor(addresses: readonly Uint8Array[], outer: 4 | 6 = 4): Spec {
  const base = specOf({ outer, checksum: 'full' });
  const services = everyPort(addresses);
  return { ...base, services };
}

function configOf(spec: Spec): Config {
  return {
    spec,
    health: new Map(),
    ingress: { driver: 'memory' },
    egress: { driver: 'memory' },
    threads: 1,
    processors: { pin: false, idle: 'wait', spin: 50 },
    flows: { entries: 1024, file: 'off' },
    fragments: { entries: 256, timeout: 5, holdBytes: 65_536, holdPackets: 64, holdPerSource: 64, holdTimeout: 1 },
    probes: { sourcePortBase: 61424, sourcePorts: 16 },
    listen: { metrics: null },
    admin: { socket: 'off' },
    privileges: { user: null, group: null },
    reload: { watch: false },
    log: { level: 'silent', format: 'json' },
    file: 'merged',
    discovery: null,
    text: '',
    warnings: [],
  };
}

function captureOf(frames: readonly Uint8Array[], linkType: number): string {
  const words = (...list: number[]) => Buffer.from(Uint32Array.from(list).buffer);
  const records = frames.flatMap((frame, i) => [words(1700000000, i, frame.length, frame.length), Buffer.from(frame)]);
  const path = join(folder, 'in.pcap');
  writeFileSync(path, Buffer.concat([words(0xa1b23c4d, 0x00040002, 0, 0, 262144, linkType), ...records]));
  return path;
}

interface Run {
  readonly told: readonly ReplayedPacket[];
  /** What left for each packet: inner packets, each decoded without complaint. */
  readonly inner: readonly (readonly Uint8Array[])[];
}

function run(path: string, spec: Spec, pathMtu = 1500): Run {
  const told: ReplayedPacket[] = [];
  const egress = new MemoryEgress();
  const ingress = new PcapFileIngress({ path, innerMtu: innerMtuOf(spec, pathMtu) });
  replay({ config: configOf(spec), ingress, egress, pathMtu, onPacket: (one) => told.push(one) });
  let at = 0;
  const inner = told.map(({ verdict, segments = 1 }) => {
    const from = at;
    if (verdict === 'forward') at += segments;
    return egress.packets.slice(from, at).map((bytes) => {
      assert.ok(bytes.length <= pathMtu, `${bytes.length} bytes on a path of ${pathMtu}`);
      const decoded = decodeOuter(bytes);
      assert.deepEqual(decoded.complaints, []);
      return decoded.inner;
    });
  });
  assert.equal(at, egress.packets.length);
  return { told, inner };
}

/** One hop later, as replay counts it. */
function hop(bytes: Uint8Array): Uint8Array {
  const out = Uint8Array.from(bytes);
  if (out[0] >> 4 === 6) out[7]--;
  else {
    const sum = out[10] * 256 + out[11] + 256;
    out[8]--;
    out.set([((sum + (sum >> 16)) >> 8) & 255, (sum + (sum >> 16)) & 255], 10);
  }
  return out;
}

function headersOf(bytes: Uint8Array): number {
  const { at } = transportOf(bytes);
  return at + (bytes[at + 12] >> 4) * 4;
}

/** How a capture may hold the same merged packet. */
const CONDITIONS = {
  'as Linux has it': (bytes: Uint8Array) => bytes,
  'total length 0': (bytes: Uint8Array) => {
    const out = Uint8Array.from(bytes);
    const [at, length] = out[0] >> 4 === 4 ? [2, out.length] : [4, out.length - 40];
    out.set([0, 0], at);
    if (out[0] >> 4 === 4) {
      const sum = out[10] * 256 + out[11] + length;
      const folded = (sum & 0xffff) + (sum >> 16);
      out.set([folded >> 8, folded & 255], 10);
    }
    return out;
  },
  'no header checksum, total length 0': (bytes: Uint8Array) => {
    const out = Uint8Array.from(bytes);
    if (out[0] >> 4 === 4) {
      out.set([0, 0], 2);
      out.set([0, 0], 10);
    } else out.set([0, 0], 4);
    return out;
  },
  'pseudo-header sum without length': (bytes: Uint8Array) => {
    const out = Uint8Array.from(bytes);
    const { at } = transportOf(out);
    const sum = out[at + 16] * 256 + out[at + 17] + 0xffff - ((out.length - at) % 0xffff);
    const folded = (sum & 0xffff) + (sum >> 16);
    out.set([folded >> 8, folded & 255], at + 16);
    return out;
  },
} as const;

for (const outer of [4, 6] as const) {
  test(`merged TCP is cut as the kernel would at the largest size that fits, tunnels over IPv${outer}`, () => {
    const random = new Random(40 + outer);
    const spec = specFor([DESTINATION4, DESTINATION6], outer);
    const innerMtu = innerMtuOf(spec, 1500);
    assert.equal(innerMtu, outer === 4 ? 1468 : 1448);
    const wholes: Uint8Array[] = [];
    while (wholes.length < 60) {
      const shape = randomShape(random, random.pick([4, 6] as const), 6);
      const bytes = superPacket({ ...shape, extensions: [], ipOptionWords: 0, finished: false, flags: 0x18, ttl: 64 });
      if (bytes.length > 1500) wholes.push(bytes);
    }
    for (const [name, change] of Object.entries(CONDITIONS)) {
      const { told, inner } = run(captureOf(wholes.map(change), RAW), spec);
      wholes.forEach((whole, i) => {
        assert.equal(told[i].verdict, 'forward', `${name}: ${told[i].reason}`);
        const size = innerMtu - headersOf(whole);
        const expected = segmentSlowly(hop(whole), size);
        assert.deepEqual(
          inner[i].map((one) => Buffer.from(one)),
          expected.map((one) => Buffer.from(one)),
          name,
        );
      });
    }
  });
}

test('longer than any wire, checksum finished: cut when it is right, dropped when it is not', () => {
  const spec = specFor([DESTINATION4]);
  const right = superPacket({
    ...randomShape(new Random(5), 4, 6),
    payload: 20_000,
    flags: 0x10,
    ttl: 64,
    finished: true,
    ipOptionWords: 0,
  });
  const wrong = Uint8Array.from(right);
  wrong[10_000] ^= 1;
  const { told, inner } = run(captureOf([right, wrong], RAW), spec);
  assert.deepEqual(
    told.map(({ verdict, reason }) => [verdict, reason]),
    [
      ['forward', undefined],
      ['drop', 'super-packet-checksum'],
    ],
  );
  assert.deepEqual(
    inner[0].map((one) => Buffer.from(one)),
    segmentSlowly(hop(right), 1468 - headersOf(right)).map((one) => Buffer.from(one)),
  );
});

test('short frames: a partial checksum is completed, a right one that equals its sum stays, padding is no payload', () => {
  const spec = specFor([ip('198.51.100.1'), ip('2001:db8:2::1')]);
  const shorts = [packet().ipv4(), packet().ipv6()].flatMap((start, n) => [
    start
      .tcp({ checksum: 'partial' })
      .payload(100 + n)
      .bytes(),
    (n === 0 ? packet().ipv4() : packet().ipv6()).udp({ checksum: 'partial' }).payload(33).bytes(),
  ]);
  const { told, inner } = run(captureOf(shorts, RAW), spec);
  shorts.forEach((bytes, i) => {
    assert.equal(told[i].verdict, 'forward', told[i].reason);
    const whole = Uint8Array.from(bytes);
    fillTransportChecksum(whole);
    assert.deepEqual(Buffer.from(inner[i][0]), Buffer.from(hop(whole)));
  });
  // An Ethernet frame of the least length says nothing about a missing length: what is behind may be padding.
  const empty = CONDITIONS['total length 0'](packet().ipv4().tcp({ checksum: 'partial' }).payload(6).bytes());
  const frame = Buffer.concat([packet().ethernet().bytes(), empty]);
  assert.equal(frame.length, 60);
  assert.equal(run(captureOf([frame], ETHERNET), spec).told[0].reason, 'malformed-ip');
});

test('merged UDP is never cut into datagrams: fragments where they are allowed, an answer or a drop where not', () => {
  const spec = specFor([ip('198.51.100.1'), ip('2001:db8:2::1')]);
  const long = (df: boolean) => packet().ipv4({ df, id: 7 }).udp({ checksum: 'partial' }).payload(4000).bytes();
  const six = packet().ipv6().udp({ checksum: 'partial' }).payload(4000).bytes();
  const { told, inner } = run(captureOf([long(false), long(true), six], RAW), spec);
  assert.deepEqual(
    told.map(({ verdict, reason }) => [verdict, reason]),
    [
      ['forward', undefined],
      ['reply', undefined],
      ['reply', undefined],
    ],
  );
  const whole = Uint8Array.from(long(false));
  fillTransportChecksum(whole);
  assert.equal(inner[0].length, 3);
  const payload = Buffer.concat(inner[0].map((one) => one.slice(20)));
  assert.deepEqual(payload, Buffer.from(whole.slice(20)), 'one datagram, its checksum complete');
  const dropping = { ...spec, services: spec.services.map((service) => ({ ...service, oversize: 'drop' as const })) };
  assert.deepEqual(
    run(captureOf([long(true), six], RAW), dropping).told.map(({ reason }) => reason),
    ['too-big', 'too-big'],
  );
});

test('a jumbo frame that was on a wire is judged as one packet, and any path that carries it leaves it whole', () => {
  const spec = specFor([ip('198.51.100.1')]);
  const jumbo = packet().ipv4().tcp({ flags: 'ACK' }).payload(8000).bytes();
  const partial = Uint8Array.from(jumbo);
  fillPartialChecksum(partial);
  const { inner } = run(captureOf([jumbo, partial], RAW), spec, 9000);
  for (const one of inner)
    assert.deepEqual(
      one.map((bytes) => Buffer.from(bytes)),
      [Buffer.from(hop(jumbo))],
    );
  // Too big for the path, it is cut evenly: the service's policy, not a guess about the sender's segments.
  const sizes = run(captureOf([jumbo], RAW), spec, 1500).inner[0].map((one) => one.length);
  assert.ok(sizes.length === 6 && Math.max(...sizes) - Math.min(...sizes) < 6, String(sizes));
});

test(
  'real captures: uploads over links with every offload, captured before TSO and behind GRO',
  needs('namespaces', 'tcpdump'),
  async (t) => {
    const BYTES = 400_000;
    const lab = Lab.create({ workers: 1, offloads: 'all', vipsOnWorkers: false });
    t.after(() => lab.close());
    const [worker] = lab.workers;
    // No director: the client speaks with the worker itself, and the captures are what a director would have seen.
    const server = Actor.start('server', worker, './web-server', 'worker-1', String(WEB_PORT));
    await server.says('ready', 30);
    const spec = specFor([ip(worker.address4), ip(worker.address6)]);
    for (const address of [worker.address4, worker.address6]) {
      const files = [lab.client, worker].map(({ role }) => join(folder, `${role}.pcap`));
      const captures = await Promise.all(
        [lab.client, worker].map((where, n) => Capture.start(where, 'eth0', files[n], `dst host ${address} and tcp`)),
      );
      const client = Actor.start('client', lab.client, './web-client');
      const order: TransferOrder = { kind: 'upload', address, port: WEB_PORT, bytes: BYTES };
      client.child.stdin!.end(`${JSON.stringify([order])}\n`);
      await client.lines(1, 30);
      for (const capture of captures) await capture.stop();
      for (const file of files) {
        const { told, inner } = run(file, spec);
        assert.ok(
          told.some(({ length, segments = 1 }) => length > 9000 && segments > 6),
          'the kernel had merged',
        );
        assert.deepEqual(
          told.filter(({ verdict }) => verdict !== 'forward'),
          [],
        );
        // The pieces put together by their sequence numbers are the stream, without a gap.
        const stream = new Map<number, number>();
        for (const bytes of inner.flat()) {
          const { at } = transportOf(bytes);
          const view = new DataView(bytes.buffer, bytes.byteOffset);
          const payload = bytes.length - headersOf(bytes);
          if (payload > 0) stream.set(view.getUint32(at + 4), payload);
        }
        const starts = [...stream.keys()].sort((a, b) => (a - b) | 0);
        let end = starts[0];
        for (const start of starts) {
          assert.ok(((start - end) | 0) <= 0, 'no gap');
          end = (start + stream.get(start)!) >>> 0;
        }
        assert.ok((end - starts[0]) >>> 0 > BYTES, `${(end - starts[0]) >>> 0} bytes`);
      }
    }
    assert.equal(await server.stop(), 0, server.words);
  },
);
