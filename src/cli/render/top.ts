/** One picture of `top`: a heading, what needs attention, then services, backends and drops with their rates, in so many lines and columns. */
import type { Status, StatusBackend } from '../../admin/status.ts';
import { backendNotes, conditionNotes, directorNotes, lostNotes, weightText } from '../../admin/status-words.ts';
import { duration } from '../../base/duration.ts';
import type { Rates } from '../rates.ts';
import { type Alignment, columns, percent } from './columns.ts';
import type { Paint } from './paint.ts';
import { noteText } from './status.ts';

/** `configuration`: as it is written there; `rate`: the busiest first. */
export type Sort = 'configuration' | 'rate' | 'name';

export interface TopView {
  readonly sort: Sort;
  readonly isHelp: boolean;
}

export interface TopFacts {
  readonly status: Status;
  /** null: there was but one look so far. */
  readonly rates: Rates | null;
  /** Why the last look failed; what is shown is older then. */
  readonly problem: string | null;
}

/** Lines and columns to fill at most; Infinity for as many as there are. */
export interface TopSize {
  readonly rows: number;
  readonly columns: number;
}

const SORTS: readonly Sort[] = ['configuration', 'rate', 'name'];
const HELP = [
  'q      ends (so does Ctrl-C)',
  's      sorts otherwise: as in the configuration, the busiest first, by name',
  '?      this help; any key leaves it',
  '',
  'Rates are the difference of two looks at the counters. Shares are those of the table slots, weights what new flows count.',
  'One picture, without the screen: gue-director top --once',
];

/** The view after a key; null: the end. Keys that mean nothing leave it as it is. */
export function pressed(view: TopView, key: string): TopView | null {
  if (key === 'q' || key === 'Q' || key === '\x03') return null;
  if (view.isHelp) return { ...view, isHelp: false };
  if (key === '?' || key === 'h') return { ...view, isHelp: true };
  if (key === 's') return { ...view, sort: SORTS[(SORTS.indexOf(view.sort) + 1) % SORTS.length] };
  return view;
}

/** 12345 → `12.3 k`; `-` for what is not known yet. */
export function rateText(value: number | undefined): string {
  if (value === undefined) return '-';
  if (value === 0) return '0';
  if (value < 9.95) return value.toFixed(1);
  let [left, unit] = [value, 0];
  for (; left >= 999.5 && unit < UNITS.length - 1; unit++) left /= 1000;
  return `${left < 99.95 && unit > 0 ? left.toFixed(1) : left.toFixed(0)}${UNITS[unit]}`;
}

const UNITS = ['', ' k', ' M', ' G', ' T'];

export function topLines(facts: TopFacts, view: TopView, size: TopSize, paint: Paint): string[] {
  const head = heading(facts, paint);
  const foot = size.rows === Number.POSITIVE_INFINITY ? [] : [paint.dim(`q quit   s sort: ${view.sort}   ? help`)];
  const room = size.rows - head.length - foot.length;
  const body = view.isHelp ? ['', ...HELP] : sections(facts, view, room, paint);
  return [...head, ...body.slice(0, Math.max(0, room)), ...foot].slice(0, size.rows).map((line) => cut(line, size.columns));
}

function heading({ status, rates, problem }: TopFacts, paint: Paint): string[] {
  const { version, ready, uptime, generation, config } = status;
  const state = ready.ok ? paint.green('ready') : paint.yellow('not ready');
  const per = (key: keyof Rates['packets']) => rateText(rates?.packets[key]);
  const dropped = `dropped ${per('dropped')}`;
  const notes = [...conditionNotes(status), ...directorNotes(status), ...backendNotes(status), ...lostNotes(status)];
  return [
    `${paint.bold(`gue-director ${version}`)}: ${state}, up ${duration(uptime)}, generation ${generation}, ${config}`,
    `packets/s: received ${per('received')}, forwarded ${per('forwarded')}, replied ${per('replied')}, ${(rates?.packets.dropped ?? 0) > 0 ? paint.yellow(dropped) : dropped}`,
    ...(problem === null ? [] : [paint.red(`no answer, what you see is older: ${problem}`)]),
    ...notes.filter(({ level }) => level !== 'info').map((note) => noteText(note, paint)),
  ];
}

interface Section {
  readonly head: readonly string[];
  readonly alignment: readonly Alignment[];
  /** The cells of each row, and how to paint the row. */
  readonly rows: readonly { readonly cells: readonly string[]; readonly paint: (line: string) => string }[];
}

/** Every section gets a line in turn until the room is used up; each then says how many it does not show. */
function sections(facts: TopFacts, view: TopView, room: number, paint: Paint): string[] {
  const all = [services(facts, view, paint), backends(facts, view, paint), drops(facts, paint)].filter(
    ({ rows }) => rows.length > 0,
  );
  // A blank line and the heading of each.
  const shown = dealt(
    all.map(({ rows }) => rows.length),
    room - 2 * all.length,
  );
  return all.flatMap(({ head, alignment, rows }, i) => {
    const isCut = shown[i] < rows.length;
    const kept = rows.slice(0, isCut ? Math.max(0, shown[i] - 1) : shown[i]);
    const lines = columns([head, ...rows.map(({ cells }) => cells)], alignment);
    return [
      '',
      paint.dim(lines[0]),
      ...kept.map((row, k) => row.paint(lines[k + 1])),
      ...(isCut ? [paint.dim(`… and ${rows.length - kept.length} more`)] : []),
    ];
  });
}

/** How many of `room` lines each of those that want so many gets. */
function dealt(wanted: readonly number[], room: number): number[] {
  const got = wanted.map(() => 0);
  if (room === Number.POSITIVE_INFINITY) return [...wanted];
  for (let left = room; left > 0; ) {
    const before = left;
    for (let i = 0; i < wanted.length && left > 0; i++) {
      if (got[i] >= wanted[i]) continue;
      got[i]++;
      left--;
    }
    if (left === before) break;
  }
  return got;
}

const plain = (line: string) => line;

function sorted<T extends { readonly name: string }>(rows: readonly T[], sort: Sort, rate: (row: T) => number | undefined): T[] {
  if (sort === 'configuration') return [...rows];
  if (sort === 'name') return [...rows].sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
  return [...rows].sort((a, b) => (rate(b) ?? 0) - (rate(a) ?? 0));
}

function services({ status, rates }: TopFacts, { sort }: TopView, paint: Paint): Section {
  const flows = new Map(rates?.services.map((flow) => [flow.name, flow]));
  return {
    head: ['service', 'pool', 'state', 'packets/s', 'bits/s', 'packets'],
    alignment: ['left', 'left', 'left', 'right', 'right', 'right'],
    rows: sorted(status.services, sort, ({ name }) => flows.get(name)?.packets).map(({ name, pool, ready, packets }) => {
      // A director that is older than this program does not say.
      const isReady = (ready as typeof ready | undefined)?.ok ?? true;
      const flow = flows.get(name);
      return {
        cells: [name, pool, isReady ? 'ready' : 'not ready', rateText(flow?.packets), rateText(flow?.bits), String(packets)],
        paint: isReady ? plain : paint.yellow,
      };
    }),
  };
}

function backends({ status, rates }: TopFacts, { sort }: TopView, paint: Paint): Section {
  const flows = new Map(rates?.backends.map((flow) => [`${flow.pool}/${flow.name}`, flow]));
  const rows = status.backends.map((backend) => ({ backend, name: `${backend.pool}/${backend.name}` }));
  return {
    head: ['backend', 'address', 'state', 'health', 'weight', 'share', 'packets/s', 'bits/s', 'packets'],
    alignment: ['left', 'left', 'left', 'left', 'right', 'right', 'right', 'right', 'right'],
    rows: sorted(rows, sort, ({ name }) => flows.get(name)?.packets).map(({ backend, name }) => {
      const { address, state, share, packets } = backend;
      const flow = flows.get(name);
      return {
        cells: [
          ...[name, address, state, healthText(backend), weightText(backend), percent(share)],
          ...[rateText(flow?.packets), rateText(flow?.bits), String(packets)],
        ],
        paint: state === 'active' ? plain : state === 'draining' ? paint.yellow : paint.red,
      };
    }),
  };
}

function healthText({ health }: StatusBackend): string {
  if (health === null) return '-';
  if (!health.up) return health.serves ? 'bad, used' : 'bad';
  return health.share === 1 ? 'good' : 'starting';
}

function drops({ status, rates }: TopFacts, paint: Paint): Section {
  const rate = (reason: string) => rates?.drops[reason];
  const reasons = Object.entries(status.drops).sort(([a, x], [b, y]) => (rate(b) ?? 0) - (rate(a) ?? 0) || y - x);
  return {
    head: ['dropped as', 'packets/s', 'packets'],
    alignment: ['left', 'right', 'right'],
    rows: reasons.map(([reason, packets]) => ({
      cells: [reason, rateText(rate(reason)), String(packets)],
      paint: (rate(reason) ?? 0) > 0 ? paint.yellow : plain,
    })),
  };
}

/** At most `width` characters, colours not counted; whatever colour is on is turned off again. */
export function cut(line: string, width: number): string {
  let seen = 0;
  let isPainted = false;
  // biome-ignore lint/suspicious/noControlCharactersInRegex: colours begin with one
  for (const match of line.matchAll(/\x1b\[[0-9;]*m|./gu)) {
    if (match[0].startsWith('\x1b')) {
      isPainted = true;
      continue;
    }
    if (++seen > width) return `${line.slice(0, match.index)}${isPainted ? '\x1b[0m' : ''}`;
  }
  return line;
}
