/** `gue-director status`: what a running director says of itself. */
import { type Command, Option } from 'commander';
import type { Condition } from '../../admin/server.ts';
import type { Status } from '../../admin/status.ts';
import { CodedError, EXIT } from '../../base/errors.ts';
import type { ListenAddress } from '../../config/config.ts';
import { configOption, jsonOption } from '../options.ts';
import { paintFor } from '../render/paint.ts';

interface Options {
  readonly config: string;
  readonly json: boolean;
  readonly listen?: string;
  readonly check?: 'healthy' | 'ready';
  readonly service?: string;
}

export function register(program: Command): void {
  program
    .command('status')
    .summary('what a running director says of itself: services, backends, path MTU, drops')
    .description('Asks the director that listens where the configuration says (metrics.listen). Read only; needs no privilege.')
    .addOption(configOption())
    .addOption(jsonOption())
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
  gue-director status --listen 127.0.0.1:6079      without reading a configuration

Exit code 69 when no director answers.`,
    )
    .action(async (options: Options) => {
      process.exitCode = await status(options);
    });
}

async function status(options: Options): Promise<number> {
  if (options.service !== undefined && options.check !== 'ready') {
    throw new CodedError('GD_CLI_STATUS_SERVICE', '--service goes with --check ready', {
      exitCode: EXIT.USAGE,
      hint: `gue-director status --check ready --service ${options.service}`,
    });
  }
  const { askStatus } = await import('../../admin/client.ts');
  const { statusText } = await import('../render/status.ts');
  const answer = await askStatus(await placeOf(options));
  if (options.check !== undefined) {
    const { ok, reasons } = options.service === undefined ? answer[options.check] : readyOf(answer, options.service);
    if (ok) return EXIT.OK;
    process.stderr.write(`not ${options.check}\n${reasons.map((reason) => `${reason}\n`).join('')}`);
    return EXIT.FAILED;
  }
  process.stdout.write(options.json ? `${JSON.stringify(answer, null, 2)}\n` : statusText(answer, paintFor(process.stdout)));
  return EXIT.OK;
}

/** A service that the director does not have gets nothing from it. */
function readyOf({ services }: Status, name: string): Condition {
  return services.find((service) => service.name === name)?.ready ?? { ok: false, reasons: [`there is no service ${name}`] };
}

async function placeOf(options: Options): Promise<ListenAddress> {
  if (options.listen !== undefined) {
    const { parseListen } = await import('../../config/listen.ts');
    const { value, refusal } = parseListen(options.listen);
    if (value !== null && value.port > 0) return value;
    throw new CodedError('GD_CLI_LISTEN', refusal?.message ?? `"${options.listen}" is no place to ask at`, {
      exitCode: EXIT.USAGE,
      hint: 'write it as 127.0.0.1:6079 or [::1]:6079',
    });
  }
  const { loadConfig } = await import('../../config/load.ts');
  const { metrics } = loadConfig(options.config).listen;
  if (metrics === null) {
    throw new CodedError('GD_CLI_STATUS_OFF', `${options.config}: metrics.listen is off, so nobody can ask this director`, {
      exitCode: EXIT.UNREACHABLE,
      hint: 'set metrics.listen: 127.0.0.1:6079 and restart the director',
    });
  }
  if (metrics.port > 0) return metrics;
  throw new CodedError('GD_CLI_STATUS_PORT', `${options.config}: with port 0 the kernel chose where the director listens`, {
    exitCode: EXIT.UNREACHABLE,
    hint: 'the "ready" line of its log says where; ask there with --listen ADDRESS:PORT',
  });
}
