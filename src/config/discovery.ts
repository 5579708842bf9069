/**
 * Backends from watched files: which files a pool names, and what all of them together may say. One file by itself is read by discovery-file.ts;
 * nothing here watches (control/discovery.ts does). `check` uses the same.
 */
import { readdirSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import type { BackendSpec, Spec } from '../pipeline/spec.ts';
import { checkDraft } from './checks/index.ts';
import { besideFile, compileBackends, listOf } from './compile.ts';
import type { DiscoveredFile } from './discovery-file.ts';
import { type Draft, type DraftPool, draftOf } from './draft.ts';
import type { PlacedData } from './issue.ts';
import type { Path, Problem } from './problem.ts';
import { type ConfigSection, MAX_POOL_BACKENDS } from './schema.ts';

/** Files that one pattern may match; further ones are an error, not left out. */
export const MOST_FILES = 256;

/** What a pool names. */
export interface DiscoverySource {
  readonly pool: string;
  /** In the order of the configuration; the last part of a path may have `*` and `?`. */
  readonly patterns: readonly string[];
  /** Percent of its backends by which a file may shrink at once. */
  readonly shrinkLimit: number;
}

/** A problem, and the backend of a file that it is about; `index` null: the file as a whole, `file` null: the configuration. */
export interface Fault {
  readonly problem: Problem;
  /** The pool that it concerns; null: none in particular. */
  readonly pool: string | null;
  readonly file: string | null;
  readonly index: number | null;
}

export interface Judgement {
  readonly faults: readonly Fault[];
  /** By pool; only without a fault of severity error. */
  readonly backends: ReadonlyMap<string, readonly BackendSpec[]>;
}

/** A file's backends as one pool takes them; `omit` leaves some out, by index. */
export interface Contribution {
  readonly file: DiscoveredFile;
  readonly omit?: ReadonlySet<number>;
}

/** The step of a path below which files stand; no key of a configuration has a zero byte. */
const FOUND = 'backends-from\0';

export class Discovery {
  readonly sources: readonly DiscoverySource[];
  readonly #section: ConfigSection;
  readonly #document: Pick<PlacedData, 'problem'>;
  readonly #spec: Spec;

  constructor(sources: readonly DiscoverySource[], section: ConfigSection, document: Pick<PlacedData, 'problem'>, spec: Spec) {
    this.sources = sources;
    this.#section = section;
    this.#document = document;
    this.#spec = spec;
  }

  /** Every check of a configuration, with the backends of the files in it. What the configuration alone is warned about is left out. */
  judge(found: ReadonlyMap<string, readonly Contribution[]>): Judgement {
    const plain = draftOf(this.#section);
    const said = new Set(checkDraft(plain, this.#document).map(identityOf));
    const faults: Fault[] = [];
    const places: Pick<PlacedData, 'problem'> = {
      problem: (path, code, message, severity, at) => {
        const fault = this.#place(found, path, code, message, severity ?? 'error', at);
        if (!said.has(identityOf(fault.problem))) faults.push(fault);
        return fault.problem;
      },
    };
    const draft: Draft = { ...plain, pools: plain.pools.map((pool) => withFound(pool, found.get(pool.name) ?? [])) };
    checkDraft(draft, places);
    for (const pool of draft.pools) {
      if (pool.backends.length <= MAX_POOL_BACKENDS) continue;
      const message = `pool "${pool.name}" would have ${pool.backends.length} backends; it may have ${MAX_POOL_BACKENDS}`;
      places.problem(pool.backends[MAX_POOL_BACKENDS].at, 'GD_CONFIG_RANGE', message);
    }
    const wrong = faults.some(({ problem }) => problem.severity === 'error');
    return { faults, backends: wrong ? new Map() : this.#compile(draft) };
  }

  #compile(draft: Draft): Map<string, readonly BackendSpec[]> {
    const backends = new Map<string, readonly BackendSpec[]>();
    for (const { name, backends: all } of draft.pools) {
      const own = all.filter(({ file }) => file !== undefined).map(({ value }) => value);
      const spec = this.#spec.pools.find((pool) => pool.name === name);
      if (own.length > 0 && spec !== undefined) backends.set(name, compileBackends(own, this.#section.pools[name], spec.tunnel));
    }
    return backends;
  }

  #place(
    found: ReadonlyMap<string, readonly Contribution[]>,
    path: Path,
    ...[code, message, severity, at]: [string, string, 'error' | 'warning', ('key' | 'value')?]
  ): Fault {
    const [part, name, step, number, index, ...rest] = path;
    const pool = part === 'pools' && name !== undefined ? String(name) : null;
    const file = step === FOUND ? found.get(String(name))?.[Number(number)]?.file : undefined;
    if (file === undefined) {
      return { problem: this.#document.problem(path, code, message, severity, at), pool, file: null, index: null };
    }
    const entry = file.backends[Number(index)];
    const problem = file.document.problem([...entry.at, ...rest], code, message, severity, at);
    return { problem, pool, file: file.file, index: Number(index) };
  }
}

/** The watched files of a configuration; null when it names none. */
export function discoveryOf(
  section: ConfigSection,
  document: PlacedData & { readonly file: string },
  spec: Spec,
): Discovery | null {
  const sources = Object.entries(section.pools).flatMap(
    ([pool, { 'backends-from': from, 'shrink-limit': shrinkLimit }]): DiscoverySource[] =>
      from === undefined ? [] : [{ pool, patterns: listOf(from).map((path) => besideFile(document.file, path)), shrinkLimit }],
  );
  return sources.length === 0 ? null : new Discovery(sources, section, document, spec);
}

export function hasWildcard(pattern: string): boolean {
  return /[*?]/.test(basename(pattern));
}

/** Whether a pattern's wildcards match the file; a wildcard matches no hidden file. */
export function matches(pattern: string, file: string): boolean {
  return hasWildcard(pattern) && dirname(pattern) === dirname(file) && nameMatcher(pattern)(basename(file));
}

/**
 * Files that a pattern names now, sorted; one without wildcards names its file, whether that is there or not. Throws what the file system says about
 * the folder, and RangeError beyond MOST_FILES.
 */
export function filesOf(pattern: string): string[] {
  if (!hasWildcard(pattern)) return [pattern];
  const folder = dirname(pattern);
  const files = readdirSync(folder).filter(nameMatcher(pattern));
  if (files.length > MOST_FILES) throw new RangeError(`${files.length} files match ${pattern}; it may be ${MOST_FILES}`);
  return files.sort().map((name) => join(folder, name));
}

function nameMatcher(pattern: string): (name: string) => boolean {
  const shape = basename(pattern)
    .replace(/[.+^${}()|[\]\\]/g, '\\$&')
    .replaceAll('*', '[^/]*')
    .replaceAll('?', '[^/]');
  const matching = new RegExp(`^${shape}$`);
  return (name) => !name.startsWith('.') && matching.test(name);
}

function withFound(pool: DraftPool, contributions: readonly Contribution[]): DraftPool {
  const found = contributions.flatMap(({ file, omit }, number) =>
    file.backends.flatMap(({ value }, index) =>
      omit?.has(index) ? [] : [{ at: [...pool.at, FOUND, number, index], file: file.file, value }],
    ),
  );
  return { ...pool, backends: [...pool.backends, ...found], open: false };
}

function identityOf({ file, line, column, code, message }: Problem): string {
  return `${file}:${line}:${column} ${code} ${message}`;
}
