// The doctor on a worker with the kernel's own `fou` (User-Mode Linux): one thing broken, exactly its finding; its commands applied, nothing left.

import assert from 'node:assert/strict';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import type { Found } from '../../src/doctor/finding.ts';
import { needs } from '../needs.ts';
import { built } from '../uml/director.ts';
import { runInGuest } from '../uml/once.ts';

const [VIP4, OTHER4, VIP6] = ['192.0.2.10', '192.0.2.11', '2001:db8:1::10'];

/** As docs/workers.md says, with a veth pair as the network. */
const setUp = [
  'for module in fou fou6 ipip sit ip6_tunnel veth; do modprobe $module; done',
  'echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad; echo 0 > /proc/sys/net/ipv6/conf/all/accept_dad',
  'ip link set lo up; ip link add eth0 mtu 1600 type veth peer name far; ip link set far mtu 1600 up; ip link set eth0 up',
  'ip addr add 10.8.0.21/24 dev eth0; ip addr add fd08::21/64 dev eth0 nodad',
  'ip route add default via 10.8.0.1; ip -6 route add default via fd08::1',
  'ip fou add port 6080 gue; ip -6 fou add port 6080 gue',
  'ip link set tunl0 up; ip link set sit0 up',
  'ip link add gue6 type ip6tnl mode any local fd08::21 encaplimit none; ip link set gue6 up',
  `ip addr add ${VIP4}/32 dev lo; ip addr add ${OTHER4}/32 dev lo; ip addr add ${VIP6}/128 dev lo`,
  'for name in all default eth0 tunl0 sit0; do echo 0 > /proc/sys/net/ipv4/conf/$name/rp_filter; done',
];

interface Round {
  readonly names: readonly string[];
  readonly broken: readonly Found[];
  readonly cured: readonly Found[];
  readonly complaints: readonly string[];
}

test('what is broken is found, and nothing else; the commands applied, nothing is', needs('root', 'uml'), async () => {
  const dist = dirname(dirname(built('cli/main')));
  const script = join(import.meta.dirname, 'worker-cases.mjs');
  const said = await runInGuest([...setUp, `${process.execPath} ${script} ${dist} ${VIP4} ${OTHER4} ${VIP6}`]);
  const rounds = [...said.matchAll(/^round (.*?)\r?$/gm)].map(([, json]) => JSON.parse(json) as Round);
  assert.equal(rounds.length, 1, said);
  for (const { names, broken, cured, complaints } of rounds) {
    assert.deepEqual(complaints, []);
    assert.deepEqual([...new Set(broken.map(({ id }) => id))].sort(), names.toSorted(), JSON.stringify(broken, null, 1));
    assert.deepEqual(cured, []);
  }
});
