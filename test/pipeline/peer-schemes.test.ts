// Pools whose table is a peer's (docs/peer-tables.md): the packet path gives every flow the backend that the peer's own rules give it.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { buildIpvsTable, chooseIpvs, IPVS_TABLE_SIZES, ipvsAddress } from '../../src/maglev-hash/index.ts';
import type { BackendSpec, BackendState, PoolSpec, SchemeSpec, ServiceSpec, Spec } from '../../src/pipeline/spec.ts';
import { ip } from '../builder/addresses.ts';
import { packet } from '../builder/packet.ts';
import { Rig } from './rig.ts';

const hex = (text: string) => Uint8Array.from(Buffer.from(text, 'hex'));
const tunnel = {
  encapsulation: 'gue',
  port: 6080,
  source4: ip('10.9.0.254'),
  source6: ip('fd00:9::fe'),
  checksum: 'auto',
} as const;
const MAGLEV: SchemeSpec = { name: 'maglev' };
const KATRAN: SchemeSpec = { name: 'katran', ring: 'v1', hash: 'flow', maxVips: 512 };
const MH: SchemeSpec = { name: 'ipvs-mh', port: true, fallback: false, serverPort: 80 };
const GLB: SchemeSpec = {
  name: 'glb',
  seed: hex('34567890123456783456789012345678'),
  hashKey: hex('12345678901234561234567890123456'),
  fields: ['source-address'],
  secondFields: [],
};
const TABLE_SIZE = { maglev: 1009, 'ipvs-mh': 251, katran: 65537, glb: 65536 };

function workers(...addresses: (string | [string, number] | [string, number, BackendState])[]): BackendSpec[] {
  return addresses.map((given) => {
    const [address, weight = 1, state = 'active'] = typeof given === 'string' ? [given] : given;
    return { name: address, address: ip(address), weight, state };
  });
}

function poolOf(scheme: SchemeSpec, backends: BackendSpec[], size: number = TABLE_SIZE[scheme.name]): PoolSpec {
  return { name: 'p', scheme, tableSize: size, seed: 0, tunnel, backends };
}

function specOf(pool: PoolSpec, vip: string, port: number | 'all' = 80, more: Partial<ServiceSpec> = {}): Spec {
  const [portFrom, portTo] = port === 'all' ? [0, 65535] : [port, port];
  const prefix = { bytes: ip(vip), length: vip.includes(':') ? 128 : 32 };
  const service = { name: 's', prefix, protocol: 6, portFrom, portTo, affinity: '5-tuple', pool: 'p', ...more } as const;
  return { services: [service], pools: [pool] };
}

function frame(src: string, sport: number, dst: string, dport: number, flags = 'SYN'): Uint8Array {
  const at = src.includes(':') ? packet().ipv6({ src, dst }) : packet().ipv4({ src, dst });
  return at.tcp({ sport, dport, flags }).bytes();
}

const REALS4 = workers('10.0.0.1', '10.0.0.2', '10.0.0.3');
const REALS6 = workers('fc00::1', 'fc00::2', 'fc00::3');

/** Choices that Katran's own program made: client, port, VIP, port, flags of the VIP, the real. */
const KATRAN_CHOICES: readonly [string, number, string, number | 'all', number, SchemeSpec, BackendSpec[], string][] = [
  ['192.168.1.1', 31337, '10.200.1.1', 80, 80, KATRAN, REALS4, '10.0.0.3'],
  ['192.168.1.1', 31337, '10.200.1.2', 'all', 42, KATRAN, REALS4, '10.0.0.2'],
  ['192.168.1.1', 31337, '10.200.1.3', 80, 80, KATRAN, REALS6, 'fc00::1'],
  ['fc00:2::1', 31337, 'fc00:1::1', 80, 80, KATRAN, REALS6, 'fc00::3'],
  ['192.168.1.42', 31337, '10.200.1.5', 443, 443, KATRAN, REALS4, '10.0.0.2'],
  ['fc00:2::42', 31337, 'fc00:1::2', 443, 443, KATRAN, REALS6, 'fc00::1'],
  ['10.0.0.1', 31337, '10.200.1.1', 80, 80, KATRAN, [...REALS4, ...REALS6], '10.0.0.2'],
  ['192.168.1.1', 31337, '10.200.1.4', 'all', 42, { ...KATRAN, hash: 'destination-port-only' }, REALS4, '10.0.0.2'],
  ['192.168.1.100', 1337, '10.200.1.4', 'all', 42, { ...KATRAN, hash: 'destination-port-only' }, REALS4, '10.0.0.2'],
];

for (const [src, sport, vip, port, dport, scheme, reals, real] of KATRAN_CHOICES) {
  test(`katran: ${src} port ${sport} to ${vip} port ${dport} goes to ${real}`, () => {
    // The order of the file has no meaning: Katran sorts by the hash of the address.
    for (const list of [reals, [...reals].reverse()]) {
      const rig = new Rig(specOf(poolOf(scheme, list), vip, port));
      assert.equal(rig.one(frame(src, sport, vip, dport)).backend, real);
    }
  });
}

test('katran: what is found by an IPv6 prefix hashes destination port 0, whatever the port of the service', () => {
  const pool = poolOf(KATRAN, workers('fc00::7', 'fc00::8'));
  const prefix = { bytes: ip('fc00:4::'), length: 96 };
  const inPrefix = new Rig(specOf(pool, 'fc00:4::', 443, { prefix }));
  const exact = new Rig(specOf(pool, 'fc00:4::100', 443));
  const client = frame('fc00:2::1', 31337, 'fc00:4::100', 443);
  assert.equal(inPrefix.one(client).backend, 'fc00::7');
  assert.equal(exact.one(client).backend, 'fc00::8');
});

test('katran: a VIP with all ports does not hash the destination port, unless told so; nor does one without source port hash that', () => {
  const chosen = (hash: 'flow' | 'both-ports' | 'no-source-port', ports: [number, number][]) => {
    const rig = new Rig(specOf(poolOf({ ...KATRAN, hash }, REALS4), '10.200.1.2', 'all'));
    return new Set(ports.map(([s, d]) => rig.one(frame('192.168.1.1', s, '10.200.1.2', d)).backend)).size;
  };
  const destinations = Array.from({ length: 40 }, (_, i): [number, number] => [31337, 1 + i]);
  const sources = Array.from({ length: 40 }, (_, i): [number, number] => [1024 + i, 80]);
  assert.equal(chosen('flow', destinations), 1);
  assert.equal(chosen('both-ports', destinations), 3);
  assert.equal(chosen('flow', sources), 3);
  assert.equal(chosen('no-source-port', sources), 1);
});

test('katran: backends of weight 0, draining and down have no slot', () => {
  const rest = workers('10.0.0.1', ['10.0.0.2', 0], ['10.0.0.3', 1, 'draining'], ['10.0.0.4', 1, 'down']);
  const rig = new Rig(specOf(poolOf(KATRAN, rest), '10.200.1.1'));
  const seen = Array.from({ length: 50 }, (_, i) => rig.one(frame('192.168.1.1', 2000 + i, '10.200.1.1', 80)).backend);
  assert.deepEqual([...new Set(seen)], ['10.0.0.1']);
});

test('ipvs-mh: every flow goes where the library and so the kernel sends it, in every size, with and without flags, IPv4 and IPv6', () => {
  const shapes: [BackendSpec[], boolean, boolean][] = [
    [workers('10.0.0.1', '10.0.0.2', '10.0.0.3'), false, false],
    [workers(['10.0.0.1', 3], ['10.0.0.2', 2], ['10.0.0.3', 1]), true, false],
    [workers('10.0.0.1', ['10.0.0.2', 1, 'draining'], '10.0.0.3'), true, true],
    [workers('10.0.0.1', ['10.0.0.2', 5, 'draining'], ['10.0.0.3', 9, 'down'], ['10.0.0.4', 0]), false, false],
    [workers(['fc00::1', 10], ['fc00::2', 1000]), true, true],
  ];
  for (const size of IPVS_TABLE_SIZES.slice(0, 6)) {
    for (const [list, port, fallback] of shapes) {
      const scheme = { name: 'ipvs-mh', port, fallback, serverPort: 80 } as const;
      const isIpv6 = list[0].address.length === 16;
      const vip = isIpv6 ? 'fc00:1::1' : '10.200.1.1';
      const rig = new Rig(specOf(poolOf(scheme, list, size), vip));
      const listed = list.filter(({ state }) => state !== 'down');
      const members = listed.map(({ address, weight }) => ({ address, port: 80, weight }));
      const table = buildIpvsTable(members, size);
      const available = Uint8Array.from(listed, ({ state, weight }) => (state === 'active' && weight > 0 ? 1 : 0));
      const flows = Array.from({ length: 60 }, (_, i): [string, number] => [
        isIpv6 ? `fc00:2::${i}:${i * 7}` : `192.168.${i}.${i * 3}`,
        1024 + i * 131,
      ]);
      const ours = rig.run(flows.map(([src, sport]) => frame(src, sport, vip, 80))).map((o) => [o.backend, o.reason]);
      const theirs = flows.map(([src, sport]) => {
        const chosen = chooseIpvs(table, ipvsAddress(ip(src)), port ? sport : 0, available, fallback);
        return chosen < 0 ? [null, 'no-backend'] : [listed[chosen].name, 'none'];
      });
      assert.deepEqual(ours, theirs, `${size} ${list.map(({ name }) => name)} ${port} ${fallback}`);
    }
  }
});

test('ipvs-mh: with every server draining, mh-fallback costs no search of the table for each packet', () => {
  const size = IPVS_TABLE_SIZES.at(-1) as number;
  const list = workers(['10.0.0.1', 1, 'draining'], ['10.0.0.2', 1, 'draining']);
  const rig = new Rig(specOf(poolOf({ ...MH, fallback: true } as SchemeSpec, list, size), '10.200.1.1'));
  const flows = Array.from({ length: 2000 }, (_, i) => frame('192.168.1.1', 1024 + i, '10.200.1.1', 80, 'SYN'));
  const from = process.cpuUsage();
  assert.ok(rig.run(flows).every(({ reason }) => reason === 'no-backend'));
  // Searched, 2,000 packets take seconds.
  assert.ok(process.cpuUsage(from).user < 1_000_000);
});

test('ipvs-mh: the order of the file is the order of the kernel, and counts', () => {
  const flows = Array.from({ length: 200 }, (_, i) => frame('192.168.1.1', 1024 + i, '10.200.1.1', 80));
  const chosen = (list: BackendSpec[]) => {
    const rig = new Rig(specOf(poolOf(MH, list), '10.200.1.1'));
    return rig.run(flows).map((o) => o.backend);
  };
  assert.notDeepEqual(chosen(REALS4), chosen([...REALS4].reverse()));
});

test('ipvs-mh: when a server starts draining its flows stay, its new flows find no server, or with mh-fallback another', () => {
  for (const fallback of [false, true]) {
    const scheme = { ...MH, fallback } as SchemeSpec;
    const rig = new Rig(specOf(poolOf(scheme, REALS4), '10.200.1.1'));
    const ports = Array.from({ length: 120 }, (_, i) => 1024 + i);
    const older = ports.map((port) => port + 1000);
    const run = (flags: string, now: number, of = ports) =>
      rig
        .run(
          of.map((sport) => frame('192.168.1.1', sport, '10.200.1.1', 80, flags)),
          { now },
        )
        .map((o) => o.backend);
    const before = run('SYN', 0);
    const beforeOlder = run('SYN', 0, older);
    rig.publish(
      specOf(
        poolOf(
          scheme,
          REALS4.map((b, i) => (i === 1 ? { ...b, state: 'draining' } : b)),
        ),
        '10.200.1.1',
      ),
      10,
    );
    // No entry was made by the SYNs: first the new connections, whose packets follow their SYN; then packets of older ones, which the
    // previous table answers.
    const fresh = run('SYN', 11);
    for (const [k, chosen] of fresh.entries()) {
      if (before[k] !== '10.0.0.2') assert.equal(chosen, before[k]);
      else if (fallback) assert.ok(chosen === '10.0.0.1' || chosen === '10.0.0.3');
      else assert.equal(chosen, null);
    }
    assert.deepEqual(
      run('ACK', 12),
      fresh.map((chosen, k) => chosen ?? before[k]),
    );
    assert.deepEqual(run('ACK', 12, older), beforeOlder);
  }
});

/** Routes that GLB's own director took: client, port, fields, first hop. */
const GLB_ROUTES: readonly [string, number, SchemeSpec, string][] = [
  ['10.11.12.13', 45678, GLB, '3.4.5.6'],
  ['10.11.12.13', 45679, GLB, '3.4.5.6'],
  ['10.11.12.13', 45678, { ...GLB, fields: ['source-port', 'source-address'] }, '1.2.3.4'],
  ['10.11.12.13', 45679, { ...GLB, fields: ['source-address', 'source-port'] }, '1.2.3.4'],
  ['10.11.12.13', 45680, { ...GLB, fields: ['source-address', 'source-port'] }, '2.3.4.5'],
];
const GLB_WORKERS = workers('1.2.3.4', '2.3.4.5', '3.4.5.6');

for (const [src, sport, scheme, first] of GLB_ROUTES) {
  test(`glb: ${src} port ${sport} by ${(scheme as typeof GLB & { fields: string[] }).fields} goes to ${first} first`, () => {
    const rig = new Rig(specOf(poolOf(scheme, GLB_WORKERS), '1.1.1.1'));
    assert.equal(rig.one(frame(src, sport, '1.1.1.1', 80)).backend, first);
  });
}

test('glb: a client over IPv6, and each state that swaps a row or takes a backend out of it', () => {
  const seed6 = { ...GLB, seed: hex('12345678901234561234567890123456') } as SchemeSpec;
  const rig6 = new Rig(specOf(poolOf(seed6, workers('4.5.6.7', '5.6.7.8', '6.7.8.9', '7.8.9.0')), 'fdb4:98ce:52d4::42'));
  assert.equal(rig6.one(frame('fd91:79d3:d621::1234', 45678, 'fdb4:98ce:52d4::42', 80)).backend, '5.6.7.8');
  const first = (...list: BackendSpec[]) =>
    new Rig(specOf(poolOf(GLB, list), '1.1.1.1')).one(frame('10.11.12.13', 45678, '1.1.1.1', 80)).backend;
  const [a, b, c] = GLB_WORKERS;
  assert.equal(first(a, b, { ...c, state: 'down' }), '2.3.4.5');
  assert.equal(first(a, b, { ...c, state: 'draining' }), '2.3.4.5');
  assert.equal(first(a, { ...b, state: 'draining' }, { ...c, state: 'down' }), '3.4.5.6');
  assert.equal(first(a, { ...b, weight: 0 }, { ...c, weight: 0 }), '1.2.3.4');
});

test('glb: directors keep no flows; what the rows say is done from the first packet on, and no flow entry is made', () => {
  const rig = new Rig(specOf(poolOf(GLB, GLB_WORKERS), '1.1.1.1'));
  const flows = Array.from({ length: 64 }, (_, i) => frame(`10.11.${i}.13`, 45678, '1.1.1.1', 80, 'ACK'));
  const before = rig.run(flows).map((o) => o.backend);
  assert.deepEqual(rig.flows.occupancy(), { entries: 0, confirmed: 0 });
  rig.publish(
    specOf(
      poolOf(
        GLB,
        GLB_WORKERS.map((b, i) => (i === 2 ? { ...b, state: 'draining' } : b)),
      ),
      '1.1.1.1',
    ),
    10,
  );
  const after = rig.run(flows, { now: 11 }).map((o) => o.backend);
  assert.ok(before.includes('3.4.5.6') && !after.includes('3.4.5.6'));
  assert.deepEqual(
    after.filter((_, k) => before[k] !== '3.4.5.6'),
    before.filter((name) => name !== '3.4.5.6'),
  );
});

test('from one scheme to another: older TCP flows that no entry knows stay where the table before sent them, new ones follow the new table', () => {
  const schemes: SchemeSpec[] = [MAGLEV, MH, KATRAN, GLB];
  const ports = Array.from({ length: 200 }, (_, i) => 1024 + i);
  for (const from of schemes) {
    for (const to of schemes.filter((scheme) => scheme !== from)) {
      const alone = new Rig(specOf(poolOf(to, REALS4), '10.200.1.1'));
      const rig = new Rig(specOf(poolOf(from, REALS4), '10.200.1.1'));
      const older = ports.map((port) => port + 1000);
      const run = (on: Rig, flags: string, now: number, of = ports) =>
        on
          .run(
            of.map((sport, i) => frame(`192.168.${i & 7}.1`, sport, '10.200.1.1', 80, flags)),
            { now },
          )
          .map((o) => o.backend);
      const before = run(rig, 'SYN', 0);
      const beforeOlder = run(rig, 'SYN', 0, older);
      rig.publish(specOf(poolOf(to, REALS4), '10.200.1.1'), 10);
      const fresh = run(rig, 'SYN', 11);
      assert.deepEqual(fresh, run(alone, 'SYN', 0), `${from.name} to ${to.name}`);
      assert.notDeepEqual(fresh, before);
      assert.deepEqual(run(rig, 'ACK', 12), fresh, 'the packets behind a SYN');
      const stays = to.name === 'glb' ? run(alone, 'SYN', 0, older) : beforeOlder;
      assert.deepEqual(run(rig, 'ACK', 12, older), stays, `${from.name} to ${to.name}`);
    }
  }
});

test('pools of different schemes side by side: each service asks its own', () => {
  const pools = [MAGLEV, MH, KATRAN, GLB].map((scheme) => ({ ...poolOf(scheme, REALS4), name: scheme.name }));
  const services = pools.map(({ name }, i) => specOf(pools[i], `10.200.2.${i}`, 80, { name, pool: name }).services[0]);
  const together = new Rig({ services, pools });
  for (const [i, pool] of pools.entries()) {
    const alone = new Rig({ services: [services[i]], pools: [pool] });
    const flows = Array.from({ length: 50 }, (_, k) => frame(`192.168.3.${k}`, 3000 + k, `10.200.2.${i}`, 80));
    assert.deepEqual(
      together.run(flows).map((o) => o.backend),
      alone.run(flows).map((o) => o.backend),
    );
  }
});
