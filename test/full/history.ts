// What `history` answers against what happened: packets of many clients through the packet path, second after second, some of them dropped; lists of all that was
// counted and dropped beside it; then windows and clients at random, whose answers must be what the lists say.

import { createDropNotes, NOTES_KEPT } from '../../src/base/drop-notes.ts';
import { HistoryKeeper } from '../../src/daemon/history-keeper.ts';
import type { HistoryAnswer } from '../../src/observe/history.ts';
import { SECONDS_KEPT, SecondRing } from '../../src/observe/second-ring.ts';
import { DropNotes } from '../../src/pipeline/drop-notes.ts';
import type { Spec } from '../../src/pipeline/spec.ts';
import { ip } from '../builder/addresses.ts';
import { packet } from '../builder/packet.ts';
import { Rig, SERVICE4, SOURCE4, TUN } from '../pipeline/rig.ts';
import type { Line, Outcome, Scale } from './line.ts';
import { Random } from './random.ts';

interface Sizes {
  readonly seconds: number;
  /** Seconds and records of the ring; null: as the daemon has it. */
  readonly ring: readonly [number, number] | null;
  readonly questions: number;
}

const SIZES: Readonly<Record<Scale, Sizes>> = {
  full: { seconds: 9000, ring: null, questions: 1000 },
  scaled: { seconds: 100, ring: [60, 1400], questions: 100 },
};
const SERVICES = 20;
const POOLS = 4;
const BACKENDS = 20;
const CLIENTS = 200;
const FIRST_PORT = 1000;
const SECOND = 1000;

const SPEC: Spec = {
  services: Array.from({ length: SERVICES }, (_, s) => ({
    name: `s${s}`,
    prefix: { bytes: ip(SERVICE4), length: 32 },
    protocol: 17,
    portFrom: FIRST_PORT + s,
    portTo: FIRST_PORT + s,
    affinity: '5-tuple' as const,
    pool: `p${s % POOLS}`,
  })),
  pools: Array.from({ length: POOLS }, (_, p) => ({
    name: `p${p}`,
    tableSize: 1009,
    seed: 1,
    tunnel: { encapsulation: 'gue' as const, port: 6080, source4: ip(SOURCE4), source6: null, checksum: 'auto' as const },
    backends: Array.from({ length: BACKENDS }, (_, b) => ({
      name: `w${p}-${b}`,
      address: ip(`10.0.${p}.${b + 1}`),
      weight: 1,
      // Nobody serves in the last pool.
      state: p === POOLS - 1 ? ('down' as const) : ('active' as const),
    })),
  })),
};

interface Dropped {
  readonly time: number;
  readonly reason: string;
  readonly client: string;
  readonly sport: number;
}

/** Everything that happened, as lists. */
class Diary {
  /** By second: what was counted, by name. */
  readonly counted: Map<string, number>[] = [];
  readonly dropped = new Map<string, Dropped[]>();

  count(second: number, name: string): void {
    this.counted[second] ??= new Map();
    this.counted[second].set(name, (this.counted[second].get(name) ?? 0) + 1);
  }

  drop(one: Dropped): void {
    this.dropped.set(one.reason, [...(this.dropped.get(one.reason) ?? []).slice(1 - NOTES_KEPT), one]);
  }

  sums(from: number, to: number): Record<string, number> {
    const sums = new Map<string, number>();
    for (let second = from; second < to; second++)
      for (const [name, count] of this.counted[second] ?? []) sums.set(name, (sums.get(name) ?? 0) + count);
    return Object.fromEntries([...sums].sort());
  }

  notes(from: number, to: number, client: string): string[] {
    const all = [...this.dropped.values()].flat().filter((one) => one.client === client && one.time >= from && one.time < to);
    return all.map(({ time, reason, sport }) => `${time} ${reason} ${sport}`).sort();
  }
}

function sumsOf({ services, backends, drops }: HistoryAnswer): Record<string, number> {
  return Object.fromEntries([...services, ...backends, ...drops].map(({ name, packets }) => [name, packets] as const).sort());
}

async function run(scale: Scale): Promise<Outcome> {
  const { seconds, ring: bounds, questions } = SIZES[scale];
  const random = new Random(14_02);
  const begin = Math.floor(Date.now() / SECOND) * SECOND - seconds * SECOND - SECOND;
  let now = begin;
  const memory = createDropNotes();
  const notes = new DropNotes(memory, {
    read: () => {},
    get seconds() {
      return Math.floor(now / SECOND) | 0;
    },
    get milliseconds() {
      return now % SECOND;
    },
  });
  const rig = new Rig(SPEC, TUN, { dropNotes: notes, capacity: 64 });
  const ring = bounds === null ? new SecondRing() : new SecondRing(...bounds);
  const keeper = new HistoryKeeper({
    milliseconds: () => now,
    events: () => [],
    publisher: { current: rig.parts },
    threads: { banks: [rig.bank], seats: [{ dropNotes: memory }], kernelDrops: () => [] },
    ring,
  });
  const diary = new Diary();
  const clientOf = () => `10.9.0.${1 + random.below(CLIENTS)}`;
  let packets = 0;
  let drops = 0;
  for (let second = 0; second < seconds; second++) {
    const sent = Array.from({ length: 1 + random.below(64) }, () => {
      const [client, sport, service] = [clientOf(), 1 + random.below(65_535), random.below(SERVICES)];
      const kind = random.pick(['service', 'service', 'service', 'stranger', 'icmp'] as const);
      const start = packet().ipv4({ src: client, dst: SERVICE4 });
      const dport = kind === 'service' ? FIRST_PORT + service : 9;
      const bytes = kind === 'icmp' ? start.icmp4({ type: 13 }).bytes() : start.udp({ sport, dport }).payload(20).bytes();
      return { client, sport: kind === 'icmp' ? 0 : sport, service: kind === 'service' ? `s${service}` : null, bytes };
    });
    now = begin + second * SECOND + random.below(SECOND);
    rig.run(sent.map(({ bytes }) => bytes)).forEach(({ verdict, reason, backend }, i) => {
      const { client, sport, service } = sent[i];
      packets++;
      if (service !== null) diary.count(second, service);
      if (backend !== null && verdict === 'forward') diary.count(second, `p${backend.slice(1, 2)}/${backend}`);
      if (verdict !== 'drop') return;
      drops++;
      diary.count(second, reason);
      diary.drop({ time: now, reason, client, sport });
    });
    now = begin + (second + 1) * SECOND;
    keeper.look(now);
  }
  const held = ring.length;
  const wrong: string[] = [];
  let nothing = 0;
  for (let question = 0; question < questions; question++) {
    const from = random.below(seconds);
    const to = Math.min(seconds, from + 1 + random.below(120));
    const client = random.chance(10) ? '192.0.2.99' : clientOf();
    const at = new Date(begin + from * SECOND).toISOString();
    const query = new URLSearchParams({ at, window: String(to - from), client });
    const { status, body } = keeper.answer(query, true);
    const answer = body as HistoryAnswer;
    const oldest = seconds - held;
    const covers = to <= oldest ? 'none' : from < oldest ? 'part' : 'all';
    const told = (answer.notes ?? []).map(({ time, reason, sport }) => `${Date.parse(time)} ${reason} ${sport ?? 0}`).sort();
    if (told.length === 0) nothing++;
    const is = JSON.stringify([status, answer.counters?.covers, sumsOf(answer), told]);
    const should = JSON.stringify([
      200,
      covers,
      diary.sums(Math.max(from, oldest), to),
      diary.notes(begin + from * SECOND, begin + to * SECOND, client),
    ]);
    if (is !== should) wrong.push(`${at} ${client}: ${is} instead of ${should}`);
  }
  // The larger run ends by the number of seconds, the smaller one by that of records.
  const isBounded = bounds === null ? held === SECONDS_KEPT : held < bounds[0] && ring.records <= bounds[1];
  const lists = [...diary.dropped.values()].map(({ length }) => length);
  return {
    passed: wrong.length === 0 && isBounded && nothing > 0 && nothing < questions,
    figures: {
      'seconds with packets': seconds,
      'seconds held': held,
      'records held': ring.records,
      packets,
      dropped: drops,
      'notes held, by reason': lists.join(', '),
      questions,
      'of which nothing was noted': nothing,
      'answers unlike the lists': wrong.length,
      first: wrong[0]?.slice(0, 2000) ?? 'none',
    },
  };
}

export const historyLine: Line = {
  name: 'history',
  claim:
    'What happened in a window of time is answered as lists of everything have it: counters of each second for two hours by service, backend and drop reason, the last 1,024 drops ' +
    'of each reason with time and 5-tuple, and nothing where nothing was.',
  twin: 'test/full/history.test.ts',
  run,
};
