/**
 * Beside the flow table file: whom its backend ids mean, and what the pools' tables were made of. Two lines of JSON, the first with the id of the flow
 * table file and the sum of the second. It is replaced as a whole before any thread can write an id that it does not know. Never synced to a disk: both
 * files end with this boot of the machine, and until then the kernel has what was written, however its writer ended.
 */
import { createHash } from 'node:crypto';
import { closeSync, constants, openSync, readFileSync, renameSync, rmSync, writeSync } from 'node:fs';
import type { SavedState } from '../pipeline/snapshot.ts';
import { draftPath, identitiesPath } from './flow-path.ts';

/** To be raised with every change of what is written. */
const VERSION = 1;

/** `path`: of the flow table file. Writes it, whole or not at all; mode 0600. Throws the error of the file system. */
export function writeIdentities(path: string, file: string, state: SavedState): void {
  const text = JSON.stringify(state);
  const head = JSON.stringify({ version: VERSION, file, sum: sumOf(text) });
  const draft = draftPath(path);
  // What a crash left half written, or somebody put there: never written through a link.
  rmSync(draft, { force: true });
  const descriptor = openSync(draft, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o600);
  try {
    const bytes = Buffer.from(`${head}\n${text}\n`);
    for (let at = 0; at < bytes.length; ) at += writeSync(descriptor, bytes, at);
  } finally {
    closeSync(descriptor);
  }
  renameSync(draft, identitiesPath(path));
}

/** What was written for the flow table file at `path` with id `file`, or why it can not be used. */
export function readIdentities(path: string, file: string): { state: SavedState; why: '' } | { state: null; why: string } {
  const unfit = (why: string) => ({ state: null, why });
  let text: string;
  try {
    text = readFileSync(identitiesPath(path), 'utf8');
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    return unfit(code === 'ENOENT' ? 'its identities are missing' : `its identities can not be read: ${code ?? message}`);
  }
  const [first = '', second = ''] = text.split('\n', 2);
  try {
    const head = JSON.parse(first) as { version?: unknown; file?: unknown; sum?: unknown };
    if (head.version !== VERSION) return unfit(`its identities are version ${String(head.version)}, not ${VERSION}`);
    if (head.sum !== sumOf(second)) return unfit('its identities are damaged');
    if (head.file !== file) return unfit('its identities are of another file');
    return { state: JSON.parse(second) as SavedState, why: '' };
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    return unfit('its identities are damaged');
  }
}

function sumOf(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}
