/** The running director that a read-only command means, and what it says of itself. */
import { basename, isAbsolute, resolve } from 'node:path';
import type { Place } from '../admin/client.ts';
import type { Status } from '../admin/status.ts';
import { CodedError, EXIT } from '../base/errors.ts';
import type { ListenAddress } from '../config/config.ts';
import { socketOf } from './admin-socket.ts';

export interface PlaceOptions {
  readonly config: string;
  readonly listen?: string;
  readonly socket?: string;
}

export interface FoundDirector {
  /** Where it answered; it can be asked there again. */
  readonly place: Place;
  readonly status: Status;
}

/**
 * The director behind the unix socket that the configuration means, which is found though the file is wrong by now; whoever may not open that, and a
 * director without one, is asked over HTTP where the configuration says. `named`: it must be one that runs this file.
 */
export async function findDirector(options: PlaceOptions, named: boolean): Promise<FoundDirector> {
  const { askStatus } = await import('../admin/client.ts');
  const ask = async (place: Place): Promise<FoundDirector> => ({ place, status: await askStatus(place) });
  if (options.listen !== undefined) return ask(await listenPlace(options.listen));
  if (options.socket !== undefined) return ask({ path: options.socket });
  let denied: CodedError | null = null;
  try {
    const found = await ask({ path: await socketOf(options) });
    if (!named || isSame(found.status.config, options.config)) return found;
  } catch (error) {
    if (!(error instanceof CodedError)) throw error;
    if ((error.cause as NodeJS.ErrnoException | undefined)?.code === 'EACCES') denied = error;
  }
  let place: ListenAddress;
  try {
    place = await configuredPlace(options.config);
  } catch (error) {
    throw denied ?? error;
  }
  return ask(place);
}

/** A director names its file as it was started: a relative path is relative to a place that nobody knows here. */
function isSame(running: string, named: string): boolean {
  return isAbsolute(running) ? running === resolve(named) : basename(running) === basename(named);
}

async function listenPlace(text: string): Promise<ListenAddress> {
  const { parseListen } = await import('../config/listen.ts');
  const { value, refusal } = parseListen(text);
  if (value !== null && value.port > 0) return value;
  throw new CodedError('GD_CLI_LISTEN', refusal?.message ?? `"${text}" is no place to ask at`, {
    exitCode: EXIT.USAGE,
    hint: 'write it as 127.0.0.1:6079 or [::1]:6079',
  });
}

async function configuredPlace(file: string): Promise<ListenAddress> {
  const { loadConfig } = await import('../config/load.ts');
  const { metrics } = loadConfig(file).listen;
  if (metrics === null) {
    throw new CodedError('GD_CLI_STATUS_OFF', `${file}: metrics.listen is off, and nobody answers at its admin socket`, {
      exitCode: EXIT.UNREACHABLE,
      hint: 'is it running? systemctl status gue-director; for whoever may not open the socket set metrics.listen: 127.0.0.1:6079',
    });
  }
  if (metrics.port > 0) return metrics;
  throw new CodedError('GD_CLI_STATUS_PORT', `${file}: with port 0 the kernel chose where the director listens`, {
    exitCode: EXIT.UNREACHABLE,
    hint: 'the "ready" line of its log says where; ask there with --listen ADDRESS:PORT',
  });
}
