/** `gue-director history`: what happened at a time, as the running director has it. */
import type { Command } from 'commander';
import { CodedError, EXIT } from '../../base/errors.ts';
import type { HistoryAnswer } from '../../observe/history.ts';
import { socketOf } from '../admin-socket.ts';
import { configOption, durationUpTo, jsonOption } from '../options.ts';
import { paintFor } from '../render/paint.ts';

interface Options {
  readonly config: string;
  readonly json: boolean;
  readonly socket?: string;
  readonly at?: string;
  readonly last?: number;
  readonly window?: number;
  readonly client?: string;
  readonly service?: string;
  readonly backend?: string;
  readonly reason?: string;
}

const MOST_SECONDS = 7 * 86_400;

export function register(program: Command): void {
  program
    .command('history')
    .summary('what happened at a time: counters by the second, state changes, drops of a client')
    .description(
      'Asks the running director what happened in a window of time: how many packets each service and backend got and each reason dropped, and in which ' +
        'second most; which states changed; and, with --client, each packet of that client that was dropped, with time, addresses, ports and reason. Counters ' +
        'are held for two hours, and the last 1,024 drops of each reason and thread. A packet that was forwarded leaves no note.',
    )
    .addOption(configOption())
    .addOption(jsonOption())
    .option('--socket <path>', 'the director behind this unix socket, whatever the configuration says')
    .option('--at <time>', 'when the window begins: 14:02, 14:02:10, 2026-11-23T14:02:10')
    .option('--window <duration>', 'with --at: how long it is (default: 60s)', durationUpTo(MOST_SECONDS))
    .option('--last <duration>', 'the window that ends now (default: 10m)', durationUpTo(MOST_SECONDS))
    .option('--client <address>', 'drops of packets from or to this address or prefix')
    .option('--service <name>', 'its own traffic and drops first')
    .option('--backend <backend>', 'the same of a backend, POOL/NAME')
    .option('--reason <word>', 'drops for this reason first')
    .addHelpText(
      'after',
      `
Examples:
  gue-director history --at 14:02 --client 192.0.2.7     what happened to this client at 14:02?
  gue-director history --last 5m
  gue-director history --at 14:02:10 --window 10s --reason no-backend
  gue-director history --last 2h --backend web/web-3 --json | jq '.events'

Exit code 0 also when nothing is recorded; 69 when no director answers.`,
    )
    .action(async (options: Options) => {
      process.exitCode = await history(options);
    });
}

async function history(options: Options): Promise<number> {
  const { askHistory } = await import('../../admin/client.ts');
  const { historyText } = await import('../render/history.ts');
  const query = await queryOf(options);
  const told = (await askHistory({ path: await socketOf(options) }, query)) as HistoryAnswer;
  process.stdout.write(options.json ? `${JSON.stringify(told, null, 2)}\n` : historyText(told, paintFor(process.stdout)));
  return EXIT.OK;
}

/** The question as the director reads it (docs/history.md). Times are meant in the time zone of whoever asks. */
async function queryOf({ at, last, window, client, service, backend, reason }: Options): Promise<Record<string, string>> {
  const { parseMoment } = await import('../../observe/moment.ts');
  const refuse = (message: string, hint: string) => new CodedError('GD_CLI_HISTORY', message, { exitCode: EXIT.USAGE, hint });
  if (at !== undefined && last !== undefined)
    throw refuse('--at or --last: one of them', 'gue-director history --at 14:02 --window 5m');
  if (window !== undefined && at === undefined)
    throw refuse('--window goes with --at', 'gue-director history --at 14:02 --window 5m');
  if (last === 0 || window === 0) throw refuse('a window has at least a second', 'gue-director history --last 10m');
  const moment = at === undefined ? null : parseMoment(at, Date.now());
  if (at !== undefined && moment === null)
    throw refuse(`"${at}" is no time`, 'write 14:02, 14:02:10 or 2026-11-23T14:02:10, with Z or +01:00 for another time zone');
  return {
    ...(moment === null ? {} : { at: new Date(moment).toISOString() }),
    ...(last === undefined ? {} : { last: String(last) }),
    ...(window === undefined ? {} : { window: String(window) }),
    ...(client === undefined ? {} : { client }),
    ...(service === undefined ? {} : { service }),
    ...(backend === undefined ? {} : { backend }),
    ...(reason === undefined ? {} : { reason }),
  };
}
