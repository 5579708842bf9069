// One hop, whatever the way in: a packet that a client sends with TTL 64 lies in the tunnel with 63, and so says a copied outer TTL. The kernel takes
// the hop where it forwards to the device; elsewhere it is ours.
//
//     client: va ──── vb: host of the director, its ingress behind it
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { HEADROOM } from '../../src/base/arena.ts';
import { createBank } from '../../src/base/counters.ts';
import { VERDICT_DROP, VERDICT_FORWARD } from '../../src/base/verdict.ts';
import type { Ingress } from '../../src/io/driver.ts';
import { MemoryIngress } from '../../src/io/memory/ingress.ts';
import { createBatch } from '../../src/io/open.ts';
import { PacketIngress } from '../../src/io/packet/ingress.ts';
import { PcapFileIngress } from '../../src/io/pcap-file/ingress.ts';
import { RawEgress } from '../../src/io/raw/egress.ts';
import { TapIngress } from '../../src/io/tap/ingress.ts';
import { TunIngress } from '../../src/io/tun/ingress.ts';
import { FlowTable } from '../../src/pipeline/flow-table.ts';
import { Pipeline } from '../../src/pipeline/pipeline.ts';
import { Snapshot, SnapshotBuilder } from '../../src/pipeline/snapshot.ts';
import { DEFAULT_HEADERS, type Spec } from '../../src/pipeline/spec.ts';
import { setLinkUp } from '../../src/raw-socket/tun.ts';
import { ip } from '../builder/addresses.ts';
import { packet } from '../builder/packet.ts';
import { run, setSysctl } from '../host/namespace.ts';
import { needs } from '../needs.ts';
import { writeCapture } from '../reference/capture-file.ts';
import { decodeTunnel } from '../reference/tunnel.ts';
import { receiveAll } from './driver.ts';
import { Wire } from './lab.ts';

const SERVICE4 = '10.9.9.9';
const SERVICE6 = 'fd00:9::9';
const SENT = 64;
/** Who answers for the link on a TAP device. */
const OWN_MAC = '02:00:00:00:00:09';
const OWN = Uint8Array.of(2, 0, 0, 0, 0, 9);

const SERVICES = [
  { bytes: ip(SERVICE4), length: 32 },
  { bytes: ip(SERVICE6), length: 128 },
].map((prefix, i) => ({
  name: `s${i}`,
  prefix,
  protocol: 17,
  portFrom: 4001,
  portTo: 4001,
  affinity: '5-tuple' as const,
  pool: 'p',
}));

const SPEC: Spec = {
  services: SERVICES,
  pools: [
    {
      name: 'p',
      tableSize: 251,
      seed: 0,
      tunnel: {
        encapsulation: 'gue',
        port: 6080,
        source4: ip('10.1.0.2'),
        source6: null,
        checksum: 'full',
        headers: { ...DEFAULT_HEADERS, ttl: 'copy' },
      },
      backends: [{ name: 'w', address: ip('10.1.0.77'), weight: 1, state: 'active' }],
    },
  ],
};

const CLIENTS = [
  packet().ipv4({ src: '10.1.0.1', dst: SERVICE4, ttl: SENT }).udp({ sport: 4000, dport: 4001 }).payload(100).bytes(),
  packet().ipv6({ src: 'fd00:1::1', dst: SERVICE6, hopLimit: SENT }).udp({ sport: 4000, dport: 4001 }).payload(100).bytes(),
];

/** Sends whole IP packets from the namespace this is called in. */
function send(packets: readonly Uint8Array[]): void {
  const egress = new RawEgress();
  const { batch, release } = createBatch(new MemoryIngress({ frames: [] }), packets.length);
  packets.forEach((bytes, i) => {
    batch.outAt[i] = batch.slotAt[i] + HEADROOM;
    batch.outLength[i] = bytes.length;
    batch.outerFamily[i] = bytes[0] >> 4;
    batch.verdict[i] = VERDICT_FORWARD;
    batch.arena.bytes.set(bytes, batch.outAt[i]);
  });
  batch.count = packets.length;
  egress.send(batch);
  assert.equal(batch.verdict.indexOf(VERDICT_DROP), -1);
  egress.close();
  release();
}

/** What the director would send of the clients' two packets: inner and outer hops, by family. */
function hopsThrough(ingress: Ingress, deliver: () => void): { inner: number[]; outer: number[] } {
  const { batch, release } = createBatch(ingress, 8);
  const pipeline = new Pipeline({
    snapshot: new Snapshot(new SnapshotBuilder().build(SPEC, 0)),
    flows: new FlowTable(64, Int32Array.of(1, 2)),
    bank: createBank(),
    sourcePortBase: 49152,
    sourcePortMask: 16383,
  });
  const hops: { inner: number[]; outer: number[] } = { inner: [], outer: [] };
  deliver();
  // The device may have seen the kernel's own packets (neighbour discovery, routers asked for) before.
  for (let n = 0; n < 20 && hops.inner.length < 2; n++) {
    receiveAll(ingress, batch, 1, (received) => {
      pipeline.process(received, 0);
      for (let i = 0; i < received.count; i++) {
        if (received.verdict[i] !== VERDICT_FORWARD) continue;
        const out = received.arena.bytes.slice(received.outAt[i], received.outAt[i] + received.outLength[i]);
        const { inner, outer } = decodeTunnel(out);
        hops.inner.push(inner[inner[0] >> 4 === 4 ? 8 : 7]);
        hops.outer.push(outer.ttl);
      }
    });
  }
  ingress.close();
  release();
  return hops;
}

/** In the host's namespace: the services are routed to `device`, whose neighbours answer with our address. */
function routeTo(device: string, neighbours: boolean): void {
  setSysctl('net/ipv4/ip_forward', 1);
  setSysctl('net/ipv6/conf/all/forwarding', 1);
  setLinkUp(device);
  for (const [service, length] of [
    [SERVICE4, 32],
    [SERVICE6, 128],
  ] as const) {
    run(`ip route add ${service}/${length} dev ${device}`);
    if (neighbours) run(`ip neigh replace ${service} lladdr ${OWN_MAC} dev ${device} nud permanent`);
  }
}

const WAYS: Record<string, (wire: Wire) => Ingress> = {
  tun: ({ far }) =>
    far.inside(() => {
      const ingress = new TunIngress({ device: 'gd0' });
      routeTo('gd0', false);
      return ingress;
    }),
  'tap, routed': ({ far }) =>
    far.inside(() => {
      const ingress = new TapIngress({ device: 'gdt0', routed: true, linkAddress: OWN });
      routeTo('gdt0', true);
      return ingress;
    }),
  'tap on a bridge': ({ near, far }) => {
    const ingress = far.inside(() => {
      const made = new TapIngress({ device: 'gdt0', linkAddress: OWN });
      run('ip link add br0 type bridge');
      for (const port of ['vb', 'gdt0']) run(`ip link set ${port} master br0`);
      for (const link of ['gdt0', 'br0']) setLinkUp(link);
      return made;
    });
    near.inside(() => {
      for (const service of [SERVICE4, SERVICE6]) run(`ip neigh replace ${service} lladdr ${OWN_MAC} dev va nud permanent`);
    });
    return ingress;
  },
  packet: ({ far }) =>
    far.inside(() => {
      for (const service of [SERVICE4, SERVICE6]) run(`ip route add blackhole ${service}`);
      return new PacketIngress({ device: 'vb', services: SERVICES });
    }),
};

for (const [way, open] of Object.entries(WAYS)) {
  test(`${way}: one hop, and the copied outer TTL says the same`, needs('root', 'namespaces', 'tun'), (t) => {
    const wire = new Wire(1500);
    t.after(() => wire.close());
    wire.near.inside(() => {
      const onLink = way === 'tap on a bridge';
      run(`ip route add ${SERVICE4} ${onLink ? '' : 'via 10.1.0.2 '}dev va`.replace('  ', ' '));
      run(`ip route add ${SERVICE6} ${onLink ? '' : 'via fd00:1::2 '}dev va`.replace('  ', ' '));
    });
    const ingress = open(wire);
    const hops = hopsThrough(ingress, () => wire.near.inside(() => send(CLIENTS)));
    assert.deepEqual(hops, { inner: [SENT - 1, SENT - 1], outer: [SENT - 1, SENT - 1] });
  });
}

test('pcap-file: one hop, and the copied outer TTL says the same', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'hops-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const path = join(folder, 'in.pcap');
  writeCapture(path, CLIENTS);
  const hops = hopsThrough(new PcapFileIngress({ path }), () => {});
  assert.deepEqual(hops, { inner: [SENT - 1, SENT - 1], outer: [SENT - 1, SENT - 1] });
});
