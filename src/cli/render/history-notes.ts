/** Of the text of `history`: what was asked for (the client, the service, the backend, the reason), and the notes of what was dropped. */
import { tupleText } from '../../explain/tuple.ts';
import type { HistoryAnswer, HistoryDrops, HistoryNote } from '../../observe/history.ts';
import { clock, date } from './clock.ts';
import { columns } from './columns.ts';
import type { Paint } from './paint.ts';

/** Notes and events that are printed; --json has all. */
export const MOST_LINES = 40;

/** Whose packets were asked for: `service web`; '' for everybody's. */
export function ownerOf({ asked: { client, service, backend } }: HistoryAnswer): string {
  const owners = [client, service === null ? null : `service ${service}`, backend === null ? null : `backend ${backend}`];
  return owners.filter((owner) => owner !== null).join(', ');
}

/** What was asked for: `service web, no-backend`; '' for everything. */
export function subjectOf(answer: HistoryAnswer): string {
  return [ownerOf(answer), answer.asked.reason ?? ''].filter((word) => word !== '').join(', ');
}

/** What was asked for: its drops, or that none is noted, and what is nearest. */
export function subjectLines(answer: HistoryAnswer, paint: Paint): string[] {
  const { notes, nearest, asked } = answer;
  const lines: string[] = [];
  if (notes !== null && notes.length > 0) lines.push(...noteLines(answer, paint));
  else {
    lines.push(`${paint.bold(subjectOf(answer))}: ${nothingNoted(answer)}`);
    lines.push(...uncertain(answer, paint));
    for (const [where, note] of [
      ['before', nearest?.before ?? null],
      ['after', nearest?.after ?? null],
    ] as const) {
      if (note !== null) lines.push(`the nearest ${where} it: ${date(note.time)} ${noteCells(note).join('  ')}`);
    }
  }
  if (asked.client === null) return lines;
  lines.push('Packets that are forwarded leave no note. Where its packets go now, and what is known of the flow:');
  return [...lines, `  gue-director explain ${exampleFlow(answer)}`];
}

/** That no note matches, and what that means: of a reason alone the counters know too; of a service or backend they know its traffic. */
function nothingNoted(answer: HistoryAnswer): string {
  const { notes, asked, drops } = answer;
  const { client, service, backend, reason } = asked;
  const why = reason === null ? '' : ' for this reason';
  if (notes === null) return 'notes of its drops are told on the host of the director alone';
  if (client !== null) {
    const known =
      service === null && backend === null ? '' : `, and known to be for the ${backend === null ? 'service' : 'backend'},`;
    return `nothing recorded: no drop${why} of a packet from or to it${known} is noted in this window`;
  }
  if (ownerOf(answer) !== '') {
    return `no drop recorded: none${why} of a packet known to be its own is noted in this window`;
  }
  const counted = countedAs(drops);
  if (counted > 0) return `${counted} packet${counted === 1 ? '' : 's'} dropped, of which no note is held`;
  return answer.counters.covers === 'all'
    ? 'nothing recorded: no packet was dropped for this reason in this window'
    : 'nothing recorded: no drop for this reason is counted or noted in this window';
}

const countedAs = (drops: readonly HistoryDrops[]) => drops.reduce((sum, { packets }) => sum + packets, 0);

/** Reasons of which notes were lost: that nothing is found says little then. */
function uncertain(answer: HistoryAnswer, paint: Paint): string[] {
  const what = ownerOf(answer) === '' ? 'are counted and not noted' : 'may have been its own';
  return answer.pushedOut.map(({ reason, before }) =>
    paint.yellow(`drops as ${reason} before ${clock(before, true)} ${what}: their notes were pushed out by newer ones`),
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

/** Packets that were dropped, the last of them, and what to do; none where none is told. */
export function noteLines(answer: HistoryAnswer, paint: Paint): string[] {
  const { notes, notesLeftOut, drops, pushedOut } = answer;
  const subject = subjectOf(answer);
  if (notes === null || notes.length === 0) return [];
  const shown = notes.slice(-MOST_LINES);
  const count = notes.length + notesLeftOut;
  // Counters have all of a reason, and can not tell whose they were: there, more may have been dropped than are noted.
  const isByReason = subject !== '' && ownerOf(answer) === '';
  const counted = isByReason ? Math.max(count, countedAs(drops)) : count;
  const atLeast = !isByReason && pushedOut.length > 0 ? 'at least ' : '';
  const cut = [counted > count ? `${count} of them noted` : '', count > shown.length ? `the last ${shown.length}` : ''];
  const what = [`${atLeast}${counted} packet${counted === 1 ? '' : 's'} dropped`, ...cut.filter((text) => text !== '')].join(
    ', ',
  );
  const reasons = [...new Set(notes.map(({ reason }) => reason))];
  return [
    subject === '' ? paint.dim(what) : `${paint.bold(subject)}: ${paint.red(what)}`,
    ...columns(shown.map(noteCells), ['left', 'left', 'left', 'right', 'left']).map((line) => `  ${line}`),
    ...uncertain(answer, paint),
    ...reasons.map((reason) => `  what to do: docs/drop-reasons.md#${reason}`),
  ];
}
