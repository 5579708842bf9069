/** `gue-director check`: reads a configuration, prints what is wrong, touches nothing else. */
import type { Command } from 'commander';
import { EXIT } from '../../base/errors.ts';
import type { Config } from '../../config/config.ts';
import type { Problem } from '../../config/problem.ts';
import { configOption, jsonOption } from '../options.ts';
import { problemLines } from '../render/error.ts';
import { paintFor } from '../render/paint.ts';

interface Options {
  readonly config: string;
  readonly json: boolean;
  readonly denyWarnings: boolean;
}

export function register(program: Command): void {
  program
    .command('check')
    .summary('check a configuration file')
    .description(
      'Checks a configuration file: no network, no device, no privilege. Every problem with line and column; exit code 78.',
    )
    .argument('[file]', 'the file; without it, --config')
    .addOption(configOption())
    .addOption(jsonOption())
    .option('--deny-warnings', 'refuse a file with warnings too', false)
    .addHelpText('after', '\nExample:\n  gue-director check director.yaml && systemctl restart gue-director')
    .action(async (file: string | undefined, options: Options) => {
      process.exitCode = await check(file ?? options.config, options);
    });
}

async function check(file: string, options: Options): Promise<number> {
  const { loadText, ConfigError } = await import('../../config/load.ts');
  const { readSource } = await import('../../config/source.ts');
  let config: Config | null = null;
  let problems: readonly Problem[];
  try {
    // Once: it may be a pipe.
    const text = readSource(file);
    const { withFoundBackends } = await import('../found-backends.ts');
    const found = await withFoundBackends(loadText(text, file));
    const { fileProblems } = await import('../../config/check-files.ts');
    const { tlsObjections } = await import('../../health/tls-files.ts');
    problems = [...found.config.warnings, ...found.problems, ...fileProblems(found.config, text, tlsObjections)];
    if (problems.every(({ severity }) => severity === 'warning')) config = found.config;
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    problems = error.problems;
  }
  const refused = config === null || (options.denyWarnings && problems.length > 0);
  const summary = config === null ? null : await summarise(config);
  if (options.json) {
    process.stdout.write(`${JSON.stringify({ file, ok: !refused, problems, summary }, null, 2)}\n`);
  } else {
    if (problems.length > 0) process.stderr.write(`${problemLines(problems, paintFor(process.stderr))}\n`);
    if (!refused && summary !== null) process.stdout.write(`${summaryText(summary)}\n`);
  }
  return refused ? EXIT.CONFIG : EXIT.OK;
}

interface Summary {
  readonly services: number;
  readonly backends: number;
  readonly pools: readonly {
    readonly name: string;
    readonly scheme: string;
    readonly tableSize: number;
    readonly digest: string;
  }[];
}

/** The digests let two directors be compared before they run. */
async function summarise(config: Config): Promise<Summary> {
  const { poolTable } = await import('../pool-table.ts');
  const { services, pools } = config.spec;
  return {
    services: new Set(services.map((service) => service.name)).size,
    backends: pools.reduce((sum, pool) => sum + pool.backends.length, 0),
    pools: pools.map((pool) => ({
      name: pool.name,
      scheme: pool.scheme?.name ?? 'maglev',
      tableSize: pool.tableSize,
      digest: poolTable(pool).digest,
    })),
  };
}

function summaryText(summary: Summary): string {
  const paint = paintFor(process.stdout);
  const counts = [
    counted(summary.services, 'service'),
    counted(summary.pools.length, 'pool'),
    counted(summary.backends, 'backend'),
  ].join(', ');
  const shown = summary.pools.slice(0, 20);
  const lines = shown.map((pool) => `  ${pool.name}: ${pool.tableSize} slots, table digest ${pool.digest}`);
  if (shown.length < summary.pools.length) lines.push(`  … and ${counted(summary.pools.length - shown.length, 'more pool')}`);
  return [`${paint.green('ok:')} ${counts}`, ...lines].join('\n');
}

function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}
