/**
 * Watched files, in a running director: looked at twice a second, what changed in them laid over the configuration, what is wrong with them told.
 */
import type { StatusDiscovery } from '../admin/status.ts';
import type { Config } from '../config/config.ts';
import { formatProblem, type Problem } from '../config/problem.ts';
import type { SetsAside } from '../control/aside.ts';
import type { Controller } from '../control/controller.ts';
import { type DiscoveryNews, type FileState, type Look, lookAtFiles, NOTHING_FOUND, neverRead } from '../control/discovery.ts';
import type { EventJournal } from '../observe/events.ts';

/** Milliseconds between two looks: each is one system call for each file that did not change. */
const LOOK_EVERY = 500;

export interface DiscoveryKeeperOptions {
  readonly controller: Controller;
  readonly journal: EventJournal;
  /** Backends came or went, and that is in force. */
  readonly changed: () => void;
}

export class DiscoveryKeeper implements SetsAside {
  readonly #options: DiscoveryKeeperOptions;
  #look: Look = NOTHING_FOUND;
  /** The last look on behalf of another configuration, which may come into force next. */
  #planned: { readonly config: Config; readonly look: Look } | null = null;
  #timer: NodeJS.Timeout | null = null;
  /** What was known under the configuration before. */
  #aside: Look | null = null;

  constructor(options: DiscoveryKeeperOptions) {
    this.#options = options;
    options.controller.discoverBy((config) => this.#plan(config).found);
    options.controller.onConfig((config) => this.#follow(config));
  }

  /** Before the first configuration is in force: what its files hold is in force with it. */
  start(): void {
    const { controller } = this.#options;
    const { found } = this.#plan(controller.config);
    if (found.size > 0) controller.setLayer('discovered', found);
  }

  /** Why services of these pools should not be sent here: they would be steered otherwise than where all backends are known. */
  reasons(): { readonly pool: string; readonly reason: string }[] {
    return neverRead(this.#look).flatMap(({ file, pools, problem }) => {
      const why = problem === null ? '' : `: ${problem.message}`;
      const reason = `${file} could not be read since the start, pool ${pools.join(' and ')} lacks its backends${why}`;
      return pools.map((pool) => ({ pool, reason }));
    });
  }

  /** Pools that may lack backends which are only not seen now. */
  uncertain(): ReadonlySet<string> {
    return new Set(neverRead(this.#look).flatMap(({ pools }) => pools));
  }

  /** Somebody asks for this configuration, and for what its files hold by now: it may be far fewer backends than they had. */
  trust(config: Config): void {
    this.#planned = { config, look: this.#lookFor(config, true) };
  }

  /** What another configuration says against files that are right beside the one in force. */
  contradictions(config: Config): readonly Problem[] {
    return this.#plan(config).contradictions;
  }

  /** For metrics and status. */
  files(): readonly (StatusDiscovery & { readonly seenAt: number; readonly failures: number })[] {
    return [...this.#look.files.values()].map(({ file, pools, good, omit, seenAt, problem, failures }) => ({
      file,
      pools,
      backends: (good?.backends.length ?? 0) - omit.size,
      age: seenAt === 0 ? null : Math.max(0, Math.round((Date.now() - seenAt) / 1000)),
      problem: problem === null ? null : formatProblem(problem),
      seenAt: seenAt / 1000,
      failures,
    }));
  }

  setAside(): void {
    this.#aside = this.#look;
  }

  /** Files that only the configuration before names have their last good content again, and those of which only the reload believed that they shrank. */
  bringBack(): void {
    const { files, found } = this.#aside ?? NOTHING_FOUND;
    const isNews = ({ file, identity }: FileState) => {
      const known = files.get(file);
      return known === undefined || known.doubtedSince === null || known.identity !== identity;
    };
    this.#look = {
      ...this.#look,
      files: new Map([...files, ...[...this.#look.files].filter(([, state]) => isNews(state))]),
      found: new Map([...this.#look.found, ...found]),
    };
    this.#planned = null;
    this.#aside = null;
  }

  forget(): void {
    this.#aside = null;
  }

  close(): void {
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#timer = null;
  }

  #plan(config: Config): Look {
    if (this.#planned?.config !== config) {
      this.#planned = { config, look: this.#lookFor(config, false) };
    }
    return this.#planned.look;
  }

  #lookFor({ discovery }: Config, trust: boolean): Look {
    return discovery === null ? NOTHING_FOUND : lookAtFiles(discovery, this.#look, Date.now(), true, trust);
  }

  #follow(config: Config): void {
    const look = this.#plan(config);
    this.#planned = null;
    this.#take(look);
    this.close();
    this.resume();
  }

  /** Looks at the files again from now on, after `close` or another configuration. */
  resume(): void {
    if (this.#options.controller.config.discovery === null) return;
    this.#timer ??= setInterval(() => this.#tend(), LOOK_EVERY);
    this.#timer.unref();
  }

  #tend(): void {
    const { controller, changed } = this.#options;
    const { discovery } = controller.config;
    if (discovery === null) return;
    const look = lookAtFiles(discovery, this.#look, Date.now(), false);
    if (!look.same) {
      controller.setLayer('discovered', look.found);
      controller.flush();
    }
    // Told once it is in force: who reads the log may rely on it.
    this.#take(look);
    if (!look.same) changed();
  }

  #take(look: Look): void {
    this.#look = { ...look, news: [] };
    for (const news of look.news) this.#tell(news);
  }

  #tell(news: DiscoveryNews): void {
    const { journal } = this.#options;
    const { file, what } = news;
    if (what === 'taken') {
      const { backends, added, removed } = news;
      const text = `${file} names ${counted(backends)}: ${added} added, ${removed} removed`;
      journal.record('info', 'discovery', text, { file, backends, added, removed });
    } else if (what === 'mended') {
      journal.record('info', 'discovery', `${file} is right again, with the ${counted(news.backends)} that it had`, { file });
    } else if (what === 'gone') {
      journal.record('info', 'discovery', `${file} is gone, and its ${counted(news.backends)} with it`, { file });
    } else {
      const { problem, kept, never } = news;
      const stays = never ? 'the pool has what the configuration says' : `its last good content stays (${counted(kept)})`;
      const fields = { file, at: `${problem.file}:${problem.line}:${problem.column}`, code: problem.code };
      const hint = 'see every problem with: gue-director check';
      journal.record('warn', 'discovery-failed', `${formatProblem(problem)}; ${stays}`, { ...fields, hint });
    }
  }
}

function counted(backends: number): string {
  return `${backends} backend${backends === 1 ? '' : 's'}`;
}
