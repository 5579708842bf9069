/** `gue-director plan`: what a reload would change, before it does. */
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { EXIT } from '../../base/errors.ts';
import { socketOf } from '../admin-socket.ts';
import { configOption, jsonOption } from '../options.ts';
import { paintFor } from '../render/paint.ts';
import { type AnsweredPlan, planText } from '../render/plan.ts';
import { refusalText } from '../render/refusal.ts';

/** With --exit-code. 2 is wrong usage everywhere. */
const CHANGES = 3;
const RESTART = 4;

interface Options {
  readonly config: string;
  readonly json: boolean;
  readonly exitCode: boolean;
  readonly socket?: string;
}

export function register(program: Command): void {
  program
    .command('plan')
    .summary('what a reload would change: services, backends, table slots, live flows')
    .description('Asks the running director what it would change if this file were its configuration. Changes nothing.')
    .addOption(configOption())
    .addOption(jsonOption())
    .option('--socket <path>', 'the director behind this unix socket, whatever the configuration says')
    .option('--exit-code', 'say with the exit code whether there are changes', false)
    .addHelpText(
      'after',
      `
Examples:
  gue-director plan
  gue-director plan --config next.yaml --socket /run/gue-director/admin.sock
  gue-director reload --if-plan "$(gue-director plan --json | jq -r .id)"

Exit codes: 0; with --exit-code 0 no change, 3 changes, 4 changes that need a restart. 69 no director answers, 78 the file is wrong.`,
    )
    .action(async (options: Options) => {
      process.exitCode = await plan(options);
    });
}

async function plan(options: Options): Promise<number> {
  const { askAction } = await import('../../admin/client.ts');
  const { status, body } = await askAction(await socketOf(options), '/-/plan', { file: resolve(options.config) });
  if (options.json) process.stdout.write(`${JSON.stringify(body, null, 2)}\n`);
  if (status !== 200) {
    if (!options.json) process.stderr.write(refusalText(body, paintFor(process.stderr)));
    return (body as { refusal?: { exitCode?: number } }).refusal?.exitCode ?? EXIT.FAILED;
  }
  const answer = body as unknown as AnsweredPlan;
  if (!options.json) process.stdout.write(planText(answer, paintFor(process.stdout)));
  if (!options.exitCode || answer.empty) return EXIT.OK;
  return answer.settings.some(({ effect }) => effect === 'restart') ? RESTART : CHANGES;
}
