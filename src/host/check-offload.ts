/** Checks of what the egress `tap-offload` needs beside its own device: what is set for all devices at once, and who takes its packets. */
import { leavesChecksums } from '../raw-socket/tun.ts';
import type { Path } from './check-paths.ts';
import type { Finding } from './finding.ts';
import type { Link } from './links.ts';
import { readSysctl } from './sysctl.ts';
import { hasBackends, type Wanted } from './wanted.ts';

export function checkOffload(wanted: Wanted, links: readonly Link[], paths: readonly Path[]): Finding[] {
  if (wanted.egressDevice === null) return [];
  return [...checkReversePath(wanted, wanted.egressDevice), ...checkVirtualLinks(links, paths)];
}

/** The larger value of `all` and the device counts, and without an address on the device even the loose check fails (fib_validate_source). */
function checkReversePath(wanted: Wanted, device: string): Finding[] {
  const all = readSysctl('net/ipv4/conf/all/rp_filter');
  if (!hasBackends(wanted, 4) || all === null || all === '0') return [];
  return [
    {
      id: 'offload-reverse-path',
      level: 'error',
      text: `the kernel would drop all that goes out through ${device}: its reverse path filter is on for every device (net.ipv4.conf.all.rp_filter is ${all})`,
      fix: 'sysctl -w net.ipv4.conf.all.rp_filter=0',
    },
  ];
}

/** A veth pair hands super-packets and unfinished checksums over as they are: right for a kernel that unwraps them, lost on a program. */
function checkVirtualLinks(links: readonly Link[], paths: readonly Path[]): Finding[] {
  const used = new Set(paths.map(({ route }) => route?.interface));
  return links
    .filter(({ name, kind }) => kind === 'veth' && used.has(name) && leavesChecksums(name))
    .map(({ name }) => ({
      id: 'offload-virtual-link',
      level: 'warning',
      text: `${name} is a veth pair, which passes super-packets on uncut: a worker behind it that unwraps packets in a program loses them`,
      fix: `ethtool -K ${name} tx off`,
    }));
}
