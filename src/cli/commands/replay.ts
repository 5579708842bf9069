/** `gue-director replay`: the packet path over a capture, offline and without privilege. */
import { statSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import type { Command } from 'commander';
import { CodedError, EXIT } from '../../base/errors.ts';
import type { ReplayedPacket, ReplaySummary } from '../../replay/replay.ts';
import { configOption, jsonOption, pathMtuOption } from '../options.ts';
import { problemLines } from '../render/error.ts';
import { paintFor } from '../render/paint.ts';

interface Options {
  readonly config: string;
  readonly json: boolean;
  readonly write?: string;
  readonly replies?: string;
  readonly summary: boolean;
  readonly pathMtu: number;
}

export function register(program: Command): void {
  program
    .command('replay')
    .summary('run the packet path over a capture, offline')
    .description(
      'Reads packets from a pcap or pcapng file (Ethernet or raw IP), gives each its verdict exactly as the daemon would, and writes what would leave. Needs no privilege.',
    )
    .argument('<capture>', 'capture file to read')
    .addOption(configOption())
    .addOption(jsonOption())
    .option('-w, --write <file>', 'write the encapsulated packets to this pcap file (raw IP)')
    .option('--replies <file>', 'write what the director would answer itself (pings, packets too big) to this pcap file')
    .addOption(pathMtuOption())
    .option('--summary', 'only the totals, not every packet', false)
    .addHelpText(
      'after',
      `
Examples:
  gue-director replay -c director.yaml in.pcap                     a verdict for every packet
  gue-director replay -c director.yaml in.pcap --write out.pcap    and what would have left, for Wireshark
  gue-director replay -c director.yaml in.pcap --path-mtu 1600     with larger links to the workers
  gue-director replay -c director.yaml in.pcap --json | jq -c 'select(.verdict == "drop")'

With --json each packet is one line, the totals are the last one.`,
    )
    .action(async (capture: string, options: Options) => {
      process.exitCode = await run(capture, options);
    });
}

/** Output is collected and written in large pieces: a capture may have millions of packets. */
const PIECE = 65536;

async function run(capture: string, options: Options): Promise<number> {
  const { loadConfig } = await import('../../config/load.ts');
  const { PcapFileEgress } = await import('../../io/pcap-file/egress.ts');
  const { PcapFileIngress } = await import('../../io/pcap-file/ingress.ts');
  const { MemoryEgress } = await import('../../io/memory/egress.ts');
  const { innerMtuOf, poolsByRoute, replay, replayedText } = await import('../../replay/replay.ts');
  const { withFoundBackends } = await import('../found-backends.ts');
  const { config, problems } = await withFoundBackends(loadConfig(options.config));
  if (problems.length > 0) process.stderr.write(`${problemLines(problems, paintFor(process.stderr))}\n`);
  refuseOverwriting(capture, options);
  const byRoute = poolsByRoute(config.spec);
  if (options.write !== undefined && byRoute.length > 0) {
    const pools = `${byRoute.slice(0, 5).join(', ')}${byRoute.length > 5 ? ` and ${byRoute.length - 5} more` : ''}`;
    process.stderr.write(
      `note: outer sources by route are known only on the director: 0.0.0.0 or :: in ${options.write} (pools ${pools})\n`,
    );
  }
  const ingress = new PcapFileIngress({
    path: capture,
    innerMtu: innerMtuOf(config.spec, options.pathMtu),
    ...(options.replies === undefined ? {} : { replies: options.replies }),
  });
  let piece = '';
  const say = (line: string) => {
    piece += `${line}\n`;
    if (piece.length < PIECE) return;
    process.stdout.write(piece);
    piece = '';
  };
  const onPacket = (packet: ReplayedPacket) => say(options.json ? JSON.stringify(packet) : replayedText(packet));
  try {
    const egress = options.write === undefined ? new MemoryEgress({ keep: false }) : new PcapFileEgress(options.write);
    try {
      const summary = replay({ config, ingress, egress, pathMtu: options.pathMtu, ...(options.summary ? {} : { onPacket }) });
      if (options.json) say(JSON.stringify(summary));
      else say(summaryText(summary));
    } finally {
      egress.close();
    }
  } finally {
    ingress.close();
    process.stdout.write(piece);
  }
  return EXIT.OK;
}

/** The file that a name leads to, whether or not it exists; null for a device or a pipe, which may be named twice. */
function fileBehind(path: string): string | null {
  const status = statSync(path, { throwIfNoEntry: false });
  if (status !== undefined) return status.isFile() ? `${status.dev}:${status.ino}` : null;
  const folder = statSync(dirname(path), { throwIfNoEntry: false });
  return folder === undefined ? null : `${folder.dev}:${folder.ino}/${basename(path)}`;
}

/** Throws GD_CLI_SAME_FILE when an output would replace an input, or the other output. */
function refuseOverwriting(capture: string, options: Options): void {
  const taken = new Map([capture, options.config].map((path) => [fileBehind(path), path]));
  for (const label of ['write', 'replies'] as const) {
    const path = options[label];
    const file = path === undefined ? null : fileBehind(path);
    if (path === undefined || file === null) continue;
    const other = taken.get(file);
    if (other !== undefined) {
      throw new CodedError('GD_CLI_SAME_FILE', `--${label} ${path} would overwrite ${other}: they are the same file`, {
        exitCode: EXIT.USAGE,
        hint: `give --${label} a name of its own`,
      });
    }
    taken.set(file, path);
  }
}

function summaryText(summary: ReplaySummary): string {
  const list = (counts: Record<string, number>) =>
    Object.entries(counts)
      .filter(([, count]) => count > 0)
      .map(([word, count]) => `${word} ${count}`)
      .join(', ');
  const lines = [`${summary.packets} packets: ${list(summary.verdicts) || 'none'}`];
  if (Object.keys(summary.reasons).length > 0) lines.push(`dropped: ${list(summary.reasons)}`);
  const backends = list(summary.backends);
  if (backends !== '') lines.push(`backends: ${backends}`);
  return lines.join('\n');
}
