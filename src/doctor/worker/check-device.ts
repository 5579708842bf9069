/** Checks of the tunnel devices: one must take each mix of outer and inner packets. */
import { formatAddress } from '../../base/address.ts';
import type { Found } from '../finding.ts';
import { kernelTunnels } from './check-decapsulation.ts';
import type { FactLink, WorkerFacts } from './facts.ts';
import { incoming } from './incoming-links.ts';
import type { WantedTunnel, WorkerWanted } from './wanted.ts';

/** What takes one mix of packets in this kernel. */
interface Taker {
  /** IFLA_INFO_KIND. */
  readonly kind: string;
  /** Modes in which it takes the inner packets; null: in every one. */
  readonly modes: readonly string[] | null;
  /** Its fallback device, which takes packets from anybody. */
  readonly fallback: string;
  readonly module: string;
  /** What gives the fallback device the right mode. */
  readonly change: string;
}

function takerOf({ encapsulation, outer, inner }: WantedTunnel): Taker {
  if (encapsulation === 'gre') {
    return outer === 4
      ? { kind: 'gre', modes: null, fallback: 'gre0', module: 'ip_gre', change: '' }
      : { kind: 'ip6gre', modes: null, fallback: 'ip6gre0', module: 'ip6_gre', change: '' };
  }
  if (outer === 4 && inner === 4) return { kind: 'ipip', modes: ['ipip', 'any'], fallback: 'tunl0', module: 'ipip', change: '' };
  if (outer === 4) return { kind: 'sit', modes: ['ip6ip', 'any'], fallback: 'sit0', module: 'sit', change: '' };
  const change = 'ip -6 tunnel change ip6tnl0 mode any';
  const own = inner === 4 ? 'ipip6' : 'ip6ip6';
  return { kind: 'ip6tnl', modes: [own, 'any'], fallback: 'ip6tnl0', module: 'ip6_tunnel', change };
}

/** The devices that take such packets, up or not. */
export function devicesFor(links: readonly FactLink[], tunnel: WantedTunnel): FactLink[] {
  const { kind, modes } = takerOf(tunnel);
  return links.filter(
    (link) => link.kind === kind && (link.external || link.mode === '' || modes === null || modes.includes(link.mode)),
  );
}

export function checkDevices(facts: WorkerFacts, wanted: WorkerWanted): Found[] {
  const found = new Map<string, Found>();
  for (const tunnel of kernelTunnels(facts, wanted)) {
    const finding = checkDevice(facts, wanted, tunnel);
    if (finding !== null) found.set(`${finding.id} ${finding.fix}`, finding);
  }
  return [...found.values()];
}

function checkDevice(facts: WorkerFacts, wanted: WorkerWanted, tunnel: WantedTunnel): Found | null {
  const { links } = facts;
  const taker = takerOf(tunnel);
  const { kind, fallback, module, change } = taker;
  const what = `IPv${tunnel.inner} in IPv${tunnel.outer}`;
  const fitting = devicesFor(links, tunnel);
  if (fitting.some(({ up }) => up))
    return kind === 'gre' || kind === 'ip6gre' ? checkChecksums(fitting, tunnel, endpointOf(facts, wanted, tunnel)) : null;
  if (fitting.length > 0) {
    const { name } = fitting.find((link) => link.name === fallback) ?? fitting[0];
    return {
      id: 'tunnel-device-down',
      level: 'error',
      text: `${name} is down: unwrapped packets (${what}) are dropped`,
      fix: `ip link set ${name} up`,
    };
  }
  const others = links.filter((link) => link.kind === kind);
  if (others.length > 0 && others.some(({ name }) => name === fallback) && change !== '') {
    const { mode } = others.find(({ name }) => name === fallback) as FactLink;
    return {
      id: 'tunnel-device-mode',
      level: 'error',
      text: `no tunnel device takes ${what}: ${fallback} is of mode ${mode}`,
      fix: `${change} && ip link set ${fallback} up`,
    };
  }
  return {
    id: 'tunnel-device-missing',
    level: 'error',
    text: `there is no tunnel device of kind ${kind}, which takes ${what}`,
    fix: [`modprobe ${module}`, ...(change === '' ? [] : [change]), `ip link set ${fallback} up`].join(' && '),
  };
}

/** The address of this host that directors send to; where the configuration does not say, that of the interface by which packets come. */
function endpointOf(facts: WorkerFacts, wanted: WorkerWanted, { outer }: WantedTunnel): string | null {
  const own = incoming(facts, wanted).flatMap(({ addresses }) => addresses.map(({ bytes }) => bytes));
  const bytes = [...wanted.endpoints, ...own].find(
    (one) => one.length === (outer === 4 ? 4 : 16) && !(one[0] === 0xfe && (one[1] & 0xc0) === 0x80),
  );
  return bytes === undefined ? null : formatAddress(bytes);
}

/** A GRE device takes packets with a checksum, or packets without; the others it counts as rx_crc_errors (ip_tunnel_rcv). */
function checkChecksums(devices: readonly FactLink[], { checksums, outer }: WantedTunnel, address: string | null): Found | null {
  const up = devices.filter((device) => device.up);
  if (up.some((device) => device.checksums === checksums)) return null;
  const six = outer === 6 ? 'ip6gre' : 'gre';
  const name = `gre${checksums ? 'sum' : 'plain'}${outer === 6 ? '6' : ''}`;
  const rest = `${outer === 6 ? ' encaplimit none' : ' remote any'}${checksums ? ' icsum' : ''} && ip link set ${name} up`;
  const command = (local: string) => `ip link add ${name} type ${six} local ${local}${rest}`;
  return {
    id: 'gre-checksums',
    level: 'error',
    text: `directors send GRE ${checksums ? 'with' : 'without'} a checksum, and ${up[0].name} takes only packets ${checksums ? 'without' : 'with'}`,
    fix:
      address === null
        ? `ip address show   # then, with the address that directors send to: ${command('ADDRESS')}`
        : command(address),
  };
}
