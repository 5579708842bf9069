/** The text of `history`: what became of the client first, then what happened around it. */
import { tupleText } from '../../explain/tuple.ts';
import type { HistoryAnswer, HistoryNote, HistoryRow } from '../../observe/history.ts';
import { columns } from './columns.ts';
import type { Paint } from './paint.ts';

/** Notes and events that are printed; --json has all. */
const MOST_LINES = 40;

/** Lines ending in a newline. Times are those of this process's time zone. */
export function historyText(answer: HistoryAnswer, paint: Paint): string {
  const { notes, events, totals, services, backends, drops } = answer;
  const isEmpty = [notes ?? [], events, totals, services, backends, drops].every(({ length }) => length === 0);
  const parts = [
    [heading(answer, paint), ...coverage(answer, paint), ...(isEmpty ? ['nothing recorded'] : [])],
    answer.asked.client === null ? [] : clientLines(answer, paint),
    eventLines(answer, paint),
    totalLines(answer),
    dropTable(answer, paint),
    table('service', services, paint),
    table('backend', backends, paint),
    answer.asked.client === null ? noteLines(answer, paint) : [],
  ];
  return parts
    .filter(({ length }) => length > 0)
    .map((lines) => `${lines.join('\n')}\n`)
    .join('\n');
}

const two = (value: number) => String(value).padStart(2, '0');

/** `14:02:03`, with milliseconds `14:02:03.117`. */
function clock(time: string, withMilliseconds = false): string {
  const at = new Date(time);
  const text = [at.getHours(), at.getMinutes(), at.getSeconds()].map(two).join(':');
  return withMilliseconds ? `${text}.${String(at.getMilliseconds()).padStart(3, '0')}` : text;
}

function date(time: string): string {
  const at = new Date(time);
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
}

/** With the date where it is not that of `beside`. */
function moment(time: string, beside: string): string {
  return date(time) === date(beside) ? clock(time) : `${date(time)} ${clock(time)}`;
}

function heading({ window, asked }: HistoryAnswer, paint: Paint): string {
  const { from, to } = window;
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const wishes = Object.entries(asked).flatMap(([name, value]) => (value === null ? [] : [`${name} ${value}`]));
  return `${paint.bold(`${date(from)} ${clock(from)} to ${moment(to, from)}`)} (${[zone, ...wishes].join(', ')})`;
}

function coverage({ counters, since, window }: HistoryAnswer, paint: Paint): string[] {
  const { from, to, covers, because } = counters;
  if (covers === 'all') return [];
  const began = `this director has recorded since ${moment(since, window.from)}`;
  const which = covers === 'none' ? 'no counters of this window are held' : 'counters of a part of this window are held';
  if (because === 'before-start') return [paint.yellow(`${which}: ${began}`)];
  if (because === 'forgotten' && from !== null)
    return [paint.yellow(`${which}: older ones than ${moment(from, window.from)} are forgotten`)];
  return [paint.yellow(`${which}: the last second that was counted ended at ${to === null ? '-' : moment(to, window.from)}`)];
}

function clientLines(answer: HistoryAnswer, paint: Paint): string[] {
  const { notes, nearest, asked } = answer;
  const lines: string[] = [];
  if (notes !== null && notes.length > 0) lines.push(...noteLines(answer, paint));
  else {
    lines.push(`${paint.bold(asked.client ?? '')}: nothing recorded: no drop of a packet from or to it is noted in this window`);
    lines.push(...uncertain(answer, paint));
    for (const [where, note] of [
      ['before', nearest?.before ?? null],
      ['after', nearest?.after ?? null],
    ] as const) {
      if (note !== null) lines.push(`the nearest ${where} it: ${date(note.time)} ${noteCells(note).join('  ')}`);
    }
  }
  lines.push('Packets that are forwarded leave no note. Where its packets go now, and what is known of the flow:');
  return [...lines, `  gue-director explain ${exampleFlow(answer)}`];
}

/** Reasons of which notes were lost: that nothing is found says little then. */
function uncertain({ pushedOut }: HistoryAnswer, paint: Paint): string[] {
  return pushedOut.map(({ reason, before }) =>
    paint.yellow(
      `drops as ${reason} before ${clock(before, true)} may have been its own: their notes were pushed out by newer ones`,
    ),
  );
}

/** A flow of the client's that was dropped, or how one is written. */
function exampleFlow({ notes, nearest, asked }: HistoryAnswer): string {
  const known = [...(notes ?? []), nearest?.before, nearest?.after].filter((note) => note?.sport !== undefined).at(-1);
  if (known != null) return tupleText(known).replace(' → ', ' ');
  const client = asked.client ?? '';
  const isPlain = !client.includes('/');
  const address = isPlain ? client : 'CLIENT';
  return `tcp ${address.includes(':') ? `[${address}]` : address}:PORT SERVICE:PORT`;
}

function noteCells({ time, reason, length, thread, service, backend, ...tuple }: HistoryNote): string[] {
  const what = tupleText(tuple);
  const beyond = [service === null ? '' : `service ${service}`, backend === null ? '' : `for ${backend}`].filter(
    (text) => text !== '',
  );
  return [
    clock(time, true),
    reason,
    what === '' ? 'no readable IP packet' : what,
    `${length} bytes`,
    [`thread ${thread}`, ...beyond].join(', '),
  ];
}

function noteLines(answer: HistoryAnswer, paint: Paint): string[] {
  const { notes, notesLeftOut, asked } = answer;
  if (notes === null || notes.length === 0) return [];
  const shown = notes.slice(-MOST_LINES);
  const count = notes.length + notesLeftOut;
  const what = `${count} packet${count === 1 ? '' : 's'} dropped${count > shown.length ? `, the last ${shown.length} of them` : ''}`;
  const reasons = [...new Set(notes.map(({ reason }) => reason))];
  return [
    asked.client === null ? paint.dim(what) : `${paint.bold(asked.client)}: ${paint.red(what)}`,
    ...columns(shown.map(noteCells), ['left', 'left', 'left', 'right', 'left']).map((line) => `  ${line}`),
    ...uncertain(answer, paint),
    ...reasons.map((reason) => `  what to do: docs/drop-reasons.md#${reason}`),
  ];
}

function eventLines({ events, eventsSince, window }: HistoryAnswer, paint: Paint): string[] {
  if (events.length === 0) return [];
  const shown = events.slice(-MOST_LINES);
  const rows = columns(
    shown.map(({ time, level, kind, text }) => [clock(time, true), level, kind, text]),
    ['left', 'left', 'left', 'left'],
  );
  const colours = { info: (text: string) => text, warn: paint.yellow, error: paint.red };
  const more = events.length > shown.length ? [`  ${events.length - shown.length} earlier ones: --json`] : [];
  const gone =
    eventsSince !== null && eventsSince > window.from ? [`  those before ${moment(eventsSince, window.from)} are forgotten`] : [];
  return [paint.dim('state changes'), ...gone, ...more, ...rows.map((row, i) => `  ${colours[shown[i].level](row)}`)];
}

function totalLines({ totals }: HistoryAnswer): string[] {
  return totals.length === 0
    ? []
    : [`packets: ${totals.map((row) => `${row.name} ${row.packets} (${peakText(row)})`).join(', ')}`];
}

function peakText({ peak, peakAt }: HistoryRow): string {
  return `${peak}/s at ${clock(peakAt)}`;
}

function table(head: string, rows: readonly HistoryRow[], paint: Paint): string[] {
  if (rows.length === 0) return [];
  const cells = rows.map(({ name, packets, bytes, peak, peakAt }) => [
    name,
    String(packets),
    String(bytes),
    String(peak),
    clock(peakAt),
  ]);
  const lines = columns([[head, 'packets', 'bytes', 'peak/s', 'at'], ...cells], ['left', 'right', 'right', 'right', 'left']);
  return [paint.dim(`  ${lines[0]}`), ...lines.slice(1).map((line) => `  ${line}`)];
}

function dropTable({ drops }: HistoryAnswer, paint: Paint): string[] {
  if (drops.length === 0) return [];
  const rows = [...drops]
    .sort((a, b) => b.packets - a.packets)
    .map(({ name, packets, peak, peakAt, text }) => [name, String(packets), String(peak), clock(peakAt), text]);
  const lines = columns(
    [['dropped as', 'packets', 'peak/s', 'at', 'because'], ...rows],
    ['left', 'right', 'right', 'left', 'left'],
  );
  return [paint.dim(`  ${lines[0]}`), ...lines.slice(1).map((line) => `  ${line}`)];
}
