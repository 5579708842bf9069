/**
 * Drains on disk: a small JSON file in the runtime directory, so that they outlive a restart. It is replaced whole, by rename, and bears the boot
 * it was written in: its times are milliseconds since that boot, and after a reboot nobody has flows left to keep.
 *
 *     { "version": 1, "boot": "…", "director": { "since": 12345.6, "stopAt": null }, "backends": [{ "pool": …, "backend": …, … }] }
 */
import { readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import type { DrainRecord } from './drain.ts';

const VERSION = 1;
/** Bytes: a few thousand drains have a tenth of it. */
const MOST_BYTES = 4 << 20;

/** Drains as they outlive a process, or are handed to another. */
export interface DrainState {
  /** The director's own drain; null: none. Milliseconds since boot; `stopAt` null: it goes on until it is told. */
  readonly director: { readonly since: number; readonly stopAt: number | null } | null;
  readonly backends: readonly DrainRecord[];
}

export const NO_DRAINS: DrainState = { director: null, backends: [] };

/** What names this boot. */
export function bootId(): string {
  return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
}

/** What the file has; with a sentence in `ignored` when it is there and can not be used. */
export function readDrainFile(path: string, boot: string): { readonly state: DrainState; readonly ignored: string | null } {
  const ignore = (why: string) => ({ state: NO_DRAINS, ignored: `${path}: ${why}` });
  let text: string;
  try {
    const { size } = statSync(path);
    if (size > MOST_BYTES) return ignore(`${size} bytes are no list of drains`);
    text = readFileSync(path, 'utf8');
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    return code === 'ENOENT' || code === 'ENOTDIR' ? { state: NO_DRAINS, ignored: null } : ignore(code ?? message);
  }
  try {
    const value = JSON.parse(text) as Record<string, unknown> | null;
    if (value?.version !== VERSION) return ignore(`its version is ${String(value?.version)}, not ${VERSION}`);
    if (value.boot !== boot) return ignore('it is from before the last reboot');
    const state = parseDrainState(value);
    return state === null ? ignore('it is damaged') : { state, ignored: null };
  } catch (error) {
    return ignore(`it is no JSON: ${(error as Error).message}`);
  }
}

/** Drains as plain data, checked; null when they are something else. What a takeover hands over passes here too. */
export function parseDrainState(value: unknown): DrainState | null {
  const { director, backends } = (value ?? {}) as { director?: unknown; backends?: unknown };
  if (!Array.isArray(backends) || !backends.every(isRecord)) return null;
  if (director === null || director === undefined) return { director: null, backends };
  const { since, stopAt } = director as { since?: unknown; stopAt?: unknown };
  if (!isTime(since) || !(stopAt === null || isTime(stopAt))) return null;
  return { director: { since, stopAt }, backends };
}

/** Replaces the file; takes it away when there is nothing to remember. Throws what the file system says. */
export function writeDrainFile(path: string, boot: string, state: DrainState): void {
  if (state.director === null && state.backends.length === 0) {
    rmSync(path, { force: true });
    return;
  }
  const beside = `${path}.${process.pid}`;
  try {
    writeFileSync(beside, `${JSON.stringify({ version: VERSION, boot, ...state })}\n`, { mode: 0o640, flush: true });
    renameSync(beside, path);
  } catch (error) {
    rmSync(beside, { force: true });
    throw error;
  }
}

function isRecord(value: unknown): value is DrainRecord {
  const { pool, backend, cause, since, deadline } = (value ?? {}) as Record<string, unknown>;
  return (
    typeof pool === 'string' &&
    typeof backend === 'string' &&
    (cause === 'command' || cause === 'configuration') &&
    isTime(since) &&
    (deadline === null || isTime(deadline))
  );
}

function isTime(value: unknown): value is number {
  return typeof value === 'number' && Number.isFinite(value) && value >= 0;
}
