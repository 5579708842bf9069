/** Checks of what this process may do and has: capabilities, /dev/net/tun, interfaces, source ports. */
import { existsSync, readFileSync } from 'node:fs';
import { EXIT } from '../base/errors.ts';
import type { Finding } from './finding.ts';
import type { Link } from './links.ts';
import { readSysctl } from './sysctl.ts';
import { isLive, type Wanted } from './wanted.ts';

/** linux/capability.h */
const CAPABILITIES = [
  ['CAP_NET_ADMIN', 12],
  ['CAP_NET_RAW', 13],
] as const;

/** The effective capabilities of this process that a director lacks, from a `CapEff` line of hexadecimal digits. */
export function missingCapabilities(status: string): string[] {
  const effective = BigInt(`0x${/^CapEff:\s*([0-9a-f]+)$/m.exec(status)?.[1] ?? '0'}`);
  return CAPABILITIES.filter(([, bit]) => ((effective >> BigInt(bit)) & 1n) === 0n).map(([name]) => name);
}

/** `status` is the text of /proc/self/status. */
export function checkCapabilities(wanted: Wanted, status: string = readFileSync('/proc/self/status', 'utf8')): Finding[] {
  const { driver } = wanted.ingress;
  if (!isLive(wanted.ingress)) return [];
  const missing = missingCapabilities(status);
  if (missing.length === 0) return [];
  return [
    {
      id: 'capability-missing',
      level: 'error',
      text: `this process lacks ${missing.join(' and ')}, which the ${driver} driver needs`,
      fix: 'sudo gue-director run --config FILE',
      exitCode: EXIT.PRIVILEGE,
    },
  ];
}

export function checkDevices(wanted: Wanted, links: readonly Link[]): Finding[] {
  const { ingress } = wanted;
  const findings: Finding[] = [];
  const made: { kind: string; device: string }[] = [];
  if (ingress.driver === 'tun' || ingress.driver === 'tap')
    made.push({ kind: ingress.driver.toUpperCase(), device: ingress.device });
  if (wanted.egressDevice !== null) made.push({ kind: 'TAP', device: wanted.egressDevice });
  if (made.length > 0 && !existsSync('/dev/net/tun')) {
    findings.push({
      id: 'tun-missing',
      level: 'error',
      text: `/dev/net/tun is not here, so no ${made[0].kind} device can be made`,
      fix: 'modprobe tun; mkdir -p /dev/net; test -e /dev/net/tun || mknod /dev/net/tun c 10 200',
    });
  }
  for (const { kind, device } of made) {
    const taken = links.find((link) => link.name === device);
    if (taken === undefined || taken.kind === 'tun') continue;
    findings.push({
      id: 'device-name-taken',
      level: 'error',
      text: `the name of the ${kind} device, "${device}", belongs to another interface${taken.kind === '' ? '' : ` (${taken.kind})`}`,
      fix: '',
      exitCode: EXIT.CONFIG,
    });
  }
  if (ingress.driver === 'tap' && ingress.bridge !== null) {
    const { bridge } = ingress;
    if (links.find(({ name }) => name === bridge)?.kind !== 'bridge') {
      findings.push({
        id: 'bridge-missing',
        level: 'error',
        text: `there is no bridge "${bridge}" whose port the TAP device could become`,
        fix: `ip link add ${bridge} type bridge && ip link set ${bridge} up`,
      });
    }
  }
  if (ingress.driver === 'packet') {
    const link = links.find(({ name }) => name === ingress.interface);
    if (link === undefined) {
      findings.push({
        id: 'interface-missing',
        level: 'error',
        text: `there is no interface "${ingress.interface}" to take packets from`,
        fix: 'ip link show',
      });
    } else if (!link.up) {
      findings.push({
        id: 'interface-down',
        level: 'warning',
        text: `the interface "${link.name}" is down`,
        fix: `ip link set ${link.name} up`,
      });
    }
  }
  return findings;
}

/** Ranges of ip_local_reserved_ports: `8080,9000-9010`. */
function parseRanges(text: string): [number, number][] {
  return text
    .split(',')
    .filter((part) => part !== '')
    .map((part) => {
      const [from, to = from] = part.split('-').map(Number);
      return [from, to];
    });
}

/** A connection of the host itself must not sit on a port that tunnel packets use as their source. */
export function checkSourcePorts(wanted: Wanted): Finding[] {
  const ports = wanted.udpSourcePorts;
  const range = readSysctl('net/ipv4/ip_local_port_range');
  if (ports === null || range === null) return [];
  const [low, high] = range.split(/\s+/).map(Number);
  const last = ports.base + ports.count - 1;
  const reserved = readSysctl('net/ipv4/ip_local_reserved_ports') ?? '';
  const ranges = parseRanges(reserved);
  let exposed = 0;
  for (let port = Math.max(low, ports.base); port <= Math.min(high, last); port++) {
    if (!ranges.some(([from, to]) => from <= port && port <= to)) exposed++;
  }
  if (exposed === 0) return [];
  const wish = `${ports.base}-${last}`;
  return [
    {
      id: 'source-ports-ephemeral',
      level: 'warning',
      text: `${exposed} of the tunnel source ports ${wish} lie in the range ${low}-${high} from which the kernel gives ports to other programs`,
      fix: `sysctl -w net.ipv4.ip_local_reserved_ports=${reserved === '' ? '' : `${reserved},`}${wish}`,
    },
  ];
}
