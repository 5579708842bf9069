/**
 * Watched files with backends, one look after another: what each holds now, what of it is taken over, and what was the last good content of a
 * file that is missing or wrong. Asks the file system when it is told to; discovery-watch.ts says when.
 *
 *     files ─► read and checked each by itself ─► all together against the configuration ─► backends by pool
 *                    │ wrong, missing                       │ wrong together
 *                    └────────────► last good content ◄─────┘
 */
import { statSync } from 'node:fs';
import { type Contribution, type Discovery, type Fault, filesOf, matches } from '../config/discovery.ts';
import { type DiscoveredFile, readDiscoveryFile } from '../config/discovery-file.ts';
import { ConfigError, formatProblem, type Problem } from '../config/problem.ts';
import type { BackendSpec } from '../pipeline/spec.ts';

/** Milliseconds for which a file that a wildcard no longer matches is waited for: who replaces it may take it away first. */
const GRACE = 5000;
/** Looks at which a file that is another one each time is left to its writer; then it is read all the same. */
const PATIENCE = 4;
/** Milliseconds for which a file must stay that has lost more of its backends than it may at once: what writes it may have failed itself. */
const DOUBT = 30_000;

/** Backends by pool: the layer `discovered` (layers.ts). */
export type Found = ReadonlyMap<string, readonly BackendSpec[]>;

/** What is known of one file. */
export interface FileState {
  readonly file: string;
  /** Pools that name it. */
  readonly pools: readonly string[];
  /** What it holds, or held when it was last right; null: it never was. */
  readonly good: DiscoveredFile | null;
  /** Unix milliseconds at which `good` was last seen to be what the file holds; 0: never. */
  readonly seenAt: number;
  /** What is wrong with what it holds now; null: nothing. */
  readonly problem: Problem | null;
  /** Looks at which it was found wrong in a new way. */
  readonly failures: number;
  /** It has lost more of its backends than it may at once, since then (Unix milliseconds); null: it has not, or is believed. */
  readonly doubtedSince: number | null;
  /** Matched by a wildcard, and no longer there since (Unix milliseconds); null: it is there, or named as it is. */
  readonly goneSince: number | null;
  /** Backends of it that are left out, because they contradict the configuration that came after them. */
  readonly omit: ReadonlySet<number>;
  /** Device, inode, size and times of what was read last; empty: read it in any case. */
  readonly identity: string;
  /** The same of what the last look saw, and how many looks saw another one each: who writes in steps is waited for. */
  readonly seen: string;
  readonly restless: number;
}

/** What a look found new. */
export type DiscoveryNews =
  | { readonly what: 'taken'; readonly file: string; readonly backends: number; readonly added: number; readonly removed: number }
  | { readonly what: 'failed'; readonly file: string; readonly problem: Problem; readonly kept: number; readonly never: boolean }
  | { readonly what: 'mended'; readonly file: string; readonly backends: number }
  | { readonly what: 'gone'; readonly file: string; readonly backends: number };

export interface Look {
  readonly files: ReadonlyMap<string, FileState>;
  readonly found: Found;
  readonly news: readonly DiscoveryNews[];
  /** Nothing that matters is another than at the look before. */
  readonly same: boolean;
  /** What is wrong with the configuration itself beside files that were right before it; their pools keep what they had. */
  readonly contradictions: readonly Problem[];
}

export const NOTHING_FOUND: Look = { files: new Map(), found: new Map(), news: [], same: true, contradictions: [] };

/**
 * A look at every file that `discovery` names, after the look `before`. Changes nothing. `now`: Unix milliseconds. With `anew` everything is judged
 * again, as it must be under another configuration; with `trust` a file may have shrunk by any part, because who asks has seen it.
 */
export function lookAtFiles(discovery: Discovery, before: Look, now: number, anew: boolean, trust = false): Look {
  const news: DiscoveryNews[] = [];
  const next = new Map<string, FileState>();
  const limitOf = (pools: readonly string[]) =>
    trust ? 100 : Math.min(...discovery.sources.flatMap(({ pool, shrinkLimit }) => (pools.includes(pool) ? [shrinkLimit] : [])));
  for (const [file, { pools, missing }] of list(discovery, before, now)) {
    const known = before.files.get(file);
    const state = missing ? absent(known, file, pools, now) : read(known, file, pools, now, anew, limitOf(pools));
    if (state !== null) next.set(file, state);
  }
  for (const [file, { good }] of before.files) {
    if (!next.has(file) && good !== null) news.push({ what: 'gone', file, backends: good.backends.length });
  }
  const isFresh = ({ file, good }: FileState) => good !== (before.files.get(file)?.good ?? null);
  let { found, contradictions } = before;
  if (anew || news.length > 0 || [...next.values()].some(isFresh)) {
    // What was refused beside the others as they were may be right beside them as they are.
    for (const [file, state] of next) {
      if (state.problem !== null && state.goneSince === null)
        next.set(file, read({ ...state, identity: '' }, file, state.pools, now, true, limitOf(state.pools)));
    }
    const fresh = new Set([...next.values()].filter(isFresh).map(({ file }) => file));
    ({ found, contradictions } = settle(discovery, before, next, fresh));
    if (!anew && news.length === 0 && isSame(before.files, next)) found = before.found;
  }
  for (const [file, state] of next) {
    if (tell(before.files.get(file), state, news)) next.set(file, { ...state, failures: state.failures + 1 });
  }
  return { files: next, found, news, same: found === before.found, contradictions };
}

function isSame(before: ReadonlyMap<string, FileState>, next: ReadonlyMap<string, FileState>): boolean {
  return [...next].every(([file, { good, omit, pools }]) => {
    const known = before.get(file);
    return (
      good === (known?.good ?? null) &&
      omit.size === (known?.omit.size ?? 0) &&
      [...omit].every((index) => known?.omit.has(index)) &&
      pools.join() === (known?.pools.join() ?? pools.join())
    );
  });
}

/** Every file that is named, in order, with its pools. `missing`: a wildcard matched it and does no more. */
function list(discovery: Discovery, before: Look, now: number): Map<string, { pools: string[]; missing: boolean }> {
  const listed = new Map<string, { pools: string[]; missing: boolean }>();
  const add = (file: string, pool: string, missing: boolean): void => {
    const known = listed.get(file);
    if (known === undefined) listed.set(file, { pools: [pool], missing });
    else {
      if (!known.pools.includes(pool)) known.pools.push(pool);
      known.missing &&= missing;
    }
  };
  for (const { pool, patterns } of discovery.sources) {
    for (const pattern of patterns) {
      const held = [...before.files.values()].filter(({ file, good }) => good !== null && matches(pattern, file));
      let named: string[];
      try {
        named = filesOf(pattern);
      } catch {
        // A folder that can not be listed says nothing about its files: they are read, which fails, and stay. Without any, the pattern stands for them.
        named = held.length > 0 ? held.map(({ file }) => file) : [pattern];
      }
      for (const file of named) add(file, pool, false);
      for (const { file, goneSince } of held) {
        if (!named.includes(file) && now - (goneSince ?? now) < GRACE) add(file, pool, true);
      }
    }
  }
  return listed;
}

function blank(file: string, pools: readonly string[]): FileState {
  return {
    file,
    pools,
    good: null,
    seenAt: 0,
    problem: null,
    failures: 0,
    doubtedSince: null,
    goneSince: null,
    omit: new Set(),
    identity: '',
    seen: '',
    restless: 0,
  };
}

/** A file that a wildcard no longer matches: kept for a while, then null. */
function absent(known: FileState | undefined, file: string, pools: readonly string[], now: number): FileState | null {
  const goneSince = known?.goneSince ?? now;
  return known === undefined || now - goneSince >= GRACE ? null : { ...known, file, pools, goneSince };
}

/** `atOnce`: also what is not known to be at rest. `limit`: percent by which it may shrink without being doubted. */
function read(
  known: FileState | undefined,
  file: string,
  pools: readonly string[],
  now: number,
  atOnce: boolean,
  limit: number,
): FileState {
  const seen = identityOf(file);
  const state: FileState = { ...(known ?? blank(file, pools)), pools, goneSince: null, seen };
  const isDue = state.doubtedSince !== null && now - state.doubtedSince >= DOUBT;
  if (seen === state.identity && !isDue) return { ...state, restless: 0, seenAt: state.problem === null ? now : state.seenAt };
  const restless = (known?.restless ?? 0) + 1;
  if (known !== undefined && !atOnce && known.seen !== seen && restless < PATIENCE) return { ...state, restless };
  try {
    const content = readDiscoveryFile(file);
    const good = content.text === state.good?.text ? state.good : content;
    const problem = isDue ? null : shrinkage(state.good, good, limit);
    if (problem !== null) return { ...state, doubtedSince: state.doubtedSince ?? now, identity: seen, problem, restless: 0 };
    return { ...state, good, seenAt: now, doubtedSince: null, problem: null, identity: seen, restless: 0 };
  } catch (error) {
    return { ...state, doubtedSince: null, identity: seen, problem: problemOf(error, file), restless: 0 };
  }
}

/** Null when the file has not lost more than `limit` percent of its backends. */
function shrinkage(before: DiscoveredFile | null, { file, backends }: DiscoveredFile, limit: number): Problem | null {
  const had = before?.backends.length ?? 0;
  if ((had - backends.length) * 100 <= limit * had) return null;
  const message = `the file names ${backends.length} backends, ${had} before (shrink-limit ${limit}): believed when it has stayed so for ${DOUBT / 1000} s, or with gue-director reload`;
  return { file, line: 1, column: 1, path: '', message, code: 'GD_CONFIG_FILE_SHRUNK', severity: 'error' };
}

/** Never empty: what can not be seen has a word of its own. */
function identityOf(file: string): string {
  try {
    const { dev, ino, size, mtimeNs, ctimeNs } = statSync(file, { bigint: true });
    return `${dev} ${ino} ${size} ${mtimeNs} ${ctimeNs}`;
  } catch (error) {
    // Reading it says why.
    return (error as NodeJS.ErrnoException).code ?? 'unseen';
  }
}

function problemOf(error: unknown, file: string): Problem {
  const wrong = error instanceof ConfigError ? error.problems.find(({ severity }) => severity === 'error') : undefined;
  if (wrong !== undefined) return wrong;
  const message = `the file can not be read: ${error instanceof Error ? error.message : String(error)}`;
  return { file, line: 1, column: 1, path: '', message, code: 'GD_CONFIG_FILE_UNREADABLE', severity: 'error' };
}

interface Settled {
  readonly found: Found;
  readonly contradictions: readonly Problem[];
}

/**
 * What all files together give. A new content that contradicts the configuration or another file is refused and the file's last good one stays; where
 * last good contents contradict a configuration that came after them, the backends concerned are left out, or, where it is none of them but the
 * configuration itself (a table that is too small now), the pool keeps what it had. No pool pays for another. Changes `next`.
 */
function settle(discovery: Discovery, before: Look, next: Map<string, FileState>, fresh: Set<string>): Settled {
  for (const [file, state] of next) next.set(file, { ...state, omit: new Set() });
  const keeping = new Set<string>();
  const contradictions: Problem[] = [];
  const errorsOf = (files: ReadonlyMap<string, FileState>) =>
    discovery.judge(contributions(discovery, files, keeping)).faults.filter(({ problem }) => problem.severity === 'error');
  for (;;) {
    const { faults, backends } = discovery.judge(contributions(discovery, next, keeping));
    const errors = faults.filter(({ problem }) => problem.severity === 'error');
    if (errors.length === 0) return { found: withKept(backends, before.found, keeping), contradictions };
    const blamed = new Set(errors.flatMap(({ file }) => (file !== null && fresh.has(file) ? [file] : [])));
    const refused = blamed.size > 0 ? blamed : culprits(errors[0], before, next, fresh, errorsOf);
    if (refused.size > 0) {
      for (const file of refused) {
        const { problem } = errors.find((error) => error.file === file) ?? errors[0];
        next.set(file, { ...asBefore(file, before, next), problem });
        fresh.delete(file);
      }
      continue;
    }
    if (leaveOut(next, errors)) continue;
    const known = discovery.sources.map(({ pool }) => pool).filter((pool) => !keeping.has(pool));
    const concerned = errors.flatMap(({ pool }) => (pool !== null && known.includes(pool) ? [pool] : []));
    contradictions.push(...errors.map(({ problem }) => problem));
    for (const pool of concerned.length > 0 ? concerned : known) keeping.add(pool);
    for (const [file, state] of next) {
      if (state.problem === null && state.pools.some((pool) => keeping.has(pool))) {
        next.set(file, { ...state, problem: errors[0].problem });
      }
    }
    if (known.length === 0) return { found: withKept(new Map(), before.found, keeping), contradictions };
  }
}

/** What was there before, in the pools that keep it. */
function withKept(backends: Found, before: Found, keeping: ReadonlySet<string>): Found {
  if (keeping.size === 0) return backends;
  const kept = [...before].filter(([pool]) => keeping.has(pool));
  return new Map([...[...backends].filter(([pool]) => !keeping.has(pool)), ...kept]);
}

function asBefore(file: string, before: Look, next: ReadonlyMap<string, FileState>): FileState {
  const known = before.files.get(file);
  return { ...(next.get(file) as FileState), good: known?.good ?? null, seenAt: known?.seenAt ?? 0 };
}

/**
 * New contents to refuse for an error that stands in none of them: the fault of a pair shows at the later one, whichever of the two is new, and that
 * of a whole pool at the pool. It is the file without whose new content the error is gone, the last such one; else all that its pool names.
 */
function culprits(
  error: Fault,
  before: Look,
  next: ReadonlyMap<string, FileState>,
  fresh: ReadonlySet<string>,
  errorsOf: (files: ReadonlyMap<string, FileState>) => readonly Fault[],
): Set<string> {
  const near = [...fresh].filter((file) => error.pool === null || next.get(file)?.pools.includes(error.pool));
  const far = [...fresh].filter((file) => !near.includes(file));
  const isSame = ({ problem, pool }: Fault) => pool === error.pool && problem.code === error.problem.code;
  for (const file of [...near.reverse(), ...far.reverse()]) {
    if (!errorsOf(new Map([...next, [file, asBefore(file, before, next)]])).some(isSame)) return new Set([file]);
  }
  return new Set(near);
}

/** Leaves out the backends that are wrong; false when none of the errors is about a backend of a file. */
function leaveOut(next: Map<string, FileState>, errors: readonly Fault[]): boolean {
  const placed = errors.filter(({ file, index }) => file !== null && index !== null);
  for (const { file, index, problem } of placed) {
    const state = next.get(file as string) as FileState;
    next.set(state.file, { ...state, omit: new Set([...state.omit, index as number]), problem: state.problem ?? problem });
  }
  return placed.length > 0;
}

/** By pool; nothing in those that keep what they had. */
function contributions(
  discovery: Discovery,
  files: ReadonlyMap<string, FileState>,
  keeping: ReadonlySet<string> = new Set(),
): Map<string, Contribution[]> {
  return new Map(
    discovery.sources.map(({ pool }) => [
      pool,
      [...files.values()].flatMap(({ pools, good, omit }) =>
        good !== null && pools.includes(pool) && !keeping.has(pool) ? [{ file: good, omit }] : [],
      ),
    ]),
  );
}

/** True when it is found wrong in a new way. */
function tell(known: FileState | undefined, state: FileState, news: DiscoveryNews[]): boolean {
  const { file, good, problem } = state;
  const backends = good?.backends.length ?? 0;
  if (good !== null && good !== known?.good) {
    const names = new Set(good.backends.map(({ value }) => value.name));
    const old = new Set(known?.good?.backends.map(({ value }) => value.name));
    const added = [...names].filter((name) => !old.has(name)).length;
    const removed = [...old].filter((name) => !names.has(name)).length;
    news.push({ what: 'taken', file, backends, added, removed });
  } else if (problem === null && known?.problem != null) news.push({ what: 'mended', file, backends });
  if (problem === null || (known?.problem != null && formatProblem(known.problem) === formatProblem(problem))) return false;
  news.push({ what: 'failed', file, problem, kept: backends - state.omit.size, never: good === null });
  return true;
}

/** Files that are named as they are and have never been right: their pools do not have all their backends. */
export function neverRead(look: Look): readonly FileState[] {
  return [...look.files.values()].filter(({ good, problem }) => good === null && problem !== null);
}

/** Everything that is wrong with the files as they are now, and what of them could be taken over; for `check`. */
export function examineFiles(discovery: Discovery): { readonly found: Found; readonly problems: readonly Problem[] } {
  const look = lookAtFiles(discovery, NOTHING_FOUND, Date.now(), true);
  const problems: Problem[] = [];
  for (const { file, problem } of look.files.values()) {
    if (problem === null) continue;
    try {
      readDiscoveryFile(file);
      // Right by itself, wrong together.
      problems.push(problem);
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      problems.push(...error.problems);
    }
  }
  const { faults } = discovery.judge(contributions(discovery, look.files));
  problems.push(...faults.map(({ problem }) => problem).filter(({ severity }) => severity === 'warning'));
  return { found: look.found, problems };
}
