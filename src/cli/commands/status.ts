/** `gue-director status`: what a running director says of itself. */
import { basename, isAbsolute, resolve } from 'node:path';
import { type Command, Option } from 'commander';
import type { Condition } from '../../admin/server.ts';
import type { Status } from '../../admin/status.ts';
import { CodedError, EXIT } from '../../base/errors.ts';
import type { ListenAddress } from '../../config/config.ts';
import { socketOf } from '../admin-socket.ts';
import { configOption, jsonOption } from '../options.ts';
import { paintFor } from '../render/paint.ts';

interface Options {
  readonly config: string;
  readonly json: boolean;
  readonly listen?: string;
  readonly socket?: string;
  readonly check?: 'healthy' | 'ready';
  readonly service?: string;
}

export function register(program: Command): void {
  program
    .command('status')
    .summary('what a running director says of itself: services, backends, path MTU, drops')
    .description(
      'Asks the director of this host over its admin socket, or, for whoever may not open that, where the configuration says (metrics.listen). Read only.',
    )
    .addOption(configOption())
    .addOption(jsonOption())
    .option('--socket <path>', 'the director behind this unix socket, whatever the configuration says')
    .option('-l, --listen <address:port>', 'ask there, whatever the configuration says')
    .addOption(
      new Option('--check <condition>', 'print nothing when it holds; else the reasons, and exit code 1').choices([
        'healthy',
        'ready',
      ]),
    )
    .option('--service <name>', 'with --check ready: whether packets of this service may be sent here')
    .addHelpText(
      'after',
      `
Examples:
  gue-director status
  gue-director status --check ready || birdc disable gue_services
  gue-director status --check ready --service web     one service alone
  gue-director status --json | jq '.backends[] | select(.pathMtu.cause == "icmp")'
  gue-director status --listen 127.0.0.1:6079      over HTTP, without reading a configuration

Exit code 69 when no director answers.`,
    )
    .action(async (options: Options, command: Command) => {
      process.exitCode = await status(options, command.getOptionValueSource('config') === 'cli');
    });
}

async function status(options: Options, named: boolean): Promise<number> {
  if (options.service !== undefined && options.check !== 'ready') {
    throw new CodedError('GD_CLI_STATUS_SERVICE', '--service goes with --check ready', {
      exitCode: EXIT.USAGE,
      hint: `gue-director status --check ready --service ${options.service}`,
    });
  }
  const { statusText } = await import('../render/status.ts');
  const answer = await answerOf(options, named);
  if (options.check !== undefined) {
    const { ok, reasons } = options.service === undefined ? answer[options.check] : readyOf(answer, options.service);
    if (ok) return EXIT.OK;
    process.stderr.write(`not ${options.check}\n${reasons.map((reason) => `${reason}\n`).join('')}`);
    return EXIT.FAILED;
  }
  process.stdout.write(options.json ? `${JSON.stringify(answer, null, 2)}\n` : statusText(answer, paintFor(process.stdout)));
  return EXIT.OK;
}

/** A service that the director does not have gets nothing from it. One that is older than this program says nothing of services: then it is as ready as they are. */
function readyOf({ services, ready }: Status, name: string): Condition {
  const found: Partial<Status['services'][number]> | undefined = services.find((service) => service.name === name);
  return found === undefined ? { ok: false, reasons: [`there is no service ${name}`] } : (found.ready ?? ready);
}

/**
 * The director behind the unix socket that the configuration means, which is found though the file is wrong by now; whoever may not open that, and a
 * director without one, is asked over HTTP where the configuration says. `named`: it must be one that runs this file.
 */
async function answerOf(options: Options, named: boolean): Promise<Status> {
  const { askStatus } = await import('../../admin/client.ts');
  if (options.listen !== undefined) return askStatus(await listenPlace(options.listen));
  if (options.socket !== undefined) return askStatus({ path: options.socket });
  let denied: CodedError | null = null;
  try {
    const answer = await askStatus({ path: await socketOf(options) });
    if (!named || isSame(answer.config, options.config)) return answer;
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
  return askStatus(place);
}

/** A director names its file as it was started: a relative path is relative to a place that nobody knows here. */
function isSame(running: string, named: string): boolean {
  return isAbsolute(running) ? running === resolve(named) : basename(running) === basename(named);
}

async function listenPlace(text: string): Promise<ListenAddress> {
  const { parseListen } = await import('../../config/listen.ts');
  const { value, refusal } = parseListen(text);
  if (value !== null && value.port > 0) return value;
  throw new CodedError('GD_CLI_LISTEN', refusal?.message ?? `"${text}" is no place to ask at`, {
    exitCode: EXIT.USAGE,
    hint: 'write it as 127.0.0.1:6079 or [::1]:6079',
  });
}

async function configuredPlace(file: string): Promise<ListenAddress> {
  const { loadConfig } = await import('../../config/load.ts');
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
