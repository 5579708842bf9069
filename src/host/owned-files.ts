/** Files that a director leaves for the next one, for `clean`: they belong to no network namespace. */
import { lstatSync, rmSync } from 'node:fs';
import { CodedError } from '../base/errors.ts';
import { isLocked } from '../raw-socket/mapped-file.ts';
import type { Owned } from './owned.ts';

/** Files of one kind: who has `locked` locked uses all of them. */
export interface LeftFiles {
  readonly locked: string;
  readonly paths: readonly string[];
}

/** Those that are there, none of them while another director (of another network namespace) has them. */
export function listOwnedFiles({ locked, paths }: LeftFiles): Owned[] {
  const isThere = (path: string) => lstatSync(path, { throwIfNoEntry: false })?.isFile() === true;
  if (isThere(locked) && isHeld(locked)) return [];
  return paths.filter(isThere).map((path) => ({
    kind: 'file',
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
  }));
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
