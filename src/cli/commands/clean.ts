/** `gue-director clean`: removes what a director that did not stop cleanly left in this network namespace. */
import type { Command } from 'commander';

export function register(program: Command): void {
  program
    .command('clean')
    .description('remove what a crashed director left in this network namespace (routes, nftables table)')
    .option('--dry-run', 'only list it, with the commands that would remove it by hand')
    .option('--json', 'print the report as JSON')
    .action(async (options: { dryRun?: boolean; json?: boolean }) => {
      const { clean, cleanFailure, renderClean } = await import('../../host/clean.ts');
      const dryRun = options.dryRun === true;
      const report = clean({ dryRun });
      process.stdout.write(options.json === true ? `${JSON.stringify(report, null, 2)}\n` : renderClean(report, dryRun));
      const failure = cleanFailure(report);
      if (failure !== null) throw failure;
    });
}
