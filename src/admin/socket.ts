/**
 * The unix socket of the admin face: where it is, and its opening. Its owner and mode say who may change the director.
 */
import { chmodSync, lstatSync, mkdirSync, unlinkSync } from 'node:fs';
import { connect, type Server } from 'node:net';
import { dirname } from 'node:path';
import { CodedError } from '../base/errors.ts';

/** Where a director keeps what lives as long as the machine is up. systemd names it to the services it starts. */
export function runtimeDirectory(): string {
  return process.env.RUNTIME_DIRECTORY?.split(':', 1)[0] || '/run/gue-director';
}

/** Path of the admin socket that a configuration means, null for none. */
export function adminSocketPath(configured: 'auto' | 'off' | (string & {})): string | null {
  if (configured === 'off') return null;
  return configured === 'auto' ? `${runtimeDirectory()}/admin.sock` : configured;
}

/** sizeof(sun_path) with its final zero byte (include/uapi/linux/un.h). */
const MOST_PATH = 107;

/**
 * Lets `server` listen at `path`, mode 0660, in place of a socket that nobody answers at. Throws GD_ADMIN_SOCKET when it can not be had.
 * Its directory is made when only that is missing.
 */
export async function listenAtPath(server: Server, path: string): Promise<void> {
  const refuse = (why: string, hint: string, cause?: unknown): CodedError =>
    new CodedError('GD_ADMIN_SOCKET', `can not listen at ${path}: ${why}`, { hint, cause });
  if (Buffer.byteLength(path) > MOST_PATH) throw refuse(`a path of a socket has at most ${MOST_PATH} bytes`, 'set admin.socket');
  try {
    makeDirectory(dirname(path));
    const there = lstatSync(path, { throwIfNoEntry: false });
    if (there !== undefined) {
      if (!there.isSocket()) throw refuse('it is a file of another kind', `look at it and remove it: ls -l ${path}`);
      if (await answers(path)) throw refuse('another process listens there', `ss -xlp src ${path}   names it`);
      unlinkSync(path);
    }
    // Between bind and chmod it would have the mode that umask leaves.
    const before = process.umask(0o117);
    try {
      await new Promise<void>((done, fail) => {
        server.once('error', fail);
        server.listen(path, () => {
          server.off('error', fail);
          done();
        });
      });
    } finally {
      process.umask(before);
    }
    chmodSync(path, 0o660);
  } catch (error) {
    if (error instanceof CodedError) throw error;
    const { code, message } = error as NodeJS.ErrnoException;
    throw refuse(code ?? message, 'its directory must be writable: set admin.socket, or off for none', error);
  }
}

/** The last part of the path only: Node's own `recursive` never returns below /proc. No error when it is there. */
export function makeDirectory(path: string): void {
  try {
    mkdirSync(path, { mode: 0o750 });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  }
}

function answers(path: string): Promise<boolean> {
  return new Promise((done) => {
    const socket = connect(path);
    socket.once('connect', () => {
      socket.destroy();
      done(true);
    });
    // Nobody accepts: what a director that was killed left.
    socket.once('error', () => done(false));
  });
}
