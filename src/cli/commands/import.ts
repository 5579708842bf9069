/** `gue-director import`: configurations of other load balancers → ours. */
import { type Command, Option } from 'commander';
import { EXIT } from '../../base/errors.ts';
import type { Imported } from '../../import/imported.ts';
import { jsonOption, wholeNumber } from '../options.ts';
import { paintFor } from '../render/paint.ts';

interface Options {
  readonly json: boolean;
  readonly source?: string;
  readonly source6?: string;
  readonly fwmark: string[];
  readonly order?: string;
  readonly mhTableSize?: number;
  readonly denyChanges: boolean;
}

export function register(program: Command): void {
  const command = program
    .command('import')
    .summary('make a configuration from that of another load balancer')
    .description('Makes a configuration from that of another load balancer: gue-director import ipvs.')
    .helpCommand(false);
  command
    .command('ipvs')
    .summary('from the output of ipvsadm-save -n')
    .description(
      'Reads what "ipvsadm-save -n" prints and writes the configuration to standard output, with a comment at every place that is not the same ' +
        'as under IPVS. The list of these goes to standard error. Touches nothing: no kernel, no network.',
    )
    .argument('[file]', 'what ipvsadm-save -n printed; without it, or as -, standard input')
    .addOption(jsonOption())
    .option('--source <address>', 'outer IPv4 source address; without it, by the route to each worker')
    .option('--source6 <address>', 'the same for IPv6')
    .addOption(
      new Option('--fwmark <mark=traffic>', 'what a firewall mark stands for: 7=tcp:192.0.2.0/28:80; may be repeated')
        .argParser((value: string, before: string[]) => [...before, value])
        .default([], 'none'),
    )
    .option('--order <file>', "a copy of the kernel's /proc/net/ip_vs: the order of servers that mh depends on")
    .option('--mh-table-size <slots>', "size of the kernel's mh table (default: 4093)", wholeNumber(1, 131071))
    .option('--deny-changes', 'exit with 1 when anything differs from IPVS or is left out', false)
    .addHelpText(
      'after',
      `
Examples:
  ipvsadm-save -n | gue-director import ipvs > director.yaml
  gue-director import ipvs rules.ipvs --order ip_vs.proc > director.yaml     the table of mh as the running kernel has it
  gue-director import ipvs rules.ipvs --json | jq '.notes[] | select(.kind == "left-out")'

docs/import.md: each option of ipvsadm and what stands for it.`,
    )
    .action(async (file: string | undefined, options: Options) => {
      process.exitCode = await importIpvs(file ?? '-', options);
    });
}

async function importIpvs(file: string, options: Options): Promise<number> {
  const { importIpvs } = await import('../../import/ipvs.ts');
  const { readRules } = await import('../../import/read-rules.ts');
  const { importReport, importText } = await import('../render/import.ts');
  const rules = readRules(file);
  const imported = importIpvs({
    rules,
    marks: options.fwmark,
    ...(options.order === undefined ? {} : { order: readRules(options.order) }),
    ...(options.source === undefined ? {} : { source4: options.source }),
    ...(options.source6 === undefined ? {} : { source6: options.source6 }),
    ...(options.mhTableSize === undefined ? {} : { mhTableSize: options.mhTableSize }),
  });
  if (options.json) process.stdout.write(`${JSON.stringify(importReport(imported, rules.name), null, 2)}\n`);
  else {
    process.stdout.write(imported.yaml);
    process.stderr.write(importText(imported, rules.name, paintFor(process.stderr)));
  }
  if (!imported.accepted) return EXIT.CONFIG;
  return options.denyChanges && hasChanges(imported) ? EXIT.FAILED : EXIT.OK;
}

function hasChanges({ plan }: Imported): boolean {
  return plan.notes.some(({ kind }) => kind !== 'remark');
}
