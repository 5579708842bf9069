/** `gue-director doctor`: what is wrong with this host, director or worker, and the command that mends it. */
import { existsSync } from 'node:fs';
import { basename, isAbsolute, resolve } from 'node:path';
import { type Command, Option } from 'commander';
import { CodedError, EXIT } from '../../base/errors.ts';
import type { Config } from '../../config/config.ts';
import type { Found, Report } from '../../doctor/finding.ts';
import type { Target } from '../../doctor/path-probes.ts';
import type { RecentHistory } from '../../doctor/running.ts';
import type { WantedVip } from '../../doctor/worker/wanted.ts';
import type { Encapsulation } from '../../pipeline/spec.ts';
import { socketOf } from '../admin-socket.ts';
import { configOption, jsonOption, wholeNumber } from '../options.ts';
import { problemLines } from '../render/error.ts';
import { paintFor } from '../render/paint.ts';

interface Options {
  readonly config: string;
  readonly json: boolean;
  readonly strict: boolean;
  readonly socket?: string;
  readonly probes: boolean;
  readonly worker: boolean;
  readonly vip: readonly string[];
  readonly port: number;
  readonly encapsulation: Encapsulation;
  readonly over?: '4' | '6' | 'both';
}

export function register(program: Command): void {
  program
    .command('doctor')
    .summary('what is wrong with this host, director or worker, and the commands that mend it')
    .description(
      'Looks at the host and changes nothing. On a director: what `run` depends on, the ways to the backends tried with full-size packets, and what the running ' +
        'director says. With --worker, on a worker: who unwraps, tunnel devices, virtual IPs, filters.',
    )
    .addOption(configOption())
    .addOption(jsonOption())
    .option('--strict', 'exit code 1 for warnings too', false)
    .option('--socket <path>', 'the director behind this unix socket, whatever the configuration says')
    .option('--no-probes', 'send nothing to the backends')
    .option('--worker', 'this host is a worker', false)
    .addOption(
      new Option(
        '--vip <address>',
        'with --worker: virtual IP it serves, as 192.0.2.10, 192.0.2.10:443 or [2001:db8::10]:53/udp; may be repeated',
      )
        .argParser((value: string, before: string[]) => [...before, value])
        .default([], 'those of the configuration'),
    )
    .option('--port <port>', 'with --vip: UDP port of the tunnels', wholeNumber(1, 65535), 6080)
    .addOption(
      new Option('--encapsulation <kind>', 'with --vip: how directors wrap packets')
        .choices(['gue', 'gue-v1', 'fou', 'ipip', 'gre'])
        .default('gue'),
    )
    .addOption(
      new Option('--over <version>', 'with --vip: IP version that directors send over (default: 4)').choices(['4', '6', 'both']),
    )
    .addHelpText(
      'after',
      `
Examples:
  gue-director doctor
  gue-director doctor --json | jq -r '.findings[] | select(.level == "error") | .text, .fix'
  gue-director doctor --worker --vip 192.0.2.10:443            on a worker, nothing but the program there
  gue-director doctor --worker --config director.yaml          on a worker, with the directors' configuration copied there

Exit codes: 0 nothing is broken, 1 something is (with --strict a warning suffices), 77 a check needs a privilege, 78 the file is wrong.`,
    )
    .action(async (options: Options, command: Command) => {
      const report = options.worker
        ? await examineWorker(options, command.getOptionValueSource('config') === 'cli')
        : await examineDirector(options);
      const { exitCodeOf } = await import('../../doctor/finding.ts');
      const { doctorText } = await import('../render/doctor.ts');
      process.stdout.write(options.json ? `${JSON.stringify(report, null, 2)}\n` : doctorText(report, paintFor(process.stdout)));
      process.exitCode = exitCodeOf(report, options.strict);
    });
}

async function configured(file: string): Promise<Config> {
  const { loadConfig } = await import('../../config/load.ts');
  const { withFoundBackends } = await import('../found-backends.ts');
  const { config, problems } = await withFoundBackends(loadConfig(file));
  if (problems.length > 0) process.stderr.write(`${problemLines(problems, paintFor(process.stderr))}\n`);
  return config;
}

async function examineDirector(options: Options): Promise<Report> {
  if (options.vip.length > 0) throw usage('--vip goes with --worker', `gue-director doctor --worker --vip ${options.vip[0]}`);
  const config = await configured(options.config);
  const { wantedOf } = await import('../../daemon/wanted.ts');
  const doctor = await import('../../doctor/director.ts');
  const { pin, idle } = config.processors;
  const pacing = { pin, idle };
  return doctor.examineDirector({
    wanted: wantedOf(config, config.spec),
    use: { ingress: config.ingress.driver, egress: config.egress.driver, threads: config.threads, ...pacing },
    services: config.spec.services,
    targets: options.probes ? await targetsOf(config) : [],
    running: await askRunning(options),
  });
}

async function targetsOf(config: Config): Promise<Target[]> {
  const { mostOverheadOf, outerPorts } = await import('../../pipeline/tunnel-kind.ts');
  return config.spec.pools.flatMap(({ name: pool, tunnel: common, backends }) =>
    backends
      // Whoever is down by the configuration's word may be off.
      .filter(({ state }) => state !== 'down')
      .map(({ name, address, tunnel = common }) => ({
        pool,
        name,
        address,
        overhead: mostOverheadOf(tunnel, address.length),
        encapsulation: tunnel.encapsulation,
        port: outerPorts(tunnel).at(0) ?? null,
      })),
  );
}

async function askRunning(options: Options): Promise<{ runs: boolean; found: readonly Found[] }> {
  const { askHistory, askStatus } = await import('../../admin/client.ts');
  const { judgeAbsent, judgeOtherFile, judgeRunning, RECENT_WINDOW } = await import('../../doctor/running.ts');
  const { ORDINARY_DROPS } = await import('../../daemon/drop-summary.ts');
  try {
    const place = { path: await socketOf(options) };
    const status = await askStatus(place);
    const recent = await askHistory(place, { last: String(RECENT_WINDOW) }).catch(olderDirector);
    const other = isSame(status.config, options.config) ? [] : [judgeOtherFile(status.config, options.config)];
    return { runs: true, found: [...judgeRunning(status, ORDINARY_DROPS, recent as RecentHistory | null), ...other] };
  } catch (error) {
    if (!(error instanceof CodedError) || error.exitCode !== EXIT.UNREACHABLE) throw error;
    const denied = (error.cause as NodeJS.ErrnoException | undefined)?.code === 'EACCES';
    return { runs: false, found: [judgeAbsent(error.message, error.hint, denied)] };
  }
}

/** One that keeps no history yet has answered for its status: null. */
function olderDirector(error: unknown): null {
  if (error instanceof CodedError && error.exitCode === EXIT.UNREACHABLE) return null;
  throw error;
}

/** A director names its file as it was started: a relative path is relative to a place that nobody knows here. */
function isSame(running: string, named: string): boolean {
  return isAbsolute(running) ? running === resolve(named) : basename(running) === basename(named);
}

async function examineWorker(options: Options, named: boolean): Promise<Report> {
  const { gatherWorker } = await import('../../doctor/worker/gather.ts');
  const { wantedByConfig, wantedByWords } = await import('../../doctor/worker/wanted.ts');
  const { judgeWorker } = await import('../../doctor/worker/examine.ts');
  if (options.vip.length > 0 && !named) {
    const { parseAnyAddress } = await import('../../config/address.ts');
    const vips = options.vip.map((text) => parseVip(text, parseAnyAddress));
    const outer = options.over === 'both' ? ([4, 6] as const) : options.over === '6' ? ([6] as const) : ([4] as const);
    return judgeWorker(gatherWorker(), wantedByWords(vips, options.encapsulation, options.port, outer), false);
  }
  if (options.vip.length > 0)
    throw usage('--vip and --config are two ways to say what this worker serves', 'leave one of them out');
  if (!named && !existsSync(options.config)) {
    throw usage(
      'what does this worker serve?',
      "gue-director doctor --worker --vip 192.0.2.10:443, or --config with a copy of the directors' configuration",
    );
  }
  const config = await configured(options.config);
  const facts = gatherWorker();
  const own = facts.links.flatMap(({ addresses }) => addresses.map(({ bytes }) => bytes));
  return judgeWorker(facts, wantedByConfig(config, own), true);
}

function usage(message: string, hint: string): CodedError {
  return new CodedError('GD_CLI_DOCTOR', message, { exitCode: EXIT.USAGE, hint });
}

const PROTOCOLS: Readonly<Record<string, number>> = { tcp: 6, udp: 17 };

/** `192.0.2.10`, `192.0.2.10:443`, `[2001:db8::10]:53/udp`. */
function parseVip(text: string, parse: (text: string) => { readonly value: Uint8Array | null }): WantedVip {
  const found = /^(?:\[([^\]]+)\]|([^:]+))(?::(\d{1,5})(?:\/(tcp|udp))?)?$/.exec(text);
  const address = parse(found === null ? text : (found[1] ?? found[2])).value;
  const port = found?.[3] === undefined ? null : Number(found[3]);
  if (address === null || (port !== null && (port < 1 || port > 65535))) {
    throw usage(`"${text}" is no virtual IP`, 'write it as 192.0.2.10, 192.0.2.10:443 or [2001:db8::10]:53/udp');
  }
  return { address, protocol: port === null ? null : PROTOCOLS[found?.[4] ?? 'tcp'], port };
}
