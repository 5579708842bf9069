/** What the kernel must be able to do for the configured drivers. */
import { openSync, readFileSync } from 'node:fs';
import { release } from 'node:os';
import { closeDescriptor } from '../raw-socket/file.ts';
import { allowedProcessors } from '../raw-socket/processors.ts';
import { AF_INET, IPPROTO_UDP, openSocket, SOCK_DGRAM, switchOption, UDP_SEGMENT } from '../raw-socket/socket.ts';
import { tunFeatures } from '../raw-socket/tun.ts';
import type { Found } from './finding.ts';

/** linux/if_tun.h */
const IFF_MULTI_QUEUE = 0x0100;

/** Oldest kernel that the suite runs on; what older ones do nobody has looked at. */
const OLDEST = [5, 10] as const;
/** TUN_F_UDP_TUNNEL_GSO. */
const TUNNEL_OFFLOAD = [6, 17] as const;

export interface KernelFacts {
  /** As `uname -r`. */
  readonly release: string;
  /** UDP_SEGMENT is an option that the kernel knows. */
  readonly segments: boolean;
  /** TUNGETFEATURES; null: /dev/net/tun can not be opened here. */
  readonly tunFeatures: number | null;
  /** Numbers of the processors that a process started from here may use. */
  readonly processors: readonly number[];
}

/** What the configuration makes use of. */
export interface KernelUse {
  readonly ingress: string;
  readonly egress: string;
  readonly threads: number;
  /** `processors.pin` and `processors.idle`. */
  readonly pin: boolean | readonly number[];
  readonly idle: string;
}

export function kernelFacts(): KernelFacts {
  const descriptor = openSocket(AF_INET, SOCK_DGRAM, 0, 'a look at UDP_SEGMENT');
  try {
    return {
      release: release(),
      segments: switchOption(descriptor, IPPROTO_UDP, UDP_SEGMENT, 0),
      tunFeatures: tunFeaturesOrNull(),
      processors: allowedProcessors(),
    };
  } finally {
    closeDescriptor(descriptor);
  }
}

function tunFeaturesOrNull(): number | null {
  let descriptor: number;
  try {
    descriptor = openSync('/dev/net/tun', 'r+');
  } catch {
    // Missing or denied: tun-missing and tun-denied say so.
    return null;
  }
  try {
    return tunFeatures(descriptor);
  } finally {
    closeDescriptor(descriptor);
  }
}

export function isAtLeast(running: string, [major, minor]: readonly [number, number]): boolean {
  const [here, after] = running.split('.').map((part) => Number.parseInt(part, 10));
  return here > major || (here === major && after >= minor);
}

export function judgeKernel(facts: KernelFacts, use: KernelUse): Found[] {
  const found: Found[] = [];
  const running = `Linux ${facts.release}`;
  if (!isAtLeast(facts.release, OLDEST)) {
    found.push({
      id: 'kernel-old',
      level: 'warning',
      text: `${running} is older than ${OLDEST.join('.')}, the oldest that gue-director is tested on`,
      fix: 'apt-get install --only-upgrade linux-image-amd64 && reboot',
    });
  }
  if (!facts.segments && (use.egress === 'auto' || use.egress === 'udp')) {
    found.push({
      id: 'kernel-without-segmentation',
      level: 'warning',
      text: `${running} has no UDP_SEGMENT (4.18): the segments of a super-packet leave one by one, at several times the cost`,
      fix: 'apt-get install --only-upgrade linux-image-amd64 && reboot',
    });
  }
  const queued = use.ingress === 'tun' || use.ingress === 'tap';
  if (queued && use.threads > 1 && facts.tunFeatures !== null && (facts.tunFeatures & IFF_MULTI_QUEUE) === 0) {
    found.push({
      id: 'kernel-without-queues',
      level: 'error',
      text: `${running} gives a TUN device one queue, and ${use.threads} threads are configured: write threads: 1`,
      fix: '',
    });
  }
  if (use.egress === 'tap-offload' && !isAtLeast(facts.release, TUNNEL_OFFLOAD)) {
    found.push({
      id: 'kernel-without-tunnel-offload',
      level: 'error',
      text: `${running} takes no super-packets inside a tunnel, which egress tap-offload needs (Linux ${TUNNEL_OFFLOAD.join('.')}): write egress: { driver: auto }`,
      fix: '',
    });
  }
  return [...found, ...judgeProcessors(facts.processors, use)];
}

/** Whether every thread can be kept on a processor of its own. */
function judgeProcessors(allowed: readonly number[], { threads, pin, idle }: KernelUse): Found[] {
  const wanted = pin === true ? allowed.slice(0, threads) : pin === false ? [] : pin;
  const missing = wanted.filter((processor) => !allowed.includes(processor));
  if (missing.length > 0) {
    return [
      {
        id: 'processor-missing',
        level: 'warning',
        text: `processors.pin names ${missing.join(', ')}; there are, or this process may use, ${allowed.join(', ')}: those threads run where the kernel wants`,
        fix: 'systemctl edit gue-director   # AllowedCPUs=, or correct processors.pin',
      },
    ];
  }
  const pinned = new Set(wanted).size;
  if (pin !== false && pinned < threads) {
    return [
      {
        id: 'processors-few',
        level: 'warning',
        text: `${threads} threads are to be kept on ${pinned} processors: some share one; write threads: ${pinned}, or more processors in processors.pin`,
        fix: '',
      },
    ];
  }
  if (idle !== 'busy' || threads < allowed.length) return [];
  return [
    {
      id: 'processors-busy',
      level: 'warning',
      text: `${threads} threads never sleep (processors.idle: busy) on ${allowed.length} processors: checks, logs and everything else of this host have none left; write idle: spin`,
      fix: '',
    },
  ];
}

/** Fill of the table of connections; null without conntrack, or where this process may not look. */
export function conntrackFill(): { readonly count: number; readonly most: number } | null {
  const read = (name: string) => Number(readFileSync(`/proc/sys/net/netfilter/${name}`, 'utf8'));
  try {
    return { count: read('nf_conntrack_count'), most: read('nf_conntrack_max') };
  } catch {
    // No such file: conntrack is not loaded.
    return null;
  }
}

/** A full table drops the first packet of whatever is not in it. */
export function judgeConntrack(fill: ReturnType<typeof conntrackFill>): Found[] {
  if (fill === null || fill.most === 0 || fill.count < fill.most * 0.9) return [];
  return [
    {
      id: 'conntrack-full',
      level: fill.count >= fill.most ? 'error' : 'warning',
      text: `connection tracking has ${fill.count} of ${fill.most} entries: full, it drops packets of new connections, those to backends too`,
      fix: `sysctl -w net.netfilter.nf_conntrack_max=${fill.most * 4}`,
    },
  ];
}
