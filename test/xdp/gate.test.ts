import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import type { Batch } from '../../src/base/batch.ts';
import { createBatch } from '../../src/io/open.ts';
import { XdpGate } from '../../src/io/xdp/gate.ts';
import { XdpIngress } from '../../src/io/xdp/ingress.ts';
import { receiveQueuesOf } from '../../src/raw-socket/tun.ts';
import { receiveAll } from '../contract/driver.ts';
import { sendFrames } from '../contract/frames.ts';
import { FAR_MAC, FAR4, Listener, NEAR_MAC, NEAR4, Wire } from '../contract/lab.ts';
import { ipPacket, udpBody } from '../contract/packets.ts';
import { Namespace, run } from '../host/namespace.ts';
import { needs } from '../needs.ts';

const SERVICE = Uint8Array.from([10, 9, 9, 9]);
const service = (port: number, address = SERVICE) => ({
  prefix: { bytes: address, length: 32 },
  protocol: 17,
  portFrom: port,
  portTo: port,
});
const frameTo = (destination: Uint8Array, port: number, payload = 'x') =>
  Buffer.concat([
    Buffer.from([...FAR_MAC, ...NEAR_MAC, 8, 0]),
    ipPacket({ family: 4, source: NEAR4, destination }, 17, udpBody(2000, port, Buffer.from(payload), null)),
  ]);
const taken = (batch: Batch) =>
  Array.from({ length: batch.count }, (_, i) =>
    Buffer.from(batch.arena.bytes.slice(batch.frameAt[i], batch.frameAt[i] + batch.frameLength[i])).toString('hex'),
  );
/** `xdp`, `xdpgeneric` or null, as `ip link` says. */
const attached = (wire: Wire) =>
  wire.far.inside(() => /\bxdp(generic|drv|offload)?(?=\/| |$)/.exec(run('ip link show vb'))?.[0] ?? null);

test(
  'xdp: what is not a service is the kernel’s, on the service’s own address too; ARP, ND and ping work while attached',
  needs('root', 'namespaces', 'xdp', 'ping'),
  () => {
    const wire = new Wire(1500);
    // The director's own address is a service's as well: ssh to it must go on working.
    const listener = wire.far.inside(() => new Listener(FAR4));
    const ingress = wire.far.inside(() => new XdpIngress({ device: 'vb', services: [service(4001, FAR4), service(53)] }));
    const mapped = createBatch(ingress, 16);
    const frames = [frameTo(FAR4, 4000, 'to the host'), frameTo(FAR4, 4001), frameTo(SERVICE, 53), frameTo(SERVICE, 54)];
    wire.near.inside(() => sendFrames('va', frames));
    receiveAll(ingress, mapped.batch, 2, () => {});
    assert.deepEqual(taken(mapped.batch), [frames[1].toString('hex'), frames[2].toString('hex')]);
    assert.deepEqual(
      listener.payloads().map((bytes) => Buffer.from(bytes).toString()),
      ['to the host'],
    );
    // Neighbours are asked for anew; a ping needs them and an address without a service on it.
    wire.far.inside(() => run('ip addr add 10.1.0.3/24 dev vb'));
    wire.near.inside(() => {
      run('ip neigh flush dev va');
      run('ip neigh del 10.1.0.2 dev va');
      run('ip neigh del fd00:1::2 dev va');
      run('ping -c 1 -W 2 -n 10.1.0.3');
      run('ping -c 1 -W 2 -n fd00:1::2');
    });
    // Another MAC address: nothing is ours until the gate has heard of it.
    wire.far.inside(() => run('ip link set vb address 02:00:00:00:00:99'));
    ingress.setServices([service(54)]);
    const later = Buffer.from(frames[3]);
    later[5] = 0x99;
    wire.near.inside(() => sendFrames('va', [later]));
    assert.equal(ingress.receive(mapped.batch), 0);
    wire.far.inside(() => ingress.gate?.refresh());
    wire.near.inside(() => sendFrames('va', [later]));
    receiveAll(ingress, mapped.batch, 1, () => {});
    assert.deepEqual(taken(mapped.batch), [later.toString('hex')]);
    wire.far.inside(() => run('ip link set vb address 02:00:00:00:00:02'));
    wire.far.inside(() => ingress.gate?.refresh());
    wire.near.inside(() => sendFrames('va', frames));
    receiveAll(ingress, mapped.batch, 1, () => {});
    assert.deepEqual(taken(mapped.batch), [frames[3].toString('hex')]);
    listener.close();
    ingress.close();
    mapped.release();
    wire.close();
  },
);

// A veth can not do without copies: the kernel copies then.
for (const options of [{ modes: ['native'], zeroCopy: true }, { modes: ['generic'] }, { way: 'netlink' }] as const) {
  test(
    `xdp: receives with ${JSON.stringify(options)}, and close leaves the interface as it was`,
    needs('root', 'namespaces', 'xdp'),
    () => {
      const wire = new Wire(1500);
      const before = wire.far.inside(() => run('ip -j -d link show vb'));
      const ingress = wire.far.inside(() => new XdpIngress({ device: 'vb', services: [service(53)], ...options }));
      const mapped = createBatch(ingress, 16);
      assert.equal(ingress.gate?.mode, 'modes' in options ? options.modes[0] : 'native');
      assert.equal(ingress.port.socket.runsWithoutCopies(), false);
      assert.equal(attached(wire), ingress.gate?.mode === 'generic' ? 'xdpgeneric' : 'xdp');
      assert.throws(() => wire.far.inside(() => new XdpGate({ device: 'vb', services: [], ...options })), {
        code: 'GD_RAW_SOCKET_XDP_BUSY',
      });
      const frames = Array.from({ length: 10 }, (_, n) => frameTo(SERVICE, 53, `${n}`));
      wire.near.inside(() => sendFrames('va', frames));
      receiveAll(ingress, mapped.batch, 10, () => {});
      assert.deepEqual(
        taken(mapped.batch),
        frames.map((frame) => frame.toString('hex')),
      );
      wire.far.inside(() => ingress.close());
      assert.equal(
        wire.far.inside(() => run('ip -j -d link show vb')),
        before,
      );
      mapped.release();
      wire.close();
    },
  );
}

test('xdp: CAP_BPF, CAP_NET_ADMIN and CAP_NET_RAW are enough', needs('root', 'namespaces', 'xdp'), () => {
  const wire = new Wire(1500);
  const script = new URL('attached.ts', import.meta.url).pathname;
  const kept = '--bounding-set=-all,+bpf,+net_admin,+net_raw';
  const command = [kept, process.execPath, '--import', 'tsx', script];
  const child = wire.far.inside(() => spawnSync('setpriv', command, { encoding: 'utf8', input: '' }));
  assert.equal(child.stdout, 'attached\n', child.stderr);
  wire.close();
});

test('xdp: kill -9 takes the program with it, and the next start has the queue', needs('root', 'namespaces', 'xdp'), async () => {
  const wire = new Wire(1500);
  const script = new URL('attached.ts', import.meta.url).pathname;
  const child = wire.far.inside(() =>
    spawn(process.execPath, ['--import', 'tsx', script], { stdio: ['pipe', 'pipe', 'inherit'] }),
  );
  await once(child.stdout, 'data');
  assert.equal(attached(wire), 'xdp');
  child.kill('SIGKILL');
  await once(child, 'exit');
  const gone = Date.now();
  while (attached(wire) !== null && Date.now() - gone < 1000);
  assert.equal(attached(wire), null, 'within a second');
  const ingress = wire.far.inside(() => new XdpIngress({ device: 'vb', services: [service(53)] }));
  ingress.close();
  wire.close();
});

test(
  'xdp: every frame is somewhere: after more packets than there are frames, with replies, none is lost',
  needs('root', 'namespaces', 'xdp'),
  () => {
    const wire = new Wire(9100);
    const ingress = wire.far.inside(
      () => new XdpIngress({ device: 'vb', services: [service(53)], receiveRing: 64, transmitRing: 32 }),
    );
    const total = 64 + 32 + 256;
    const mapped = createBatch(ingress, 16);
    const { batch } = mapped;
    const sum = () => {
      const { free, lent, sending } = ingress.port.census();
      const held = batch.slotAt.filter((_, column) => ingress.port.holdsFrame(batch, column)).length;
      return free + lent + sending + held;
    };
    let got = 0;
    for (let round = 0; round < 30; round++) {
      // Some take five frames each.
      const frames = Array.from({ length: 40 }, (_, n) => frameTo(SERVICE, 53, `${round} ${n}`));
      wire.near.inside(() => sendFrames('va', frames));
      receiveAll(ingress, batch, 40, () => {
        for (let i = 0; i < batch.count; i += 2) {
          batch.verdict[i] = 2;
          batch.outAt[i] = batch.frameAt[i] - 60;
          batch.outLength[i] = 100;
        }
        got += batch.count;
        ingress.reply(batch);
        for (let i = 0; i < batch.count; i += 2) assert.equal(batch.verdict[i], 2);
        assert.equal(sum(), total);
        assert.equal(new Set(batch.slotAt).size, batch.capacity, 'no frame in two columns');
      });
    }
    assert.equal(got, 1200);
    // More than the rings hold, at once: counted, and the rest arrives.
    wire.near.inside(() =>
      sendFrames(
        'va',
        Array.from({ length: 200 }, () => frameTo(SERVICE, 53)),
      ),
    );
    assert.equal(
      receiveAll(ingress, batch, 64, () => {}),
      64,
    );
    assert.equal(ingress.statistics().kernelDrops, 136);
    assert.equal(sum(), total);
    assert.equal(ingress.port.socket.statistics().invalid, 0);
    ingress.close();
    mapped.release();
    wire.close();
  },
);

test(
  'xdp: two threads’ sockets at two queues behind one gate; a queue without one is refused',
  needs('root', 'namespaces', 'xdp'),
  () => {
    const near = new Namespace();
    const far = new Namespace();
    near.inside(() => {
      run('ip link add va numtxqueues 2 numrxqueues 2 type veth peer name vb numtxqueues 2 numrxqueues 2');
      run(`ip link set vb netns ${far.path}`);
      run('ip link set va up');
    });
    far.inside(() => run('ip link set vb address 02:00:00:00:00:02 up'));
    const services = [service(53)];
    far.inside(() => {
      assert.equal(receiveQueuesOf('vb'), 2);
      assert.throws(() => new XdpIngress({ device: 'vb', services }), {
        code: 'GD_IO_XDP_QUEUES',
        message: /vb has 2 receive queues, and with 1 thread/,
      });
    });
    assert.throws(() => far.inside(() => new XdpGate({ device: 'vb', services, queues: 3 })), /too few for 3 threads/);
    const gate = far.inside(() => new XdpGate({ device: 'vb', services, queues: 2 }));
    const threads = far.inside(() => [0, 1].map((queue) => new XdpIngress({ device: 'vb', services, gate: gate.end, queue })));
    const batches = threads.map((ingress) => createBatch(ingress, 64));
    // The sender's queue is chosen by the flow; the receiver's is the same.
    const frames = Array.from({ length: 32 }, (_, n) => {
      const packet = ipPacket(
        { family: 4, source: NEAR4, destination: SERVICE },
        17,
        udpBody(2000 + n, 53, Buffer.from('x'), null),
      );
      return Buffer.concat([Buffer.from([...FAR_MAC, ...NEAR_MAC, 8, 0]), packet]);
    });
    near.inside(() => sendFrames('va', frames));
    const counts = threads.map((ingress, i) => ingress.receive(batches[i].batch));
    assert.equal(counts[0] + counts[1], 32);
    // A thread that is started anew takes its queue again.
    threads[1].close();
    batches[1].release();
    const again = far.inside(() => new XdpIngress({ device: 'vb', services, gate: gate.end, queue: 1 }));
    for (const ingress of [threads[0], again]) ingress.close();
    far.inside(() => gate.close());
    batches[0].release();
    near.close();
    far.close();
  },
);

test('xdp: what may not be locked in memory is refused with the limit’s name', needs('root', 'namespaces', 'xdp'), () => {
  const wire = new Wire(1500);
  const script = new URL('attached.ts', import.meta.url).pathname;
  const limited = ['-c', `ulimit -l 64; exec setpriv --bounding-set=-all,+bpf,+net_admin,+net_raw "$@"`, 'sh'];
  const command = [...limited, process.execPath, '--import', 'tsx', script];
  const child = wire.far.inside(() => spawnSync('sh', command, { encoding: 'utf8', input: '' }));
  assert.match(child.stderr, /GD_RAW_SOCKET_XDP_MEMORY/);
  assert.match(child.stderr, /LimitMEMLOCK/);
  assert.equal(attached(wire), null);
  wire.close();
});
