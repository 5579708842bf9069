/** What the running director says of itself, judged. */
import type { Found } from './finding.ts';

/** What is read of its status (admin/status.ts, docs/cli.md). */
export interface RunningStatus {
  /** Configuration file as it was named. */
  readonly config: string;
  readonly healthy: { readonly ok: boolean; readonly reasons: readonly string[] };
  readonly ready: { readonly ok: boolean; readonly reasons: readonly string[] };
  readonly packets: { readonly received: number; readonly lost: number };
  readonly drops: Readonly<Record<string, number>>;
  readonly backends: readonly {
    readonly pool: string;
    readonly name: string;
    readonly address: string;
    readonly ports: readonly number[];
    readonly unreachable: { readonly last: string | null; readonly age: number | null } | null;
    readonly health: {
      readonly serves: boolean;
      readonly checks: readonly { readonly check: string; readonly good: boolean; readonly detail: string | null }[];
    } | null;
  }[];
}

/** ICMP errors older than this, in seconds, may be about what has been mended since. */
const RECENT = 60;
/** Packets lost before they were read that are worth a word: one in so many. */
const LOST_OF = 10_000;

const REFUSALS: Readonly<Record<string, string>> = {
  port: 'nothing unwraps tunnel packets there (port unreachable)',
  protocol: "its kernel does not know the tunnel's IP protocol (protocol unreachable)",
  host: 'the last router does not find it (host unreachable)',
  net: 'a router has no way to it (network unreachable)',
  prohibited: 'a firewall refuses tunnel packets',
};

/** `ordinary`: drop reasons that come with any service on the Internet. */
export function judgeRunning(status: RunningStatus, ordinary: ReadonlySet<string>): Found[] {
  return [...conditions(status), ...backends(status), ...losses(status, ordinary)];
}

/** Why nobody was asked. `denied`: somebody may be there, and this user may not open the socket. */
export function judgeAbsent(reason: string, hint: string, denied: boolean): Found {
  return {
    id: 'director-not-running',
    level: denied ? 'skipped' : 'info',
    text: `no running director was asked, only configuration and host were looked at: ${reason}`,
    fix: hint,
  };
}

export function judgeOtherFile(running: string, named: string): Found {
  return {
    id: 'director-other-file',
    level: 'info',
    text: `the running director has another configuration file, ${running}; what is said of the host is about ${named}`,
    fix: `gue-director doctor --config ${running}`,
  };
}

function conditions({ healthy, ready }: RunningStatus): Found[] {
  const reasons = [...new Set([...(healthy.ok ? [] : healthy.reasons), ...(ready.ok ? [] : ready.reasons)])];
  return reasons.map((reason) => ({
    id: 'director-not-ready',
    level: 'error',
    text: `the running director is not ${healthy.ok ? 'ready' : 'healthy'}: ${reason}`,
    fix: 'gue-director status',
  }));
}

function backends({ backends }: RunningStatus): Found[] {
  return backends.flatMap(({ pool, name, address, ports, unreachable, health }): Found[] => {
    const who = `backend ${pool}/${name} (${address})`;
    const found: Found[] = [];
    if (unreachable !== null && unreachable.last !== null && unreachable.age !== null && unreachable.age <= RECENT) {
      found.push({
        id: 'tunnel-refused',
        level: 'error',
        text: `${who} loses packets of services: ${REFUSALS[unreachable.last] ?? unreachable.last}`,
        fix:
          unreachable.last === 'port' && ports.length > 0
            ? `gue-director doctor --worker   # on ${address}`
            : `tracepath -n ${address}`,
      });
    }
    const bad = health?.checks.find(({ good }) => !good);
    if (health !== null && !health.serves) {
      found.push({
        id: 'backend-down',
        level: 'warning',
        text: `${who} is down: ${bad === undefined ? 'its checks were bad' : `check ${bad.check}: ${bad.detail ?? 'no answer'}`}`,
        fix: `gue-director doctor --worker   # on ${address}`,
      });
    }
    return found;
  });
}

function losses({ drops, packets }: RunningStatus, ordinary: ReadonlySet<string>): Found[] {
  const found: Found[] = Object.entries(drops)
    .filter(([reason, count]) => count > 0 && !ordinary.has(reason))
    .toSorted(([, a], [, b]) => b - a)
    .map(([reason, count]) => ({
      id: 'drops',
      level: 'warning',
      text: `${count} packets were dropped as ${reason} since the director started (docs/drop-reasons.md#${reason})`,
      fix: 'gue-director status',
    }));
  if (packets.lost > 0) {
    const often = packets.lost * LOST_OF > packets.received;
    found.push({
      id: 'kernel-losses',
      level: often ? 'warning' : 'info',
      text: `the kernel lost ${packets.lost} packets before the director could read them, of ${packets.received + packets.lost}: bursts, or too few threads`,
      fix: 'gue-director status',
    });
  }
  return found;
}
