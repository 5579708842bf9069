/** Reads a file of rules, or standard input, with every way that this can fail told apart. */
import { readFileSync } from 'node:fs';
import { isatty } from 'node:tty';
import { CodedError, EXIT } from '../base/errors.ts';
import { ConfigError } from '../config/problem.ts';
import { readSource } from '../config/source.ts';
import type { NamedText } from './imported.ts';

const STANDARD_INPUT = 0;

const IPVSADM_HINT = 'write it with: ipvsadm-save -n > FILE';
const IPVSADM_PIPE = 'ipvsadm-save -n | gue-director import ipvs';

/** `path`: `-` is standard input. `hint`, `pipe`: what to do. Throws GD_IMPORT_FILE; exit code 2 when standard input is a terminal. */
export function readRules(path: string, hint = IPVSADM_HINT, pipe = IPVSADM_PIPE): NamedText {
  if (path === '-') return { text: readStandardInput(pipe), name: 'standard input' };
  try {
    return { text: readSource(path), name: path };
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    // Its words are for people who name a configuration.
    const [{ message }] = error.problems;
    throw new CodedError('GD_IMPORT_FILE', `${path}: ${message.split('; ')[0]}`, { hint });
  }
}

function readStandardInput(hint: string): string {
  if (isatty(STANDARD_INPUT)) {
    throw new CodedError('GD_IMPORT_FILE', 'name a file, or pipe it in', { exitCode: EXIT.USAGE, hint });
  }
  const bytes = readFileSync(STANDARD_INPUT);
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (error) {
    throw new CodedError('GD_IMPORT_FILE', 'standard input is not UTF-8 text', { cause: error });
  }
}
