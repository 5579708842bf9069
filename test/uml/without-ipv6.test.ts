// A kernel booted with ipv6.disable=1 knows no AF_INET6 at all, neither sockets nor netlink: an IPv4 director must run there as anywhere.
//
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { needs } from '../needs.ts';
import { built } from './director.ts';
import { runInGuest } from './once.ts';

const CASES = [
  { ingress: '{ driver: tun, device: gd0 }', egress: '{ driver: udp }' },
  { ingress: '{ driver: packet, interface: eth0 }', egress: '{ driver: raw }' },
  // This kernel (6.1) also knows no super-packets inside a tunnel.
  { ingress: '{ driver: tun, device: gd0 }', egress: '{ driver: tap-offload }' },
];

/** The guest's first process: a director for each case, until it is ready; how it ends and what it leaves goes to the console. */
const script = [
  'modprobe tun; modprobe dummy; modprobe af_packet',
  'ls /proc/sys/net',
  'ip link set lo up; ip link add eth0 mtu 1600 type dummy; ip link set eth0 up',
  'ip addr add 10.80.1.10/24 dev eth0; ip route add default via 10.80.1.1',
  'echo 1 > /proc/sys/net/ipv4/ip_forward',
  ...CASES.flatMap(({ ingress, egress }) => [
    `cat > /run/director.yaml <<'END'
services: [{ name: dns, address: 10.80.9.1, protocol: udp, port: 53, pool: front }]
pools: { front: { table-size: 251, backends: [{ name: w1, address: 10.80.1.21 }] } }
tunnel: { source: { ipv4: 10.80.1.10 } }
ingress: ${ingress}
egress: ${egress}
threads: 1
flows: { entries: 4096 }
metrics: { listen: off }
END`,
    `${process.execPath} ${built('cli/main')} run --config /run/director.yaml 2> /run/log &`,
    'for i in $(seq 300); do grep -q \'"event":"\\(ready\\|failed\\)"\' /run/log && break; sleep 0.1; done',
    // What failed ends by itself, with its own exit code.
    'grep -q \'"event":"ready"\' /run/log && kill -TERM $!; wait $!; echo "exit code $?"; cat /run/log; ip route show proto 77',
  ]),
];

test(
  'on a kernel without IPv6 an IPv4 director gets ready and stops; tap-offload says which kernel it needs',
  needs('root', 'tun', 'uml'),
  async () => {
    const said = await runInGuest(script, ['ipv6.disable=1']);
    assert.doesNotMatch(said, /\bipv6\b\s/, 'this kernel has no IPv6');
    assert.deepEqual(said.match(/exit code \d+/g), ['exit code 0', 'exit code 0', 'exit code 1'], said);
    assert.match(
      said,
      /"code":"GD_RAW_SOCKET_TUNNEL_OFFLOAD","hint":"set \\"egress: \{ driver: auto \}\\".*that needs Linux 6\.17 or later/,
    );
    assert.equal(said.match(/"event":"ready"/g)?.length, 2, said);
    assert.doesNotMatch(said, /blackhole|dev gd0/, 'nothing stays');
  },
);
