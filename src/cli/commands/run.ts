/** `gue-director run`: directs traffic until a signal ends it. */
import type { Command } from 'commander';
import { configOption } from '../options.ts';

export function register(program: Command): void {
  program
    .command('run')
    .summary('direct traffic')
    .description(
      'Directs traffic in the foreground until SIGTERM or Ctrl-C. Sets up routes and, with the tun driver, a device; gives ' +
        'everything back when it stops. Logs go to standard error.',
    )
    .addOption(configOption())
    .option('--takeover', 'take queues, flows and counters over from the director that runs, which then ends', false)
    .addHelpText(
      'after',
      '\nNeeds root, or CAP_NET_ADMIN and CAP_NET_RAW. After a crash, `gue-director clean` lists and removes what was left.' +
        '\n\nExample:\n  gue-director check director.yaml && gue-director run --config director.yaml',
    )
    .action(async (options: { config: string; takeover: boolean }) => {
      const { runDaemon } = await import('../../daemon/run.ts');
      process.exitCode = await runDaemon({ config: options.config, takeover: options.takeover });
    });
}
