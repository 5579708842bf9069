/**
 * Sockets that hand-overs leave behind: each is listened at for ten seconds at most and removed then, but not by a process that was killed meanwhile.
 * Connecting to one, to see whether somebody listens, would take the place of the successor that is expected there; so its age decides.
 */
import { lstatSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';

const NAME = /^takeover-[0-9a-f]+\.sock$/;
/** Milliseconds after which nobody can be listening any more. */
const STALE_AFTER = 60_000;

/** Its name, of hexadecimal digits that nobody else has. */
export function takeoverSocket(digits: string): string {
  return `takeover-${digits}.sock`;
}

/** Paths of those in `directory` that nobody can be listening at; none when there is no such directory. */
export function staleSockets(directory: string, now: number = Date.now()): string[] {
  let names: string[];
  try {
    names = readdirSync(directory);
  } catch (error) {
    if (['ENOENT', 'EACCES'].includes((error as NodeJS.ErrnoException).code ?? '')) return [];
    throw error;
  }
  return names
    .filter((name) => NAME.test(name))
    .map((name) => join(directory, name))
    .filter((path) => {
      const found = lstatSync(path, { throwIfNoEntry: false });
      return found?.isSocket() === true && now - found.mtimeMs > STALE_AFTER;
    });
}

/** Removes them. Throws the error of the file system. */
export function removeStaleSockets(directory: string): void {
  for (const path of staleSockets(directory)) rmSync(path, { force: true });
}
