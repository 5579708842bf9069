/** The text of `history`: what was asked for first (the client, the service, the reason), then what happened around it. */
import type { HistoryAnswer, HistoryDrops, HistoryRow, HistoryTable } from '../../observe/history.ts';
import { clock, date, fullSecond, moment } from './clock.ts';
import { columns } from './columns.ts';
import { MOST_LINES, noteLines, ownerOf, subjectLines, subjectOf } from './history-notes.ts';
import type { Paint } from './paint.ts';

/** Lines ending in a newline. Times are those of this process's time zone. */
export function historyText(answer: HistoryAnswer, paint: Paint): string {
  const { notes, events, totals, services, backends, drops } = answer;
  const isEmpty = [notes ?? [], events, totals, services, backends, drops].every(({ length }) => length === 0);
  const subject = subjectOf(answer);
  const tables: readonly (readonly [HistoryTable, string[]])[] = [
    ['totals', totalLines(answer)],
    ['drops', dropTable(answer, paint)],
    ['services', table('service', services, paint)],
    ['backends', table('backend', backends, paint)],
  ];
  const those = (isWider: boolean) => tables.flatMap(([name, lines]) => (answer.wider.includes(name) === isWider ? [lines] : []));
  // State changes that have nothing to do with a service or backend are left out already; with a client or a reason all are told.
  const isOwnEvents = answer.asked.service !== null || answer.asked.backend !== null;
  const around = [...(isOwnEvents ? [] : [eventLines(answer, paint)]), ...those(true)].filter(({ length }) => length > 0);
  const parts =
    subject === ''
      ? [head(answer, isEmpty, paint), eventLines(answer, paint), ...those(false), noteLines(answer, paint)]
      : [
          head(answer, isEmpty, paint),
          subjectLines(answer, paint),
          ...(isOwnEvents ? [eventLines(answer, paint)] : []),
          ...those(false),
          around.length === 0 ? [] : [paint.bold(`Not only ${subject}, but all that is recorded of this window:`)],
          ...around,
        ];
  return parts
    .filter(({ length }) => length > 0)
    .map((lines) => `${lines.join('\n')}\n`)
    .join('\n');
}

function head(answer: HistoryAnswer, isEmpty: boolean, paint: Paint): string[] {
  return [heading(answer, paint), ...coverage(answer, paint), ...(isEmpty ? ['nothing recorded'] : [])];
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
    return [paint.yellow(`${which}: older ones than ${moment(fullSecond(from), window.from)} are forgotten`)];
  const last = to === null ? '-' : moment(fullSecond(to), window.from);
  return [paint.yellow(`${which}: the last second that was counted ended at ${last}`)];
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

/** Counters can not tell whose a drop was: beside them, how many notes are of who was asked for. */
function dropTable(answer: HistoryAnswer, paint: Paint): string[] {
  const { drops, wider, pushedOut } = answer;
  if (drops.length === 0) return [];
  const owner = wider.includes('drops') && drops.every(({ matching }) => matching !== null) ? [`of ${ownerOf(answer)}`] : [];
  const own = ({ name, matching }: HistoryDrops) =>
    `${pushedOut.some(({ reason }) => reason === name) ? 'at least ' : ''}${matching}`;
  const rows = [...drops]
    .sort((a, b) => b.packets - a.packets)
    .map((row) => [
      ...[row.name, String(row.packets), ...owner.map(() => own(row))],
      ...[String(row.peak), clock(row.peakAt), row.text],
    ]);
  const lines = columns(
    [['dropped as', 'packets', ...owner, 'peak/s', 'at', 'because'], ...rows],
    ['left', 'right', ...owner.map(() => 'right' as const), 'right', 'left', 'left'],
  );
  return [paint.dim(`  ${lines[0]}`), ...lines.slice(1).map((line) => `  ${line}`)];
}
