/** `gue-director drain`: takes a backend, or the director itself, out of service without breaking a flow. */
import type { Command } from 'commander';
import { CodedError, EXIT } from '../../base/errors.ts';
import { socketOf } from '../admin-socket.ts';
import { configOption, durationUpTo, jsonOption } from '../options.ts';
import { paintFor } from '../render/paint.ts';

const MOST_SECONDS = 30 * 86_400;
const duration = durationUpTo(MOST_SECONDS);

interface Options {
  readonly config: string;
  readonly json: boolean;
  readonly socket?: string;
  /** Seconds; null: never. */
  readonly deadline?: number | null;
  readonly stopAfter?: number;
  readonly cancel: boolean;
  readonly force: boolean;
}

export function register(program: Command): void {
  program
    .command('drain')
    .summary('take a backend, or the director itself, out of service without breaking a flow')
    .description(
      'A draining backend keeps its flows and takes no new one; when its deadline has passed it is down, and only its flows move. ' +
        'A draining director is not ready, so that routing withdraws it, and forwards on. Without arguments: what is drained now.',
    )
    .argument('[what]', 'backend or director')
    .argument('[name]', 'of a backend: POOL/NAME, as status shows it')
    .addOption(configOption())
    .addOption(jsonOption())
    .option('--socket <path>', 'the director behind this unix socket, whatever the configuration says')
    .option('-d, --deadline <time>', 'backend: down after this time (90s, 10m, 1h30m), or never', (text) => {
      return text === 'never' ? null : duration(text);
    })
    .option('--stop-after <time>', 'director: end by itself after this time', duration)
    .option('--cancel', 'end the drain: back in service', false)
    .option('--force', 'also the last backend of its pool that takes new flows', false)
    .addHelpText(
      'after',
      `
Examples:
  gue-director drain backend web/web-1 --deadline 10m   no new flow; after ten minutes its flows move
  gue-director drain                                    who is drained, how many flows are left, when it ends
  gue-director drain backend web/web-1 --cancel         back in service
  gue-director drain director --stop-after 60s          not ready now, ends a minute later

Without --deadline counts what the configuration says (drain-deadline), else the drain has no end.
A drain outlives reloads and restarts of the director, not a reboot: for longer, write state: draining into the configuration.
The director's own drain ends when it is stopped.

Exit code 69 when no director answers, 1 when it refuses.`,
    )
    .action(async (what: string | undefined, name: string | undefined, options: Options) => {
      process.exitCode = await drain(what, name, options);
    });
}

async function drain(what: string | undefined, name: string | undefined, options: Options): Promise<number> {
  const request = requestOf(what, name, options);
  const { askAction } = await import('../../admin/client.ts');
  const { drainText } = await import('../render/drain.ts');
  const { status, body } = await askAction(await socketOf(options), '/-/drain', request);
  if (status !== 200) throw refused(status, body);
  const text = options.json ? `${JSON.stringify(body, null, 2)}\n` : drainText(body as never, paintFor(process.stdout));
  process.stdout.write(text);
  return EXIT.OK;
}

function requestOf(what: string | undefined, name: string | undefined, options: Options): object {
  const { cancel, force, deadline, stopAfter } = options;
  if (what === undefined) {
    if (cancel || force || deadline !== undefined || stopAfter !== undefined) {
      throw usage('what is to be drained?', 'gue-director drain backend POOL/NAME, or gue-director drain director');
    }
    return {};
  }
  if (what === 'director') {
    if (name !== undefined || deadline !== undefined)
      throw usage('a director has no name and no deadline here', 'gue-director drain director --stop-after 60s');
    return { director: true, cancel, ...(stopAfter === undefined ? {} : { stopAfter }) };
  }
  if (what !== 'backend')
    throw usage(`"${what}" can not be drained`, `gue-director drain backend ${what.includes('/') ? what : 'POOL/NAME'}`);
  if (name === undefined || !/^[^/]+\/[^/]+$/.test(name)) {
    throw usage(
      `${name === undefined ? 'which backend?' : `"${name}" is no POOL/NAME`}`,
      'gue-director status   shows them as POOL/NAME',
    );
  }
  if (stopAfter !== undefined)
    throw usage('--stop-after is for the director', `gue-director drain backend ${name} --deadline 60s`);
  return { backend: name, cancel, force, ...(deadline === undefined ? {} : { deadline }) };
}

function usage(message: string, hint: string): CodedError {
  return new CodedError('GD_CLI_DRAIN', message, { exitCode: EXIT.USAGE, hint });
}

function refused(status: number, body: Readonly<Record<string, unknown>>): CodedError {
  const { message, hint = '', code = 'GD_DRAIN_REFUSED' } = body as { message?: string; hint?: string; code?: string };
  return new CodedError(code, message ?? `the director answers with HTTP ${status}`, { exitCode: EXIT.FAILED, hint });
}
