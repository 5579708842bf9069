/**
 * The lab: a client, a router, a director and workers, each a network namespace, joined by veth pairs.
 *
 *      gd-<pid>-client           gd-<pid>-router                         gd-<pid>-director
 *     +-----------------+      +----------------------------+          +--------------------+
 *     | eth0            |------| out0               lan0    |----------| eth0               |
 *     | 10.80.0.2       | 1500 | 10.80.0.1          .1.1    |   1600   | 10.80.1.10         |
 *     | fd80::2         |      | fd80::1     fd80:0:0:1::1  |     |    | fd80:0:0:1::10     |
 *     +-----------------+      +----------------------------+     |    +--------------------+
 *                                lan0 is a bridge with a port     |    +--------------------+
 *                                for every namespace inside       +----| eth0     worker-1  |
 *                                                                 |    | 10.80.1.21         |
 *     VIPs, on no link at all:                                    |    | fd80:0:0:1::21     |
 *     10.80.9.1, fd80:0:0:9::1                                    |    +--------------------+
 *     (on lo of the workers)                                      +---- worker-2, worker-3 …
 *
 * The router sends the VIPs to the director. Director and workers have the router as their default route, so a worker's answer
 * goes worker – router – client and never passes the director (direct server return), as in a data centre. Inside links carry
 * 1,600 bytes by default: a 1,500-byte packet and its outer headers (32 over IPv4, 52 over IPv6) fit.
 *
 * With `workersRouted` the workers have a network of their own, 10.80.2.0/24 and fd80:0:0:2::/64, behind a second bridge, far0: the router
 * then also routes tunnel packets, and `setFarMtu` makes the way to the workers smaller under running traffic.
 */
import { execute } from './command.ts';
import { Namespace } from './namespace.ts';
import { removeNamespaces, sweep } from './sweep.ts';

export interface LabOptions {
  /** Number of worker namespaces, 0–200. Default 3. */
  readonly workers?: number;
  /** MTU of the link between client and router. Default 1500. */
  readonly clientMtu?: number;
  /** MTU of the bridge and of the links of director and workers. Default 1600. */
  readonly insideMtu?: number;
  /** True: the workers are behind the router, on a network of their own (far0). Default false. */
  readonly workersRouted?: boolean;
  /**
   * What the links do in place of the stacks: `all` (default, as veth comes: super-packets and partial checksums cross every link),
   * `checksum` (partial checksums, but nothing larger than the MTU), `none` (whole packets, as a wire carries them). The last two
   * need ethtool.
   */
  readonly offloads?: 'all' | 'checksum' | 'none';
  /** False leaves the VIPs off the workers' lo, for a worker command that adds them itself. Default true. */
  readonly vipsOnWorkers?: boolean;
}

export const VIP4 = '10.80.9.1';
export const VIP6 = 'fd80:0:0:9::1';
/** Number of the workers' own network. */
const FAR_NET = 2;

const live = new Set<Lab>();
let labsMade = 0;
let hooksInstalled = false;

/** Whatever ends the process, the lab goes with it; only SIGKILL needs `sweep`. */
function installHooks(): void {
  if (hooksInstalled) return;
  hooksInstalled = true;
  const closeAll = () => {
    for (const lab of [...live]) lab.close();
  };
  process.on('exit', closeAll);
  for (const [signal, number] of [
    ['SIGINT', 2],
    ['SIGTERM', 15],
    ['SIGHUP', 1],
  ] as const) {
    process.on(signal, () => {
      closeAll();
      process.exit(128 + number);
    });
  }
}

/** The network configuration of a namespace, one fact a line. What the kernel adds by itself to a link that is up is not ours. */
function networkFacts(namespace: Namespace): Set<string> {
  const show = (...args: string[]) => execute('ip', ['-n', namespace.name, '-o', ...args]).split('\n');
  const links = show('link', 'show').map((line) => /^\d+: [^:]+/.exec(line)?.[0] ?? '');
  const addresses = show('addr', 'show').map((line) => /^\d+: \S+\s+inet6? \S+/.exec(line)?.[0] ?? '');
  const routes = ['-4', '-6'].flatMap((family) => [
    ...show(family, 'route', 'show', 'table', 'all').map((line) => line.trim()),
    ...show(family, 'rule', 'show').map((line) => line.trim()),
  ]);
  return new Set([...links, ...addresses, ...routes].filter((fact) => fact !== '' && !/\bf(e80|f00):/.test(fact)));
}

/** Tries, and milliseconds between them, until the kernel has done what was asked for. */
const SETTLING = { tries: 50, pause: 100 };

/**
 * The facts when the namespace's IPv6 address has its local route: the kernel adds that from a work queue, now and then a moment after the
 * command that added the address has ended.
 */
function settledFacts(namespace: Namespace): Set<string> {
  for (let tries = 1; ; tries++) {
    const facts = networkFacts(namespace);
    if (tries === SETTLING.tries || [...facts].some((fact) => fact.startsWith(`local ${namespace.address6} `))) return facts;
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, SETTLING.pause);
  }
}

export class Lab {
  readonly client: Namespace;
  readonly router: Namespace;
  readonly director: Namespace;
  readonly workers: readonly Namespace[];
  readonly vip4 = VIP4;
  readonly vip6 = VIP6;

  #clean: ReadonlyMap<Namespace, ReadonlySet<string>> = new Map();

  /** Use `Lab.create`. */
  private constructor(client: Namespace, router: Namespace, director: Namespace, workers: readonly Namespace[]) {
    this.client = client;
    this.router = router;
    this.director = director;
    this.workers = workers;
  }

  get namespaces(): readonly Namespace[] {
    return [this.client, this.router, this.director, ...this.workers];
  }

  /** Builds everything; on failure nothing is left. Needs root, or `inUserNamespace` of privilege.ts. About 0.3 s. */
  static create(options: LabOptions = {}): Lab {
    installHooks();
    sweep(new Set([...live].flatMap((lab) => lab.namespaces.map((namespace) => namespace.name))));
    labsMade++;
    const stem = labsMade === 1 ? `gd-${process.pid}` : `gd-${process.pid}-${labsMade}`;
    const inside = (role: string, host: number, net = 1) =>
      new Namespace(`${stem}-${role}`, role, `10.80.${net}.${host}`, `fd80:0:0:${net}::${host}`);
    const workerNet = options.workersRouted === true ? FAR_NET : 1;
    const workers = Array.from({ length: options.workers ?? 3 }, (_, i) => inside(`worker-${i + 1}`, 21 + i, workerNet));
    const client = new Namespace(`${stem}-client`, 'client', '10.80.0.2', 'fd80::2');
    const lab = new Lab(client, inside('router', 1), inside('director', 10), workers);
    live.add(lab);
    try {
      lab.#build(options);
    } catch (error) {
      lab.close();
      throw error;
    }
    return lab;
  }

  #build(options: LabOptions): void {
    const clientMtu = options.clientMtu ?? 1500;
    const insideMtu = options.insideMtu ?? 1600;
    for (const namespace of this.namespaces) {
      execute('ip', ['netns', 'add', namespace.name]);
      namespace.sysctl({
        // Addresses are usable at once instead of after a second of duplicate address detection.
        'net.ipv6.conf.all.accept_dad': 0,
        'net.ipv6.conf.default.accept_dad': 0,
        'net.ipv6.conf.all.accept_ra': 0,
        'net.ipv6.conf.default.accept_ra': 0,
        // A container's defaults may have it switched off.
        'net.ipv6.conf.all.disable_ipv6': 0,
        'net.ipv6.conf.default.disable_ipv6': 0,
        // The maximum of `all` and the device counts: distributions set `default` to strict.
        'net.ipv4.conf.all.rp_filter': 0,
        'net.ipv4.conf.default.rp_filter': 0,
      });
    }
    const { client, router, director } = this;
    const far = options.workersRouted === true;
    router.ip(
      'link set lo up',
      `link add out0 mtu ${clientMtu} type veth peer name eth0 mtu ${clientMtu} netns ${client.name}`,
      // No multicast snooping: a bridge without a querier would lose neighbour solicitations.
      `link add lan0 mtu ${insideMtu} type bridge mcast_snooping 0 forward_delay 0`,
      ...(far ? [`link add far0 mtu ${insideMtu} type bridge mcast_snooping 0 forward_delay 0`] : []),
      ...[director, ...this.workers].flatMap((namespace) => [
        `link add ${namespace.role} mtu ${insideMtu} type veth peer name eth0 mtu ${insideMtu} netns ${namespace.name}`,
        `link set ${namespace.role} master ${far && namespace !== director ? 'far0' : 'lan0'} up`,
      ]),
      `link set lan0 mtu ${insideMtu} up`,
      ...(far
        ? [
            `link set far0 mtu ${insideMtu} up`,
            `addr add 10.80.${FAR_NET}.1/24 dev far0`,
            `addr add fd80:0:0:${FAR_NET}::1/64 dev far0 nodad`,
          ]
        : []),
      'link set out0 up',
      'addr add 10.80.0.1/24 dev out0',
      'addr add fd80::1/64 dev out0 nodad',
      'addr add 10.80.1.1/24 dev lan0',
      'addr add fd80:0:0:1::1/64 dev lan0 nodad',
      `route add ${VIP4}/32 via ${director.address4}`,
      `route add ${VIP6}/128 via ${director.address6}`,
    );
    router.sysctl({ 'net.ipv4.ip_forward': 1, 'net.ipv6.conf.all.forwarding': 1 });
    client.ip(
      'link set lo up',
      'link set eth0 up',
      `addr add ${client.address4}/24 dev eth0`,
      `addr add ${client.address6}/64 dev eth0 nodad`,
      'route add default via 10.80.0.1',
      'route add default via fd80::1',
    );
    for (const namespace of [director, ...this.workers]) {
      const net = far && namespace !== director ? FAR_NET : 1;
      namespace.ip(
        'link set lo up',
        'link set eth0 up',
        `addr add ${namespace.address4}/24 dev eth0`,
        `addr add ${namespace.address6}/64 dev eth0 nodad`,
        `route add default via 10.80.${net}.1`,
        `route add default via fd80:0:0:${net}::1`,
      );
    }
    director.sysctl({ 'net.ipv4.ip_forward': 1, 'net.ipv6.conf.all.forwarding': 1 });
    if (options.vipsOnWorkers ?? true) {
      for (const worker of this.workers) worker.ip(`addr add ${VIP4}/32 dev lo`, `addr add ${VIP6}/128 dev lo nodad`);
    }
    if (options.offloads === 'checksum') this.#switchOff('tso', 'gso', 'gro');
    if (options.offloads === 'none') this.#switchOff('tso', 'gso', 'gro', 'tx', 'rx');
    this.#clean = new Map(this.namespaces.map((namespace) => [namespace, settledFacts(namespace)]));
  }

  #switchOff(...features: string[]): void {
    const off = features.flatMap((feature) => [feature, 'off']);
    for (const namespace of this.namespaces) {
      const links = namespace === this.router ? ['out0', 'director', ...this.workers.map((worker) => worker.role)] : ['eth0'];
      for (const link of links) namespace.run('ethtool', ['-K', link, ...off]);
    }
  }

  /**
   * The MTU of the router's link to the workers from now on; needs `workersRouted`. What is larger, the router answers with ICMP to its sender.
   * The other direction, from the workers, stays as it is.
   */
  setFarMtu(mtu: number): void {
    this.router.ip(`link set far0 mtu ${mtu}`);
  }

  /** A TAP device on the inside bridge, the wire of a virtual machine (its hypervisor runs in the router's namespace). */
  addTap(name: string, mtu = 1600): void {
    this.router.ip(`tuntap add dev ${name} mode tap`, `link set ${name} mtu ${mtu} master lan0 up`);
  }

  /** Links, addresses, routes and rules that are there now and were not when the lab was new: `director: 7: gd0: <…`. */
  leftovers(): string[] {
    return this.namespaces.flatMap((namespace) => {
      const clean = this.#clean.get(namespace) ?? new Set();
      return [...networkFacts(namespace)].filter((fact) => !clean.has(fact)).map((fact) => `${namespace.role}: ${fact}`);
    });
  }

  /** Ends every process in the lab and removes its namespaces. Safe to call twice. */
  close(): void {
    live.delete(this);
    removeNamespaces(this.namespaces.map((namespace) => namespace.name));
  }
}
