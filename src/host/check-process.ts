/** Checks of what this process may do and has: capabilities, /dev/net/tun, interfaces, source ports. */
import { accessSync, constants, existsSync, readFileSync } from 'node:fs';
import { EXIT } from '../base/errors.ts';
import { type CapabilityName, capabilitySet, readCredentials } from '../raw-socket/privileges.ts';
import type { Finding } from './finding.ts';
import type { Link } from './links.ts';
import { readSysctl } from './sysctl.ts';
import { isLive, type Wanted, type WantedIngress } from './wanted.ts';

/** What a live ingress needs, whatever the way out: messages about our packets come to raw sockets with each of them. */
const LIVE: readonly CapabilityName[] = ['CAP_NET_ADMIN', 'CAP_NET_RAW'];

/** The effective capabilities of this process that a director lacks, from a `CapEff` line of hexadecimal digits. */
export function missingCapabilities(status: string): CapabilityName[] {
  const { effective } = readCredentials(status);
  return LIVE.filter((name) => (effective & capabilitySet([name])) === 0n);
}

/** What a driver does with a capability. */
function useOf(capability: CapabilityName, { driver }: WantedIngress): string {
  if (capability === 'CAP_NET_ADMIN')
    return driver === 'packet'
      ? 'blackhole routes'
      : driver === 'xdp'
        ? 'its program and blackhole routes'
        : 'its device and routes';
  return driver === 'packet' ? 'packet and raw sockets' : 'raw sockets';
}

/** Every way to give a process these capabilities: as root, by its service manager, by a container engine, by its program file. */
function remedyFor(missing: readonly CapabilityName[]): string {
  const engine = missing.map((name) => `--cap-add ${name.replace('CAP_', '')}`).join(' ');
  const file = `setcap ${LIVE.join(',').toLowerCase()}+ep ${process.execPath}`;
  return (
    'sudo gue-director run   # with its --config; or as another user, by the systemd unit: ' +
    `AmbientCapabilities=${LIVE.join(' ')}; a container: ${engine}; for everybody who may execute this node: ${file}`
  );
}

/** `status` is the text of /proc/self/status. */
export function checkCapabilities(wanted: Wanted, status: string = readFileSync('/proc/self/status', 'utf8')): Finding[] {
  const { ingress } = wanted;
  if (!isLive(ingress)) return [];
  const missing = missingCapabilities(status);
  if (missing.length === 0) return [];
  const uses = missing.map((name) => useOf(name, ingress)).join(', ');
  return [
    {
      id: 'capability-missing',
      level: 'error',
      text: `this process lacks ${missing.join(' and ')}, which the ${ingress.driver} driver needs for ${uses}`,
      fix: remedyFor(missing),
      exitCode: EXIT.PRIVILEGE,
    },
  ];
}

/** The file through which TUN and TAP devices are made. */
const TUN = '/dev/net/tun';

export function checkDevices(wanted: Wanted, links: readonly Link[]): Finding[] {
  const { ingress } = wanted;
  const findings: Finding[] = [];
  const made: { kind: string; device: string }[] = [];
  if (ingress.driver === 'tun' || ingress.driver === 'tap')
    made.push({ kind: ingress.driver.toUpperCase(), device: ingress.device });
  if (wanted.egressDevice !== null) made.push({ kind: 'TAP', device: wanted.egressDevice });
  if (made.length > 0 && existsSync(TUN) && !mayOpen(TUN)) {
    findings.push({
      id: 'tun-denied',
      level: 'error',
      text: `user ${process.geteuid?.()} may not open ${TUN}, so no ${made[0].kind} device can be made`,
      // As udev has it: the kernel itself asks for CAP_NET_ADMIN.
      fix: `chmod 666 ${TUN}`,
      exitCode: EXIT.PRIVILEGE,
    });
  }
  if (made.length > 0 && !existsSync(TUN)) {
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
  const named = 'interface' in ingress ? [{ name: ingress.interface, use: 'take packets from' }] : [];
  const { egressInterface = null } = wanted;
  if (egressInterface !== null && named.every(({ name }) => name !== egressInterface)) {
    named.push({ name: egressInterface, use: 'send packets by' });
  }
  for (const { name, use } of named) {
    const link = links.find((candidate) => candidate.name === name);
    if (link === undefined) {
      findings.push({
        id: 'interface-missing',
        level: 'error',
        text: `there is no interface "${name}" to ${use}`,
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

function mayOpen(path: string): boolean {
  try {
    accessSync(path, constants.R_OK | constants.W_OK);
    return true;
  } catch {
    // EACCES is the answer.
    return false;
  }
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
