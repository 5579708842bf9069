/** Checks of the kernel's forwarding: with `tun`, and `tap` without a bridge, every packet of a service passes through it on its way to us. */
import type { Finding } from './finding.ts';
import type { Link } from './links.ts';
import { readSysctl, sysctlName } from './sysctl.ts';
import { isLive, routedDevice, type Wanted } from './wanted.ts';

function hasServices(wanted: Wanted, length: 4 | 16): boolean {
  return wanted.services.some(({ prefix }) => prefix.bytes.length === length);
}

export function checkForwarding(wanted: Wanted, links: readonly Link[]): Finding[] {
  const device = routedDevice(wanted.ingress);
  if (device === null) return [];
  const findings: Finding[] = [];
  if (hasServices(wanted, 4)) {
    if (readSysctl('net/ipv4/ip_forward') === '0') {
      findings.push({
        id: 'ipv4-forwarding',
        level: 'error',
        text: 'the kernel does not forward IPv4 (net.ipv4.ip_forward is 0): no packet of a service would reach our device',
        fix: 'sysctl -w net.ipv4.ip_forward=1',
      });
    }
    findings.push(...checkReversePath(links.filter((link) => link.up && !link.loopback && link.name !== device)));
  }
  if (hasServices(wanted, 16) && readSysctl('net/ipv6/conf/all/forwarding') === '0') {
    findings.push({
      id: 'ipv6-forwarding',
      level: 'error',
      text: 'the kernel does not forward IPv6 (net.ipv6.conf.all.forwarding is 0): no packet of a service would reach our device',
      fix: 'sysctl -w net.ipv6.conf.all.forwarding=1',
    });
  }
  return findings;
}

/** Strict reverse path filtering drops a client's packet when the way back to it leaves by another interface. The larger value counts. */
function checkReversePath(links: readonly Link[]): Finding[] {
  const all = Number(readSysctl('net/ipv4/conf/all/rp_filter') ?? 0);
  return links.flatMap(({ name }): Finding[] => {
    const own = Number(readSysctl(`net/ipv4/conf/${name}/rp_filter`) ?? 0);
    if (Math.max(all, own) !== 1) return [];
    return [
      {
        id: 'reverse-path-filter',
        level: 'warning',
        text: `${name} drops packets whose way back leaves by another interface (rp_filter is 1, strict): clients behind another router are lost`,
        fix: `sysctl -w ${sysctlName('net', 'ipv4', 'conf', name, 'rp_filter')}=2`,
      },
    ];
  });
}

export function checkIpv6(wanted: Wanted): Finding[] {
  const { ingress } = wanted;
  if (!isLive(ingress) || (!hasServices(wanted, 16) && !wanted.backends.some(({ address }) => address.length === 16))) return [];
  const disabled = readSysctl('net/ipv6/conf/all/disable_ipv6');
  if (disabled === null) {
    return [
      {
        id: 'ipv6-disabled',
        level: 'error',
        text: 'this kernel runs without IPv6, and the configuration has IPv6 services or backends',
        fix: '',
      },
    ];
  }
  // A new device, ours among them, takes its setting from `default`.
  const scope = disabled === '1' ? 'all' : 'default';
  const makesDevice = routedDevice(ingress) !== null || wanted.egressDevice !== null;
  if (disabled !== '1' && !(makesDevice && readSysctl('net/ipv6/conf/default/disable_ipv6') === '1')) return [];
  return [
    {
      id: 'ipv6-disabled',
      level: 'error',
      text: `IPv6 is switched off (net.ipv6.conf.${scope}.disable_ipv6 is 1), and the configuration has IPv6 services or backends`,
      fix: `sysctl -w net.ipv6.conf.${scope}.disable_ipv6=0`,
    },
  ];
}
