/** Where a worker's facts come from: the programs of iproute2, /proc, and one question to the kernel for each virtual IP. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { CodedError, EXIT } from '../../base/errors.ts';
import { findProgram, runProgram } from '../../host/notrack.ts';
import { isLocalAddress, routeTo } from '../../host/routes.ts';
import { readSysctl } from '../../host/sysctl.ts';
import {
  type FouPort,
  type Listener,
  netstatCounter,
  parseFou,
  parseLinks,
  parseSockets,
  parseWorker,
  type Ruleset,
  type UserSpaceWorker,
  type WorkerFacts,
} from './facts.ts';

/** Addresses that nobody routes on its own: the way to them is the default route. */
const SOMEWHERE = { 4: Uint8Array.of(0, 0, 0, 1), 6: Uint8Array.of(0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1) } as const;

/** Looks, changes nothing. Throws CodedError GD_DOCTOR_IP when there is no `ip` of iproute2 to ask. */
export function gatherWorker(): WorkerFacts {
  const ip = findProgram('ip');
  const shown = ip === null ? null : runProgram(ip, ['-j', '-d', 'address', 'show']);
  if (ip === null || shown === null || shown.status !== 0 || !shown.output.startsWith('[')) {
    throw new CodedError('GD_DOCTOR_IP', `"ip -j -d address show" does not work here: ${shown?.complaint || 'no ip program'}`, {
      hint: 'apt-get install iproute2',
      exitCode: EXIT.FAILED,
    });
  }
  return {
    links: parseLinks(shown.output),
    fou: fouPorts(ip),
    canLoad,
    setting: (name, scope) => Number(readSysctl(`net/ipv4/conf/${scope}/${name}`) ?? 0),
    listeners: listeners(),
    userSpace: userSpaceWorkers(),
    isLocal: isLocalAddress,
    hasDefaultRoute: (family) => routeTo(SOMEWHERE[family])?.type === 'unicast',
    uplink: (family) => routeTo(SOMEWHERE[family])?.interface || null,
    ruleset: ruleset(),
    ...receptions(),
    reversePathDrops: netstatCounter(readIfThere('/proc/net/netstat'), 'TcpExt', 'IPReversePathFilter'),
  };
}

/** TCP's counters are of both IP versions; UDP over IPv6 has its own, one a line. */
function receptions(): Pick<WorkerFacts, 'received' | 'damaged'> {
  const snmp = readIfThere('/proc/net/snmp');
  const snmp6 = readIfThere('/proc/net/snmp6');
  const six = (name: string) => Number(new RegExp(`^${name}\\s+(\\d+)`, 'm').exec(snmp6)?.[1] ?? 0);
  return {
    received: netstatCounter(snmp, 'Tcp', 'InSegs') + netstatCounter(snmp, 'Udp', 'InDatagrams') + six('Udp6InDatagrams'),
    damaged: netstatCounter(snmp, 'Tcp', 'InCsumErrors') + netstatCounter(snmp, 'Udp', 'InCsumErrors') + six('Udp6InCsumErrors'),
  };
}

/** A kernel without `fou` knows no family of that name, and says so ("No such file or directory"). */
function fouPorts(ip: string): FouPort[] | null {
  const shown = runProgram(ip, ['fou', 'show']);
  return shown.status === 0 ? parseFou(shown.output) : null;
}

/** What modprobe would find; without modprobe nothing can be loaded, as in most containers. */
function canLoad(module: string): boolean {
  const modprobe = findProgram('modprobe');
  return modprobe !== null && runProgram(modprobe, ['-n', '-q', module]).status === 0;
}

function listeners(): Listener[] {
  const files = [
    ['tcp', 6, 4],
    ['tcp6', 6, 6],
    ['udp', 17, 4],
    ['udp6', 17, 6],
  ] as const;
  return files.flatMap(([name, protocol, family]) => parseSockets(readIfThere(`/proc/net/${name}`), protocol, family));
}

/** Empty when there is no such file: a kernel without IPv6. */
function readIfThere(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return '';
    throw error;
  }
}

/** Those of this network namespace, as far as this process may look. */
function userSpaceWorkers(): UserSpaceWorker[] {
  const own = namespaceOf('thread-self');
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid) => {
      let text: string;
      try {
        text = readFileSync(`/proc/${pid}/cmdline`, 'utf8');
      } catch {
        // Ended since, or another user's (hidepid).
        return [];
      }
      const worker = parseWorker(Number(pid), text);
      if (worker === null) return [];
      const other = namespaceOf(pid);
      return other === null || other === own ? [worker] : [];
    });
}

function namespaceOf(process: string): string | null {
  try {
    return readlinkSync(`/proc/${process}/ns/net`);
  } catch {
    // Not ours to see.
    return null;
  }
}

function ruleset(): Ruleset {
  const nft = findProgram('nft');
  const privilege = process.geteuid?.() !== 0;
  if (nft !== null) {
    const { status, output, complaint } = runProgram(nft, ['-j', 'list', 'ruleset']);
    if (status === 0) return { kind: 'nft', json: output };
    // A kernel without nftables has no rules of it.
    if (!privilege && /not supported|No such file|Protocol/i.test(complaint) && findProgram('iptables-save') === null)
      return { kind: 'nft', json: '{"nftables":[]}' };
    if (findProgram('iptables-save') === null || privilege) return { kind: 'unknown', reason: `nft: ${complaint}`, privilege };
  }
  const save = findProgram('iptables-save');
  if (save === null) return { kind: 'unknown', reason: 'neither nft nor iptables-save is installed', privilege: false };
  const { status, output, complaint } = runProgram(save, ['-t', 'filter']);
  return status === 0
    ? { kind: 'iptables', saved: output, saved6: savedRules6() }
    : { kind: 'unknown', reason: `iptables-save: ${complaint}`, privilege };
}

/** null when there is no such program, or it can not tell. */
function savedRules6(): string | null {
  const save = findProgram('ip6tables-save');
  const told = save === null ? null : runProgram(save, ['-t', 'filter']);
  return told?.status === 0 ? told.output : null;
}
