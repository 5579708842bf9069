// Packet filters over recorded rules: what drops tunnel packets, what does not, and what can not be told. test/doctor/firewall.test.ts asks a real kernel.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { typed } from '../../../test/doctor/typed.ts';
import { parseAnyAddress } from '../../config/address.ts';
import type { Encapsulation } from '../../pipeline/spec.ts';
import type { Found } from '../finding.ts';
import { checkFirewall } from './check-firewall.ts';
import type { Family, Ruleset, WorkerFacts } from './facts.ts';
import { wantedByWords } from './wanted.ts';

const VIP4 = { address: parseAnyAddress('192.0.2.10').value as Uint8Array, protocol: 6, port: 80 };

function told(ruleset: Ruleset, encapsulation: Encapsulation = 'gue', outer: readonly Family[] = [4]): readonly Found[] {
  return typed(checkFirewall({ ruleset } as WorkerFacts, wantedByWords([VIP4], encapsulation, 6080, outer)));
}

function finds(ruleset: Ruleset, id: string, text: RegExp, fix: string, encapsulation: Encapsulation = 'gue', outer?: Family[]) {
  const found = told(ruleset, encapsulation, outer);
  assert.deepEqual(
    found.map((one) => [one.id, one.fix]),
    [[id, fix]],
    JSON.stringify(found),
  );
  assert.match(found[0].text, text);
  assert.equal(found[0].level, id === 'input-unknown' ? 'info' : 'error');
}

interface Chain {
  readonly name: string;
  readonly hook?: string;
  readonly policy?: string;
  readonly rules: readonly (readonly object[])[];
}

function table(...chains: readonly Chain[]): Ruleset {
  const at = { family: 'inet', table: 'filter' };
  let handle = 1;
  const rules = chains.flatMap(({ name, rules }) =>
    rules.map((expr) => ({ rule: { ...at, chain: name, handle: ++handle, expr } })),
  );
  const list = chains.map(({ name, hook, policy }) => ({ chain: { ...at, name, ...(hook && { hook, policy }) } }));
  return { kind: 'nft', json: JSON.stringify({ nftables: [{ metainfo: {} }, ...list, ...rules] }) };
}

const nft = (policy: string, ...rules: readonly (readonly object[])[]) => table({ name: 'input', hook: 'input', policy, rules });
const match = (left: object, right: unknown, op = '==') => ({ match: { op, left, right } });
const dport = (right: unknown, protocol = 'udp') => match({ payload: { protocol, field: 'dport' } }, right);
const [drop, accept, reject] = [{ drop: null }, { accept: null }, { reject: {} }];
const from = match({ payload: { protocol: 'ip', field: 'saddr' } }, '198.51.100.0/24', '!=');
const state = (right: unknown) => match({ ct: { key: 'state' } }, right, 'in');
const lo = match({ meta: { key: 'iifname' } }, 'lo');
const established = [state(['established', 'related']), accept];
const open = 'nft insert rule inet filter input udp dport 6080 accept';
const remove = (handle: number) => `nft delete rule inet filter input handle ${handle}`;
const look = 'nft list table inet filter';

test('nft: a rule about the tunnel alone is removed; in front of one about more, the tunnel is let in', () => {
  finds(nft('accept', [dport(6080), drop]), 'tunnel-dropped', /UDP port 6080.*handle 2/, remove(2));
  finds(nft('accept', [dport(6080), { counter: {} }, { log: null }, drop]), 'tunnel-dropped', /handle 2/, remove(2));
  finds(nft('accept', [dport(53), drop], [dport({ range: [6000, 6100] }), reject]), 'tunnel-dropped', /handle 3/, open);
  finds(nft('accept', [dport({ set: [53, 6080] }), { counter: {} }, drop]), 'tunnel-dropped', /handle 2/, open);
  finds(
    nft('accept', [dport(1024, 'udp'), accept], [dport({ set: [{ elem: { val: 6080 } }] }), drop]),
    'tunnel-dropped',
    /handle 3/,
    remove(3),
  );
  finds(nft('drop', established, [lo, accept], [dport(22, 'tcp'), accept]), 'input-policy', /no rule accepts/, open);
  finds(nft('drop', established, [dport(6081), accept]), 'input-policy', /UDP port 6080/, open);
  // What drops everything else, or every UDP packet, stays.
  finds(nft('accept', established, [{ counter: {} }, drop]), 'input-policy', /handle 3/, open);
  finds(nft('accept', [match({ meta: { key: 'l4proto' } }, 'udp'), drop]), 'input-policy', /handle 2/, open);
  const ipip = (right: unknown) => match({ meta: { key: 'l4proto' } }, right);
  finds(nft('accept', [ipip(4), drop]), 'tunnel-dropped', /IP protocol 4/, remove(2), 'ipip');
  finds(
    nft('accept', [ipip({ set: [4, 47] }), drop]),
    'tunnel-dropped',
    /IP protocol 4/,
    open.replace('udp dport 6080', 'meta l4proto 4'),
    'ipip',
  );
  assert.deepEqual(told(nft('accept', [ipip('ipip'), drop])), [], 'GUE is not IP in IP');
});

test('nft: what lets tunnel packets in, or drops only some', () => {
  const over = { limit: { rate: 500000, per: 'second', inv: true } };
  for (const good of [
    nft('drop', [dport({ set: [53, 6080] }), accept]),
    nft('drop', [dport({ range: [6000, 6100] }), accept]),
    nft('drop', [dport(1024, 'udp'), accept], [match({ payload: { protocol: 'udp', field: 'dport' } }, 6000, '>='), accept]),
    nft('drop', [from, accept]),
    nft('drop', [dport(6080), state('new'), accept]),
    nft('drop', established, [from, dport(6080), accept], [drop]),
    nft('accept', [dport(6080), from, drop]),
    nft('accept', [dport(6080), accept], [dport(6080), drop]),
    nft('accept', [dport(6080, 'tcp'), drop]),
    nft('accept', [dport(6080), over, drop]),
    nft('accept', [state('invalid'), drop]),
    nft('accept', [{ xt: { type: 'match', name: 'hashlimit' } }, drop], [{ xt: null }, drop]),
    nft('drop', [{ xt: { type: 'match', name: 'comment' } }, dport(6080), accept]),
    nft('accept', [
      {
        vmap: {
          key: { ct: { key: 'state' } },
          data: {
            set: [
              ['invalid', drop],
              ['established', accept],
            ],
          },
        },
      },
    ]),
  ]) {
    assert.deepEqual(told(good), [], JSON.stringify(good));
  }
});

test('nft: chains are followed', () => {
  const zone = (...rules: readonly (readonly object[])[]) =>
    table(
      {
        name: 'input',
        hook: 'input',
        policy: 'accept',
        rules: [
          established,
          [match({ ct: { key: 'status' } }, 'dnat', 'in'), accept],
          [lo, accept],
          [state('invalid'), drop],
          [{ jump: { target: 'zones' } }],
          [reject],
        ],
      },
      {
        name: 'zones',
        rules: [[match({ meta: { key: 'iifname' } }, 'eth0'), { goto: { target: 'public' } }], [{ goto: { target: 'public' } }]],
      },
      { name: 'public', rules: [[dport(22, 'tcp'), accept], ...rules] },
    );
  assert.deepEqual(told(zone([dport(6080), accept])), [], 'firewalld');
  assert.deepEqual(told(zone([from, dport(6080), accept])), [], 'for some');
  finds(zone(), 'input-policy', /chain input in table inet filter, handle 7/, open);
  finds(zone([drop]), 'input-policy', /chain public/, open);
  finds(zone([dport(6080), drop]), 'tunnel-dropped', /chain public/, 'nft delete rule inet filter public handle 11');
  const ways = (...rules: readonly (readonly object[])[]) =>
    table({ name: 'input', hook: 'input', policy: 'drop', rules: [[{ jump: { target: 'in' } }]] }, { name: 'in', rules });
  finds(ways([{ return: null }], [dport(6080), accept]), 'input-policy', /no rule accepts/, open);
  assert.deepEqual(told(ways([dport(6081), { return: null }], [dport(6080), accept])), []);
});

test('nft: named sets, maps, missing chains and programs are not clear, and nothing else is said then', () => {
  const unclear = (ruleset: Ruleset, fix = look) => finds(ruleset, 'input-unknown', /can not be told/, fix);
  unclear(nft('drop', [dport('@ports'), accept]));
  unclear(nft('drop', [{ vmap: { key: { payload: { protocol: 'udp', field: 'dport' } }, data: '@verdicts' } }]));
  unclear(nft('drop', [{ jump: { target: 'directors' } }]));
  unclear(nft('accept', [{ queue: null }]));
  unclear(nft('accept', [{ jump: { target: 'directors' } }], [drop]));
  const map = (...entries: readonly (readonly [unknown, object])[]) => [
    { vmap: { key: { meta: { key: 'iifname' } }, data: { set: entries } } },
  ];
  const inner = { name: 'lan', rules: [[dport(6080), accept]] };
  const mapped = (policy: string, ...rules: readonly (readonly object[])[]) =>
    table({ name: 'input', hook: 'input', policy, rules }, inner);
  assert.deepEqual(told(mapped('drop', map(['lo', accept], ['eth0', { jump: { target: 'lan' } }]))), [], 'some interfaces');
  finds(mapped('drop', map(['lo', accept])), 'input-policy', /no rule accepts/, open);
  unclear(mapped('accept', map(['lo', accept], ['eth1', drop])));
});

const saved = (...lines: string[]): Ruleset => ({ kind: 'iptables', saved: lines.join('\n'), saved6: null });

test('iptables: ports in lists and ranges, states, limits, chains', () => {
  const rule = '-A INPUT -p udp -m udp --dport 6080 -j DROP';
  const [closed, ours] = [':INPUT DROP [0:0]', 'iptables -I INPUT -p udp --dport 6080 -j ACCEPT'];
  finds(saved(':INPUT ACCEPT [0:0]', rule), 'tunnel-dropped', /--dport 6080/, rule.replace('-A', 'iptables -D'));
  const many = '-A INPUT -p udp -m multiport --dports 53,6080 -j DROP';
  finds(saved(':INPUT ACCEPT [0:0]', many), 'tunnel-dropped', /--dports/, ours);
  finds(saved(closed, '-A INPUT -i lo -j ACCEPT'), 'input-policy', /chain INPUT/, ours);
  finds(saved(closed, '-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT'), 'input-policy', /chain INPUT/, ours);
  finds(
    saved(
      ':INPUT ACCEPT [0:0]',
      '-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT',
      '-A INPUT -j REJECT --reject-with icmp-port-unreachable',
    ),
    'input-policy',
    /REJECT/,
    ours,
  );
  for (const good of [
    '-A INPUT -s 198.51.100.0/24 -j ACCEPT',
    rule.replace('DROP', 'ACCEPT'),
    '-A INPUT -p udp -m multiport --dports 6080,6081 -j ACCEPT',
    '-A INPUT -p udp -m udp --dport 6000:6100 -m comment --comment "from -j DROP here" -j ACCEPT',
    '-A INPUT -p udp -m udp --dport 6080 -m conntrack --ctstate NEW -j ACCEPT',
    '-A INPUT ! -p tcp -j ACCEPT',
  ]) {
    assert.deepEqual(told(saved(closed, good)), [], good);
  }
  for (const harmless of [
    '-A INPUT -m conntrack --ctstate INVALID -j DROP',
    '-A INPUT -p udp -m udp --dport 6080 -m hashlimit --hashlimit-above 500000/sec --hashlimit-mode srcip --hashlimit-name gue -j DROP',
    '-A INPUT -j LOG --log-prefix "-j DROP "',
  ]) {
    assert.deepEqual(told(saved(':INPUT ACCEPT [0:0]', harmless)), [], harmless);
  }
  const chain = [':INPUT DROP [0:0]', ':allowed - [0:0]', '-A INPUT -j allowed'];
  assert.deepEqual(told(saved(...chain, '-A allowed -p udp -m udp --dport 6080 -j ACCEPT')), []);
  finds(saved(...chain, '-A allowed -p udp -m udp --dport 53 -j ACCEPT'), 'input-policy', /chain INPUT/, ours);
  finds(saved(closed, '-A INPUT -m set --match-set directors src -j ACCEPT'), 'input-unknown', /can not be told/, 'iptables -S');
});

test('iptables: rules for IPv6 are those of ip6tables, and that nobody could ask it is said', () => {
  const rule = '-A INPUT -p udp -m udp --dport 6080 -j DROP';
  const both: Ruleset = { kind: 'iptables', saved: ':INPUT ACCEPT [0:0]', saved6: `:INPUT ACCEPT [0:0]\n${rule}` };
  assert.deepEqual(told(both), []);
  finds(both, 'tunnel-dropped', /ip6tables, -A INPUT/, rule.replace('-A', 'ip6tables -D'), 'gue', [6]);
  finds(saved(':INPUT ACCEPT [0:0]'), 'input-unknown', /over IPv6 is not known/, 'apt-get install nftables', 'gue', [6]);
});
