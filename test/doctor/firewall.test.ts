// What the doctor says of a firewall's rules, against a real kernel: where it says "error" no tunnel packet arrives, and after its command one does; where it says nothing, one arrives.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { after, test } from 'node:test';
import { checkFirewall } from '../../src/doctor/worker/check-firewall.ts';
import type { WorkerFacts } from '../../src/doctor/worker/facts.ts';
import { wantedByWords } from '../../src/doctor/worker/wanted.ts';
import { Namespace, run } from '../host/namespace.ts';
import { address } from '../host/wanted.ts';
import { needs } from '../needs.ts';

const [worker, sender] = needs('root', 'namespaces', 'nft').skip === undefined ? [1, 2].map(() => new Namespace()) : [];
after(() => {
  for (const namespace of [worker, sender]) namespace?.close();
});

const WANTED = wantedByWords([{ address: address('192.0.2.10'), protocol: 6, port: 80 }], 'gue', 6080, [4]);
/** Behind every other chain: counts what is left. */
const COUNTER = 'table ip arrived { chain in { type filter hook input priority 300; udp dport 6080 counter; }; }';

/** The layout of firewalld 1.x, its zone's ports in place of `ports`. */
const firewalld = (ports: string) => `table inet firewalld {
  chain filter_IN_public_pre { }
  chain filter_IN_public_allow { tcp dport 22 accept; ${ports} }
  chain filter_IN_public { jump filter_INPUT_POLICIES_pre; jump filter_IN_public_pre; jump filter_IN_public_allow; meta l4proto { icmp, ipv6-icmp } accept; }
  chain filter_INPUT_POLICIES_pre { jump filter_IN_policy_allow-host-ipv6; }
  chain filter_IN_policy_allow-host-ipv6 { icmpv6 type { nd-neighbor-advert, nd-neighbor-solicit } accept; }
  chain filter_INPUT_ZONES { iifname "eth0" goto filter_IN_public; goto filter_IN_public; }
  chain filter_INPUT {
    type filter hook input priority 10; policy accept;
    ct state { established, related } accept; ct status dnat accept; iifname "lo" accept; ct state invalid drop;
    jump filter_INPUT_ZONES; reject with icmpx type admin-prohibited;
  }
}`;
const chain = (policy: string, rules: string, more = '') =>
  `table inet f { ${more} chain in { type filter hook input priority 0; policy ${policy}; ${rules} }; }`;

/** What is said: an id, or nothing; and whether a packet arrives now, and after the command. */
const CASES: readonly (readonly [rules: string, id: string, arrives: boolean])[] = [
  [firewalld('udp dport 6080 accept;'), '', true],
  [firewalld('udp dport 6080 ct state new,untracked accept;'), '', true],
  [firewalld(''), 'input-policy', false],
  [chain('accept', 'tcp dport 22 accept; counter drop;'), 'input-policy', false],
  [chain('accept', 'udp dport 6080 counter drop;'), 'tunnel-dropped', false],
  [chain('accept', 'udp dport { 53, 6080 } drop;'), 'tunnel-dropped', false],
  [chain('accept', 'udp dport 6080 limit rate over 500000/second drop;'), '', true],
  [chain('drop', 'udp dport @ports accept;', 'set ports { type inet_service; elements = { 6080 }; };'), 'input-unknown', true],
  [chain('drop', 'iifname vmap { lo : accept, eth0 : jump lan };', 'chain lan { udp dport 6000-6100 accept; };'), '', true],
  [
    chain('drop', 'ct state vmap { established : accept, related : accept, invalid : drop }; iif lo accept;'),
    'input-policy',
    false,
  ],
  [chain('drop', 'udp dport != 53 accept;'), '', true],
  [chain('drop', 'udp dport > 6000 accept;'), '', true],
  [chain('accept', 'ct state invalid drop; ct state new meta l4proto tcp drop;'), '', true],
];

function load(text: string): void {
  const { status, stderr } = spawnSync('nft', ['-f', '-'], { input: `flush ruleset\n${COUNTER}\n${text}\n`, encoding: 'utf8' });
  assert.equal(status, 0, `${text}: ${stderr}`);
}

function said() {
  const ruleset = { kind: 'nft', json: run('nft -j list ruleset') } as const;
  return checkFirewall({ ruleset } as WorkerFacts, WANTED);
}

/** From another port each time: a flow that is known already is judged otherwise. */
function arrives(): boolean {
  const before = arrived();
  sender.inside(() => spawnSync('bash', ['-c', 'echo x > /dev/udp/10.8.0.21/6080']));
  return arrived() > before;
}

const arrived = () => Number(/counter packets (\d+)/.exec(run('nft list table ip arrived'))?.[1]);

test(
  'rules of every kind: what is said is what becomes of packets, and the command lets them in',
  needs('root', 'namespaces', 'nft'),
  () => {
    worker.connect('eth0', sender, 'w0');
    sender.inside(() => run('ip addr add 10.8.0.2/24 dev w0'));
    worker.inside(() => {
      run('ip addr add 10.8.0.21/24 dev eth0');
      for (const [rules, id, expected] of CASES) {
        load(rules);
        const found = said();
        assert.deepEqual([found.map((one) => one.id).join(' '), arrives()], [id, expected], `${rules}: ${JSON.stringify(found)}`);
        if (expected) continue;
        const { status, stderr } = spawnSync('bash', ['-c', found[0].fix], { encoding: 'utf8' });
        assert.equal(status, 0, `${found[0].fix}: ${stderr}`);
        assert.deepEqual([said(), arrives()], [[], true], `${rules}: ${found[0].fix}`);
      }
    });
  },
);
