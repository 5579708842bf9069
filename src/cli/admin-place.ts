/** Where the commands that change a running director find it: its unix socket. */
import { CodedError, EXIT } from '../base/errors.ts';

/** `socket` when it is given, else what the configuration says. Throws GD_CLI_SOCKET_OFF where that is nothing. */
export async function socketOf(options: { readonly config: string; readonly socket?: string }): Promise<string> {
  if (options.socket !== undefined) return options.socket;
  const { loadConfig } = await import('../config/load.ts');
  const { adminSocketPath } = await import('../admin/socket.ts');
  const path = adminSocketPath(loadConfig(options.config).admin.socket);
  if (path !== null) return path;
  throw new CodedError('GD_CLI_SOCKET_OFF', `${options.config}: admin.socket is off, so nobody can change this director`, {
    exitCode: EXIT.UNREACHABLE,
    hint: 'set admin.socket: auto and restart the director',
  });
}
