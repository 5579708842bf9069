/** What the drivers `xdp` need of this host (docs/xdp.md): a kernel with them, a queue for each thread, memory that may be locked. */
import { existsSync, readFileSync } from 'node:fs';
import { readCredentials } from '../raw-socket/privileges.ts';
import { AF_XDP, hasFamily } from '../raw-socket/socket.ts';
import { receiveQueuesOf } from '../raw-socket/tun.ts';
import type { Found } from './finding.ts';

/** There exactly with CONFIG_BPF_SYSCALL. */
const BPF = '/proc/sys/kernel/unprivileged_bpf_disabled';
/** 0: programs are interpreted. Not there without CONFIG_BPF_JIT. */
const JIT = '/proc/sys/net/core/bpf_jit_enable';
const CAP_IPC_LOCK = 1n << 14n;
/** Locked by each socket of the ingress (io/xdp/port.ts: 3,328 frames of 2,112 bytes). */
const SOCKET_BYTES = 7_028_736;

export interface XdpFacts {
  /** The kernel has AF_XDP, and bpf(2). */
  readonly sockets: boolean;
  readonly bpf: boolean;
  /** BPF programs are compiled. */
  readonly compiles: boolean;
  /** Receive queues of the interfaces that the drivers name; those that are not there are missing. */
  readonly queues: ReadonlyMap<string, number>;
  /** Bytes that this process may lock in memory. */
  readonly lockable: number;
}

/** What the configuration makes use of: interfaces of an `xdp` ingress and of an `xdp` egress, null for other drivers. */
export interface XdpUse {
  readonly ingress: string | null;
  readonly egress: string | null;
  readonly threads: number;
}

/** `present`: names of the interfaces that there are. */
export function xdpFacts({ ingress, egress }: XdpUse, present: readonly string[]): XdpFacts {
  const named = [ingress, egress].filter((name) => name !== null && present.includes(name)) as string[];
  return {
    sockets: hasFamily(AF_XDP),
    bpf: existsSync(BPF),
    compiles: existsSync(JIT) && readFileSync(JIT, 'utf8').trim() !== '0',
    queues: new Map(named.map((name) => [name, receiveQueuesOf(name)])),
    lockable: lockable(),
  };
}

/** `Max locked memory         8388608              8388608              bytes` */
function lockable(): number {
  if ((readCredentials().effective & CAP_IPC_LOCK) !== 0n) return Number.POSITIVE_INFINITY;
  const soft = /^Max locked memory\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1];
  return soft === undefined ? Number.POSITIVE_INFINITY : Number(soft);
}

export function judgeXdp(facts: XdpFacts, { ingress, egress, threads }: XdpUse): Found[] {
  if (ingress === null && egress === null) return [];
  const found: Found[] = [];
  if (!facts.sockets || (ingress !== null && !facts.bpf)) {
    found.push({
      id: 'kernel-without-xdp',
      level: 'error',
      text: `this kernel was built without ${facts.sockets ? 'CONFIG_BPF_SYSCALL' : 'CONFIG_XDP_SOCKETS'}: write ingress: { driver: packet } and egress: { driver: auto }`,
      fix: '',
    });
  } else if (ingress !== null && !facts.compiles) {
    found.push({
      id: 'bpf-interpreted',
      level: 'warning',
      text: 'BPF programs are interpreted here: the program at the interface costs each packet several times what it could',
      fix: 'sysctl -w net.core.bpf_jit_enable=1',
    });
  }
  for (const [name, queues] of facts.queues) {
    // The ingress reads all there are; the egress sends by the first ones.
    if (name === ingress ? queues === threads : queues >= threads) continue;
    const has = `${name} has ${queues} ${queues === 1 ? 'queue' : 'queues'} for ${threads} ${threads === 1 ? 'thread' : 'threads'}`;
    found.push({
      id: 'xdp-queues',
      level: 'error',
      text: `${has} of an xdp driver: give it as many, or set threads: ${queues}`,
      fix: `ethtool -L ${name} combined ${threads}`,
    });
  }
  if (facts.lockable < threads * SOCKET_BYTES) {
    const megabytes = (bytes: number) => `${(bytes / 1e6).toFixed(0)} MB`;
    found.push({
      id: 'locked-memory',
      level: 'warning',
      text: `${megabytes(facts.lockable)} may be locked in memory from here, and an xdp driver locks ${megabytes(threads * SOCKET_BYTES)}: by systemd the unit's LimitMEMLOCK counts`,
      fix: 'systemctl edit gue-director   # [Service] and below it LimitMEMLOCK=infinity; in a shell: ulimit -l unlimited',
    });
  }
  return found;
}
