/**
 * The configuration that a director starts with: its file's, unless that is one which a reload was to confirm and did not
 * (control/trial-file.ts). Then it is the one before.
 */
import { join, resolve } from 'node:path';
import { runtimeDirectory } from '../admin/socket.ts';
import type { Config } from '../config/config.ts';
import { loadText } from '../config/load.ts';
import { ConfigError } from '../config/problem.ts';
import { readSource } from '../config/source.ts';
import { settingChanges } from '../control/restart.ts';
import { readTrial, type Trial } from '../control/trial-file.ts';

/** Where a trial is remembered. systemd names a directory that outlives a reboot to units with StateDirectory; else it is where drains are. */
export function trialPath(): string {
  return join(process.env.STATE_DIRECTORY?.split(':', 1)[0] || runtimeDirectory(), 'unconfirmed.json');
}

export interface StartConfig {
  readonly config: Config;
  /** What the file holds was tried and not confirmed, and `config` is the one before. */
  readonly trial: Trial | null;
  /** Why a trial that is remembered does not count; null where there is none, or it does. */
  readonly ignored: string | null;
}

/** Throws ConfigError when the file is wrong, as `loadConfig` does. */
export function startConfig(file: string, path = trialPath()): StartConfig {
  const text = readSource(file);
  const config = loadText(text, file);
  const { trial, ignored } = readTrial(path);
  // Another file, or one that somebody has changed since: that is his word.
  if (trial === null || trial.file !== resolve(file) || trial.tried !== text) return { config, trial: null, ignored };
  try {
    const before = loadText(trial.confirmed, file);
    // A reload changes nothing of the kind, so it was not a reload that wrote this: who may write here is not to choose the user or the devices.
    const [foreign] = settingChanges(config, before).filter(({ effect }) => effect === 'restart');
    if (foreign === undefined) return { config: before, trial, ignored: null };
    return { config, trial: null, ignored: `${path}: the configuration in it has another ${foreign.key}` };
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return { config, trial: null, ignored: `${path}: the configuration in it is refused by this version: ${error.message}` };
  }
}
