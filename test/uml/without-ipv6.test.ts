// A kernel booted with ipv6.disable=1 knows no AF_INET6 at all, neither sockets nor netlink: an IPv4 director must run there as anywhere.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { needs } from '../needs.ts';
import { built } from './director.ts';
import { showModules } from './guest.ts';

const CASES = [
  { ingress: '{ driver: tun, device: gd0 }', egress: '{ driver: udp }' },
  { ingress: '{ driver: packet, interface: eth0 }', egress: '{ driver: raw }' },
  // This kernel (6.1) also knows no super-packets inside a tunnel.
  { ingress: '{ driver: tun, device: gd0 }', egress: '{ driver: tap-offload }' },
];

/** The guest's first process: a director for each case, until it is ready; how it ends and what it leaves goes to the console. */
const script = [
  '#!/bin/sh',
  'export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
  'mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t tmpfs tmpfs /run; export TMPDIR=/run',
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
    'kill -TERM $!; wait $!; echo "exit code $?"; cat /run/log; ip route show proto 77',
  ]),
  'echo o > /proc/sysrq-trigger; sleep 5',
  '',
].join('\n');

test(
  'on a kernel without IPv6 an IPv4 director gets ready and stops; tap-offload says which kernel it needs',
  needs('root', 'tun', 'uml'),
  async (t) => {
    showModules();
    const folder = mkdtempSync(join(tmpdir(), 'gue-director-ipv4-'));
    t.after(() => rmSync(folder, { recursive: true, force: true }));
    const init = join(folder, 'init.sh');
    writeFileSync(init, script, { mode: 0o755 });
    const kernel = ['mem=512M', 'rootfstype=hostfs', 'rootflags=/', 'ro', `init=${init}`, 'con=null', 'con0=fd:0,fd:1', 'quiet'];
    const child = spawn('linux.uml', [...kernel, 'ipv6.disable=1', `uml_dir=${folder}`], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, TMPDIR: folder },
    });
    const limit = setTimeout(() => child.kill('SIGKILL'), 90_000);
    let said = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        said += text;
      });
    }
    await once(child, 'close');
    clearTimeout(limit);
    assert.doesNotMatch(said, /\bipv6\b\s/, 'this kernel has no IPv6');
    assert.deepEqual(said.match(/exit code \d+/g), ['exit code 0', 'exit code 0', 'exit code 1'], said);
    assert.match(
      said,
      /"code":"GD_RAW_SOCKET_TUNNEL_OFFLOAD","hint":"set \\"egress: \{ driver: udp \}\\".*that needs Linux 6\.17 or later/,
    );
    assert.equal(said.match(/"event":"ready"/g)?.length, 2, said);
    assert.doesNotMatch(said, /blackhole|dev gd0/, 'nothing stays');
  },
);
