/** The text of `status`: a heading, then one table for each kind of thing. */
import type { Status, StatusPathMtu } from '../../admin/status.ts';
import {
  backendNotes,
  conditionNotes,
  directorNotes,
  flowTableNote,
  lostNotes,
  type Note,
  pathCause,
  weightText,
} from '../../admin/status-words.ts';
import { duration } from '../../base/duration.ts';
import { type Alignment, columns, percent } from './columns.ts';
import type { Paint } from './paint.ts';

export function statusText(status: Status, paint: Paint): string {
  return `${[heading(status, paint), ...tables(status, paint)].join('\n\n')}\n`;
}

function heading(status: Status, paint: Paint): string {
  const { version, uptime, generation, pid, config, packets, ready } = status;
  const state = ready.ok ? paint.green('ready') : paint.yellow('not ready');
  const lines = (notes: readonly Note[]) => notes.map((note) => noteText(note, paint));
  return [
    `${paint.bold(`gue-director ${version}`)}: ${state}, up ${duration(uptime)}, generation ${generation}, process ${pid}, ${config}`,
    ...lines(conditionNotes(status)).map((line) => `  ${line}`),
    ...lines(directorNotes(status)),
    `packets: received ${packets.received}, forwarded ${packets.forwarded}, replied ${packets.replied}, passed ${packets.passed}, dropped ${packets.dropped}`,
    ...lines(backendNotes(status)),
    // A director that is older than this program does not say.
    ...((status as Partial<Status>).flowTable === undefined ? [] : lines([flowTableNote(status)])),
    ...lines(lostNotes(status)),
  ].join('\n');
}

/** In the colour of its level. */
export function noteText({ level, text }: Note, paint: Paint): string {
  return level === 'error' ? paint.red(text) : level === 'warn' ? paint.yellow(text) : text;
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
  return [String(path.bytes), String(path.innerBytes), pathCause(path)];
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
