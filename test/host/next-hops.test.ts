// Next hops with real neighbours: the table that threads read follows the kernel's routes and neighbours, and has the kernel look for who is missing.
//
//     director d0 ── n0 neighbour     10.7.0.1 ── 10.7.0.2, fd07::1 ── fd07::2
//              e0 ── n1               10.6.0.1 ── 10.6.0.2: not the egress's interface

import assert from 'node:assert/strict';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { NextHopWatch } from '../../src/host/next-hop-watch.ts';
import { NextHops } from '../../src/io/xdp/next-hops.ts';
import { ip } from '../builder/addresses.ts';
import { needs } from '../needs.ts';
import { Namespace, run, setSysctl } from './namespace.ts';

const MOST = 1500;
const D0 = '020000000001';
const N0 = '020000000002';
const [DIRECT4, DIRECT6, ROUTED, ELSEWHERE, ABSENT, NOWHERE] = [0, 1, 2, 3, 4, 5];
const ADDRESSES = ['10.7.0.2', 'fd07::2', '192.0.2.9', '10.6.0.2', '10.7.0.77', '203.0.113.1'];

/** The header that a packet to this backend gets, in hex; empty when there is no way. */
function header(hops: NextHops, id: number): string {
  const bytes = Buffer.alloc(32);
  if (hops.take(id) === 0) return '';
  const at = hops.write(new DataView(bytes.buffer, bytes.byteOffset), 32, 0x0800);
  return bytes.toString('hex', at);
}

test(
  'next hops follow neighbours and routes; who is missing is looked for, who moves in silence is found',
  needs('root', 'namespaces'),
  async (t) => {
    const [here, there] = [new Namespace(), new Namespace()];
    t.after(() => {
      here.close();
      there.close();
    });
    here.connect('d0', there, 'n0');
    here.connect('e0', there, 'n1');
    there.inside(() => {
      run('ip link set n0 address 02:00:00:00:00:02');
      for (const [device, four, six] of [
        ['n0', '10.7.0.2/24', 'fd07::2/64'],
        ['n1', '10.6.0.2/24', 'fd06::2/64'],
      ]) {
        run(`ip addr add ${four} dev ${device}`);
        run(`ip addr add ${six} dev ${device} nodad`);
      }
    });
    here.inside(() => {
      run('ip link set d0 address 02:00:00:00:00:01 mtu 1700');
      run('ip addr add 10.7.0.1/24 dev d0');
      run('ip addr add fd07::1/64 dev d0 nodad');
      run('ip addr add 10.6.0.1/24 dev e0');
      run('ip route add 192.0.2.0/24 via 10.7.0.2');
      // What takes a minute at home: a neighbour is trusted for a quarter of a second, then asked.
      for (const [name, value] of [
        ['base_reachable_time_ms', 500],
        ['delay_first_probe_time', 1],
        ['retrans_time_ms', 100],
        ['ucast_solicit', 1],
        ['mcast_solicit', 2],
      ] as const)
        setSysctl(`net/ipv4/neigh/d0/${name}`, `${value}`);
    });
    const hops = new NextHops(new SharedArrayBuffer(NextHops.bytesFor(16)));
    const watch = here.inside(() => new NextHopWatch({ device: 'd0', table: hops, mostBytes: MOST }));
    const backends = ADDRESSES.map((address, id) => ({ id, address: ip(address) }));
    const poll = () => here.inside(() => watch.poll(performance.now()));
    const until = async (condition: () => boolean, what: string) => {
      const deadline = Date.now() + 6000;
      while (!condition()) {
        assert.ok(Date.now() < deadline, `${what}: ${JSON.stringify(watch.entries())}`);
        await sleep(20);
        poll();
      }
    };
    const stateOf = (id: number) => watch.entries().find(({ ids }) => ids.includes(id))?.state;
    const direct = `${N0}${D0}0800`;

    here.inside(() => watch.setBackends(backends, performance.now()));
    // Looked for without a packet that asks.
    await until(() => [DIRECT4, DIRECT6, ROUTED].every((id) => stateOf(id) === 'known'), 'all that are there');
    for (const id of [DIRECT4, DIRECT6, ROUTED]) {
      assert.equal(header(hops, id), direct);
      assert.equal(hops.take(id), MOST, 'no more than the egress takes');
    }
    assert.deepEqual([ELSEWHERE, ABSENT, NOWHERE].map(stateOf), ['elsewhere', 'unresolved', 'no-route']);
    assert.deepEqual(
      [ELSEWHERE, ABSENT, NOWHERE].map((id) => header(hops, id)),
      ['', '', ''],
    );

    // It comes up; a packet has asked for it just now.
    there.inside(() => run('ip addr add 10.7.0.77/24 dev n0'));
    await until(() => header(hops, ABSENT) === direct, 'who was absent');

    // The neighbour gets another MAC address and says nothing, and nobody here sends to it.
    there.inside(() => run('ip link set n0 address 02:00:00:00:00:99'));
    const moved = `020000000099${D0}0800`;
    await until(() => header(hops, DIRECT4) === moved && header(hops, ROUTED) === moved, 'the new address');
    there.inside(() => run('ip link set n0 address 02:00:00:00:00:02'));
    // This one says it.
    here.inside(() => run('ip neigh replace 10.7.0.2 dev d0 lladdr 02:00:00:00:00:02 nud permanent'));
    await until(() => header(hops, DIRECT4) === direct, 'what the kernel was told');

    // Routes: another way round, and back; the interface goes down and comes up.
    here.inside(() => run('ip route replace 192.0.2.0/24 via 10.6.0.2'));
    await until(() => header(hops, ROUTED) === '' && stateOf(ROUTED) === 'elsewhere', 'it leaves elsewhere');
    here.inside(() => run('ip route replace 192.0.2.0/24 via 10.7.0.2 mtu 1300'));
    await until(() => hops.take(ROUTED) === 1300, 'the route has an MTU of its own');

    // Other backends: who goes is forgotten, who stays is not touched, ids move.
    const before = header(hops, DIRECT4);
    here.inside(() => watch.setBackends([backends[DIRECT4], { id: 9, address: ip('10.7.0.2') }], performance.now()));
    assert.deepEqual(
      [DIRECT4, 9, DIRECT6, ROUTED].map((id) => header(hops, id)),
      [before, before, '', ''],
    );

    // The kernel can not be asked: that is told, and asked again soon, also for who is new and for a change that was announced meanwhile.
    const [soft] = /^Max open files +(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.slice(1) ?? assert.fail();
    for (let end = Date.now() + 700; Date.now() < end; poll()) await sleep(20);
    here.inside(() => run('ip route replace 192.0.2.0/24 via 10.7.0.2 mtu 1200'));
    run(`prlimit --pid ${process.pid} --nofile=256:`);
    const without = <T>(work: () => T): T =>
      here.inside(() => {
        const held: number[] = [];
        try {
          for (;;) held.push(openSync('/dev/null', 'r'));
        } catch {
          return work();
        } finally {
          for (const descriptor of held) closeSync(descriptor);
        }
      });
    try {
      assert.throws(() => without(() => watch.setBackends(backends, performance.now())), { message: /EMFILE/ });
      assert.throws(() => without(() => watch.poll(performance.now())), { message: /EMFILE/ });
    } finally {
      run(`prlimit --pid ${process.pid} --nofile=${soft}:`);
    }
    await until(() => header(hops, DIRECT6) === direct && hops.take(ROUTED) === 1200, 'what was not answered');
    watch.close();
  },
);
