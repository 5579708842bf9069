import assert from 'node:assert/strict';
import { test } from 'node:test';
import { VERDICT_REPLY } from '../../src/base/verdict.ts';
import { MemoryIngress } from '../../src/io/memory/ingress.ts';
import { createBatch } from '../../src/io/open.ts';
import { TunIngress } from '../../src/io/tun/ingress.ts';
import { UdpEgress } from '../../src/io/udp/egress.ts';
import { setLinkUp, setMtu, setQueueLength } from '../../src/raw-socket/tun.ts';
import { completePartial } from '../../src/wire/checksum.ts';
import { Namespace, run } from '../host/namespace.ts';
import { needs } from '../needs.ts';
import { type IngressHarness, ingressContract, receiveAll, stage } from './driver.ts';
import { Injector, Listener } from './lab.ts';
import { internetChecksum, ipPacket, outerPacket, udpBody, udpPacket } from './packets.ts';

const CLIENT = Uint8Array.from([10, 1, 0, 1]);
const SERVICE = Uint8Array.from([10, 9, 9, 9]);

/** A TUN device with a client behind it: 10.1.0.1 is local, 10.9.9.0/24 goes to the device. */
function openLab(): IngressHarness & { space: Namespace; ingress: TunIngress } {
  const space = new Namespace();
  return space.inside(() => {
    const ingress = new TunIngress({ device: 'gd0' });
    setMtu('gd0', 65535);
    setQueueLength('gd0', 10000);
    run('sysctl -qw net.ipv6.conf.gd0.disable_ipv6=1');
    setLinkUp('gd0');
    run('ip addr add 10.1.0.1/32 dev lo');
    run('ip route add 10.9.9.0/24 dev gd0 src 10.1.0.1');
    const injector = new Injector();
    const listener = new Listener(CLIENT);
    return {
      space,
      ingress,
      deliver: (packets) => injector.deliver(packets),
      replyFrame: (payload) =>
        ipPacket({ family: 4, source: SERVICE, destination: CLIENT }, 17, udpBody(4001, 4000, payload, null)),
      replies: () => listener.payloads(),
      // Neither IPv4 nor IPv6: the device refuses it.
      impossibleReply: Buffer.alloc(40, 0xff),
      close() {
        ingress.close();
        injector.close();
        listener.close();
        space.close();
      },
    };
  });
}

ingressContract('tun', {
  needs: ['root', 'namespaces', 'tun'],
  open: openLab,
  sizes: [20, 21, 28, 64, 1500, 9000, 65534, 65535],
});

test('tun: a local sender’s checksum arrives partial, says so, and can be completed', needs('root', 'namespaces', 'tun'), () => {
  const lab = openLab();
  const mapped = createBatch(lab.ingress, 8);
  // A UDP socket of the kernel: it leaves the sum to the device.
  const sender = lab.space.inside(() => new UdpEgress({ sourcePorts: 1 }));
  const source = createBatch(new MemoryIngress({ frames: [] }), 1);
  const fields = { family: 4, source: CLIENT, destination: SERVICE, sourcePort: 61440, size: 3028, checksum: true } as const;
  stage(source.batch, [outerPacket(fields)]);
  sender.send(source.batch);
  sender.close();
  let seen = 0;
  receiveAll(lab.ingress, mapped.batch, 1, (batch) => {
    for (let i = 0; i < batch.count; i++) {
      seen++;
      assert.equal(batch.virtioFlags[i] & 1, 1, 'NEEDS_CSUM');
      assert.equal(batch.csumStart[i], 20);
      assert.equal(batch.csumOffset[i], 6);
      assert.equal(batch.gsoType[i], 0, 'no super-packet');
      const at = batch.frameAt[i];
      const end = at + batch.frameLength[i];
      assert.ok(completePartial(batch.arena.view, at + batch.csumStart[i], batch.csumOffset[i], end));
      const packet = batch.arena.bytes.slice(at, end);
      const pseudo = Buffer.from([0, 17, 3008 >> 8, 3008 & 0xff]);
      assert.equal(internetChecksum(packet.subarray(12, 20), pseudo, packet.subarray(20)), 0);
    }
  });
  assert.equal(seen, 1);
  lab.close();
  mapped.release();
});

test('tun: packets that found the queue full are counted as the device’s drops', needs('root', 'namespaces', 'tun'), () => {
  const lab = openLab();
  lab.space.inside(() => {
    setQueueLength('gd0', 10);
    lab.deliver(Array.from({ length: 30 }, (_, i) => udpPacket(100, i)));
    assert.equal(lab.ingress.statistics().kernelDrops, 20);
  });
  lab.close();
  assert.equal(lab.ingress.statistics().kernelDrops, 20, 'kept after close');
});

test('tun: two queues share one device', needs('root', 'namespaces', 'tun'), () => {
  const lab = openLab();
  const second = lab.space.inside(() => new TunIngress({ device: 'gd0', reportsDrops: false }));
  const first = createBatch(lab.ingress, 64);
  const other = createBatch(second, 64);
  lab.deliver(Array.from({ length: 40 }, (_, i) => udpPacket(100 + i, i)));
  assert.equal(lab.ingress.receive(first.batch) + second.receive(other.batch), 40);
  assert.equal(second.statistics().kernelDrops, 0);
  second.close();
  lab.close();
});

test('tun: a reply to a device that is down is dropped and the errno kept', needs('root', 'namespaces', 'tun'), () => {
  const lab = openLab();
  const { batch } = createBatch(lab.ingress, 1);
  lab.space.inside(() => run('ip link set gd0 down'));
  const frame = lab.replyFrame(Buffer.from('x'));
  batch.arena.bytes.set(frame, batch.frameAt[0]);
  batch.count = 1;
  batch.outAt[0] = batch.frameAt[0];
  batch.outLength[0] = frame.length;
  batch.verdict[0] = VERDICT_REPLY;
  lab.ingress.reply(batch);
  assert.notEqual(batch.verdict[0], VERDICT_REPLY);
  assert.notEqual(lab.ingress.lastErrno, 0);
  lab.close();
});
