/** The text of `status`: a heading, then one table for each kind of thing. */
import type { Condition } from '../../admin/server.ts';
import type { Status, StatusBackend, StatusPathMtu } from '../../admin/status.ts';
import { type Alignment, columns, percent } from './columns.ts';
import type { Paint } from './paint.ts';

/** Seconds for which an ICMP error about a backend is shown: senders of packets hear of it every second, or less often where it is limited. */
const RECENT = 60;

export function statusText(status: Status, paint: Paint): string {
  return `${[heading(status, paint), ...tables(status, paint)].join('\n\n')}\n`;
}

function heading(status: Status, paint: Paint): string {
  const { version, uptime, generation, pid, config, packets, ready, healthy, draining } = status;
  const state = ready.ok ? paint.green('ready') : paint.yellow('not ready');
  const lines = [
    `${paint.bold(`gue-director ${version}`)}: ${state}, up ${duration(uptime)}, generation ${generation}, process ${pid}, ${config}`,
    ...reasons(healthy, paint.red),
    ...reasons(ready, paint.yellow),
    ...serviceLines(status, paint),
    ...(draining === null ? [] : [paint.yellow(drainingText(draining))]),
    ...reloadLines(status, paint),
    `packets: received ${packets.received}, forwarded ${packets.forwarded}, replied ${packets.replied}, passed ${packets.passed}, dropped ${packets.dropped}`,
  ];
  for (const { pool, name, unreachable } of status.backends) {
    if (unreachable === null || unreachable.age === null || unreachable.age >= RECENT) continue;
    const what = unreachable.last === 'prohibited' ? 'refused by a firewall' : `${unreachable.last} unreachable`;
    lines.push(paint.red(`backend ${pool}/${name}: ${what}, ICMP said ${duration(unreachable.age)} ago`));
  }
  for (const backend of status.backends) lines.push(...healthLines(backend, paint));
  for (const { name, health } of status.pools) {
    if (health?.belowMinimum !== true) continue;
    lines.push(paint.red(`pool ${name}: ${health.good} good backends of ${health.of}, ${health.wanted} are needed`));
  }
  for (const { pool, name, drain } of status.backends) {
    if (drain === null) continue;
    const { age, downIn } = drain;
    const end = downIn === null ? '' : downIn === 0 ? ', its deadline has passed' : `, down in ${duration(downIn)}`;
    lines.push(paint.yellow(`backend ${pool}/${name}: draining for ${duration(age)}${end}`));
  }
  for (const { file, problem, age, backends } of status.discovery) {
    if (problem === null) continue;
    const kept = age === null ? 'never right' : `its ${backends} backends stay as they were ${duration(age)} ago`;
    lines.push(paint.red(`${file}: ${kept}; ${problem}`));
  }
  // A director that is older than this program does not say.
  if ((status as Partial<Status>).flowTable !== undefined) lines.push(flowTableText(status, paint));
  if (packets.lost > 0) lines.push(paint.red(`lost in the kernel before they could be read: ${packets.lost}`));
  return lines.join('\n');
}

/** Nothing of a backend that is up, in full. */
function healthLines({ pool, name, state, drain, health }: StatusBackend, paint: Paint): string[] {
  if (health === null || (health.up && health.share === 1)) return [];
  const who = `backend ${pool}/${name}`;
  if (health.up) return [paint.yellow(`${who}: starts slowly, at ${percent(health.share)} of its weight`)];
  // when-down: keep-flows; nobody has drained it.
  const keepsFlows = state === 'draining' && drain === null ? ', keeps its flows' : '';
  const kept = health.serves ? ', but used: too few others are good' : keepsFlows;
  if (health.heldFor > 0) return [paint.red(`${who}: held down for ${duration(health.heldFor)} more: it flapped${kept}`)];
  const why = health.checks.filter(({ good }) => !good).map(({ check, detail }) => `${check}: ${detail ?? 'not asked yet'}`);
  return [paint.red(`${who}: down for ${duration(health.age)}${kept}: ${why.join('; ')}`)];
}

function flowTableText({ flowTable }: Status, paint: Paint): string {
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
  return reason === '' ? text : paint.yellow(text);
}

/** Both, where they differ and it takes new flows at all. */
function weightText({ weight, effectiveWeight }: StatusBackend): string {
  return effectiveWeight === weight || !effectiveWeight ? String(weight) : `${effectiveWeight} of ${weight}`;
}

/** What speaks against one service alone; what speaks against the director stands above. */
function serviceLines({ services, ready }: Status, paint: Paint): string[] {
  return services.flatMap((service) => {
    // A director that is older than this program does not say.
    const { reasons: all = [] } = (service as Partial<typeof service>).ready ?? {};
    const own = all.filter((reason) => !ready.reasons.includes(reason));
    return own.length === 0 ? [] : [paint.yellow(`service ${service.name}: not ready: ${own.join('; ')}`)];
  });
}

function drainingText({ age, stopIn }: NonNullable<Status['draining']>): string {
  return `draining for ${duration(age)}${stopIn === null ? '' : `, ends in ${duration(stopIn)}`}`;
}

function reloadLines({ reload }: Status, paint: Paint): string[] {
  const { cause, result, age, problem, confirmWithin } = reload;
  const told = [`last reload ${duration(age)} ago by ${cause}: ${result}${problem === null ? '' : `; ${problem}`}`];
  const lines = cause === 'start' ? [] : told.map((line) => (result === 'success' ? line : paint.yellow(line)));
  if (confirmWithin === null) return lines;
  return [...lines, paint.yellow(`rolled back in ${duration(confirmWithin)} unless you type: gue-director reload --confirm`)];
}

function reasons(condition: Condition, colour: (text: string) => string): string[] {
  return condition.reasons.map((reason) => `  ${colour(reason)}`);
}

function tables(status: Status, paint: Paint): string[] {
  const { services, pools, backends, threads, drops } = status;
  const hasPaths = backends.some(({ pathMtu }) => pathMtu !== null);
  const left = (count: number): Alignment[] => new Array<Alignment>(count).fill('left');
  const right = (count: number): Alignment[] => new Array<Alignment>(count).fill('right');
  const parts = [
    table(
      ['service', 'pool', 'packets', 'bytes'],
      services.map((one) => [one.name, one.pool, String(one.packets), String(one.bytes)]),
      [...left(2), ...right(2)],
      paint,
    ),
    table(
      ['pool', 'scheme', 'slots', 'seed', 'digest'],
      pools.map((one) => [one.name, one.scheme, String(one.tableSize), String(one.seed), one.digest]),
      [...left(2), ...right(2), ...left(1)],
      paint,
    ),
    table(
      ['backend', 'address', 'tunnel', 'state', 'weight', 'share', 'packets', 'bytes', ...(hasPaths ? PATH_HEADING : [])],
      backends.map((one) => [
        ...[
          `${one.pool}/${one.name}`,
          one.address,
          [one.encapsulation, ...one.ports].join(' '),
          one.state,
          weightText(one),
          percent(one.share),
        ],
        ...[String(one.packets), String(one.bytes)],
        ...(hasPaths ? pathCells(one.pathMtu) : []),
      ]),
      [...left(4), ...right(4), ...(hasPaths ? [...right(2), ...left(1)] : [])],
      paint,
    ),
    table(
      ['thread', 'state', 'ingress', 'egress', 'received', 'failures', 'heartbeat'],
      threads.map((one) => [
        ...[String(one.number), one.state, one.ingress || '-', one.egress || '-'],
        ...[String(one.received), String(one.failures), `${one.heartbeatAge} s ago`],
      ]),
      [...right(1), ...left(3), ...right(3)],
      paint,
    ),
  ];
  const dropped = Object.entries(drops).sort(([, a], [, b]) => b - a);
  if (dropped.length > 0) {
    const rows = dropped.map(([reason, packets]) => [reason, String(packets)]);
    parts.push(table(['dropped as', 'packets'], rows, ['left', 'right'], paint));
  }
  return parts;
}

const PATH_HEADING = ['path MTU', 'inner', 'because of'];

function pathCells(path: StatusPathMtu | null): string[] {
  if (path === null || path.bytes === 0) return ['-', '-', 'no route'];
  return [String(path.bytes), String(path.innerBytes), because(path)];
}

function because(path: StatusPathMtu): string {
  return path.wantedBytes > path.bytes ? `${origin(path)}; packets are cut, ${path.wantedBytes} would do` : origin(path);
}

function origin({ cause, interface: device, age, expiresIn }: StatusPathMtu): string {
  if (cause !== 'icmp') return device === '' ? 'route' : `route, ${device}`;
  const end = expiresIn === null ? '' : `, forgotten in ${duration(expiresIn)}`;
  return `ICMP ${duration(age)} ago${end}`;
}

function table(
  head: readonly string[],
  rows: readonly (readonly string[])[],
  alignment: readonly Alignment[],
  paint: Paint,
): string {
  const lines = columns([head, ...rows], alignment);
  lines[0] = paint.dim(lines[0]);
  return lines.map((line) => `  ${line}`).join('\n');
}

/** The two largest units: `3 d 4 h`, `12 min 5 s`, `8 s`. */
export function duration(seconds: number): string {
  const parts: string[] = [];
  let left = Math.max(0, Math.floor(seconds));
  for (const [unit, length] of UNITS) {
    const count = Math.floor(left / length);
    left -= count * length;
    if (count > 0) parts.push(`${count} ${unit}`);
    else if (parts.length > 0) break;
  }
  return parts.slice(0, 2).join(' ') || '0 s';
}

const UNITS = [
  ['d', 86400],
  ['h', 3600],
  ['min', 60],
  ['s', 1],
] as const;
