/** Files that a director leaves for the next one, for `clean`: they belong to no network namespace. */
import { lstatSync, rmSync } from 'node:fs';
import { CodedError } from '../base/errors.ts';
import { closeDescriptor } from '../raw-socket/file.ts';
import { isLocked } from '../raw-socket/mapped-file.ts';
import { connectUnix } from '../raw-socket/unix-socket.ts';
import type { Owned } from './owned.ts';

/** Files of one kind: who has `locked` locked uses all of them. */
export interface LeftFiles {
  readonly locked: string;
  readonly paths: readonly string[];
  /** Unix sockets, each somebody's as long as somebody listens. */
  readonly sockets: readonly string[];
}

/** Those that are there, none of them while another director (of another network namespace) has them. */
export function listOwnedFiles({ locked, paths }: LeftFiles): Owned[] {
  const isThere = (path: string) => lstatSync(path, { throwIfNoEntry: false })?.isFile() === true;
  if (isThere(locked) && isHeld(locked)) return [];
  return paths.filter(isThere).map((path) => owned('file', path));
}

/** Unix sockets that are there and at which nobody listens, whatever network namespace they were made in. */
export function listDeadSockets({ sockets }: LeftFiles): Owned[] {
  return sockets
    .filter((path) => lstatSync(path, { throwIfNoEntry: false })?.isSocket() === true && isDead(path))
    .map((path) => owned('socket', path));
}

function owned(kind: Owned['kind'], path: string): Owned {
  return {
    kind,
    silences: false,
    text: path,
    command: `rm ${path}`,
    remove: () => {
      try {
        rmSync(path, { force: true });
      } catch (error) {
        throw new CodedError('GD_HOST_RELEASE', `remove ${path}: ${(error as Error).message}`, {
          hint: `ls -l ${path}`,
          cause: error,
        });
      }
    },
  };
}

/** Only a refused connection proves it: who may not ask, or finds the queue full, has not seen anybody dead. */
function isDead(path: string): boolean {
  try {
    closeDescriptor(connectUnix(path));
    return false;
  } catch (error) {
    if (!(error instanceof CodedError)) throw error;
    return error.message.endsWith(': ECONNREFUSED');
  }
}

/** What may not be opened is listed all the same, and its removal will say why. */
function isHeld(path: string): boolean {
  try {
    return isLocked(path);
  } catch (error) {
    if (['EACCES', 'EPERM', 'ENOENT'].includes((error as NodeJS.ErrnoException).code ?? '')) return false;
    throw error;
  }
}
