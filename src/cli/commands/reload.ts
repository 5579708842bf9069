/** `gue-director reload`: the running director reads its configuration again. */
import { resolve } from 'node:path';
import { type Command, InvalidArgumentError } from 'commander';
import { EXIT } from '../../base/errors.ts';
import type { ReloadOutcome } from '../../control/reloader.ts';
import { socketOf } from '../admin-socket.ts';
import { configOption, durationUpTo, jsonOption, wholeNumber } from '../options.ts';
import { paintFor } from '../render/paint.ts';
import { refusalText } from '../render/refusal.ts';

interface Options {
  readonly config: string;
  readonly json: boolean;
  readonly socket?: string;
  readonly ifGeneration?: number;
  readonly ifPlan?: string;
  readonly confirmWithin?: number;
  readonly confirm?: boolean;
  readonly rollback?: boolean;
  /** Seconds. */
  readonly timeout: number;
}

/** Seconds for the answer. Tables and routes of a large configuration take a few; a busy machine may need far more. */
const TIMEOUT = 300;

export function register(program: Command): void {
  program
    .command('reload')
    .summary('let the running director read its configuration again')
    .description(
      'The running director reads its configuration file again and puts it in force, or refuses it whole and says where it is wrong.',
    )
    .addOption(configOption())
    .addOption(jsonOption())
    .option('--socket <path>', 'the director behind this unix socket, whatever the configuration says')
    .option('--if-generation <n>', 'only while this generation is in force', wholeNumber(0, Number.MAX_SAFE_INTEGER))
    .option('--if-plan <id>', 'only while gue-director plan says this id')
    .option('--confirm-within <time>', 'roll back by itself unless confirmed in time: 60s, 5m, 1h', seconds)
    .option('--confirm', 'what waits for its confirmation stays')
    .option('--rollback', 'what waits for its confirmation is taken back now')
    .option('--timeout <time>', 'wait for the answer so long', durationUpTo(86_400), TIMEOUT)
    .addHelpText(
      'after',
      `
Examples:
  gue-director reload
  gue-director plan && gue-director reload --confirm-within 60s
  gue-director reload --confirm

With --config the director must be one that runs this file.

Exit codes: 0 in force, 1 not in force, or no answer in time (the line says which), 69 no director is there, 78 the configuration is wrong.`,
    )
    .action(async (options: Options, command: Command) => {
      process.exitCode = await reload(options, command.getOptionValueSource('config') === 'cli');
    });
}

/** `named`: the configuration was named, not just where it would be. */
async function reload(options: Options, named: boolean): Promise<number> {
  const { askAction } = await import('../../admin/client.ts');
  const { ifGeneration, ifPlan, confirmWithin, confirm, rollback } = options;
  const file = named ? resolve(options.config) : undefined;
  const wish = { file, ifGeneration, ifPlan, confirmWithin, confirm, rollback };
  const waiting = (milliseconds: number): void => {
    if (process.stderr.isTTY && !options.json)
      process.stderr.write(`the director is at it … ${Math.round(milliseconds / 1000)} s\n`);
  };
  const { status, body } = await askAction(await socketOf(options), '/-/reload', wish, options.timeout * 1000, waiting);
  if (options.json) process.stdout.write(`${JSON.stringify(body, null, 2)}\n`);
  if (status === 200) {
    if (!options.json) process.stdout.write(`${await successText(body)}\n`);
    return EXIT.OK;
  }
  if (!options.json) process.stderr.write(refusalText(body, paintFor(process.stderr)));
  return (body as { refusal?: { exitCode?: number } }).refusal?.exitCode ?? EXIT.FAILED;
}

async function successText(body: Readonly<Record<string, unknown>>): Promise<string> {
  const paint = paintFor(process.stdout);
  const { result, generation, plan, confirmWithin } = body as unknown as Omit<ReloadOutcome, 'result'> & { result: string };
  if (result === 'confirmed') return `${paint.green('confirmed:')} generation ${generation} stays`;
  if (result === 'rolled-back') return `${paint.yellow('rolled back:')} generation ${generation} is as it was before`;
  const { planSummary } = await import('../../control/plan.ts');
  const lines = [`${paint.green('reloaded:')} generation ${generation}; ${plan === null ? '' : planSummary(plan)}`];
  if (confirmWithin !== null) {
    lines.push(`${paint.yellow(`rolled back in ${confirmWithin} s`)} unless you type: gue-director reload --confirm`);
  }
  return lines.join('\n');
}

/** `60s`, `5m`, `1h`, or seconds. */
function seconds(text: string): number {
  const match = /^(\d{1,6})(s|m|h)?$/.exec(text);
  const value = match === null ? Number.NaN : Number(match[1]) * { s: 1, m: 60, h: 3600 }[(match[2] ?? 's') as 's' | 'm' | 'h'];
  if (value >= 1 && value <= 86_400) return value;
  throw new InvalidArgumentError('It must be a time from 1s to 24h: 60s, 5m, 1h.');
}
