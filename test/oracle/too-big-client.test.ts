// Real clients learn from our answers. Two namespaces with a TUN device each, and between them this test: what is larger than the tunnel
// would carry is answered and goes no further, the rest is handed on. A client that does not believe the answers never gets through.
//
//     client ──► c0 ──►  larger than 1,400: answer ──► c0      else ──► s0 ──► server
//                c0 ◄──────────────────────────────────────────────────s0 ◄── (any size: servers answer directly)

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Arena } from '../../src/base/arena.ts';
import { Batch, LINK_RAW_IP } from '../../src/base/batch.ts';
import { answerTooBig } from '../../src/pipeline/too-big.ts';
import { Namespace, run, setSysctl } from '../host/namespace.ts';
import { needs } from '../needs.ts';
import { Device } from './kernel.ts';

const parts = needs('root', 'namespaces', 'tun', 'python3');
const INNER_MTU = 1400;
const BYTES = 300_000;
const SECONDS = 8;

/** Both ends of each transfer. `key`: TCP-MD5 (RFC 2385), which no device can cut into segments. */
const SCRIPT = `
import errno, hashlib, socket, struct, sys, time
role, kind, here, there = sys.argv[1:5]
family = socket.AF_INET6 if ':' in here else socket.AF_INET
body = bytes(i * 7 % 251 for i in range(${BYTES}))
if kind == 'udp':
    s = socket.socket(family, socket.SOCK_DGRAM)
    level, discover, mtu = (socket.IPPROTO_IPV6, 23, 24) if family == socket.AF_INET6 else (socket.IPPROTO_IP, 10, 14)
    s.settimeout(${SECONDS})
    if role == 'server':
        s.bind((here, 7000))
        print('ready', flush=True)
        print(len(s.recv(65535)))
    else:
        s.setsockopt(level, discover, 2)
        s.connect((there, 7000))
        before = s.getsockopt(level, mtu)
        headers = 48 if family == socket.AF_INET6 else 28
        s.send(bytes(before - headers))
        # The answer comes back as an error of the socket, once (EMSGSIZE).
        error, end = 0, time.time() + ${SECONDS}
        while error == 0 and time.time() < end:
            error = s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            time.sleep(0.02)
        now = s.getsockopt(level, mtu)
        s.send(bytes(now - headers))
        print(errno.errorcode.get(error), before, now)
else:
    s = socket.socket(family)
    s.settimeout(${SECONDS})
    if kind == 'md5':
        peer = socket.inet_pton(family, there)
        name = struct.pack('=HHI16sI100x', family, 0, 0, peer, 0) if family == socket.AF_INET6 else struct.pack('=HH4s120x', family, 0, peer)
        s.setsockopt(socket.IPPROTO_TCP, 14, name + struct.pack('=BBHi80s', 0, 0, 3, 0, b'key'))
    if role == 'server':
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind((here, 7001)); s.listen()
        print('ready', flush=True)
        c, _ = s.accept()
        c.settimeout(${SECONDS})
        got = hashlib.sha256()
        while True:
            data = c.recv(65536)
            if not data: break
            got.update(data)
        print(got.hexdigest() == hashlib.sha256(body).hexdigest())
    else:
        s.connect((there, 7001))
        s.sendall(body)
        s.shutdown(socket.SHUT_WR)
        assert s.recv(1) == b''
        print('sent')
`;

interface End {
  readonly space: Namespace;
  readonly device: Device;
  readonly addresses: readonly [string, string];
}

function openEnd(device: string, net: number): End {
  const space = new Namespace();
  const addresses = [`10.${net}.0.1`, `fd00:${net}::1`] as const;
  const made = space.inside(() => {
    const tun = new Device({ name: device, kind: 'tun', offload: 0, headerBytes: 0 });
    setSysctl(`net/ipv6/conf/${device}/router_solicitations`, 0);
    run(`ip link set ${device} mtu 1500 txqueuelen 5000 up`);
    run(`ip addr add ${addresses[0]}/24 dev ${device}`);
    run(`ip addr add ${addresses[1]}/64 dev ${device} nodad`);
    run(`ip route add default dev ${device}`);
    run(`ip -6 route add default dev ${device}`);
    return tun;
  });
  return { space, device: made, addresses };
}

let client: End;
let server: End;

before(() => {
  if (parts.skip !== undefined) return;
  client = openEnd('c0', 8);
  server = openEnd('s0', 9);
});
after(() => {
  for (const end of [client, server]) {
    end?.device.close();
    end?.space.close();
  }
});

const batch = new Batch(Arena.inProcess(1), { link: LINK_RAW_IP, hopDone: true, canPass: false, headerVerified: true });

/** The answer to a packet that is too big for the tunnel. */
function answer(bytes: Uint8Array): Uint8Array {
  const at = batch.frameAt[0];
  batch.arena.bytes.set(bytes, at);
  batch.networkAt[0] = at;
  batch.networkLength[0] = bytes.length;
  batch.family[0] = bytes[0] >> 4;
  assert.ok(answerTooBig(batch, 0, INNER_MTU) > 0, 'every packet that is too big can be answered');
  return batch.arena.bytes.slice(batch.outAt[0], batch.outAt[0] + batch.outLength[0]);
}

/** Hands over what waits at both devices. Returns the number of answers given. */
function pump(): number {
  let answers = 0;
  for (let bytes = client.device.read(); bytes !== null; bytes = client.device.read()) {
    if (bytes.length > INNER_MTU) {
      client.device.write(answer(bytes));
      answers++;
    } else server.device.write(bytes);
  }
  for (let bytes = server.device.read(); bytes !== null; bytes = server.device.read()) client.device.write(bytes);
  return answers;
}

function start(end: End, role: string, kind: string, here: string, there: string) {
  const child = end.space.inside(() =>
    spawn('python3', ['-c', SCRIPT, role, kind, here, there], { stdio: ['ignore', 'pipe', 'pipe'] }),
  );
  const words = Promise.all([text(child.stdout), text(child.stderr)]).then(([out, complaint]) => out + complaint);
  return { child, words, exit: once(child, 'exit') };
}

for (const [f, family] of (['IPv4', 'IPv6'] as const).entries())
  for (const kind of ['udp', 'tcp', 'md5'])
    test(`${family} ${kind}: the client learns the MTU and gets through`, parts, async (t) => {
      // What one kind of client has learned, the next one may not know.
      client.space.inside(() => run(`ip ${f === 0 ? '-4' : '-6'} route flush cache`));
      const here = client.addresses[f];
      const there = server.addresses[f];
      const receiver = start(server, 'server', kind, there, here);
      t.after(() => receiver.child.kill('SIGKILL'));
      await Promise.race([once(receiver.child.stdout, 'data'), receiver.exit]);
      const sender = start(client, 'client', kind, here, there);
      t.after(() => sender.child.kill('SIGKILL'));
      let done = false;
      const ended = Promise.all([receiver.exit, sender.exit]).then(() => {
        done = true;
      });
      let answers = 0;
      while (!done) {
        answers += pump();
        await sleep(1);
      }
      await ended;
      const [said, told] = await Promise.all([receiver.words, sender.words]);
      assert.ok(answers > 0, 'something was too big');
      if (kind === 'udp') {
        assert.equal(told.trim(), `EMSGSIZE 1500 ${INNER_MTU}`, 'what the client’s kernel knows of the path');
        assert.match(said, new RegExp(`${INNER_MTU - (f === 0 ? 28 : 48)}\n$`));
      } else {
        assert.equal(told.trim(), 'sent');
        assert.match(said, /True\n$/, 'every byte right');
        // Each packet of the first window at most, not one for each of the transfer.
        assert.ok(answers < 100, `${answers} answers`);
      }
      t.diagnostic(`${answers} answers`);
    });

test('the client’s route says so', parts, () => {
  for (const [f, address] of server.addresses.entries()) {
    const route = client.space.inside(() => run(`ip ${f === 0 ? '-4' : '-6'} route get ${address}`));
    assert.match(route, new RegExp(` mtu ${INNER_MTU}\\b`));
  }
});
