/** `gue-director worker`: the user-space decapsulator. */
import type { Command } from 'commander';
import { wholeNumber } from '../options.ts';

interface Options {
  readonly port: number;
  readonly device: string;
  readonly listen: string[];
  readonly vip: string[];
}

/** Collects an option that may be given several times. */
const collect = (value: string, before: string[]): string[] => [...before, value];

export function register(program: Command): void {
  program
    .command('worker')
    .summary('unwrap GUE in user space, for hosts without the fou module')
    .description(
      'Receives GUE over UDP and hands the inner packets to this host through a TUN device. For demos, tests and small set-ups: ' +
        "in production the worker's kernel does this (docs/workers.md).",
    )
    .option('--port <port>', 'UDP port that directors send to', wholeNumber(1, 65535), 6080)
    .option('--device <name>', 'TUN device to make', 'gw0')
    .option('--listen <address>', 'address to listen on; may be repeated; without it, every address', collect, [])
    .option('--vip <address>', 'virtual IP to add to lo while running; may be repeated', collect, [])
    .addHelpText('after', '\nExample:\n  gue-director worker --port 6080 --vip 192.0.2.10 --vip 2001:db8::10')
    .action(async (options: Options) => {
      const { runWorker } = await import('../../worker/run.ts');
      const { port, device, listen, vip } = options;
      process.exitCode = await runWorker({ port, device, listen, vips: vip });
    });
}
