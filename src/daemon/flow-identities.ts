/**
 * Beside the flow table file: whom its backend ids mean, and what the pools' tables were made of. Two lines of JSON, the first with the id of the flow
 * table file and the sum of the second; then a line for each change since, its sum in front of it, so that a change of one pool of a thousand writes one:
 *
 *     {"version":3,"file":"…","sum":"…"}
 *     {"rosters":[…],"backends":…,"services":…,"pools":[…]}
 *     0123456789abcdef {"rosters":[…],"backends":…,"services":…,"pools":[…],"forgotten":[…],"gone":[…]}
 *
 * (identities-text.ts; versions 1 and 2: identities-before.ts).
 *
 * It is replaced or added to before any thread can write an id that it does not know. A line that its writer did not finish is of a snapshot that no thread
 * was given. Never synced to a disk: both files end with this boot of the machine, and until then the kernel has what was written, however its writer ended.
 */
import { createHash } from 'node:crypto';
import { closeSync, constants, openSync, readFileSync, renameSync, rmSync, writeSync } from 'node:fs';
import type { SavedChanges, SavedState } from '../pipeline/snapshot.ts';
import { draftPath, identitiesPath } from './flow-path.ts';
import { type ChangesBefore, changedIdentities, type StateBefore, stateOfBefore } from './identities-before.ts';
import {
  savedChanges,
  savedState,
  type WrittenChanges,
  type WrittenState,
  writtenChanges,
  writtenState,
} from './identities-text.ts';

/** To be raised with every change of what is written. Version 1 had no lines of changes, up to version 2 every backend stood by itself. */
const VERSION = 3;
const READABLE: readonly unknown[] = [1, 2, VERSION];
const SUM_LENGTH = 16;

/** `path`: of the flow table file. Writes it, whole or not at all; mode 0600. Returns its bytes. Throws the error of the file system. */
export function writeIdentities(path: string, file: string, state: SavedState): number {
  const text = JSON.stringify(writtenState(state));
  const head = JSON.stringify({ version: VERSION, file, sum: sumOf(text) });
  const draft = draftPath(path);
  // What a crash left half written, or somebody put there: never written through a link.
  rmSync(draft, { force: true });
  const length = writeAll(draft, constants.O_CREAT | constants.O_EXCL, `${head}\n${text}\n`);
  renameSync(draft, identitiesPath(path));
  return length;
}

/** Adds what changed to a file that this process wrote with `writeIdentities`. Returns its bytes. Throws the error of the file system: then the file is to be written anew. */
export function addToIdentities(path: string, changes: SavedChanges): number {
  const text = JSON.stringify(writtenChanges(changes));
  return writeAll(identitiesPath(path), constants.O_APPEND, `${lineSum(text)} ${text}\n`);
}

function writeAll(path: string, flags: number, text: string): number {
  const descriptor = openSync(path, constants.O_WRONLY | flags, 0o600);
  try {
    const bytes = Buffer.from(text);
    for (let at = 0; at < bytes.length; ) at += writeSync(descriptor, bytes, at);
    return bytes.length;
  } finally {
    closeSync(descriptor);
  }
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
  const [first = '', second = '', ...lines] = text.split('\n');
  // Behind the last line break stands nothing, or a line that was not finished.
  lines.pop();
  try {
    const head = JSON.parse(first) as { version?: unknown; file?: unknown; sum?: unknown };
    if (!READABLE.includes(head.version)) return unfit(`its identities are version ${String(head.version)}, not ${VERSION}`);
    if (head.sum !== sumOf(second)) return unfit('its identities are damaged');
    if (head.file !== file) return unfit('its identities are of another file');
    const changes = lines.map((line) => {
      const body = line.slice(SUM_LENGTH + 1);
      return line.slice(0, SUM_LENGTH) === lineSum(body) ? (JSON.parse(body) as unknown) : null;
    });
    if (changes.includes(null)) return unfit('its identities are damaged');
    const whole = JSON.parse(second) as unknown;
    const state =
      head.version === VERSION
        ? changed(savedState(whole as WrittenState), (changes as WrittenChanges[]).map(savedChanges))
        : stateOfBefore(whole as StateBefore, changes as ChangesBefore[]);
    return { state, why: '' };
  } catch (error) {
    if (!(error instanceof SyntaxError || error instanceof RangeError || error instanceof TypeError)) throw error;
    return unfit('its identities are damaged');
  }
}

/** `state` with `changes`, oldest first. */
function changed(state: SavedState, changes: readonly SavedChanges[]): SavedState {
  if (changes.length === 0) return state;
  const pools = new Map(state.pools.map((pool) => [pool.name, pool]));
  for (const change of changes) {
    for (const name of change.gone) pools.delete(name);
    for (const pool of change.pools) pools.set(pool.name, pool);
  }
  const pieces = new Map(state.backends.pools.map((piece) => [piece.pool, piece]));
  let { next } = state.backends;
  for (const { backends } of changes) {
    next = backends.next;
    for (const pool of backends.forgotten) pieces.delete(pool);
    for (const piece of backends.pools) pieces.set(piece.pool, piece);
  }
  const services = changedIdentities(
    state.services,
    changes.map((change) => change.services),
  );
  return { backends: { next, pools: [...pieces.values()] }, services, pools: [...pools.values()] };
}

function lineSum(text: string): string {
  return sumOf(text).slice(0, SUM_LENGTH);
}

function sumOf(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}
