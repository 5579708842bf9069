/**
 * What each counter rose by since the last look: a series for each total, drop reason, service and backend. Its number stands in the history (second-ring.ts) long after
 * the service or backend is gone, and the id of one that is gone may be another's by then: so a series has a name, and a time in which it was the one behind its cell.
 */
import {
  BACKENDS_AT,
  BANK_LENGTH,
  counterAt,
  DROPS_AT,
  MAX_BACKENDS,
  MAX_SERVICES,
  SERVICES_AT,
  sumOf,
} from '../base/counters.ts';
import { DROP_REASONS } from '../base/drop-reason.ts';
import { MOST_SERIES } from './second-ring.ts';

export type SeriesKind = 'total' | 'service' | 'backend' | 'drop';

export interface Series {
  readonly kind: SeriesKind;
  /** `received`, a service, POOL/NAME, the word of a drop reason. */
  readonly name: string;
  /** Id of a service or backend; −1 for others. */
  readonly id: number;
  /** Milliseconds since 1970: when it appeared, and when it was gone (Infinity: it is there). */
  readonly since: number;
  until: number;
}

/** Who is there now; the names of a snapshot. */
export interface CountedNames {
  readonly services: readonly { readonly id: number; readonly name: string }[];
  readonly backends: readonly { readonly id: number; readonly pool: string; readonly name: string }[];
}

/** Totals: name, place in the bank of the packets, and of the bytes (−1: none). */
const TOTALS = [
  ['received', counterAt('received_packets_total'), counterAt('received_bytes_total')],
  ['forwarded', counterAt('forwarded_packets_total'), counterAt('forwarded_bytes_total')],
  ['replied', counterAt('replied_packets_total'), -1],
  ['passed', counterAt('passed_packets_total'), -1],
] as const;

/** What was lost in the kernel stands in no bank. */
const LOST = 'lost in the kernel';

interface Watched {
  readonly series: Series;
  readonly number: number;
  /** Places in the bank; −1: none. */
  readonly packetsAt: number;
  readonly bytesAt: number;
  packets: number;
  bytes: number;
}

type Rose = (number: number, packets: number, bytes: number) => void;

export class CounterSeries {
  /** By number; those that are free are null. */
  readonly #series: (Series | null)[] = [];
  readonly #free: number[] = [];
  readonly #watched = new Map<string, Watched>();
  /** Gone with the last change of names: a thread may have counted for them since, until it read the new ones. */
  #leaving: Watched[] = [];
  /** Numbers of those that are gone, in the order in which they went. */
  readonly #gone: number[] = [];
  #names: CountedNames | null = null;
  #lost = 0;
  readonly #lostNumber: number;
  /** What cells held that nobody watches. */
  readonly #before = new Map<number, number>();

  readonly #known = new WeakSet<Float64Array>();

  /** `now`: milliseconds since 1970. */
  constructor(now: number) {
    for (const [name, packetsAt, bytesAt] of TOTALS) this.#watch('total', name, -1, packetsAt, bytesAt, now);
    this.#lostNumber = this.#watch('total', LOST, -1, -1, -1, now)?.number ?? -1;
    DROP_REASONS.forEach(({ word }, reason) => {
      if (reason > 0) this.#watch('drop', word, -1, DROPS_AT + reason, -1, now);
    });
  }

  /** The series of this number; null when it is nobody's. */
  at(number: number): Series | null {
    return this.#series[number] ?? null;
  }

  /** All that are known, those that are gone included. */
  all(): Series[] {
    return this.#series.filter((series) => series !== null);
  }

  /** A function that says which service or backend had an id at a time, or had it last; null when nobody is known to. */
  namer(): (kind: 'service' | 'backend', id: number, time: number) => string | null {
    const byId = { service: new Map<number, Series[]>(), backend: new Map<number, Series[]>() };
    for (const series of this.all()) {
      if (series.kind !== 'service' && series.kind !== 'backend') continue;
      const others = byId[series.kind].get(series.id);
      if (others === undefined) byId[series.kind].set(series.id, [series]);
      else others.push(series);
    }
    return (kind, id, time) => {
      const found = id < 0 ? undefined : byId[kind].get(id);
      if (found === undefined) return null;
      for (const { name, since, until } of found) if (time >= since && time < until) return name;
      // Within the second in which it appeared it is not known yet.
      return found[found.length - 1].name;
    };
  }

  #watch(kind: SeriesKind, name: string, id: number, packetsAt: number, bytesAt: number, now: number): Watched | null {
    const number = this.#free.pop() ?? this.#series.length;
    if (number >= MOST_SERIES) return null;
    const series: Series = { kind, name, id, since: now, until: Number.POSITIVE_INFINITY };
    this.#series[number] = series;
    const before = (at: number) => this.#before.get(at) ?? 0;
    const watched = { series, number, packetsAt, bytesAt, packets: before(packetsAt), bytes: before(bytesAt) };
    this.#watched.set(`${kind} ${id < 0 ? name : id}`, watched);
    return watched;
  }

  /** Follows the names in force, the same object while nothing changed. Returns who is new. */
  #follow(names: CountedNames, now: number): Watched[] {
    const before = this.#names;
    if (names === before) return [];
    this.#names = names;
    if (before !== null && isSame(before.services, names.services) && isSame(before.backends, names.backends)) return [];
    const wanted = new Map<string, readonly ['service' | 'backend', string, number, number]>();
    for (const { id, name } of names.services) {
      // Ids from there on share a cell: who is who can not be told.
      if (id < MAX_SERVICES - 1) wanted.set(`service ${id}`, ['service', name, id, SERVICES_AT + 2 * id]);
    }
    for (const { id, pool, name } of names.backends) {
      if (id < MAX_BACKENDS - 1) wanted.set(`backend ${id}`, ['backend', `${pool}/${name}`, id, BACKENDS_AT + 2 * id]);
    }
    for (const [key, watched] of this.#watched) {
      const { series } = watched;
      if (series.id < 0 || wanted.get(key)?.[1] === series.name) continue;
      series.until = now;
      this.#watched.delete(key);
      this.#leave(watched);
      // Under another name its cell goes on counting for that one.
      if (!wanted.has(key)) this.#leaving.push(watched);
      this.#gone.push(watched.number);
    }
    const fresh: Watched[] = [];
    for (const [key, [kind, name, id, at]] of wanted) {
      const watched = this.#watched.has(key) ? null : this.#watch(kind, name, id, at, at + 1, now);
      if (watched !== null) fresh.push(watched);
    }
    return fresh;
  }

  #leave({ packetsAt, bytesAt, packets, bytes }: Watched): void {
    this.#before.set(packetsAt, packets);
    this.#before.set(bytesAt, bytes);
  }

  /** What a bank holds when it is first seen was counted before: by the process before this one, say. Returns whether there was such a bank. */
  #meet(banks: readonly Float64Array[]): boolean {
    const fresh = banks.filter((bank) => !this.#known.has(bank));
    for (const bank of fresh) {
      this.#known.add(bank);
      for (let at = 0; at < BANK_LENGTH; at++) if (bank[at] !== 0) this.#before.set(at, (this.#before.get(at) ?? 0) + bank[at]);
      for (const watched of [...this.#watched.values(), ...this.#leaving]) {
        watched.packets += bank[watched.packetsAt] ?? 0;
        watched.bytes += bank[watched.bytesAt] ?? 0;
      }
    }
    return fresh.length > 0;
  }

  /**
   * Calls `rose` for each series whose counters rose since the last look. `names`: who is there now; `lost`: packets that the kernel lost so far;
   * `now`: milliseconds since 1970.
   */
  look(banks: readonly Float64Array[], names: CountedNames, lost: number, now: number, rose: Rose): void {
    if (this.#meet(banks)) this.#lost = lost;
    for (const watched of this.#watched.values()) rise(watched, banks, rose);
    for (const watched of this.#leaving) {
      rise(watched, banks, rose);
      this.#leave(watched);
    }
    this.#leaving = [];
    for (const watched of this.#follow(names, now)) rise(watched, banks, rose);
    if (lost > this.#lost) rose(this.#lostNumber, lost - this.#lost, 0);
    this.#lost = lost;
  }

  /** Forgets the series that were gone before `oldest`, milliseconds since 1970: no second that is held has them. */
  forget(oldest: number): void {
    while (this.#gone.length > 0) {
      const number = this.#gone[0];
      if ((this.#series[number]?.until ?? 0) >= oldest) return;
      this.#gone.shift();
      this.#series[number] = null;
      this.#free.push(number);
    }
  }
}

type Counted = CountedNames['services'][number] & { readonly pool?: string };

/** The same under the same ids. What did not change is mostly the same objects. */
function isSame(before: readonly Counted[], now: readonly Counted[]): boolean {
  if (before === now) return true;
  if (before.length !== now.length) return false;
  for (let i = 0; i < now.length; i++) {
    const [a, b] = [before[i], now[i]];
    if (a !== b && (a.id !== b.id || a.name !== b.name || a.pool !== b.pool)) return false;
  }
  return true;
}

function rise(watched: Watched, banks: readonly Float64Array[], rose: Rose): void {
  const { number, packetsAt, bytesAt } = watched;
  if (packetsAt < 0) return;
  const packets = sumOf(banks, packetsAt);
  if (packets === watched.packets) return;
  const bytes = bytesAt < 0 ? 0 : sumOf(banks, bytesAt);
  rose(number, packets - watched.packets, bytes - watched.bytes);
  watched.packets = packets;
  watched.bytes = bytes;
}
