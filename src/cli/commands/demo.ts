/** `gue-director demo`: the whole thing on one machine, in network namespaces. */
import type { Command } from 'commander';
import { jsonOption, wholeNumber } from '../options.ts';

interface Options {
  readonly keep: boolean;
  readonly json: boolean;
  readonly bytes: number;
}

export function register(program: Command): void {
  program
    .command('demo')
    .summary('show it at work: client, director and workers on this machine')
    .description(
      'Builds a network of namespaces (client, router, director, three workers), runs the real director and real web servers in it, ' +
        'moves files through a virtual IP over IPv4 and IPv6 and checks every byte. Nothing outside the namespaces is touched.',
    )
    .option('--keep', 'leave everything running after the transfers, until Ctrl-C', false)
    .option('--bytes <n>', 'size of one transfer', wholeNumber(1, 1_000_000_000), 2_000_000)
    .addOption(jsonOption())
    .action(async (options: Options) => {
      const { runDemo } = await import('../../demo/run.ts');
      process.exitCode = await runDemo(options);
    });
}
