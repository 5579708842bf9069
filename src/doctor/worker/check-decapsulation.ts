/** Checks of who unwraps: the kernel's `fou`, or a program of user space in its place. */
import { formatAddress } from '../../base/address.ts';
import type { Found } from '../finding.ts';
import type { Family, FouPort, UserSpaceWorker, WorkerFacts } from './facts.ts';
import type { WantedTunnel, WorkerWanted } from './wanted.ts';

const FLAG = { 4: '', 6: ' -6' } as const;
/** IP protocol number of an inner packet. */
const INNER = { 4: 4, 6: 41 } as const;

/** What a port of `fou` must take for these packets. */
function wish({ encapsulation, inner }: WantedTunnel): 'gue' | number {
  return encapsulation === 'fou' ? INNER[inner] : 'gue';
}

function typeText(takes: 'gue' | number): string {
  return takes === 'gue' ? 'gue' : `ipproto ${takes}`;
}

/** The `gue-director worker` that takes these packets, if any does. */
export function takenInUserSpace(tunnel: WantedTunnel, workers: readonly UserSpaceWorker[]): UserSpaceWorker | undefined {
  const { encapsulation, port, inner } = tunnel;
  return workers.find((worker) => {
    if (encapsulation === 'ipip') return worker.ipip;
    if (encapsulation === 'gre') return worker.gre;
    if (encapsulation === 'fou') return worker.fou.some((one) => one.port === port && one.protocol === INNER[inner]);
    return worker.port === port;
  });
}

export function checkDecapsulation(facts: WorkerFacts, wanted: WorkerWanted): Found[] {
  const found: Found[] = [];
  const said = new Set<UserSpaceWorker>();
  const ports = new Set<string>();
  for (const tunnel of wanted.tunnels) {
    const worker = takenInUserSpace(tunnel, facts.userSpace);
    if (worker !== undefined) {
      if (!said.has(worker)) found.push(recognised(worker));
      said.add(worker);
    } else if (tunnel.port !== null) {
      const key = `${tunnel.outer} ${tunnel.port} ${wish(tunnel)}`;
      if (!ports.has(key)) found.push(...checkPort(facts, tunnel, tunnel.port, wanted));
      ports.add(key);
    }
  }
  return [...found, ...checkTwice(facts, wanted)];
}

function recognised({ pid, device }: UserSpaceWorker): Found {
  return {
    id: 'user-space-worker',
    level: 'info',
    text: `gue-director worker (process ${pid}) unwraps in place of the kernel, into ${device}: right for tests and small set-ups`,
    fix: '',
  };
}

function checkPort(facts: WorkerFacts, tunnel: WantedTunnel, port: number, wanted: WorkerWanted): Found[] {
  const { outer } = tunnel;
  const takes = wish(tunnel);
  const over = `IPv${outer}`;
  const module = outer === 4 ? 'fou' : 'fou6';
  const add = `ip${FLAG[outer]} fou add port ${port} ${typeText(takes)}`;
  const here = facts.fou?.filter(({ family }) => family === outer) ?? [];
  const same = here.filter((one) => one.port === port);
  if (same.some((one) => one.takes === takes)) return [];
  if (same.length > 0) {
    return [
      {
        id: 'fou-port-type',
        level: 'error',
        text: `UDP port ${port} over ${over} takes ${typeText(same[0].takes)}, and directors send ${tunnel.encapsulation} (${typeText(takes)}): what is unwrapped is garbage`,
        fix: `ip${FLAG[outer]} fou del port ${port} && ${add}`,
      },
    ];
  }
  const holder = facts.listeners.find((one) => one.protocol === 17 && one.port === port && one.family === outer);
  if (holder !== undefined) {
    return [
      {
        id: 'port-taken',
        level: 'error',
        text: `another program has UDP port ${port} over ${over}, so the kernel can not unwrap there`,
        fix: `ss -ulnp sport = :${port}`,
      },
    ];
  }
  const [program] = facts.userSpace;
  if (here.length === 0 && program !== undefined) {
    const { pid } = program;
    const taken = program.fou.map((one) => `, FOU ${one.port}`).join('');
    return [
      {
        id: 'fou-port-missing',
        level: 'error',
        text: `nothing unwraps UDP port ${port} over ${over}, to which directors send ${tunnel.encapsulation}: gue-director worker (process ${pid}) unwraps GUE ${program.port}${taken}`,
        // What else it was started with is not known here, and no other pool may lose its port.
        fix: `ps -o args= -p ${pid}   # ${remedy(tunnel, port, program)}`,
      },
    ];
  }
  if (facts.fou === null) return [missingModule(facts, tunnel, port, module, add, wanted)];
  const load = outer === 6 && facts.canLoad('fou6') ? 'modprobe fou6 && ' : '';
  return [
    {
      id: 'fou-port-missing',
      level: 'error',
      text: `nothing unwraps UDP port ${port} over ${over}, to which directors send ${tunnel.encapsulation}${others(here)}`,
      fix: `${load}${add}`,
    },
  ];
}

function others(ports: readonly FouPort[]): string {
  return ports.length === 0
    ? ''
    : `: the kernel unwraps ${ports.map(({ port, takes }) => `${port} (${typeText(takes)})`).join(', ')}`;
}

/** Of `gue-director worker`. A process takes GUE at one port. */
function flagFor({ encapsulation, inner }: WantedTunnel, port: number): string {
  return encapsulation === 'fou' ? `--fou ${port}=${INNER[inner]}` : `--port ${port}`;
}

/** What a running worker lacks. */
function remedy(tunnel: WantedTunnel, port: number, running: UserSpaceWorker): string {
  const flag = flagFor(tunnel, port);
  if (tunnel.encapsulation === 'fou') return `start it again with ${flag} added`;
  return `start another beside it with ${flag} --device NAME, or it again with ${flag} where nobody sends to ${running.port}`;
}

/** The command that unwraps them without the kernel. */
function inUserSpace(tunnel: WantedTunnel, port: number, { vips }: WorkerWanted): string {
  const addresses = [...new Set(vips.map(({ address }) => formatAddress(address)))].map((text) => ` --vip ${text}`).join('');
  return `gue-director worker ${flagFor(tunnel, port)}${addresses}`;
}

function missingModule(
  { canLoad }: WorkerFacts,
  tunnel: WantedTunnel,
  port: number,
  module: string,
  add: string,
  wanted: WorkerWanted,
): Found {
  const { encapsulation } = tunnel;
  if (canLoad('fou')) {
    const modules = module === 'fou' ? 'modprobe fou' : 'modprobe fou && modprobe fou6';
    return {
      id: 'fou-missing',
      level: 'error',
      text: `the module fou is not loaded, so the kernel unwraps no ${encapsulation}`,
      fix: `${modules} && ${add}`,
    };
  }
  return {
    id: 'fou-missing',
    level: 'error',
    text: `this kernel has no module fou, so it unwraps no ${encapsulation}: boot one that has it, or unwrap in user space`,
    fix: inUserSpace(tunnel, port, wanted),
  };
}

const KERNEL_DEVICES: Readonly<Record<'ipip' | 'gre', readonly string[]>> = {
  ipip: ['ipip', 'sit', 'ip6tnl'],
  gre: ['gre', 'ip6gre'],
};

/** Raw sockets get copies: a program that takes IP in IP or GRE and a tunnel device of the kernel each deliver the packet. */
function checkTwice({ userSpace, links }: WorkerFacts, { tunnels }: WorkerWanted): Found[] {
  return (['ipip', 'gre'] as const).flatMap((encapsulation): Found[] => {
    const worker = userSpace.find((one) => one[encapsulation]);
    const device = links.find(({ up, kind }) => up && KERNEL_DEVICES[encapsulation].includes(kind));
    if (worker === undefined || device === undefined || !tunnels.some((one) => one.encapsulation === encapsulation)) return [];
    return [
      {
        id: 'unwrapped-twice',
        level: 'warning',
        text: `${encapsulation} is unwrapped twice, by gue-director worker (process ${worker.pid}) and by ${device.name}: every packet arrives two times`,
        fix: `ip link set ${device.name} down`,
      },
    ];
  });
}

/** The tunnels that the kernel is to unwrap, and can. */
export function kernelTunnels(facts: WorkerFacts, { tunnels }: WorkerWanted): WantedTunnel[] {
  const without = facts.fou === null && !facts.canLoad('fou');
  return tunnels.filter(
    (tunnel) => takenInUserSpace(tunnel, facts.userSpace) === undefined && !(without && tunnel.port !== null),
  );
}

export function outerFamilies({ tunnels }: WorkerWanted): Family[] {
  return [...new Set(tunnels.map(({ outer }) => outer))];
}
