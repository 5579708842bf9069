// From one ring to the other: a client's packets in, the packet path over the socket's own memory, tunnel packets out of the same interface.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { counterAt, createBank } from '../../src/base/counters.ts';
import { VERDICT_FORWARD } from '../../src/base/verdict.ts';
import { createBatch } from '../../src/io/open.ts';
import { PacketIngress } from '../../src/io/packet/ingress.ts';
import { XdpEgress } from '../../src/io/xdp/egress.ts';
import { XdpIngress } from '../../src/io/xdp/ingress.ts';
import { NextHops } from '../../src/io/xdp/next-hops.ts';
import { FlowTable } from '../../src/pipeline/flow-table.ts';
import { Pipeline } from '../../src/pipeline/pipeline.ts';
import { Snapshot, SnapshotBuilder } from '../../src/pipeline/snapshot.ts';
import { packet } from '../builder/packet.ts';
import { reasonOf, receiveAll } from '../contract/driver.ts';
import { sendFrames } from '../contract/frames.ts';
import { FAR_MAC, NEAR_MAC, Wire } from '../contract/lab.ts';
import { run } from '../host/namespace.ts';
import { needs } from '../needs.ts';
import { backends, SERVICE4, specOf } from '../pipeline/rig.ts';
import { naivePseudoSum, naiveSum } from '../reference/checksum.ts';

const linkAddress = (bytes: number[]) => {
  const view = new DataView(Uint8Array.from(bytes).buffer);
  return { high: view.getInt32(0), low: view.getUint16(4) };
};
const macText = (bytes: number[]) => bytes.map((byte) => byte.toString(16).padStart(2, '0')).join(':');
const COMPLETED = counterAt('completed_checksums_total');

/** A director at `vb` whose backends, 10.0.0.x, are all behind `va`; the service is UDP port 4001. */
function openDirector(wire: Wire, options: { vlan?: number } = {}) {
  const spec = specOf({ protocol: 17, ports: [4001, 4001], backends: backends(3) });
  const ingress = wire.far.inside(() => new XdpIngress({ device: 'vb', services: spec.services }));
  const mapped = createBatch(ingress, 64);
  const hops = new NextHops(new SharedArrayBuffer(NextHops.bytesFor(16)));
  const hop = { destination: linkAddress(NEAR_MAC), source: linkAddress(FAR_MAC), vlan: options.vlan ?? null, mtu: 1500 };
  for (let id = 0; id < 16; id++) hops.set(id, hop);
  const bank = createBank();
  const egress = new XdpEgress({ device: 'vb', port: ingress.port, nextHops: hops, bank });
  const pipeline = new Pipeline({
    snapshot: new Snapshot(new SnapshotBuilder().build(spec, 0)),
    flows: new FlowTable(4096, Int32Array.of(1, 2)),
    siblings: [],
    bank,
    sourcePortBase: egress.facts.sourcePortBase,
    sourcePortMask: egress.facts.sourcePortMask,
    trainsNeedChecksum: false,
    outerFragments: true,
  });
  const { batch } = mapped;
  return {
    ingress,
    batch,
    hops,
    bank,
    /** Backend of each packet of the last pass. */
    chosen: [] as number[],
    /** Takes `count` packets through; words of what became of each. */
    pass(count: number): string[] {
      const words: string[] = [];
      this.chosen = [];
      receiveAll(ingress, batch, count, () => {
        if (batch.count === 0) return;
        pipeline.process(batch, 1);
        egress.send(batch);
        ingress.reply(batch);
        this.chosen.push(...batch.backend.subarray(0, batch.count));
        for (let i = 0; i < batch.count; i++) {
          words.push(batch.verdict[i] === VERDICT_FORWARD ? 'forward' : `${batch.verdict[i]} ${reasonOf(batch, i)}`);
        }
        pipeline.account(batch);
      });
      return words;
    },
    close() {
      ingress.close();
      egress.close();
      mapped.release();
    },
  };
}

/** Every frame to `va` that carries a tunnel packet, or a reply from the service. */
function capture(wire: Wire): { take(count: number): Buffer[]; close(): void } {
  const ingress = wire.near.inside(
    () =>
      new PacketIngress({
        device: 'va',
        services: [
          { prefix: { bytes: Uint8Array.of(10, 0, 0, 0), length: 24 }, protocol: 17, portFrom: 6080, portTo: 6080 },
          { prefix: { bytes: Uint8Array.of(10, 1, 0, 1), length: 32 }, protocol: 1, portFrom: 0, portTo: 65535 },
        ],
      }),
  );
  const mapped = createBatch(ingress, 64);
  const { batch } = mapped;
  return {
    take(count) {
      const found: Buffer[] = [];
      receiveAll(ingress, batch, count, () => {
        for (let i = 0; i < batch.count; i++) {
          found.push(Buffer.from(batch.arena.bytes.slice(batch.frameAt[i], batch.frameAt[i] + batch.frameLength[i])));
        }
      });
      return found;
    },
    close() {
      ingress.close();
      mapped.release();
    },
  };
}

test(
  'xdp: a local sender’s datagrams arrive in tunnel packets, their checksums finished',
  needs('root', 'namespaces', 'xdp'),
  () => {
    const wire = new Wire(1500);
    wire.near.inside(() => run(`ip route add ${SERVICE4}/32 via 10.1.0.2`));
    const director = openDirector(wire);
    const wanted = capture(wire);
    const script = 'for i in $(seq 20); do echo "datagram $i" > /dev/udp/198.51.100.1/4001; done';
    const sent = wire.near.inside(() => spawnSync('bash', ['-c', script], { encoding: 'utf8' }));
    assert.equal(sent.status, 0, sent.stderr);
    assert.deepEqual(director.pass(20), Array(20).fill('forward'));
    assert.equal(director.bank[COMPLETED], 20, 'every one was left to a device that is not there');
    const frames = wanted.take(20);
    assert.equal(frames.length, 20);
    frames.forEach((frame, i) => {
      assert.equal(frame.toString('hex', 0, 14), Buffer.from([...NEAR_MAC, ...FAR_MAC, 8, 0]).toString('hex'));
      const inner = frame.subarray(14 + 20 + 8 + 4);
      assert.equal(inner.subarray(28).toString(), `datagram ${i + 1}\n`);
      const length = inner.length - 20;
      const pseudo = naivePseudoSum(inner.subarray(12, 16), inner.subarray(16, 20), 17, length);
      assert.equal(naiveSum(inner, 20, length, pseudo), 0xffff);
      assert.equal(naiveSum(frame, 14, 20, 0), 0xffff);
      assert.equal(inner[8], 63, 'one hop');
    });
    wanted.close();
    director.close();
    wire.close();
  },
);

test(
  'xdp: a backend without a next hop costs its own packets only, and is asked for once',
  needs('root', 'namespaces', 'xdp'),
  () => {
    const wire = new Wire(1500);
    const director = openDirector(wire);
    const wanted = capture(wire);
    const frame = (sport: number) =>
      packet()
        .ethernet({ dst: macText(FAR_MAC), src: macText(NEAR_MAC) })
        .ipv4({ dst: SERVICE4, src: '10.1.0.1' })
        .udp({ sport, dport: 4001 })
        .payload(100)
        .bytes();
    const frames = Array.from({ length: 60 }, (_, n) => frame(2000 + n));
    wire.near.inside(() => sendFrames('va', frames));
    director.pass(60);
    const lost = director.batch.backend[0];
    const users = [...director.batch.backend.subarray(0, 60)].filter((id) => id === lost).length;
    assert.ok(users > 0 && users < 60);
    assert.equal(wanted.take(60).length, 60);
    director.hops.clear(lost);
    assert.equal(director.hops.takeAsked(lost), false);
    wire.near.inside(() => sendFrames('va', frames));
    const words = director.pass(60);
    assert.equal(words.filter((word) => word === '0 send-unreachable').length, users);
    assert.equal(words.filter((word) => word === 'forward').length, 60 - users);
    assert.equal(wanted.take(60 - users).length, 60 - users);
    assert.deepEqual([director.hops.takeAsked(lost), director.hops.takeAsked(lost)], [true, false]);
    const { free, lent, sending } = director.ingress.port.census();
    assert.equal(free + lent + sending + 64, 2048 + 1024 + 256);
    wanted.close();
    director.close();
    wire.close();
  },
);

test('xdp: tagged in, tagged out; a ping to the service is answered on its VLAN', needs('root', 'namespaces', 'xdp'), () => {
  const wire = new Wire(1500);
  const director = openDirector(wire, { vlan: 0x2007 });
  const wanted = capture(wire);
  const tagged = (frame: Uint8Array) => Buffer.concat([frame.subarray(0, 12), Buffer.from([0x81, 0, 0, 5]), frame.subarray(12)]);
  const link = () => packet().ethernet({ dst: macText(FAR_MAC), src: macText(NEAR_MAC) });
  const datagram = tagged(link().ipv4({ dst: SERVICE4, src: '10.1.0.1' }).udp({ sport: 1, dport: 4001 }).payload(10).bytes());
  const ping = tagged(link().ipv4({ dst: SERVICE4, src: '10.1.0.1' }).icmp4({ type: 8 }).payload(56).bytes());
  wire.near.inside(() => sendFrames('va', [datagram, ping]));
  assert.deepEqual(director.pass(2), ['forward', '2 none']);
  const [out, pong] = wanted.take(2);
  assert.equal(out.toString('hex', 12, 18), '810020070800');
  assert.equal(pong.toString('hex', 0, 18), Buffer.from([...NEAR_MAC, ...FAR_MAC, 0x81, 0, 0, 5, 8, 0]).toString('hex'));
  assert.equal(pong[18 + 20], 0, 'an echo reply');
  wanted.close();
  director.close();
  wire.close();
});
