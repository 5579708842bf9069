/** `gue-director import`: configurations of other load balancers → ours. */
import { type Command, Option } from 'commander';
import { EXIT } from '../../base/errors.ts';
import type { CommonOptions, Imported } from '../../import/imported.ts';
import { jsonOption, wholeNumber } from '../options.ts';
import { paintFor } from '../render/paint.ts';

interface Options {
  readonly json: boolean;
  readonly output?: string;
  readonly source?: string;
  readonly source6?: string;
  readonly fwmark: string[];
  readonly order?: string;
  readonly mhTableSize?: number;
  readonly denyChanges: boolean;
}

interface KeepalivedOptions extends Options {
  readonly configId?: string;
}

const RESULT =
  'The configuration goes to standard output or the file of -o, with a comment at every place that is not the same as under IPVS. ' +
  'The list of these goes to standard error. Touches nothing: no kernel, no network.';

export function register(program: Command): void {
  const command = program
    .command('import')
    .summary('make a configuration from that of another load balancer')
    .description(
      'Makes a configuration from that of another load balancer: gue-director import ipvs, gue-director import keepalived.',
    )
    .helpCommand(false);
  const ipvs = command
    .command('ipvs')
    .summary('from the output of ipvsadm-save -n')
    .description(`Reads what "ipvsadm-save -n" prints. ${RESULT}`)
    .argument('[file]', 'what ipvsadm-save -n printed; without it, or as -, standard input');
  withCommonOptions(ipvs)
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
      const { importIpvs } = await import('../../import/ipvs.ts');
      const { readRules } = await import('../../import/read-rules.ts');
      const rules = readRules(file ?? '-');
      process.exitCode = await write(importIpvs({ rules, ...(await commonOptions(options)) }), rules.name, options);
    });
  const keepalived = command
    .command('keepalived')
    .summary('from a keepalived.conf')
    .description(`Reads a keepalived.conf with all that it includes: virtual servers, real servers, their checks. ${RESULT}`)
    .argument('<file>', 'the keepalived.conf; - is standard input');
  withCommonOptions(keepalived)
    .option('--config-id <name>', 'which lines that begin with @ count: what keepalived --config-id is told, else the host name')
    .addHelpText(
      'after',
      `
Examples:
  gue-director import keepalived /etc/keepalived/keepalived.conf -o director.yaml
  gue-director import keepalived keepalived.conf --config-id lb1 > director.yaml
  gue-director import keepalived keepalived.conf --json | jq '.notes[] | select(.kind == "left-out")'

docs/import.md: each word of a keepalived.conf and what stands for it.`,
    )
    .action(async (file: string, options: KeepalivedOptions) => {
      const { importKeepalived, readConfig } = await import('../../import/keepalived.ts');
      const config = readConfig(file);
      const id = options.configId === undefined ? {} : { configId: options.configId };
      process.exitCode = await write(
        importKeepalived({ config, ...id, ...(await commonOptions(options)) }),
        config.name,
        options,
      );
    });
}

function withCommonOptions(command: Command): Command {
  return command
    .addOption(jsonOption())
    .option('-o, --output <file>', 'where the configuration goes; a file that is there already is not overwritten')
    .option('--source <address>', 'outer IPv4 source address; without it, by the route to each worker')
    .option('--source6 <address>', 'the same for IPv6')
    .addOption(
      new Option('--fwmark <mark=traffic>', 'what a firewall mark stands for: 7=tcp:192.0.2.0/28:80; may be repeated')
        .argParser((value: string, before: string[]) => [...before, value])
        .default([], 'none'),
    )
    .option('--order <file>', "a copy of the kernel's /proc/net/ip_vs: the order of servers that mh depends on")
    .option('--mh-table-size <slots>', "size of the kernel's mh table (default: 4093)", wholeNumber(1, 131071))
    .option('--deny-changes', 'exit with 1 when anything differs from IPVS or is left out', false);
}

async function commonOptions(options: Options): Promise<CommonOptions> {
  const { readRules } = await import('../../import/read-rules.ts');
  return {
    marks: options.fwmark,
    ...(options.order === undefined ? {} : { order: readRules(options.order) }),
    ...(options.source === undefined ? {} : { source4: options.source }),
    ...(options.source6 === undefined ? {} : { source6: options.source6 }),
    ...(options.mhTableSize === undefined ? {} : { mhTableSize: options.mhTableSize }),
  };
}

async function write(imported: Imported, name: string, options: Options): Promise<number> {
  const { importReport, importText } = await import('../render/import.ts');
  if (options.output !== undefined) {
    const { writeImported } = await import('../../import/write-imported.ts');
    writeImported(options.output, imported.yaml);
  }
  if (options.json) process.stdout.write(`${JSON.stringify(importReport(imported, name), null, 2)}\n`);
  else {
    if (options.output === undefined) process.stdout.write(imported.yaml);
    process.stderr.write(importText(imported, name, paintFor(process.stderr)));
  }
  if (!imported.accepted) return EXIT.CONFIG;
  return options.denyChanges && hasChanges(imported) ? EXIT.FAILED : EXIT.OK;
}

function hasChanges({ plan }: Imported): boolean {
  return plan.notes.some(({ kind }) => kind !== 'remark');
}
