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

/** What rose in the last RECENT_WINDOW seconds, as the director's history has it (docs/history.md). */
export interface RecentHistory {
  /** ISO 8601: when it was asked, and when this process began to record. */
  readonly now: string;
  readonly since: string;
  readonly totals: readonly { readonly name: string; readonly packets: number }[];
  readonly drops: readonly { readonly name: string; readonly packets: number }[];
}

/** Seconds in which drops and losses are of today: older ones may be about what has been mended since. */
export const RECENT_WINDOW = 600;
/** What the kernel lost, among the totals. */
export const LOST_TOTAL = 'lost in the kernel';
export const RECEIVED_TOTAL = 'received';

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

/** `ordinary`: drop reasons that come with any service on the Internet. `recent`: null where the director could not be asked for it; then all counts. */
export function judgeRunning(status: RunningStatus, ordinary: ReadonlySet<string>, recent: RecentHistory | null): Found[] {
  return [...conditions(status), ...backends(status), ...drops(status, ordinary, recent), ...losses(status, recent)];
}

/** Why nobody was asked, and what to do about it. `denied`: somebody may be there, and this user may not open the socket. */
export function judgeAbsent(reason: string, hint: string, denied: boolean): Found {
  return {
    id: 'director-not-running',
    level: denied ? 'skipped' : 'info',
    text: `no running director was asked, only configuration and host were looked at: ${reason}`,
    fix: denied ? 'sudo gue-director doctor' : `systemctl status gue-director${hint === '' ? '' : `   # ${hint}`}`,
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

/** A process that took over has recorded for less. */
function recently({ now, since }: RecentHistory): string {
  const seconds = Math.ceil((Date.parse(now) - Date.parse(since)) / 1000);
  return seconds < RECENT_WINDOW ? `in the last ${seconds} seconds` : `in the last ${RECENT_WINDOW / 60} minutes`;
}

/** Of `named` rows, packets of this name. */
function packetsOf(rows: readonly { readonly name: string; readonly packets: number }[], named: string): number {
  return rows.find(({ name }) => name === named)?.packets ?? 0;
}

function drops({ drops: all }: RunningStatus, ordinary: ReadonlySet<string>, recent: RecentHistory | null): Found[] {
  return Object.entries(all)
    .filter(([reason, count]) => count > 0 && !ordinary.has(reason))
    .map(([reason, count]) => ({ reason, count, lately: recent === null ? count : packetsOf(recent.drops, reason) }))
    .toSorted((a, b) => b.lately - a.lately || b.count - a.count)
    .map(({ reason, count, lately }): Found => {
      const where = `(docs/drop-reasons.md#${reason})`;
      if (recent !== null && lately === 0) {
        const text = `none ${recently(recent)}; ${count} packets were dropped as ${reason} since the director started ${where}`;
        return { id: 'drops', level: 'info', text, fix: 'gue-director history --last 2h' };
      }
      const when = recent === null ? 'since the director started' : `${recently(recent)}, ${count} since the director started`;
      return {
        id: 'drops',
        level: 'warning',
        text: `${lately} packets were dropped as ${reason} ${when} ${where}`,
        fix: recent === null ? 'gue-director status' : `gue-director history --last ${RECENT_WINDOW / 60}m`,
      };
    });
}

function losses({ packets }: RunningStatus, recent: RecentHistory | null): Found[] {
  if (packets.lost === 0) return [];
  const lost = recent === null ? packets.lost : packetsOf(recent.totals, LOST_TOTAL);
  const received = recent === null ? packets.received : packetsOf(recent.totals, RECEIVED_TOTAL);
  const often = lost * LOST_OF > received;
  const counted = recent === null ? '' : ` ${recently(recent)}, ${packets.lost} since the director started`;
  return [
    {
      id: 'kernel-losses',
      level: often ? 'warning' : 'info',
      text: `the kernel lost ${lost} packets before the director could read them, of ${received + lost}${counted}: bursts, or too few threads`,
      fix: 'gue-director status',
    },
  ];
}
