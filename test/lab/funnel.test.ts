// The worker's funnel between two kernels' ends: GUE datagrams come as trains (UDP_SEGMENT at the sender, UDP_GRO at the socket), the
// kernel takes the super-packets from TUN and forwards them to a TUN device without offloads, so it has to cut them again. What comes out
// must be what was sent, byte for byte.
//
//     UDP_SEGMENT ──lo──► UDP_GRO socket ──► Funnel ──► gw0 ──► forward (TTL − 1) ──► out0 ──► read

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { type TestContext, test } from 'node:test';
import { openDatagramSocket, receiveTrains } from '../../src/raw-socket/datagram.ts';
import { closeDescriptor } from '../../src/raw-socket/file.ts';
import { openTunQueue } from '../../src/raw-socket/tun.ts';
import { GUE } from '../../src/worker/decapsulate.ts';
import { Funnel } from '../../src/worker/funnel.ts';
import { Tally } from '../../src/worker/tally.ts';
import { ip } from '../builder/addresses.ts';
import { randomStream } from '../builder/tcp-stream.ts';
import { Random } from '../full/random.ts';
import { Namespace, run, setSysctl } from '../host/namespace.ts';
import { needs } from '../needs.ts';
import { Device } from '../oracle/kernel.ts';
import { naiveChecksum } from '../reference/checksum.ts';
import { PORT, TrainSender } from './train-sender.ts';

/** What forwarding changes is taken back; identifications of DF packets, which mean nothing (RFC 6864 §4.1), are wiped. */
function normal(packet: Uint8Array, hops: number): string {
  const bytes = packet.slice();
  if (bytes[0] >> 4 === 6) {
    bytes[7] += hops;
    return Buffer.from(bytes).toString('hex');
  }
  bytes[8] += hops;
  if ((bytes[6] & 0x40) !== 0) bytes.fill(0, 4, 6);
  bytes.fill(0, 10, 12);
  return Buffer.from(bytes).toString('hex');
}

const headerIsRight = (packet: Uint8Array) => packet[0] >> 4 === 6 || naiveChecksum(packet, 0, (packet[0] & 15) * 4) === 0;

/** Everything that makes a flow, for packets that are TCP and show it. */
function flowOf(packet: Uint8Array): string {
  const at = packet[0] >> 4 === 4 ? 20 : 40;
  const isPlain = at === 20 ? packet[0] === 0x45 && packet[9] === 6 && (packet[6] & 0x3f) === 0 : packet[6] === 6;
  return isPlain ? `${packet.slice(at === 20 ? 12 : 8, at + 4)}` : 'others';
}

function grouped(packets: readonly Uint8Array[], hops: number): Map<string, string[]> {
  const flows = new Map<string, string[]>();
  for (const packet of packets) {
    const flow = flowOf(packet);
    flows.set(flow, [...(flows.get(flow) ?? []), normal(packet, hops)]);
  }
  return flows;
}

function counter(name: string): number {
  const line = readFileSync('/proc/thread-self/net/dev', 'utf8')
    .split('\n')
    .find((one) => one.trim().startsWith('gw0:')) as string;
  const fields = line.split(':')[1].trim().split(/\s+/);
  return Number(fields[['bytes', 'packets', 'errs', 'drop'].indexOf(name)]);
}

interface Rig {
  readonly tally: Tally;
  /** Sends a stream and returns what came out; `messages`: how many the socket gave. */
  pass(stream: readonly Uint8Array[]): { out: Uint8Array[]; messages: number };
}

function rig(t: TestContext, address: string, gro: boolean): { space: Namespace; rig: Rig; sender: TrainSender } {
  const space = new Namespace();
  t.after(() => space.close());
  return space.inside(() => {
    const out = new Device({ name: 'out0', kind: 'tun', offload: 0, headerBytes: 0 });
    const device = openTunQueue('gw0');
    setSysctl('net/ipv4/ip_forward', 1);
    setSysctl('net/ipv6/conf/all/forwarding', 1);
    for (const name of ['all', 'gw0']) setSysctl(`net/ipv4/conf/${name}/rp_filter`, 0);
    for (const name of ['gw0', 'out0']) setSysctl(`net/ipv6/conf/${name}/router_solicitations`, 0);
    run('ip link set gw0 up');
    run('ip link set out0 mtu 65535 txqueuelen 20000 up');
    run('ip route add 10.9.0.0/16 dev out0');
    run('ip -6 route add fd00:9::/32 dev out0');
    const socket = openDatagramSocket(ip(address), PORT, 8 << 20);
    if (gro) assert.ok(receiveTrains(socket));
    const inlet = { socket, payload: GUE, withIpv4Header: false } as const;
    const tally = new Tally();
    const funnel = new Funnel(device, tally, gro);
    const sender = new TrainSender(address);
    t.after(() => {
      sender.close();
      funnel.close();
      out.close();
      for (const descriptor of [socket, device]) closeDescriptor(descriptor);
    });
    const pass = (stream: readonly Uint8Array[]) => {
      sender.send(stream);
      let messages = 0;
      for (let moved = funnel.move(inlet); moved > 0; moved = funnel.move(inlet)) messages += moved;
      const found: Uint8Array[] = [];
      for (let packet = out.read(); packet !== null; packet = out.read()) {
        if (packet[0] >> 4 === 4 ? packet[16] === 10 : packet[24] === 0xfd) found.push(packet);
      }
      return { out: found, messages };
    };
    return { space, rig: { tally, pass }, sender };
  });
}

for (const address of ['127.0.0.1', '::1']) {
  test(`trains over ${address}: what the kernel cuts is what was sent`, needs('root', 'namespaces', 'tun'), (t) => {
    const { space, rig: made, sender } = rig(t, address, true);
    space.inside(() => {
      let packets = 0;
      let received = 0;
      for (let seed = 1; seed <= 120; seed++) {
        const size = [1400, 100, 600, 1448][seed % 4];
        const stream = randomStream(new Random(seed), {
          flows: 1 + (seed % 5),
          packets: 80,
          size,
          trouble: [0, 0, 15, 6][seed % 4],
        });
        const { out, messages } = made.pass(stream);
        packets += stream.length;
        received += messages;
        // The kernel forwards no packet with a wrong header checksum: those it must have got, and thrown away.
        const wanted = grouped(stream.filter(headerIsRight), 0);
        const found = grouped(out, 1);
        wanted.set('others', (wanted.get('others') ?? []).toSorted());
        found.set('others', (found.get('others') ?? []).toSorted());
        assert.deepEqual(found, wanted, `seed ${seed}`);
      }
      const { tally } = made;
      assert.equal(tally.received, packets);
      assert.equal(tally.injected, packets);
      assert.equal(tally.deviceRefused, 0);
      assert.ok(tally.merged > packets / 2, `${tally.merged} of ${packets} packets were merged`);
      assert.ok(received < packets / 2, `${packets} datagrams came in ${received} messages`);
      assert.ok(received <= sender.messages, 'the kernel kept every train whole');
      // The kernel's own count of what it was given: single packets and super-packets.
      assert.equal(counter('packets'), packets - tally.merged + tally.superPackets);
    });
  });
}

test('the largest train: 64 KiB in one message, one packet', needs('root', 'namespaces', 'tun'), (t) => {
  const { space, rig: made } = rig(t, '127.0.0.1', true);
  space.inside(() => {
    const stream = randomStream(new Random(3), { flows: 1, packets: 200, size: 1400, trouble: 0 });
    made.pass(stream);
    const { tally } = made;
    assert.equal(tally.injected, 200);
    assert.equal(tally.merged, 200);
    assert.equal(counter('packets'), tally.superPackets);
    assert.ok(tally.superPackets <= Math.ceil((200 * stream[0].length) / 60_000) + Math.ceil(200 / 64));
  });
});

test('without GRO every packet goes by itself', needs('root', 'namespaces', 'tun'), (t) => {
  const { space, rig: made } = rig(t, '127.0.0.1', false);
  space.inside(() => {
    const stream = randomStream(new Random(3), { flows: 2, packets: 60, size: 1000, trouble: 0 });
    const { out, messages } = made.pass(stream);
    assert.equal(messages, 60);
    assert.equal(out.length, 60);
    assert.equal(counter('packets'), 60);
    assert.equal(made.tally.superPackets, 0);
  });
});

test('a device that refuses: every segment is tried by itself, and counted', needs('root', 'namespaces', 'tun'), (t) => {
  const { space, rig: made } = rig(t, '127.0.0.1', true);
  space.inside(() => {
    run('ip link set gw0 down');
    made.pass(randomStream(new Random(9), { flows: 1, packets: 70, size: 900, trouble: 0 }));
    const { received, injected, superPackets, deviceRefused } = made.tally;
    assert.deepEqual(
      { received, injected, superPackets, deviceRefused },
      { received: 70, injected: 0, superPackets: 0, deviceRefused: 70 },
    );
  });
});
