/** `gue-director worker`: the user-space decapsulator. */
import { type Command, Option } from 'commander';
import { wholeNumber } from '../options.ts';

interface Options {
  readonly port: number;
  readonly device: string;
  readonly listen: string[];
  readonly vip: string[];
  readonly gro: boolean;
}

/** An option that may be given several times; `otherwise` is what help says about leaving it out. */
function addresses(flags: string, description: string, otherwise: string): Option {
  return new Option(flags, description).argParser((value: string, before: string[]) => [...before, value]).default([], otherwise);
}

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
    .addOption(addresses('--listen <address>', 'address to listen on; may be repeated', 'every address'))
    .addOption(addresses('--vip <address>', 'virtual IP to add to lo while running; may be repeated', 'none'))
    .option('--no-gro', 'hand over every packet by itself, for comparison; normally TCP segments are merged')
    .addHelpText('after', '\nExample:\n  gue-director worker --port 6080 --vip 192.0.2.10 --vip 2001:db8::10')
    .action(async (options: Options) => {
      const { runWorker } = await import('../../worker/run.ts');
      const { port, device, listen, vip, gro } = options;
      process.exitCode = await runWorker({ port, device, listen, vips: vip, gro });
    });
}
