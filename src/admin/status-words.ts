/** A state in sentences, for the terminal and for the status page: what is not as it should be, and what numbers alone do not tell. */
import { duration } from '../base/duration.ts';
import type { Condition } from './server.ts';
import type { Status, StatusBackend, StatusPathMtu } from './status.ts';

/** Seconds for which an ICMP error about a backend is shown: senders of packets hear of it every second, or less often where it is limited. */
const RECENT = 60;

/** One sentence about the state. */
export interface Note {
  readonly level: 'info' | 'warn' | 'error';
  readonly text: string;
}

/** What speaks against the director as such. */
export function conditionNotes({ healthy, ready }: Pick<Status, 'healthy' | 'ready'>): Note[] {
  const notes = ({ reasons }: Condition, level: Note['level']) => reasons.map((text): Note => ({ level, text }));
  return [...notes(healthy, 'error'), ...notes(ready, 'warn')];
}

/** Of services that are not ready, of a drain of the director, and of reloads. */
export function directorNotes(status: Status): Note[] {
  const { draining } = status;
  const drained: Note[] =
    draining === null
      ? []
      : [
          {
            level: 'warn',
            text: `draining for ${duration(draining.age)}${draining.stopIn === null ? '' : `, ends in ${duration(draining.stopIn)}`}`,
          },
        ];
  return [...serviceNotes(status), ...drained, ...reloadNotes(status)];
}

/** Of backends that are not reached, down, too few, drained, and of files with backends. */
export function backendNotes(status: Status): Note[] {
  const notes: Note[] = [];
  for (const { pool, name, unreachable } of status.backends) {
    if (unreachable === null || unreachable.age === null || unreachable.age >= RECENT) continue;
    const what = unreachable.last === 'prohibited' ? 'refused by a firewall' : `${unreachable.last} unreachable`;
    notes.push({ level: 'error', text: `backend ${pool}/${name}: ${what}, ICMP said ${duration(unreachable.age)} ago` });
  }
  for (const backend of status.backends) notes.push(...healthNotes(backend));
  for (const { name, health } of status.pools) {
    if (health?.belowMinimum !== true) continue;
    notes.push({
      level: 'error',
      text: `pool ${name}: ${health.good} good backends of ${health.of}, ${health.wanted} are needed`,
    });
  }
  for (const { pool, name, drain } of status.backends) {
    if (drain === null) continue;
    const { age, downIn } = drain;
    const end = downIn === null ? '' : downIn === 0 ? ', its deadline has passed' : `, down in ${duration(downIn)}`;
    notes.push({ level: 'warn', text: `backend ${pool}/${name}: draining for ${duration(age)}${end}` });
  }
  for (const { file, problem, age, backends } of status.discovery) {
    if (problem === null) continue;
    const kept = age === null ? 'never right' : `its ${backends} backends stay as they were ${duration(age)} ago`;
    notes.push({ level: 'error', text: `${file}: ${kept}; ${problem}` });
  }
  return notes;
}

/** What the kernel lost before it could be read; nothing when it lost nothing. */
export function lostNotes({ packets: { lost } }: Status): Note[] {
  return lost > 0 ? [{ level: 'error', text: `lost in the kernel before they could be read: ${lost}` }] : [];
}

/** Nothing of a backend that is up, in full. */
function healthNotes({ pool, name, state, drain, health }: StatusBackend): Note[] {
  if (health === null || (health.up && health.share === 1)) return [];
  const who = `backend ${pool}/${name}`;
  if (health.up) return [{ level: 'warn', text: `${who}: starts slowly, at ${(100 * health.share).toFixed(2)} % of its weight` }];
  // when-down: keep-flows; nobody has drained it.
  const keepsFlows = state === 'draining' && drain === null ? ', keeps its flows' : '';
  const kept = health.serves ? ', but used: too few others are good' : keepsFlows;
  if (health.heldFor > 0)
    return [{ level: 'error', text: `${who}: held down for ${duration(health.heldFor)} more: it flapped${kept}` }];
  const why = health.checks.filter(({ good }) => !good).map(({ check, detail }) => `${check}: ${detail ?? 'not asked yet'}`);
  return [{ level: 'error', text: `${who}: down for ${duration(health.age)}${kept}: ${why.join('; ')}` }];
}

/** What speaks against one service alone; what speaks against the director is said of it. */
function serviceNotes({ services, ready }: Status): Note[] {
  return services.flatMap((service): Note[] => {
    // A director that is older than this program does not say.
    const { reasons: all = [] } = (service as Partial<typeof service>).ready ?? {};
    const own = all.filter((reason) => !ready.reasons.includes(reason));
    return own.length === 0 ? [] : [{ level: 'warn', text: `service ${service.name}: not ready: ${own.join('; ')}` }];
  });
}

function reloadNotes({ reload }: Status): Note[] {
  const { cause, result, age, problem, confirmWithin } = reload;
  const notes: Note[] = [];
  if (cause !== 'start') {
    const text = `last reload ${duration(age)} ago by ${cause}: ${result}${problem === null ? '' : `; ${problem}`}`;
    notes.push({ level: result === 'success' ? 'info' : 'warn', text });
  }
  if (confirmWithin !== null)
    notes.push({
      level: 'warn',
      text: `rolled back in ${duration(confirmWithin)} unless you type: gue-director reload --confirm`,
    });
  return notes;
}

/** What the flow table lies in and what became of the one before. */
export function flowTableNote({ flowTable }: Pick<Status, 'flowTable'>): Note {
  const { path, outcome, reason, pickedUp, bytes, entries, regions } = flowTable;
  const where = path ?? 'no file';
  const size = `${entries} entries, ${(bytes / 2 ** 20).toFixed(1)} MiB, ${regions} region${regions === 1 ? '' : 's'}`;
  const became = {
    'picked-up': `picked up with ${pickedUp.entries} flows, ${pickedUp.confirmed} confirmed`,
    shared: 'taken over',
    made: 'made at the start',
    renewed: 'made anew',
    memory: 'flows end with this process',
  }[outcome];
  const text = `flow table: ${where}, ${size}; ${became ?? outcome}${reason === '' ? '' : `: ${reason}`}`;
  return { level: reason === '' ? 'info' : 'warn', text };
}

/** Both, where they differ and it takes new flows at all. */
export function weightText({ weight, effectiveWeight }: StatusBackend): string {
  return effectiveWeight === weight || !effectiveWeight ? String(weight) : `${effectiveWeight} of ${weight}`;
}

/** Where the path MTU comes from, and whether packets are cut for it. */
export function pathCause(path: StatusPathMtu): string {
  return path.wantedBytes > path.bytes ? `${origin(path)}; packets are cut, ${path.wantedBytes} would do` : origin(path);
}

function origin({ cause, interface: device, age, expiresIn }: StatusPathMtu): string {
  if (cause !== 'icmp') return device === '' ? 'route' : `route, ${device}`;
  const end = expiresIn === null ? '' : `, forgotten in ${duration(expiresIn)}`;
  return `ICMP ${duration(age)} ago${end}`;
}
