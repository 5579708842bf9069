// Path MTU with real routers: what they say about our packets lowers the backend behind the small link and no other; what nobody can
// have said about our packets lowers nothing.
//
//     director d0 ──1500── r0 router ra ──1400── a0 backend A  (10.8.1.2, fd08:1::2)
//                                    rb ──1500── b0 backend B  (10.8.2.2, fd08:2::2)

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { after, test } from 'node:test';
import { formatAddress } from '../../src/base/address.ts';
import { PathMtuWatch } from '../../src/host/path-mtu-watch.ts';
import { HostWatch } from '../../src/host/watch.ts';
import { closeDescriptor } from '../../src/raw-socket/file.ts';
import { pin, retain } from '../../src/raw-socket/memory.ts';
import { MessageVector } from '../../src/raw-socket/message.ts';
import {
  AF_INET,
  AF_INET6,
  bindPort,
  IP_MTU_DISCOVER,
  IPPROTO_IP,
  IPPROTO_IPV6,
  IPPROTO_RAW,
  IPPROTO_UDP,
  IPV6_MTU_DISCOVER,
  openSocket,
  PMTUDISC_PROBE,
  SOCK_DGRAM,
  SOCK_RAW,
  setOption,
} from '../../src/raw-socket/socket.ts';
import { ip } from '../builder/addresses.ts';
import { packet } from '../builder/packet.ts';
import { needs } from '../needs.ts';
import { Namespace, run, setSysctl } from './namespace.ts';
import { type TunnelError, tunnelError, tunnelPacket } from './tunnel-icmp.ts';

const PORT = 6080;
const SOURCE_PORTS = { base: 61024, count: 64 };
const A4 = { source: '10.8.0.1', backend: '10.8.1.2', port: PORT, sourcePort: 61030 };
const B4 = { ...A4, backend: '10.8.2.2' };
const A6 = { source: 'fd08::1', backend: 'fd08:1::2', port: PORT, sourcePort: 61030 };
const B6 = { ...A6, backend: 'fd08:2::2' };
const PATHS = [A4, B4, A6, B6];
const [ID_A4, ID_B4, ID_A6, ID_B6] = [10, 11, 12, 13];
const ROUTERS = { 4: '10.8.0.254', 6: 'fd08::fe' } as const;

type Path = typeof A4;
const familyOf = (address: string) => (address.includes(':') ? 6 : 4);

/** Sends one message from a socket of the current namespace; false when the kernel refuses it. */
function sendFrom(descriptor: number, bytes: Uint8Array, to: string, port: number): boolean {
  const six = familyOf(to) === 6;
  const vector = new MessageVector({ messages: 1, segments: 1, nameBytes: 32, controlBytes: 0 });
  const memory = pin(bytes.length);
  memory.bytes.set(bytes);
  vector.uint16[vector.nameAt(0) >> 1] = six ? AF_INET6 : AF_INET;
  vector.bytes.set([port >> 8, port & 0xff], vector.nameAt(0) + 2);
  vector.bytes.set(ip(to), vector.nameAt(0) + (six ? 8 : 4));
  vector.setNameLength(0, six ? 28 : 16);
  vector.setSegment(0, 0, memory.address, bytes.length);
  const sent = vector.send(descriptor, 0, 1);
  retain(memory);
  return sent === 1;
}

/** A whole IP packet, as the `raw` egress sends it. */
function sendPacket(bytes: Uint8Array, to: string): boolean {
  const descriptor = openSocket(familyOf(to) === 6 ? AF_INET6 : AF_INET, SOCK_RAW, IPPROTO_RAW, 'test');
  try {
    return sendFrom(descriptor, bytes, to, 0);
  } finally {
    closeDescriptor(descriptor);
  }
}

/** Our tunnel packet of `total` bytes. */
function sendTunnel(path: Path, total: number): boolean {
  const headers = familyOf(path.source) === 6 ? 48 : 28;
  return sendPacket(tunnelPacket(path, total - headers), path.backend);
}

/** A GRE packet with nothing much in it. */
function grePacket({ source: src, backend: dst }: Path): Uint8Array {
  const start = familyOf(src) === 6 ? packet().ipv6({ src, dst, nextHeader: 47 }) : packet().ipv4({ src, dst, protocol: 47 });
  return start.payload(Uint8Array.of(0, 0, 8, 0, ...new Uint8Array(28).fill(0x45))).bytes();
}

/** True when this kernel has tunnel devices of the kind. */
function hasDevice(kind: string): boolean {
  return spawnSync('ip', ['link', 'add', 'probe', 'type', kind, 'external']).status === 0;
}

class Lab {
  readonly director = new Namespace();
  readonly router = new Namespace();
  readonly watch: PathMtuWatch;
  readonly #backends = [new Namespace(), new Namespace()];
  readonly #cells: Int32Array;
  now = 1000;

  constructor() {
    for (const namespace of [this.director, this.router, ...this.#backends]) {
      // Interfaces made from now on have usable link-local addresses at once, instead of after two seconds.
      namespace.inside(() => setSysctl('net/ipv6/conf/default/accept_dad', 0));
    }
    this.director.connect('d0', this.router, 'r0');
    this.director.inside(() => {
      run('ip addr add 10.8.0.1/24 dev d0');
      run('ip addr add fd08::1/64 dev d0 nodad');
      run('ip route add 10.8.0.0/16 via 10.8.0.254');
      run('ip route add fd08::/16 via fd08::fe');
    });
    this.router.inside(() => {
      run('ip addr add 10.8.0.254/24 dev r0');
      run('ip addr add fd08::fe/64 dev r0 nodad');
      setSysctl('net/ipv4/ip_forward', 1);
      setSysctl('net/ipv6/conf/all/forwarding', 1);
    });
    this.#backends.forEach((backend, i) => {
      const [here, there, net] = [['ra', 'rb'][i], ['a0', 'b0'][i], i + 1];
      this.router.connect(here, backend, there);
      this.router.inside(() => {
        run(`ip addr add 10.8.${net}.1/24 dev ${here}`);
        run(`ip addr add fd08:${net}::1/64 dev ${here} nodad`);
      });
      backend.inside(() => {
        run(`ip addr add 10.8.${net}.2/24 dev ${there}`);
        run(`ip addr add fd08:${net}::2/64 dev ${there} nodad`);
        run(`ip route add default via 10.8.${net}.1`);
        run(`ip route add default via fd08:${net}::1`);
        // Closed ports are answered at once, every time.
        setSysctl('net/ipv4/icmp_ratelimit', 0);
        setSysctl('net/ipv6/icmp/ratelimit', 0);
      });
      if (i === 0) {
        this.router.inside(() => run(`ip link set ${here} mtu 1400`));
        backend.inside(() => run(`ip link set ${there} mtu 1400`));
      }
    });
    this.watch = this.director.inside(() => {
      const watch = new PathMtuWatch({ sourcePorts: SOURCE_PORTS, backends: 64 });
      watch.setTunnels(
        PATHS.map(({ source, backend, port }, i) => ({
          id: ID_A4 + i,
          pool: 'web',
          name: backend,
          address: ip(backend),
          source: ip(source),
          ports: [port],
          protocols: [17],
          overhead: familyOf(source) === 6 ? 52 : 32,
        })),
        this.now,
      );
      return watch;
    });
    this.#cells = new Int32Array(this.watch.memory);
    this.poll();
  }

  /** Polls inside the director's namespace; what changed as `id: from → to cause`. */
  poll(): string[] {
    const changes = this.director.inside(() => this.watch.poll(this.now));
    return changes.map(({ backend, from, to, cause }) => `${backend.id}: ${from} → ${to} ${cause}`);
  }

  /** Polls until something changed, for as long as neighbour discovery may take. */
  async pollUntil(expected: string): Promise<void> {
    for (let tries = 0; tries < 500; tries++) {
      const changes = this.poll();
      if (changes.length > 0) {
        assert.deepEqual(changes, [expected]);
        return;
      }
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    assert.fail(`nothing changed, expected ${expected}`);
  }

  /** Of A and B over IPv4, then IPv6, as a forwarding thread would read them. */
  mtus(): number[] {
    return [...this.#cells.subarray(ID_A4, ID_B6 + 1)];
  }

  sourceOf(id: number): string {
    return this.watch.report().find((entry) => entry.id === id)?.source ?? 'none';
  }

  /** A forged error, sent by the router. */
  forge(error: Omit<TunnelError, 'from'>): void {
    const from = ROUTERS[familyOf(error.source)];
    const to = error.to ?? (familyOf(error.source) === 6 ? 'fd08::1' : '10.8.0.1');
    assert.ok(this.router.inside(() => sendPacket(tunnelError({ from, ...error, to }), to)));
  }

  close(): void {
    this.watch.close();
    for (const namespace of [this.director, this.router, ...this.#backends]) namespace.close();
  }
}

const labs: Lab[] = [];
function lab(): Lab {
  const made = new Lab();
  labs.push(made);
  return made;
}
after(() => {
  for (const each of labs) each.close();
});

test('a router with a smaller link lowers that backend only, and time raises it again', needs('root', 'namespaces'), async () => {
  const here = lab();
  const { director, watch } = here;
  assert.deepEqual(here.mtus(), [1500, 1500, 1500, 1500]);
  director.inside(() => {
    for (const path of PATHS) assert.ok(sendTunnel(path, 1400));
    assert.ok(sendTunnel(B4, 1500));
    assert.ok(sendTunnel(B6, 1500));
  });
  director.inside(() => assert.ok(sendTunnel(A4, 1450)));
  await here.pollUntil(`${ID_A4}: 1500 → 1400 icmp`);
  director.inside(() => assert.ok(sendTunnel(A6, 1450)));
  await here.pollUntil(`${ID_A6}: 1500 → 1400 icmp`);
  assert.deepEqual(here.mtus(), [1400, 1500, 1400, 1500]);
  assert.deepEqual(watch.icmp.ignored, { ...watch.icmp.ignored, checksum: 0, format: 0, backend: 0, source: 0 });

  const [a4, b4] = watch.report();
  assert.deepEqual([a4.source, a4.innerMtu, a4.routeMtu, a4.since, a4.expires], ['icmp', 1368, 1500, 1000, 1600]);
  assert.deepEqual([b4.source, b4.innerMtu, b4.expires], ['route', 1468, null]);

  here.now = 1599;
  assert.deepEqual(here.poll(), []);
  here.now = 1600;
  assert.deepEqual(here.poll(), [`${ID_A4}: 1400 → 1500 expired`, `${ID_A6}: 1400 → 1500 expired`]);
  assert.deepEqual(here.mtus(), [1500, 1500, 1500, 1500]);
});

test('a backend without a tunnel port open says so, and is counted', needs('root', 'namespaces'), async () => {
  const here = lab();
  here.director.inside(() => {
    assert.ok(sendTunnel(B4, 600));
    assert.ok(sendTunnel(B6, 600));
  });
  for (let tries = 0; here.watch.icmp.unreachable < 2 && tries < 500; tries++) {
    here.poll();
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  const none = { port: 0, protocol: 0, host: 0, net: 0, prohibited: 0 };
  const heard = [ID_A4, ID_B4, ID_A6, ID_B6].map((id) => here.watch.unreachable.entry(id));
  const one = { counts: { ...none, port: 1 }, last: { at: 1000, what: 'port' } };
  assert.deepEqual(heard, [{ counts: none, last: null }, one, { counts: none, last: null }, one]);
  const news = here.watch.unreachable.takeNews().map(({ tunnel: { id }, what, by }) => [id, what, formatAddress(by)]);
  assert.deepEqual(news.sort(), [
    [ID_B4, 'port', B4.backend],
    [ID_B6, 'port', B6.backend],
  ]);
  assert.deepEqual(here.mtus(), [1500, 1500, 1500, 1500]);
});

test(
  'a backend that does not know the tunnel’s protocol, or is not there, says so too',
  needs('root', 'namespaces'),
  async () => {
    const here = lab();
    const { director, router, watch } = here;
    const end = { pool: 'web', ports: [], overhead: 24 };
    const gre = { ...end, protocols: [47] };
    const set = [
      { ...gre, id: 30, name: 'gre', address: ip(B4.backend), source: ip(B4.source) },
      { ...gre, id: 31, name: 'gre6', address: ip(B6.backend), source: ip(B6.source) },
      { ...end, id: 32, name: 'gone', address: ip('10.8.2.9'), source: ip(B4.source), protocols: [17], ports: [PORT] },
      { ...end, id: 35, name: 'here', address: ip('10.8.0.99'), source: ip(B4.source), protocols: [17], ports: [PORT] },
      { ...end, id: 33, name: 'closed', address: ip('10.8.9.9'), source: ip(B4.source), protocols: [17], ports: [PORT] },
      { ...end, id: 34, name: 'refused', address: ip('10.8.8.8'), source: ip(B4.source), protocols: [17], ports: [PORT] },
    ];
    const [knows4, knows6] = ['gre', 'ip6gre'].map((kind) => router.inside(() => hasDevice(kind)));
    router.inside(() => {
      run('ip route add prohibit 10.8.8.0/24');
      // Nobody answers ARP for it: told after a second otherwise.
      setSysctl('net/ipv4/neigh/rb/retrans_time_ms', 20);
    });
    director.inside(() => {
      watch.setTunnels(set, here.now);
      for (const path of [B4, B6]) assert.ok(sendPacket(grePacket(path), path.backend));
      // On our own link: our kernel says so itself.
      setSysctl('net/ipv4/neigh/d0/retrans_time_ms', 20);
      for (const backend of ['10.8.2.9', '10.8.0.99', '10.8.9.9', '10.8.8.8']) assert.ok(sendTunnel({ ...B4, backend }, 600));
    });
    for (let tries = 0; watch.icmp.unreachable < 6 && tries < 250; tries++) {
      here.poll();
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    const said = set.map(({ id }) => [id, watch.unreachable.entry(id)?.last?.what]);
    assert.deepEqual(said, [
      // Where the kernel has GRE it says that no device takes the packet.
      [30, knows4 ? 'port' : 'protocol'],
      [31, knows6 ? 'port' : 'protocol'],
      [32, 'host'],
      [35, 'host'],
      [33, 'net'],
      [34, 'prohibited'],
    ]);
  },
);

test('forged errors are ignored, whichever field of the quote is wrong', needs('root', 'namespaces'), () => {
  const here = lab();
  const { ignored } = here.watch.icmp;
  const wrong: Partial<TunnelError>[] = [
    { source: '10.8.0.7' },
    { source: 'fd08::7' },
    { backend: '10.8.1.3' },
    { backend: 'fd08:1::3' },
    { backend: B4.source },
    { port: 6081 },
    { sourcePort: 61023 },
    { sourcePort: 61088 },
    { protocol: 6 },
    { type: 11, code: 0 },
    { quoteFields: { offset: 8 } },
    { checksum: 0xbeef },
    { quoted: 20 },
  ];
  for (const path of [A4, A6]) {
    const six = path === A6;
    for (const fields of wrong) {
      const address = fields.source ?? fields.backend;
      if (address !== undefined && familyOf(address) !== familyOf(path.source)) continue;
      if (six && fields.quoteFields !== undefined) continue;
      here.forge({ ...path, mtu: 1300, ...fields, ...(six && fields.type === 11 ? { type: 3 } : {}) });
      assert.deepEqual(here.poll(), [], JSON.stringify(fields));
    }
  }
  assert.deepEqual(here.mtus(), [1500, 1500, 1500, 1500]);
  assert.equal(here.watch.icmp.tooBig, 0);
  // These get as far as us; the kernel's filter has kept the others (port, protocol, type, no ports at all) away.
  assert.deepEqual(
    { ...ignored },
    { truncated: 0, checksum: 1, type: 0, format: 1, protocol: 0, backend: 3, source: 2, port: 0, 'source-port': 4 },
  );

  // Nothing wrong: the same sender is believed, which is all that the quote can prove.
  here.forge({ ...A4, mtu: 1300 });
  here.forge({ ...A6, mtu: 1300 });
  assert.deepEqual(here.poll(), [`${ID_A4}: 1500 → 1300 icmp`, `${ID_A6}: 1500 → 1300 icmp`]);
  // Upwards there is no way, and downwards there is an end.
  for (const mtu of [1500, 9000, 65535, 1301]) for (const path of [A4, A6]) here.forge({ ...path, mtu });
  assert.deepEqual(here.poll(), []);
  for (const path of [A4, A6]) here.forge({ ...path, mtu: 100 });
  assert.deepEqual(here.poll(), [`${ID_A4}: 1300 → 552 icmp`, `${ID_A6}: 1300 → 1280 icmp`]);
  assert.equal(here.watch.lowerings.clamped, 2);
});

test('other programs’ ICMP is not even read', needs('root', 'namespaces'), () => {
  const here = lab();
  here.director.inside(() => {
    run('ping -c 2 -i 0.01 10.8.1.2');
    run('ping -c 2 -i 0.01 fd08:1::2');
  });
  here.forge({ ...A4, port: 53, mtu: 1300 });
  here.forge({ ...A6, port: 53, mtu: 1300 });
  here.poll();
  const { ignored, ...believed } = here.watch.icmp;
  assert.deepEqual([...Object.values(believed), ...Object.values(ignored)], Array(12).fill(0));
});

test('the routes’ own MTU is followed: the link’s, a route’s, another next hop’s, and none', needs('root', 'namespaces'), () => {
  const here = lab();
  const changes = here.director.inside(() => new HostWatch());
  const told = (work: () => void): string[] => {
    here.director.inside(work);
    const { links, routes } = changes.poll();
    assert.ok(links || routes);
    here.watch.routesChanged();
    return here.poll().sort();
  };
  assert.deepEqual(
    told(() => run('ip route add 10.8.1.2/32 via 10.8.0.254 mtu 1450')),
    [`${ID_A4}: 1500 → 1450 route`],
  );
  here.forge({ ...A4, mtu: 1420 });
  assert.deepEqual(here.poll(), [`${ID_A4}: 1450 → 1420 icmp`]);
  // The same way with more room: what the router said still counts.
  assert.deepEqual(
    told(() => run('ip route replace 10.8.1.2/32 via 10.8.0.254 mtu 1480')),
    [],
  );
  assert.equal(here.sourceOf(ID_A4), 'icmp');
  // Another next hop is another path.
  assert.deepEqual(
    told(() => run('ip route replace 10.8.1.2/32 via 10.8.0.253 mtu 1480')),
    [`${ID_A4}: 1420 → 1480 route`],
  );
  assert.deepEqual(
    told(() => run('ip link set d0 mtu 1350')),
    [ID_A4, ID_B4, ID_A6, ID_B6].map((id) => `${id}: ${id === ID_A4 ? 1480 : 1500} → 1350 route`),
  );
  told(() => run('ip link set d0 down'));
  assert.deepEqual(here.mtus(), [0, 0, 0, 0]);
  assert.equal(here.sourceOf(ID_B6), 'unknown');
  changes.close();
});

test(
  'a packet that our own kernel refuses makes the route be read at once, and begins no lease',
  needs('root', 'namespaces'),
  () => {
    const here = lab();
    const paths = [
      { path: A4, id: ID_A4, route: '10.8.1.2/32 via 10.8.0.254' },
      { path: A6, id: ID_A6, route: 'fd08:1::2/128 via fd08::fe' },
    ];
    for (const { path, id, route } of paths) {
      // Nobody calls routesChanged: the packet is faster than the notification.
      here.director.inside(() => {
        run(`ip route add ${route} mtu 1450`);
        assert.equal(sendTunnel(path, 1480), false);
      });
      assert.deepEqual(here.poll(), [`${id}: 1500 → 1450 route`]);
      here.director.inside(() => run(`ip route del ${route}`));
      here.watch.routesChanged();
      assert.deepEqual(here.poll(), [`${id}: 1450 → 1500 route`]);
    }
    assert.deepEqual([here.watch.icmp.ownRoute, here.watch.icmp.tooBig], [2, 0]);
  },
);

test(
  'sent by UDP sockets it is the same; what the kernel learns by them too is followed, and forgotten with it',
  needs('root', 'namespaces'),
  async () => {
    const here = lab();
    const sockets = here.director.inside(() =>
      [AF_INET, AF_INET6].map((family) => {
        const descriptor = openSocket(family, SOCK_DGRAM, IPPROTO_UDP, 'test');
        if (family === AF_INET) setOption(descriptor, IPPROTO_IP, IP_MTU_DISCOVER, PMTUDISC_PROBE, 'IP_MTU_DISCOVER');
        else setOption(descriptor, IPPROTO_IPV6, IPV6_MTU_DISCOVER, PMTUDISC_PROBE, 'IPV6_MTU_DISCOVER');
        assert.ok(bindPort(descriptor, family, family === AF_INET ? 61031 : 61032));
        return descriptor;
      }),
    );
    here.director.inside(() => assert.ok(sendFrom(sockets[0], new Uint8Array(1450 - 28), A4.backend, PORT)));
    await here.pollUntil(`${ID_A4}: 1500 → 1400 icmp`);
    here.director.inside(() => assert.ok(sendFrom(sockets[1], new Uint8Array(1450 - 48), A6.backend, PORT)));
    await here.pollUntil(`${ID_A6}: 1500 → 1400 icmp`);
    // The kernel has believed it, too: its routes say 1400 for ten minutes of its own clock. Ours has moved on.
    here.now += 601;
    here.poll();
    assert.deepEqual(here.mtus(), [1400, 1500, 1400, 1500]);
    assert.equal(here.sourceOf(ID_A4), 'route');
    // It announces nothing when it forgets.
    here.director.inside(() => {
      run('ip route flush cache');
      run('ip -6 route flush cache');
    });
    here.now += 31;
    here.poll();
    assert.deepEqual(here.mtus(), [1500, 1500, 1500, 1500]);
    for (const descriptor of sockets) closeDescriptor(descriptor);
  },
);

test('a flood of errors costs a bounded poll, is counted, and ends', needs('root', 'namespaces'), () => {
  const here = lab();
  const flood = tunnelError({ from: ROUTERS[4], ...A4, mtu: 1500 });
  here.router.inside(() => {
    for (let i = 0; i < 3000; i++) sendPacket(flood, '10.8.0.1');
  });
  here.poll();
  assert.equal(here.watch.icmp.tooBig, 128);
  const lost = here.watch.overflows();
  assert.ok(lost > 0, 'the receive buffer has no end');
  for (let i = 0; i < 100; i++) here.poll();
  assert.equal(here.watch.icmp.tooBig + lost, 3000);
  here.forge({ ...A4, mtu: 1300 });
  assert.deepEqual(here.poll(), [`${ID_A4}: 1500 → 1300 icmp`]);
});

test('after a reload, only what is configured now is believed', needs('root', 'namespaces'), () => {
  const here = lab();
  const tunnel = (path: Path, id: number, port: number) => ({
    id,
    pool: 'web',
    name: path.backend,
    address: ip(path.backend),
    source: ip(path.source),
    ports: [port],
    protocols: [17],
    overhead: 32,
  });
  here.forge({ ...A4, mtu: 1300 });
  here.poll();
  // Two pools share backend B over IPv4; A stays over IPv4 and is gone over IPv6; the ports of B are others.
  const reloaded = [tunnel(A4, ID_A4, PORT), tunnel(B4, 20, 7000), tunnel(B4, 21, 7001), tunnel(B6, 22, 7002)];
  here.director.inside(() => here.watch.setTunnels(reloaded, here.now));
  here.poll();
  assert.deepEqual(here.mtus(), [1300, 0, 0, 0]);
  for (const path of [A6, B4, B6]) here.forge({ ...path, mtu: 1290 });
  assert.deepEqual(here.poll(), []);
  here.forge({ ...B4, port: 7001, mtu: 1290 });
  here.forge({ ...B6, port: 7002, mtu: 1290 });
  assert.deepEqual(here.poll(), ['20: 1500 → 1290 icmp', '21: 1500 → 1290 icmp', '22: 1500 → 1290 icmp']);
  // Without IPv6 tunnels nothing of IPv6 is heard, without any nothing at all.
  here.director.inside(() => here.watch.setTunnels([], here.now));
  here.forge({ ...A4, mtu: 1200 });
  here.forge({ ...B6, port: 7002, mtu: 1285 });
  const { tooBig } = here.watch.icmp;
  assert.deepEqual(here.poll(), []);
  assert.equal(here.watch.icmp.tooBig, tooBig);
  assert.deepEqual(here.watch.report(), []);
});

test('tunnels without UDP: the kernel hands us what quotes them, and nothing else', needs('root', 'namespaces'), () => {
  const here = lab();
  const tunnel = (path: Path, id: number, protocols: readonly number[]) => ({
    id,
    pool: 'web',
    name: path.backend,
    address: ip(path.backend),
    source: ip(path.source),
    ports: [],
    protocols,
    overhead: 24,
  });
  const set = [tunnel(A4, 30, [47]), tunnel(B4, 31, [4, 41]), tunnel(A6, 32, [4, 41]), tunnel(B6, 33, [47])];
  here.director.inside(() => here.watch.setTunnels(set, here.now));
  here.poll();
  // A UDP packet's, as if it were one of a tunnel of before.
  for (const path of [A4, B4, A6, B6]) here.forge({ ...path, mtu: 1290 });
  assert.deepEqual(here.poll(), []);
  here.forge({ ...A4, protocol: 47, sourcePort: 0, port: 0x0800, mtu: 1291 });
  here.forge({ ...B4, protocol: 41, sourcePort: 0x6000, port: 0, mtu: 1292 });
  here.forge({ ...A6, protocol: 4, sourcePort: 0x4500, port: 84, mtu: 1293 });
  here.forge({ ...B6, protocol: 47, sourcePort: 0x8000, port: 0x86dd, mtu: 1294 });
  const changes = here.poll().map((change) => change.replace(/^(\d+): \d+ → /, '$1: '));
  assert.deepEqual(changes.sort(), ['30: 1291 icmp', '31: 1292 icmp', '32: 1293 icmp', '33: 1294 icmp']);
});
