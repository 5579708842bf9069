/** The unix socket of the director that a command means: `--socket`, or what its configuration says. */
import { dirname, isAbsolute, join } from 'node:path';
import { CodedError, EXIT } from '../base/errors.ts';

export interface SocketOptions {
  readonly config: string;
  readonly socket?: string;
}

/** Throws GD_CLI_SOCKET_OFF (exit code 69) where the configuration has none. A configuration that is wrong by now has one all the same. */
export async function socketOf({ config, socket }: SocketOptions): Promise<string> {
  if (socket !== undefined) return socket;
  const { writtenSocket } = await import('../config/admin-place.ts');
  const { adminSocketPath } = await import('../admin/socket.ts');
  const written = writtenSocket(config);
  const path = ['auto', 'off'].includes(written) || isAbsolute(written) ? written : join(dirname(config), written);
  const found = adminSocketPath(path);
  if (found !== null) return found;
  throw new CodedError('GD_CLI_SOCKET_OFF', `${config}: admin.socket is off, so nobody can change this director`, {
    exitCode: EXIT.UNREACHABLE,
    hint: 'set admin.socket: auto and restart the director; SIGHUP reloads it without',
  });
}
