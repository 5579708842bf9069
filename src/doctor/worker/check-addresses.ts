/** Checks of the virtual IPs: here, in use, announced to nobody, and served. */
import { formatAddress, prefixContains } from '../../base/address.ts';
import type { Found } from '../finding.ts';
import type { FactLink, WorkerFacts } from './facts.ts';
import type { WantedVip, WorkerWanted } from './wanted.ts';

function distinctAddresses({ vips }: WorkerWanted): Uint8Array[] {
  return [...new Map(vips.map(({ address }) => [address.join('.'), address])).values()];
}

function holderOf(links: readonly FactLink[], vip: Uint8Array) {
  for (const link of links) {
    const address = link.addresses.find(({ bytes }) => bytes.length === vip.length && bytes.every((byte, i) => byte === vip[i]));
    if (address !== undefined) return { link, address };
  }
  return null;
}

export function checkVips(facts: WorkerFacts, wanted: WorkerWanted): Found[] {
  return distinctAddresses(wanted).flatMap((vip): Found[] => {
    const text = formatAddress(vip);
    const add = `ip address add ${text}/${vip.length * 8} dev lo${vip.length === 16 ? ' nodad' : ''}`;
    const holder = holderOf(facts.links, vip);
    if (holder !== null && !holder.address.usable) {
      const { link, address } = holder;
      return [
        {
          id: 'vip-tentative',
          level: 'error',
          text: `the virtual IP ${text} is on ${link.name} and not in use: another host has it too, or the kernel is still asking`,
          fix: `ip address del ${text}/${address.prefixLength} dev ${link.name} && ${add}`,
        },
      ];
    }
    if (holder === null && !facts.isLocal(vip)) {
      return [
        {
          id: 'vip-missing',
          level: 'error',
          text: `the virtual IP ${text} is no address of this host: what is unwrapped for it is dropped, or sent back to the directors`,
          fix: add,
        },
      ];
    }
    if (holder === null || holder.link.loopback || holder.link.silent) return [];
    const { link, address } = holder;
    return [
      {
        id: 'vip-on-link',
        level: 'warning',
        text: `the virtual IP ${text} is on ${link.name}, which answers for it: clients on that network go round the directors`,
        fix: `ip address del ${text}/${address.prefixLength} dev ${link.name} && ${add}`,
      },
    ];
  });
}

/** A host answers ARP for every address that it has, on any interface, unless told not to. IPv6 asks for the interface's own alone (ndisc_recv_ns). */
export function checkArp(facts: WorkerFacts, wanted: WorkerWanted): Found[] {
  // One that is missing is not answered for; `vip-missing` says it.
  const vips = distinctAddresses(wanted).filter((vip) => vip.length === 4 && facts.isLocal(vip));
  return facts.links.flatMap((link): Found[] => {
    if (!link.up || link.loopback || link.silent) return [];
    const inside = vips.find((vip) =>
      link.addresses.some(
        ({ bytes, prefixLength }) =>
          bytes.length === 4 &&
          prefixContains({ bytes: network(bytes, prefixLength), length: prefixLength }, vip) &&
          prefixLength < 32,
      ),
    );
    if (inside === undefined || holderOf([link], inside) !== null) return [];
    const larger = (name: 'arp_ignore' | 'arp_announce') => Math.max(facts.setting(name, 'all'), facts.setting(name, link.name));
    const wrong = [
      ...(larger('arp_ignore') === 0 ? ['net.ipv4.conf.all.arp_ignore=1'] : []),
      ...(larger('arp_announce') < 2 ? ['net.ipv4.conf.all.arp_announce=2'] : []),
    ];
    if (wrong.length === 0) return [];
    const does = larger('arp_ignore') === 0 ? `answers ARP on ${link.name}` : `sends ARP requests on ${link.name} in the name of`;
    return [
      {
        id: 'arp-answers',
        level: 'warning',
        text: `this host ${does}${larger('arp_ignore') === 0 ? ' for' : ''} the virtual IP ${formatAddress(inside)}, which lies in that network: clients go round the directors`,
        fix: `sysctl -w ${wrong.join(' ')}`,
      },
    ];
  });
}

function network(bytes: Uint8Array, length: number): Uint8Array {
  return bytes.map((byte, i) => byte & (0xff << Math.min(8, Math.max(0, 8 - (length - i * 8)))));
}

const NAMES: Readonly<Record<number, string>> = { 6: 'TCP', 17: 'UDP' };

/** A socket of ::, unless it says otherwise, takes IPv4 too. */
export function checkServices({ listeners }: WorkerFacts, { vips }: WorkerWanted): Found[] {
  return vips.flatMap(({ address, protocol, port }: WantedVip): Found[] => {
    if (protocol === null || port === null) return [];
    const heard = listeners.some((one) => {
      if (one.protocol !== protocol || one.port !== port) return false;
      const any = one.address.every((byte) => byte === 0);
      if (any) return one.family === 6 || address.length === 4;
      return one.address.length === address.length && one.address.every((byte, i) => byte === address[i]);
    });
    if (heard) return [];
    const name = NAMES[protocol];
    return [
      {
        id: 'service-not-listening',
        level: 'warning',
        text: `nothing here listens on ${formatAddress(address)}, ${name} port ${port} (a container behind a rule of the firewall is not seen): clients get ${protocol === 6 ? 'RST' : 'port unreachable'}`,
        fix: `ss -${protocol === 6 ? 't' : 'u'}lnp sport = :${port}`,
      },
    ];
  });
}
