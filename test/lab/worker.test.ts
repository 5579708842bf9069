// `gue-director worker` in a namespace, fed with GUE datagrams written byte by byte: its host must answer the client directly.

import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { Actor } from '../../src/demo/cast.ts';
import { Lab } from '../../src/demo/lab/topology.ts';
import { needs } from '../needs.ts';
import { echoRequest, wrap } from '../uml/echo-packet.ts';

function build(t: TestContext): Lab {
  const lab = Lab.create({ workers: 1, vipsOnWorkers: false });
  t.after(() => lab.close());
  return lab;
}

async function startWorker(lab: Lab, ...options: string[]): Promise<Actor> {
  const worker = Actor.start('worker', lab.workers[0], '../cli/main', 'worker', ...options);
  await worker.says('ready');
  return worker;
}

/** Sends UDP payloads from the director's namespace, one datagram each. */
function send(lab: Lab, address: string, port: number, payloads: readonly Buffer[]): void {
  const script = `
    const socket = require('node:dgram').createSocket('${address.includes(':') ? 'udp6' : 'udp4'}');
    const payloads = JSON.parse(require('node:fs').readFileSync(0, 'utf8'));
    let left = payloads.length;
    for (const hex of payloads) socket.send(Buffer.from(hex, 'hex'), ${port}, '${address}', (error) => {
      if (error) throw error;
      if (--left === 0) socket.close();
    });`;
  lab.director.run(process.execPath, ['-e', script], JSON.stringify(payloads.map((payload) => payload.toString('hex'))));
}

/** Echo replies that the client's kernel has counted: [ICMP, ICMPv6]. */
function replies(lab: Lab): [number, number] {
  const rows = lab.client
    .run('cat', ['/proc/net/snmp'])
    .split('\n')
    .filter((line) => line.startsWith('Icmp:'));
  const names = rows[0].split(' ');
  const four = Number(rows[1].split(' ')[names.indexOf('InEchoReps')]);
  const six = Number(/^Icmp6InEchoReplies\s+(\d+)/m.exec(lab.client.run('cat', ['/proc/net/snmp6']))?.[1]);
  return [four, six];
}

async function eventually(condition: () => boolean, what: string): Promise<void> {
  for (let i = 0; i < 60; i++) {
    if (condition()) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  assert.fail(what);
}

test('the four mixes of outer and inner family are unwrapped and answered', needs('namespaces', 'tun'), async (t) => {
  const lab = build(t);
  const worker = await startWorker(lab, '--vip', lab.vip4, '--vip', lab.vip6);
  const { address4, address6 } = lab.workers[0];
  const client = lab.client;
  const payload = Buffer.from(Array.from({ length: 200 }, (_, i) => i));
  for (const outer of [address4, address6]) {
    const before = replies(lab);
    send(lab, outer, 6080, [
      wrap(echoRequest(client.address4, lab.vip4, payload)),
      wrap(echoRequest(client.address6, lab.vip6, payload)),
    ]);
    await eventually(
      () => {
        const now = replies(lab);
        return now[0] === before[0] + 1 && now[1] === before[1] + 1;
      },
      `answers through ${outer}: ${before} became ${replies(lab)}`,
    );
  }
  assert.equal(await worker.stop(), 0);
  assert.match(worker.output, /received 4 datagrams, injected 4 packets \(952 bytes\)\n$/);
  assert.doesNotMatch(worker.words, /warning/);
  assert.deepEqual(lab.leftovers(), [], 'device and addresses are gone');
});

test('strict reverse path filtering of the host is survived', needs('namespaces', 'tun'), async (t) => {
  const lab = build(t);
  lab.workers[0].sysctl({ 'net.ipv4.conf.all.rp_filter': 1, 'net.ipv4.conf.default.rp_filter': 1 });
  await startWorker(lab, '--vip', lab.vip4);
  send(lab, lab.workers[0].address4, 6080, [wrap(echoRequest(lab.client.address4, lab.vip4))]);
  await eventually(() => replies(lab)[0] === 1, 'no answer');
});

test('bad datagrams are counted by reason and harm nothing', needs('namespaces', 'tun'), async (t) => {
  const lab = build(t);
  const worker = await startWorker(lab, '--port', '7000', '--device', 'other0', '--vip', lab.vip4);
  const good = wrap(echoRequest(lab.client.address4, lab.vip4));
  const patched = (at: number, value: number) => {
    const bytes = Buffer.from(good);
    bytes[at] = value;
    return bytes;
  };
  const bad = [
    Buffer.alloc(0),
    Buffer.alloc(3),
    patched(0, 0x80),
    patched(0, 0x20),
    patched(0, 31),
    patched(2, 0x10),
    patched(1, 17),
    patched(4, 0x65),
    patched(7, 255),
    Buffer.alloc(60_000, 0xc5),
  ];
  send(lab, lab.workers[0].address4, 7000, [...bad, good]);
  await eventually(() => replies(lab)[0] === 1, 'the good one behind the bad ones was not answered');
  worker.child.kill('SIGINT');
  assert.equal(await worker.ended, 0);
  const total = /received 11 datagrams, injected 1 packets.*refused: (.*)\n$/.exec(worker.output)?.[1];
  assert.equal(
    total,
    'truncated 2, gue-variant 2, gue-control 1, gue-header-length 1, gue-flags 1, gue-protocol 1, inner-version 1, inner-length 1',
  );
  assert.deepEqual(lab.leftovers(), []);
});

test('a virtual IP that is not on the host is named with the command to add it', needs('namespaces', 'tun'), async (t) => {
  const lab = build(t);
  const worker = await startWorker(lab, '--listen', lab.workers[0].address4);
  send(lab, lab.workers[0].address4, 6080, [wrap(echoRequest(lab.client.address4, lab.vip4))]);
  await worker.says(`ip address add ${lab.vip4}/32 dev lo`);
});

test('a device name or port in use is refused', needs('namespaces', 'tun'), async (t) => {
  const lab = build(t);
  await startWorker(lab);
  const sameDevice = Actor.start('second', lab.workers[0], '../cli/main', 'worker', '--port', '6081');
  assert.equal(await sameDevice.ended, 1);
  assert.match(sameDevice.words, /GD_WORKER_DEVICE_TAKEN/);
  const samePort = Actor.start('third', lab.workers[0], '../cli/main', 'worker', '--device', 'gw1');
  assert.equal(await samePort.ended, 1);
  assert.match(samePort.words, /GD_RAW_SOCKET_PORT_TAKEN/);
});

test('what its socket had no room for is counted, as the kernel counts it', needs('namespaces', 'tun'), async (t) => {
  const lab = build(t);
  const worker = await startWorker(lab, '--vip', lab.vip4);
  const [where] = lab.workers;
  const payload = wrap(echoRequest(lab.client.address4, lab.vip4, Buffer.alloc(1000)));
  // A worker that gets no processor time: 8 MiB of room (the kernel doubles it) fill with 25,000 datagrams of 1,000 bytes and their overhead.
  worker.child.kill('SIGSTOP');
  const script = `
    const socket = require('node:dgram').createSocket('udp4');
    const payload = Buffer.from('${payload.toString('hex')}', 'hex');
    let left = 25_000;
    const next = (error) => {
      if (error) throw error;
      if (left-- === 0) socket.close();
      else socket.send(payload, 6080, '${where.address4}', next);
    };
    next(null);`;
  lab.director.run(process.execPath, ['-e', script]);
  const rows = where
    .run('cat', ['/proc/net/snmp'])
    .split('\n')
    .filter((line) => line.startsWith('Udp:'))
    .map((line) => line.split(' '));
  const lost = Number(rows[1][rows[0].indexOf('RcvbufErrors')]);
  worker.child.kill('SIGCONT');
  assert.ok(lost > 0, 'the kernel lost datagrams');
  assert.equal(await worker.stop(), 0);
  assert.match(worker.output, new RegExp(`; lost before they were received: ${lost}\n$`));
});
