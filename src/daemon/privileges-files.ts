/** What root prepares for the user that it becomes: the runtime directory, and the capture that a pcap-file egress writes. */
import { closeSync, constants, fchownSync, fstatSync, mkdirSync, openSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { runtimeDirectory } from '../admin/socket.ts';
import { CodedError } from '../base/errors.ts';
import type { Config } from '../config/config.ts';

const { O_RDONLY, O_WRONLY, O_CREAT, O_DIRECTORY, O_NOFOLLOW, O_NONBLOCK } = constants;

/**
 * Makes the runtime directory where it is missing, and gives it to the user, with the files that a director which was root left in it. Throws
 * CodedError GD_DAEMON_HAND_OVER.
 */
export function handOver(config: Pick<Config, 'egress'>, user: number, group: number): void {
  const directory = runtimeDirectory();
  attempt(directory, () => {
    try {
      mkdirSync(directory, { mode: 0o750 });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
    giveDirectory(directory, user, group);
  });
  const { egress } = config;
  if (egress.driver !== 'pcap-file') return;
  attempt(egress.path, () => giveFile(egress.path, O_WRONLY | O_CREAT, user, group));
}

/**
 * Only a directory that is root's is given away with what is in it: in one that is the user's already, the user could have put a hard link
 * to any file of the system, and would be given that.
 */
function giveDirectory(path: string, user: number, group: number): void {
  const descriptor = openSync(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  try {
    if (fstatSync(descriptor).uid !== 0) return;
    for (const { name } of readdirSync(path, { withFileTypes: true }).filter((entry) => entry.isFile())) {
      giveFile(join(path, name), O_RDONLY, user, group);
    }
    fchownSync(descriptor, user, group);
  } finally {
    closeSync(descriptor);
  }
}

function giveFile(path: string, flags: number, user: number, group: number): void {
  const descriptor = openSync(path, flags | O_NOFOLLOW | O_NONBLOCK, 0o600);
  try {
    const file = fstatSync(descriptor);
    if (file.isFile() && file.uid === 0 && file.nlink === 1) fchownSync(descriptor, user, group);
  } finally {
    closeSync(descriptor);
  }
}

function attempt(path: string, step: () => void): void {
  try {
    step();
  } catch (cause) {
    const message = cause instanceof Error ? cause.message : String(cause);
    throw new CodedError('GD_DAEMON_HAND_OVER', `${path} can not be given to privileges.user: ${message}`, {
      hint: `ls -ld ${path}`,
      cause,
    });
  }
}
