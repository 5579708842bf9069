/** `gue-director status`: what a running director says of itself. */
import { type Command, Option } from 'commander';
import type { Condition } from '../../admin/server.ts';
import type { Status } from '../../admin/status.ts';
import { CodedError, EXIT } from '../../base/errors.ts';
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
  const { findDirector } = await import('../running-director.ts');
  const { status: answer } = await findDirector(options, named);
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
