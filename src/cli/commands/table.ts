/** `gue-director table`: builds the tables of a configuration offline and shows who gets what. */
import type { Command } from 'commander';
import { CodedError, EXIT } from '../../base/errors.ts';
import type { PoolSpec } from '../../pipeline/spec.ts';
import { configOption, jsonOption } from '../options.ts';
import { problemLines } from '../render/error.ts';
import { paintFor } from '../render/paint.ts';

interface Options {
  readonly config: string;
  readonly json: boolean;
  readonly pool?: string;
  readonly slots: boolean;
  readonly compare?: string;
}

export function register(program: Command): void {
  program
    .command('table')
    .summary('build the tables offline: shares, digest, what a change would move')
    .description(
      'Builds the Maglev tables of a configuration and shows the share of each backend and the digest that two directors must agree on.',
    )
    .addOption(configOption())
    .addOption(jsonOption())
    .option('-p, --pool <name>', 'only this pool')
    .option('--slots', 'print the owner of every slot', false)
    .option('--compare <file>', 'show which share of the flows moves when this file replaces the configuration')
    .addHelpText(
      'after',
      `
Examples:
  gue-director table -c director.yaml
  gue-director table -c director.yaml --compare next.yaml     what would this change move?
  gue-director table -c director.yaml --pool web --slots      slot, backend, address`,
    )
    .action(async (options: Options) => {
      process.exitCode = await table(options);
    });
}

async function table(options: Options): Promise<number> {
  const { loadConfig } = await import('../../config/load.ts');
  const { comparisonReport, slotLines, tableReport } = await import('../table-report.ts');
  const { comparisonText, tableText } = await import('../render/table.ts');
  const paint = paintFor(process.stdout);
  const { withFoundBackends } = await import('../found-backends.ts');
  const poolsOf = async (file: string): Promise<readonly PoolSpec[]> => {
    const { config, problems } = await withFoundBackends(loadConfig(file));
    if (problems.length > 0) process.stderr.write(`${problemLines(problems, paintFor(process.stderr))}\n`);
    return selected(config.spec.pools, options, file);
  };
  const pools = await poolsOf(options.config);
  if (options.compare !== undefined) {
    const next = await poolsOf(options.compare);
    const report = comparisonReport(pools, next);
    process.stdout.write(options.json ? `${JSON.stringify(report, null, 2)}\n` : comparisonText(report, paint));
    return EXIT.OK;
  }
  const reports = pools.map((pool) => tableReport(pool, options.json && options.slots));
  if (options.json) process.stdout.write(`${JSON.stringify({ pools: reports }, null, 2)}\n`);
  else if (options.slots) for (const pool of pools) process.stdout.write(slotLines(pool));
  else process.stdout.write(tableText(reports, paint));
  return EXIT.OK;
}

function selected(pools: readonly PoolSpec[], options: Options, file: string): readonly PoolSpec[] {
  if (options.pool === undefined) return pools;
  const found = pools.filter((pool) => pool.name === options.pool);
  if (found.length > 0 || file === options.compare) return found;
  const names = pools.map((pool) => pool.name).join(', ');
  throw new CodedError('GD_CLI_UNKNOWN_POOL', `${file} has no pool "${options.pool}"`, {
    exitCode: EXIT.USAGE,
    hint: `its pools are: ${names}`,
  });
}
