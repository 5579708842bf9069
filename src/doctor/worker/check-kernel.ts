/** Checks of the kernel's settings around a worker: reverse path filters, MTU, ways back. */

import { sysctlName } from '../../host/sysctl.ts';
import type { Found } from '../finding.ts';
import { outerFamilies, takenInUserSpace } from './check-decapsulation.ts';
import { devicesFor } from './check-device.ts';
import type { FactLink, WorkerFacts } from './facts.ts';
import { incoming, outward, uplinks } from './incoming-links.ts';
import type { WorkerWanted } from './wanted.ts';

const CLIENT_MTU = 1500;
/** Damaged packets that are worth a word: one in so many. */
const DAMAGED_OF = 10_000;
/** Kinds of device by which a host is connected to a network: hardware, and what is made of it. Bridges and veth pairs of containers, overlays and VPNs are not. */
const OUTER_KINDS = new Set(['', 'vlan', 'bond', 'team', 'macvlan', 'ipvlan']);

/** Names of the devices out of which inner IPv4 packets come. */
function innerDevices(facts: WorkerFacts, { tunnels }: WorkerWanted): string[] {
  const names = tunnels
    .filter(({ inner }) => inner === 4)
    .flatMap((tunnel) => {
      const worker = takenInUserSpace(tunnel, facts.userSpace);
      if (worker !== undefined) return facts.links.some(({ name }) => name === worker.device) ? [worker.device] : [];
      return devicesFor(facts.links, tunnel).map(({ name }) => name);
    });
  return [...new Set(names)];
}

const setting = (scope: string) => sysctlName('net', 'ipv4', 'conf', scope, 'rp_filter');

/**
 * The larger of `all` and the device's own value counts. The way back to a client is another interface than the tunnel device, which strict filtering (1) forbids;
 * loose (2) does too, unless the device has an IPv4 address (__fib_validate_source: no_addr).
 */
export function checkReversePath(facts: WorkerFacts, wanted: WorkerWanted): Found[] {
  const all = facts.setting('rp_filter', 'all');
  const found: Found[] = [];
  for (const name of innerDevices(facts, wanted)) {
    const own = facts.setting('rp_filter', name);
    const value = Math.max(all, own);
    const link = facts.links.find((one) => one.name === name);
    const addressed = link?.addresses.some(({ bytes }) => bytes.length === 4) === true;
    if (value === 0 || (value === 2 && addressed)) continue;
    const drops = facts.reversePathDrops > 0 ? ` (${facts.reversePathDrops} packets so far)` : '';
    const wrong = [...(all === 0 ? [] : [`${setting('all')}=0`]), ...(own === 0 ? [] : [`${setting(name)}=0`])];
    found.push({
      id: 'tunnel-reverse-path',
      level: 'error',
      text: `the reverse path filter drops what comes out of ${name}${drops}: rp_filter is ${value}, of all and ${name} the larger value, and the way back to clients is another`,
      fix: `sysctl -w ${wrong.join(' ')}`,
    });
  }
  return found.length > 0 ? found : checkLinks(facts, wanted);
}

/** Where packets of a director may come by another interface than the way back to it. */
function checkLinks(facts: WorkerFacts, wanted: WorkerWanted): Found[] {
  const hasIpv4 = ({ addresses }: FactLink) => addresses.some(({ bytes }) => bytes.length === 4);
  const links = incoming(facts, wanted).filter(hasIpv4);
  const names = uplinks(facts, wanted);
  const back = outward(facts.links).filter((link) => hasIpv4(link) && (OUTER_KINDS.has(link.kind) || names.has(link.name)));
  if (!outerFamilies(wanted).includes(4)) return [];
  const all = facts.setting('rp_filter', 'all');
  return links.flatMap(({ name }): Found[] => {
    if (!back.some((link) => link.name !== name)) return [];
    if (Math.max(all, facts.setting('rp_filter', name)) !== 1) return [];
    return [
      {
        id: 'link-reverse-path',
        level: 'warning',
        text: `${name} drops tunnel packets of directors to which the way back is another interface (rp_filter is 1, strict)`,
        fix: `sysctl -w ${setting(name)}=2`,
      },
    ];
  });
}

/** Interfaces refuse frames that are longer than their MTU, most of them. What the tunnel device's MTU is does not matter to what comes in. */
export function checkMtu(facts: WorkerFacts, wanted: WorkerWanted): Found[] {
  const { tunnels } = wanted;
  return incoming(facts, wanted).flatMap(({ name, mtu, addresses }): Found[] => {
    const families = new Set(addresses.map(({ bytes }) => (bytes.length === 4 ? 4 : 6)));
    const needed = Math.max(
      0,
      ...tunnels.filter(({ outer }) => families.has(outer)).map(({ overhead }) => CLIENT_MTU + overhead),
    );
    if (mtu >= needed) return [];
    return [
      {
        id: 'worker-mtu',
        level: 'warning',
        text: `the MTU of ${name} is ${mtu}, and a client's full packet needs ${needed} with its outer headers: directors must cut, fragment or refuse it`,
        fix: `ip link set dev ${name} mtu ${needed}`,
      },
    ];
  });
}

/** The kernel drops these without a word; what unwraps does not look at the checksum inside. */
export function checkDamage({ received, damaged }: WorkerFacts): Found[] {
  if (damaged === 0) return [];
  const often = damaged * DAMAGED_OF > received;
  return [
    {
      id: 'damaged-packets',
      level: often ? 'warning' : 'info',
      text: `${damaged} segments and datagrams were dropped for a wrong checksum since the boot, ${received} came: damaged by who sent them or on the way`,
      fix: 'gue-director doctor   # on a director: it looks whether they come in like that, and from whom',
    },
  ];
}

export function checkWaysBack(facts: WorkerFacts, { vips }: WorkerWanted): Found[] {
  return ([4, 6] as const).flatMap((family): Found[] => {
    if (!vips.some(({ address }) => address.length === (family === 4 ? 4 : 16)) || facts.hasDefaultRoute(family)) return [];
    return [
      {
        id: 'no-way-back',
        level: 'warning',
        text: `this host has no default route for IPv${family}: answers reach only clients that another route leads to`,
        fix: `ip${family === 4 ? '' : ' -6'} route show`,
      },
    ];
  });
}
