/** `gue-director explain`: what becomes of one packet, and why, stage by stage. */
import { type Command, Option } from 'commander';
import { CodedError, EXIT } from '../../base/errors.ts';
import type { Config } from '../../config/config.ts';
import type { Answer } from '../../explain/answer.ts';
import { socketOf } from '../admin-socket.ts';
import { configOption, jsonOption, pathMtuOption, wholeNumber } from '../options.ts';
import { problemLines } from '../render/error.ts';
import { paintFor } from '../render/paint.ts';

interface Options {
  readonly config: string;
  readonly json: boolean;
  readonly flags?: string;
  readonly length?: number;
  readonly hex?: string;
  readonly link?: 'ip' | 'ethernet';
  readonly capture?: string;
  readonly packet?: number;
  readonly pathMtu: number;
  readonly without?: string;
  readonly offline: boolean;
  readonly socket?: string;
}

const MOST_LENGTH = 65_575;

export function register(program: Command): void {
  program
    .command('explain')
    .summary('what becomes of a packet, and why: service, flow, backend, size, every byte')
    .description(
      'Sends one packet through the stages of the packet path and tells what each decides: the service that takes it and those that nearly do, the flow ' +
        'table, the slot, the backend and why it is in the table, the size, the offsets and the bytes that would leave, or the reason to drop it. ' +
        'The running director is asked, whose flows, drains, health and path MTUs count; with --offline, or a capture, the configuration file alone.',
    )
    .argument('[flow...]', 'protocol, source and destination: tcp 192.0.2.7:40000 198.51.100.1:443')
    .addOption(configOption())
    .addOption(jsonOption())
    .option('--flags <names>', 'TCP flags of the packet, such as syn or psh,ack (default: ack)')
    .option('--length <bytes>', 'length of the packet, its IP header included', wholeNumber(1, MOST_LENGTH))
    .option('--hex <digits>', 'the packet itself, as tcpdump -x prints it; - reads standard input')
    .addOption(new Option('--link <kind>', 'what --hex begins with').choices(['ip', 'ethernet']))
    .option('--capture <file>', 'each packet of a pcap or pcapng file, one after the other')
    .option('--packet <number>', 'of the capture only this one; those before it go through all the same', wholeNumber(1, 2 ** 31))
    .addOption(pathMtuOption())
    .option('--offline', 'do not ask the running director: what would one do that starts with this configuration now?', false)
    .option('--socket <path>', 'the director behind this unix socket, whatever the configuration says')
    .option('--without <backend>', 'also: what if this backend, POOL/NAME, were removed?')
    .addHelpText(
      'after',
      `
Examples:
  gue-director explain tcp 192.0.2.7:40000 198.51.100.1:443
  gue-director explain tcp 192.0.2.7:40000 198.51.100.1:443 --flags syn
  gue-director explain udp [2001:db8::7]:5353 [2001:db8:1::1]:53 --length 1800
  gue-director explain tcp 192.0.2.7:40000 198.51.100.1:443 --without web/web-3   would it move?
  gue-director explain --offline -c next.yaml tcp 192.0.2.7:40000 198.51.100.1:443
  gue-director explain --capture in.pcap --packet 17
  tcpdump -r in.pcap -x -c 1 | sed 's/.*: //' | tail -n +2 | gue-director explain --hex -

Exit code 0 whatever becomes of the packet; 69 when no director answers.`,
    )
    .action(async (flow: string[], options: Options) => {
      process.exitCode = await explain(flow, options);
    });
}

async function explain(flow: string[], options: Options): Promise<number> {
  const asked = [flow.length > 0, options.hex !== undefined, options.capture !== undefined].filter(Boolean).length;
  if (asked !== 1) {
    throw new CodedError('GD_CLI_EXPLAIN', asked === 0 ? 'which packet?' : 'a flow, --hex or --capture: one of them', {
      exitCode: EXIT.USAGE,
      hint: 'gue-director explain tcp 192.0.2.7:40000 198.51.100.1:443',
    });
  }
  const hex = options.hex === '-' ? await standardInput() : options.hex;
  let told: Answer;
  if (options.offline || options.capture !== undefined) {
    const config = await configured(options.config);
    if (options.capture !== undefined) return explainCapture(options.capture, config, options);
    const { answerOffline } = await import('../../replay/explained.ts');
    const { flowFrame, hexFrame } = await import('../../explain/question.ts');
    const frame = hex === undefined ? flowFrame(flow.join(' '), options) : hexFrame(hex, options.link);
    told = answerOffline(config, frame, options.pathMtu, options.without ?? null);
  } else {
    const { askExplain } = await import('../../admin/client.ts');
    told = (await askExplain({ path: await socketOf(options) }, queryOf(flow, hex, options))) as Answer;
  }
  process.stdout.write(options.json ? `${JSON.stringify(told, null, 2)}\n` : await answerText(told));
  return EXIT.OK;
}

async function configured(file: string): Promise<Config> {
  const { loadConfig } = await import('../../config/load.ts');
  const { withFoundBackends } = await import('../found-backends.ts');
  const { config, problems } = await withFoundBackends(loadConfig(file));
  if (problems.length > 0) process.stderr.write(`${problemLines(problems, paintFor(process.stderr))}\n`);
  return config;
}

/** The question as the director reads it (docs/explain.md). */
function queryOf(
  flow: readonly string[],
  hex: string | undefined,
  { flags, length, link, without }: Options,
): Record<string, string> {
  return {
    ...(hex === undefined ? { flow: flow.join(' ') } : { packet: hex.replace(/\s+/g, '') }),
    ...(flags === undefined ? {} : { flags }),
    ...(length === undefined ? {} : { length: String(length) }),
    ...(link === undefined ? {} : { link }),
    ...(without === undefined ? {} : { without }),
  };
}

async function answerText(told: Answer): Promise<string> {
  const { trailText } = await import('../render/explain.ts');
  const paint = paintFor(process.stdout);
  const text = trailText(told, paint);
  if (told.without === undefined) return text;
  const { withoutText } = await import('../../explain/trail-story.ts');
  const verdict = withoutText(told.without);
  return `${text}\nwithout ${told.without.backend}: ${told.without.moves ? paint.yellow(verdict) : paint.green(verdict)}\n`;
}

async function standardInput(): Promise<string> {
  let text = '';
  process.stdin.setEncoding('utf8');
  for await (const part of process.stdin) text += part as string;
  return text;
}

async function explainCapture(capture: string, config: Config, options: Options): Promise<number> {
  const { explainCapture: explainEach } = await import('../../replay/explained.ts');
  const { trailText } = await import('../render/explain.ts');
  const paint = paintFor(process.stdout);
  let told = 0;
  explainEach(config, capture, options.pathMtu, (packet, trail) => {
    if (options.packet !== undefined && packet !== options.packet) return;
    told++;
    process.stdout.write(
      options.json
        ? `${JSON.stringify({ number: packet, ...trail })}\n`
        : `${paint.bold(`packet ${packet}`)}\n${trailText(trail, paint)}\n`,
    );
  });
  if (told > 0 || options.packet === undefined) return EXIT.OK;
  throw new CodedError('GD_CLI_EXPLAIN', `${capture} has no packet ${options.packet}`, {
    exitCode: EXIT.USAGE,
    hint: 'packets are numbered from 1',
  });
}
