/** keepalived checks each real server by itself; a pool checks all its backends alike. What most servers have becomes the pool's. */
import { checkText, type PlannedHealth } from './health-plan.ts';
import type { Checker } from './keepalived-check.ts';
import type { Told } from './note.ts';
import type { Place } from './place.ts';

/** A pool has no more. */
const MOST_CHECKS = 8;
/** Seconds, of the configuration. */
const INTERVAL = { least: 0.1, most: 3600 };
const SHORTEST_TIMEOUT = 0.05;
const MOST_FALLS = 100;

export interface CheckedServer {
  readonly at: Place;
  readonly weight: number;
  readonly checkers: readonly Checker[];
  readonly inhibits: boolean;
}

export interface Quorum {
  readonly at: Place;
  /** Weights of the good servers together. */
  readonly weight: number;
}

export interface HealthRead {
  /** Null: nothing can be checked. */
  readonly health: PlannedHealth | null;
  readonly told: readonly Told[];
  /** For each server. */
  readonly ofServers: readonly (readonly Told[])[];
}

export function planHealth(servers: readonly CheckedServer[], quorum: Quorum | null): HealthRead {
  const told: Told[] = [];
  const ofServers = servers.map(({ checkers }): Told[] => checkers.flatMap((checker) => checker.told));
  const lists = servers.map(({ checkers }) => checkers.flatMap(({ checks }) => checks));
  const texts = lists.map((checks) => [...new Set(checks.map(checkText))].sort().join('\n'));
  const chosen = commonest(texts);
  servers.forEach(({ at, inhibits, checkers }, i) => {
    if (inhibits && checkers.length > 0) {
      const message =
        'inhibit_on_failure: a server that failed kept its connections (weight 0); here its flows move to the others';
      ofServers[i].push({ kind: 'differs', code: 'GD_IMPORT_INHIBIT', message, at });
    }
    if (chosen < 0 || texts[i] === texts[chosen]) return;
    const message = texts[i] === '' ? 'none of these checks asked this server' : `it was checked otherwise (${short(texts[i])})`;
    ofServers[i].push({
      kind: 'differs',
      code: 'GD_IMPORT_CHECK',
      message: `${message}; here it is checked as its neighbours are`,
      at,
    });
  });
  if (chosen < 0) {
    if (quorum !== null) told.push(quorumNote(quorum, 'no server is checked here, so all count as good', 'left-out'));
    return { health: null, told, ofServers };
  }
  const checks = [...new Map(lists[chosen].map((check) => [checkText(check), check])).values()];
  const at = checks[0].at;
  if (checks.length > MOST_CHECKS) {
    const message = `${checks.length} checks of one server; a pool has ${MOST_CHECKS}: the others are left out`;
    told.push({ kind: 'left-out', code: 'GD_IMPORT_CHECK', message, at });
  }
  const times = planTimes(
    servers.flatMap(({ checkers }) => checkers.filter((one) => one.checks.length > 0)),
    at,
    told,
  );
  const minimum = quorum === null ? null : planMinimum(servers, quorum, told);
  return { health: { checks: checks.slice(0, MOST_CHECKS), ...times, minimum }, told, ofServers };
}

/** Index of the first of the texts that most have, the empty one aside; −1 when all are empty. */
function commonest(texts: readonly string[]): number {
  const counts = new Map<string, number>();
  for (const text of texts) if (text !== '') counts.set(text, (counts.get(text) ?? 0) + 1);
  const most = [...counts.values()].reduce((a, b) => Math.max(a, b), 0);
  return texts.findIndex((text) => text !== '' && counts.get(text) === most);
}

function short(text: string): string {
  const [first, ...more] = text.split('\n');
  return `${first.slice(0, 100)}${more.length === 0 ? '' : ` and ${more.length} more`}`;
}

type Times = Pick<PlannedHealth, 'interval' | 'timeout' | 'fall' | 'initial'>;

function planTimes(checkers: readonly Checker[], at: Place, told: Told[]): Times {
  const say = (kind: Told['kind'], message: string) => told.push({ kind, code: 'GD_IMPORT_CHECK_TIMES', message, at });
  const wanted = checkers.reduce((least, one) => Math.min(least, one.interval), Number.POSITIVE_INFINITY);
  const interval = Math.min(INTERVAL.most, Math.max(INTERVAL.least, wanted));
  if (interval !== wanted) say('differs', `delay_loop ${wanted}: an interval has ${INTERVAL.least} to ${INTERVAL.most} seconds`);
  const longest = checkers.reduce((most, one) => Math.max(most, one.timeout), 0);
  const timeout = Math.max(SHORTEST_TIMEOUT, Math.min(interval, longest));
  if (longest > interval) {
    say('differs', `connect_timeout ${longest} is longer than delay_loop ${wanted}: a run must end before the next one`);
  }
  const tries = checkers.reduce((most, one) => Math.max(most, one.retry), 0) + 1;
  const fall = Math.min(MOST_FALLS, tries);
  const distinct = (pick: (one: Checker) => number | boolean) => new Set(checkers.map(pick)).size > 1;
  if (distinct((one) => one.interval) || distinct((one) => one.timeout) || distinct((one) => one.retry)) {
    say(
      'differs',
      'the checkers have times of their own; here all have the shortest delay_loop, the longest connect_timeout and the most retries',
    );
  }
  const delay = checkers.reduce((most, one) => Math.max(most, one.retryDelay), 0);
  const here = seconds(fall * interval + timeout);
  const there = seconds(wanted + longest + (tries - 1) * (delay + longest));
  if (here !== there) {
    const message =
      `a failed check was tried again after ${delay} s; here only at the interval: a dead server is out after ${here} s ` +
      `at most, under keepalived after ${there} s`;
    say('differs', message);
  }
  return { interval, timeout, fall, initial: checkers.some(({ alpha }) => alpha) ? 'down' : 'up' };
}

function seconds(value: number): number {
  return Math.round(value * 1000) / 1000;
}

function quorumNote({ at, weight }: Quorum, what: string, kind: Told['kind'] = 'differs'): Told {
  return { kind, code: 'GD_IMPORT_QUORUM', message: `quorum ${weight}: ${what}`, at };
}

/** A quorum is a sum of weights; a minimum is a number of backends. */
function planMinimum(servers: readonly CheckedServer[], quorum: Quorum, told: Told[]): number {
  const weights = servers.map(({ weight }) => weight).filter((weight) => weight > 0);
  const most = weights.reduce((a, b) => Math.max(a, b), 1);
  const minimum = Math.max(1, Math.min(weights.length, Math.ceil(quorum.weight / most)));
  const equal = weights.every((weight) => weight === most);
  const counted = equal ? '' : ' (each counts as one, whatever its weight)';
  const below = minimum === 1 ? 'without a good server' : `below ${minimum} good servers${counted}`;
  const what = `${below} the service is not ready, so that routing can withdraw it; it goes on with those that are good`;
  told.push(quorumNote(quorum, what));
  return minimum;
}
