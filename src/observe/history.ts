/**
 * What happened in a window of time, put together from what is kept: counters of each second, state changes, and notes of packets that were dropped. docs/history.md
 * explains the fields, which are added to and never renamed.
 */
import { formatAddress, type Prefix } from '../base/address.ts';
import type { DropNote } from '../base/drop-notes.ts';
import { DROP_REASONS } from '../base/drop-reason.ts';
import type { NoteSearch, NotesFound } from '../base/note-search.ts';
import type { CounterSeries, SeriesKind } from './counter-series.ts';
import type { EventLevel, JournalEvent } from './events.ts';
import type { CountedSecond, SecondRing } from './second-ring.ts';

/** Notes that one answer gives at most: the newest. */
export const MOST_NOTES = 1000;
/** Milliseconds by which the end of a window may lie behind the last second that was counted. */
const SLACK = 2000;
const SECOND = 1000;

export interface HistoryQuestion {
  /** Milliseconds since 1970; the window is [from, to). */
  readonly from: number;
  readonly to: number;
  /** As asked; null: everybody. */
  readonly client: string | null;
  readonly clientPrefix: Prefix | null;
  readonly service: string | null;
  /** Pool of that service, or of that backend; null: all, or not known. */
  readonly pool: string | null;
  /** POOL/NAME */
  readonly backend: string | null;
  /** Word of a drop reason. */
  readonly reason: string | null;
}

export interface HistorySources {
  readonly ring: SecondRing;
  readonly series: CounterSeries;
  /** As searchDropNotes; null: who asks may not see them. */
  readonly notes: ((search: NoteSearch) => NotesFound) | null;
  readonly events: readonly JournalEvent[];
  /** Milliseconds since 1970 when recording began. */
  readonly since: number;
  readonly now: number;
  /** `tcp` for 6. */
  readonly protocolWord: (protocol: number) => string;
}

export type HistoryTable = 'totals' | 'services' | 'backends' | 'drops';

/** Times are ISO 8601 in UTC, with milliseconds. */
export interface HistoryAnswer {
  readonly now: string;
  /** When this process began to record. */
  readonly since: string;
  readonly window: { readonly from: string; readonly to: string };
  readonly asked: {
    readonly client: string | null;
    readonly service: string | null;
    readonly backend: string | null;
    readonly reason: string | null;
  };
  readonly counters: HistoryCoverage;
  readonly totals: readonly HistoryRow[];
  readonly services: readonly HistoryRow[];
  /** Names are POOL/NAME. */
  readonly backends: readonly HistoryRow[];
  readonly drops: readonly HistoryDrops[];
  /** Those of the four that count more than what was asked for: packets of other clients, services and backends, or of other fates. */
  readonly wider: readonly HistoryTable[];
  readonly events: readonly HistoryEvent[];
  /** Events before this were forgotten; null: none was. */
  readonly eventsSince: string | null;
  /** Packets that were dropped, oldest first; null: not told over HTTP. */
  readonly notes: readonly HistoryNote[] | null;
  /** Notes that match and are left out: the oldest. */
  readonly notesLeftOut: number;
  /** Reasons whose notes in the window, those before a time, were pushed out by newer ones. */
  readonly pushedOut: readonly { readonly reason: string; readonly before: string }[];
  /** Where nothing in the window matches: the last note before it and the first behind it that do. */
  readonly nearest: { readonly before: HistoryNote | null; readonly after: HistoryNote | null } | null;
}

/** Which part of the window counters are held for. */
export interface HistoryCoverage {
  /** What is held, whatever was asked; null while no second is. */
  readonly from: string | null;
  readonly to: string | null;
  readonly covers: 'all' | 'part' | 'none';
  /** What is missing at the window's beginning was before recording began, or has been forgotten; at its end, is yet to come. */
  readonly because: 'before-start' | 'forgotten' | 'future' | null;
  /** Seconds of the window that are held. */
  readonly seconds: number;
}

export interface HistoryRow {
  readonly name: string;
  readonly packets: number;
  /** 0 where bytes are not counted. */
  readonly bytes: number;
  /** Packets in the second that had most, and its begin: a full second of the clock. */
  readonly peak: number;
  readonly peakAt: string;
}

export interface HistoryDrops extends HistoryRow {
  readonly text: string;
  /** Notes of this reason in the window, whoever's; null: not told. */
  readonly noted: number | null;
  /** Those of them that are what was asked for. */
  readonly matching: number | null;
}

export interface HistoryEvent {
  readonly time: string;
  readonly level: EventLevel;
  readonly kind: string;
  readonly text: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

/** What the packet does not tell is absent. */
export interface HistoryNote {
  readonly time: string;
  readonly reason: string;
  /** Number of the forwarding thread. */
  readonly thread: number;
  /** Bytes of the IP packet. */
  readonly length: number;
  readonly protocol?: string;
  readonly source?: string;
  readonly destination?: string;
  readonly sport?: number;
  readonly dport?: number;
  /** null: it was dropped before one was found. */
  readonly service: string | null;
  readonly backend: string | null;
}

const iso = (time: number) => new Date(time).toISOString();

/** The answer to one question. */
export function historyAnswer(question: HistoryQuestion, sources: HistorySources): HistoryAnswer {
  const { from, to, client, service, backend, reason } = question;
  const { ring, since, now } = sources;
  const counted = countedIn(question, sources);
  const { nameOf, found } = notesIn(question, sources);
  const noted = new Map(found?.reasons.map((one) => [one.reason, one]));
  const drops = counted.rows
    .filter(({ kind }) => kind === 'drop')
    .map(
      ({ row }): HistoryDrops => ({
        ...row,
        text: DROP_REASONS.find(({ word }) => word === row.name)?.text ?? '',
        noted: found === null ? null : (noted.get(row.name)?.noted ?? 0),
        matching: found === null ? null : (noted.get(row.name)?.matching ?? 0),
      }),
    );
  const rowOf = (note: DropNote | null) => (note === null ? null : noteRow(note, nameOf, sources));
  const rows = (kind: SeriesKind) => counted.rows.filter((one) => one.kind === kind).map(({ row }) => row);
  const events = sources.events.filter(({ time }) => time >= from && time < to);
  const [first] = sources.events;
  return {
    now: iso(now),
    since: iso(since),
    window: { from: iso(from), to: iso(to) },
    asked: { client, service, backend, reason },
    counters: coverageOf(question, ring, counted.seconds),
    totals: rows('total'),
    services: rows('service').filter(({ name }) => service === null || name === service),
    backends: rows('backend').filter(({ name }) => isAsked(question, name)),
    drops: drops.filter(({ name }) => reason === null || name === reason),
    wider: widerThan(question),
    events: events
      .filter(({ fields }) => concerns(question, fields))
      .map(({ time, level, kind, text, fields }) => ({ time: iso(time), level, kind, text, fields })),
    eventsSince: first === undefined || first.sequence === 1 ? null : iso(first.time),
    notes: found === null ? null : found.notes.map((note) => noteRow(note, nameOf, sources)),
    notesLeftOut: found === null ? 0 : found.matching - found.notes.length,
    pushedOut: (found?.reasons ?? []).flatMap(({ reason: word, completeSince }) =>
      completeSince === null || completeSince <= from ? [] : [{ reason: word, before: iso(Math.min(completeSince, to)) }],
    ),
    nearest: found === null || found.matching > 0 ? null : { before: rowOf(found.before), after: rowOf(found.after) },
  };
}

/** A counter knows one of client, service, backend and reason at most, and was it asked for together with another, then it counts more than that. */
function widerThan({ client, service, backend, reason }: HistoryQuestion): HistoryTable[] {
  const is = [client, service, backend, reason].map((wish) => wish !== null);
  const tables: readonly (readonly [HistoryTable, number])[] = [
    ['totals', -1],
    ['services', 1],
    ['backends', 2],
    ['drops', 3],
  ];
  return tables.filter(([, own]) => is.some((isAskedFor, wish) => isAskedFor && wish !== own)).map(([table]) => table);
}

function isAsked({ backend, pool }: HistoryQuestion, name: string): boolean {
  if (backend !== null) return name === backend;
  return pool === null || name.startsWith(`${pool}/`);
}

/** An event that names another backend or pool than asked is left out; one that names none stays. */
function concerns({ backend, pool }: HistoryQuestion, fields: Readonly<Record<string, unknown>>): boolean {
  if (pool !== null && typeof fields.pool === 'string' && fields.pool !== pool) return false;
  if (backend === null || typeof fields.backend !== 'string') return true;
  return typeof fields.pool !== 'string' || `${fields.pool}/${fields.backend}` === backend;
}

interface Counted {
  readonly rows: readonly { readonly kind: SeriesKind; readonly row: HistoryRow }[];
  readonly seconds: number;
}

/** Sums and peaks of each name, in the order of their numbers. A second belongs to the window when its middle does. */
function countedIn({ from, to }: HistoryQuestion, { ring, series }: HistorySources): Counted {
  const sums = new Map<number, { packets: number; bytes: number; peak: number; peakAt: number }>();
  let seconds = 0;
  const begin = ({ end, lasted }: CountedSecond) => {
    const middle = end - lasted / 2;
    const isInside = middle >= from && middle < to;
    if (isInside) seconds++;
    return isInside;
  };
  ring.visit(begin, (number, packets, bytes, { end, lasted }) => {
    const sum = sums.get(number) ?? { packets: 0, bytes: 0, peak: -1, peakAt: 0 };
    sum.packets += packets;
    sum.bytes += bytes;
    // A second that lasted longer, because the process was busy, is not a peak for that.
    const rate = Math.round((packets * 1000) / Math.max(1000, lasted));
    if (rate > sum.peak) {
      sum.peak = rate;
      // Seconds are counted at full ones, or a little before or behind. Who asks for this one gets it: by its middle, as above.
      sum.peakAt = Math.floor((end - lasted / 2) / SECOND) * SECOND;
    }
    sums.set(number, sum);
  });
  const byName = new Map<string, { kind: SeriesKind; row: HistoryRow }>();
  for (const [number, { packets, bytes, peak, peakAt }] of [...sums].sort(([a], [b]) => a - b)) {
    const found = series.at(number);
    if (found === null) continue;
    const key = `${found.kind} ${found.name}`;
    // The same backend with another address is another one, and has the same name.
    const before = byName.get(key)?.row;
    const isHigher = before === undefined || peak > before.peak;
    byName.set(key, {
      kind: found.kind,
      row: {
        name: found.name,
        packets: packets + (before?.packets ?? 0),
        bytes: bytes + (before?.bytes ?? 0),
        peak: isHigher ? peak : before.peak,
        peakAt: isHigher ? iso(peakAt) : before.peakAt,
      },
    });
  }
  return { rows: [...byName.values()], seconds };
}

function coverageOf({ from, to }: HistoryQuestion, ring: SecondRing, seconds: number): HistoryCoverage {
  const { oldest, newest } = ring;
  if (oldest === null || newest === null) return { from: null, to: null, covers: 'none', because: 'before-start', seconds: 0 };
  const begin = oldest.end - oldest.lasted;
  const isEarly = from < begin;
  const isLate = to > newest.end + SLACK;
  const early = ring.hasForgotten ? 'forgotten' : 'before-start';
  return {
    from: iso(begin),
    to: iso(newest.end),
    covers: to <= begin || from > newest.end + SLACK ? 'none' : isEarly || isLate ? 'part' : 'all',
    because: isEarly ? early : isLate ? 'future' : null,
    seconds,
  };
}

type Namer = ReturnType<CounterSeries['namer']>;

/** The notes that were asked for, and who says what their ids meant; null: not told. */
function notesIn(question: HistoryQuestion, { series, notes }: HistorySources): { nameOf: Namer; found: NotesFound | null } {
  const { from, to, clientPrefix, service, backend, reason } = question;
  const nameOf = series.namer();
  if (notes === null) return { nameOf, found: null };
  const accepts = (serviceId: number, backendId: number, time: number) =>
    (service === null || nameOf('service', serviceId, time) === service) &&
    (backend === null || nameOf('backend', backendId, time) === backend);
  const isPicky = service !== null || backend !== null;
  const found = notes({ from, to, reason, client: clientPrefix, accepts: isPicky ? accepts : null, most: MOST_NOTES });
  return { nameOf, found };
}

function noteRow(note: DropNote, nameOf: Namer, { protocolWord }: HistorySources): HistoryNote {
  const { time, reason, thread, length, protocol, source, destination, sport, dport } = note;
  return {
    time: iso(time),
    reason,
    thread,
    length,
    ...(protocol === undefined ? {} : { protocol: protocolWord(protocol) }),
    ...(source === undefined ? {} : { source: formatAddress(source) }),
    ...(destination === undefined ? {} : { destination: formatAddress(destination) }),
    ...(sport === undefined ? {} : { sport, dport: dport as number }),
    service: nameOf('service', note.service, time),
    backend: nameOf('backend', note.backend, time),
  };
}
