/** `gue-director worker`: the user-space decapsulator. */
import { type Command, Option } from 'commander';
import { wholeNumber } from '../options.ts';

interface Options {
  readonly port: number;
  readonly fou: string[];
  readonly ipip: boolean;
  readonly gre: boolean;
  readonly device: string;
  readonly listen: string[];
  readonly vip: string[];
  readonly gro: boolean;
}

/** An option that may be given several times; `otherwise` is what help says about leaving it out. */
function repeated(flags: string, description: string, otherwise: string): Option {
  return new Option(flags, description).argParser((value: string, before: string[]) => [...before, value]).default([], otherwise);
}

export function register(program: Command): void {
  program
    .command('worker')
    .summary('unwrap GUE, FOU, IP in IP and GRE in user space, for hosts without the fou module')
    .description(
      'Receives tunnel packets and hands the inner packets to this host through a TUN device. For demos, tests and small set-ups: ' +
        "in production the worker's kernel does this (docs/workers.md).",
    )
    .option('--port <port>', 'UDP port for GUE, both variants', wholeNumber(1, 65535), 6080)
    .addOption(repeated('--fou <port=protocol>', 'UDP port for FOU and its protocol, 4, 41 or 47; may be repeated', 'none'))
    .option('--ipip', 'take IP in IP (protocols 4 and 41)', false)
    .option('--gre', 'take GRE (protocol 47)', false)
    .option('--device <name>', 'TUN device to make', 'gw0')
    .addOption(repeated('--listen <address>', 'address to listen on; may be repeated', 'every address'))
    .addOption(repeated('--vip <address>', 'virtual IP to add to lo while running; may be repeated', 'none'))
    .option('--no-gro', 'hand over every packet by itself, for comparison; normally TCP segments are merged')
    .addHelpText('after', '\nExample:\n  gue-director worker --port 6080 --vip 192.0.2.10 --vip 2001:db8::10')
    .action(async (options: Options) => {
      const { runWorker } = await import('../../worker/run.ts');
      const { vip, ...others } = options;
      process.exitCode = await runWorker({ ...others, vips: vip });
    });
}
