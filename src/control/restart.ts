/**
 * What a reload takes over, and what only a restart does: devices, sockets, threads and memory are made once. Every key of the configuration
 * is named here; one that is new does not compile until somebody has said which it is.
 */
import { resolve } from 'node:path';
import type { Config } from '../config/config.ts';
import { SourceDocument } from '../config/document.ts';
import type { Problem } from '../config/problem.ts';
import { differences, leavesOf } from './differences.ts';

type Effect = 'reload' | 'restart';

interface Rule {
  /** `none`: no wish of the file's. */
  readonly effect: Effect | 'none';
  /** Its name in the file, where that is another than here; null: written as one value. */
  readonly key?: string;
  /** Keys below it that are otherwise. */
  readonly but?: Readonly<Record<string, Effect>>;
}

const RULES: { readonly [Key in keyof Config]-?: Rule } = {
  spec: { effect: 'reload', key: '' },
  health: { effect: 'reload', key: 'pools' },
  ingress: { effect: 'restart' },
  egress: { effect: 'restart' },
  threads: { effect: 'restart' },
  processors: { effect: 'restart' },
  flows: { effect: 'restart' },
  fragments: { effect: 'restart' },
  probes: { effect: 'restart' },
  listen: { effect: 'restart', key: 'metrics' },
  admin: { effect: 'restart' },
  privileges: { effect: 'restart' },
  reload: { effect: 'reload' },
  log: { effect: 'restart', but: { level: 'reload' } },
  discovery: { effect: 'reload', key: 'backends-from' },
  file: { effect: 'none' },
  text: { effect: 'none' },
  warnings: { effect: 'none' },
};

export interface SettingChange {
  /** In the words of the file: `fragments.hold-bytes`. */
  readonly key: string;
  readonly before: string | null;
  readonly after: string | null;
  readonly effect: Effect;
}

/** What differs between two configurations beside services and pools. */
export function settingChanges(before: Config, after: Config): SettingChange[] {
  const changes: SettingChange[] = [];
  for (const [name, { effect, key = name, but = {} }] of Object.entries(RULES)) {
    if (effect === 'none' || name === 'spec') continue;
    const [old, now] = [before, after].map((config) => leavesOf(settled(settingOf(config, name as keyof Config))));
    let paths = differences(old, now);
    // Another driver has other keys.
    if (paths.includes('driver')) paths = ['driver'];
    for (const path of paths) {
      changes.push({
        key: path === '' ? key : `${key}.${path}`,
        before: old.get(path) ?? null,
        after: now.get(path) ?? null,
        effect: but[path] ?? effect,
      });
    }
  }
  return changes;
}

/** The HTTP server's place is one text in the file and two fields here; health checks stand with their pools. */
function settingOf(config: Config, name: keyof Config): unknown {
  // A map: the names of pools are nobody's keys, whatever their capitals.
  if (name === 'health') return new Map([...config.health].map(([pool, health]) => [pool, { health }]));
  if (name !== 'listen') return config[name];
  const { metrics } = config.listen;
  return { listen: metrics === null ? 'off' : `${metrics.host}:${metrics.port}` };
}

/** A path means the same whoever reads it from where: the running configuration's may be relative to where it was started. */
function settled(value: unknown): unknown {
  if (value === null || typeof value !== 'object' || Array.isArray(value) || value instanceof Map) return value;
  const entries = Object.entries(value).map(([key, inner]) => {
    const isPath = (key === 'path' || key === 'socket') && typeof inner === 'string' && inner.includes('/');
    return [key, isPath ? resolve(inner as string) : inner];
  });
  return Object.fromEntries(entries);
}

/** Problems with their places in `text`, one for each key that a reload can not change; empty when there is none. */
export function restartProblems(before: Config, after: Config, text: string): Problem[] {
  const keys = settingChanges(before, after).filter(({ effect }) => effect === 'restart');
  if (keys.length === 0) return [];
  const document = new SourceDocument(after.file, text);
  return keys.map(({ key, before: old, after: now }) =>
    document.problem(
      key.split('.'),
      'GD_RELOAD_RESTART',
      `can not be changed while the director runs: ${old ?? 'not set'} is in force, ${now ?? 'not set'} is wanted`,
    ),
  );
}
