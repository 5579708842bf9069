/**
 * The TAP device of the `tap-offload` egress: what we write into it the kernel takes for packets received, and forwards them out to the
 * backends. For that it needs settings of its own, which vanish with it: nothing of the host's is changed.
 *
 *     net.ipv4.conf.DEV.accept_local=1      our packets come from an address of this host
 *     net.ipv4.conf.DEV.rp_filter=0         the way back to that address is not this device (`all` must be 0 too: check-offload.ts)
 *     net.ipv4.conf.DEV.forwarding=1        whatever net.ipv4.ip_forward says
 *     net.ipv6.conf.DEV.force_forwarding=1  the same for IPv6 (Linux ≥ 6.17), where net.ipv6.conf.all.forwarding is 0
 */
import { writeFileSync } from 'node:fs';
import { CodedError } from '../base/errors.ts';
import { IPV4_DEVCONF_ACCEPT_LOCAL, IPV4_DEVCONF_FORWARDING, IPV4_DEVCONF_RP_FILTER } from '../raw-socket/netlink-route.ts';
import { type Link, requireLink, setLink } from './links.ts';
import { readSysctl } from './sysctl.ts';

const IPV4_SETTINGS = [
  ['accept_local', IPV4_DEVCONF_ACCEPT_LOCAL, 1],
  ['rp_filter', IPV4_DEVCONF_RP_FILTER, 0],
  ['forwarding', IPV4_DEVCONF_FORWARDING, 1],
] as const;

/** Nobody reads this device: what the kernel itself sends into it (neighbour discovery, MLD) needs no room. */
const QUEUE_LENGTH = 1;

/**
 * Sets the device up, or puts right what others changed; changes nothing that is right. `six`: there are IPv6 backends. Throws CodedError
 * GD_HOST_NO_INTERFACE, GD_HOST_NOT_TUN, GD_HOST_IPV6_FORWARDING; NetlinkError.
 */
export function prepareOffloadDevice(device: string, six: boolean): void {
  const link = requireLink(device);
  if (link.kind !== 'tun') {
    throw new CodedError('GD_HOST_NOT_TUN', `the interface "${link.name}" is not a TAP device of ours`, {
      hint: 'choose another name in egress.device',
    });
  }
  if (link.queueLength !== QUEUE_LENGTH) setLink(link, { queueLength: QUEUE_LENGTH });
  const wrong = IPV4_SETTINGS.filter(([name, , value]) => readSysctl(`net/ipv4/conf/${device}/${name}`) !== String(value));
  if (wrong.length > 0) setLink(link, { ipv4: new Map(wrong.map(([, number, value]) => [number, value])) });
  const hasIpv6 = readSysctl('net/ipv6/conf/all/disable_ipv6') !== null;
  if (!link.up) setLink(link, { ...(hasIpv6 ? { ipv6LinkLocal: false } : {}), up: true });
  if (six && hasIpv6) forwardIpv6(link);
}

function forwardIpv6({ name }: Link): void {
  if (readSysctl('net/ipv6/conf/all/forwarding') !== '0') return;
  const path = `net/ipv6/conf/${name}/force_forwarding`;
  const own = readSysctl(path);
  if (own === '1') return;
  let reason = 'this kernel can not forward for one device only';
  if (own !== null) {
    try {
      writeFileSync(`/proc/sys/${path}`, '1');
      return;
    } catch (error) {
      reason = `/proc/sys/${path} can not be written: ${(error as Error).message}`;
    }
  }
  throw new CodedError(
    'GD_HOST_IPV6_FORWARDING',
    `the kernel does not forward IPv6, so what goes into ${name} would go nowhere (${reason})`,
    { hint: 'sysctl -w net.ipv6.conf.all.forwarding=1' },
  );
}
