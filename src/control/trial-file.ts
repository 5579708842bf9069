/**
 * A configuration on trial, on disk: a reload that was to be confirmed and was not. The file that the director is started with holds what was tried;
 * whoever starts it again while that is so gets what was confirmed last, whether it crashed, was stopped or the machine was restarted in between.
 *
 *     { "version": 1, "file": "/etc/gue-director/director.yaml", "tried": "…its text…", "confirmed": "…the text before…" }
 */
import { readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';

const VERSION = 1;
/** Bytes: two configurations. */
const MOST_BYTES = 64 << 20;

export interface Trial {
  /** Absolute path of the configuration. */
  readonly file: string;
  /** The text that was not confirmed. */
  readonly tried: string;
  /** The text that was in force before. */
  readonly confirmed: string;
}

/** What the file has, null without one; with a sentence in `ignored` when it is there and can not be used. */
export function readTrial(path: string): { readonly trial: Trial | null; readonly ignored: string | null } {
  const ignore = (why: string) => ({ trial: null, ignored: `${path}: ${why}` });
  let text: string;
  try {
    const { size } = statSync(path);
    if (size > MOST_BYTES) return ignore(`${size} bytes are no two configurations`);
    text = readFileSync(path, 'utf8');
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    return code === 'ENOENT' || code === 'ENOTDIR' ? { trial: null, ignored: null } : ignore(code ?? message);
  }
  try {
    const { version, file, tried, confirmed } = (JSON.parse(text) ?? {}) as Record<string, unknown>;
    if (version !== VERSION) return ignore(`its version is ${String(version)}, not ${VERSION}`);
    if (typeof file !== 'string' || typeof tried !== 'string' || typeof confirmed !== 'string') return ignore('it is damaged');
    return { trial: { file, tried, confirmed }, ignored: null };
  } catch {
    // Without the parser's own words, which quote: whoever may write here could have put a link to another's file.
    return ignore('it is no JSON');
  }
}

/** Replaces the file, mode 0600, and waits for the disk; null takes it away. Throws what the file system says. */
export function writeTrial(path: string, trial: Trial | null): void {
  if (trial === null) {
    rmSync(path, { force: true });
    return;
  }
  const beside = `${path}.${process.pid}`;
  try {
    writeFileSync(beside, `${JSON.stringify({ version: VERSION, ...trial })}\n`, { mode: 0o600, flush: true });
    renameSync(beside, path);
  } catch (error) {
    rmSync(beside, { force: true });
    throw error;
  }
}
