/** `gue-director trace`: packets through the running director, live, each with what left for it. */
import { closeSync, constants, fchmodSync, fstatSync, ftruncateSync, openSync, writeSync } from 'node:fs';
import type { Command } from 'commander';
import { CodedError, EXIT } from '../../base/errors.ts';
import { TRACE_BOUNDS } from '../../trace/bounds.ts';
import type { TracedPacket, TraceLine } from '../../trace/told.ts';
import { socketOf } from '../admin-socket.ts';
import { configOption, jsonOption, wholeNumber } from '../options.ts';
import { paintFor } from '../render/paint.ts';

interface Options {
  readonly config: string;
  readonly json: boolean;
  readonly socket?: string;
  readonly write?: string;
  readonly count: number;
  readonly seconds: number;
  readonly rate: number;
  readonly snap: number;
}

type Ended = Extract<TraceLine, { kind: 'ended' }>;

const { count: COUNT, seconds: SECONDS, rate: RATE, snap: SNAP } = TRACE_BOUNDS;

export function register(program: Command): void {
  const bounded = ({ least, most }: { least: number; most: number }) => wholeNumber(least, most);
  program
    .command('trace')
    .summary('packets through the running director, live: what became of each, and every packet that left')
    .description(
      "Shows packets of clients as the running director forwards, answers or drops them: the service, the backend or the reason, and each packet that left, behind the tunnel's " +
        "headers and after segmentation. The filter is about the client's packet, whatever is around it when it leaves. Without a filter: every packet. Only headers are " +
        'copied, no payload, unless --snap says so. Whoever may write to the admin socket may trace.',
    )
    .argument(
      '[filter...]',
      "tcpdump's words (host, net, port, tcp, syn, …) and ours (service, pool, backend, verdict, drop, dropped)",
    )
    .addOption(configOption())
    .addOption(jsonOption())
    .option('--socket <path>', 'the director behind this unix socket, whatever the configuration says')
    .option('-w, --write <file>', 'write a capture (pcapng, interfaces before and after) instead; - for standard output')
    .option('--count <packets>', 'end after so many', bounded(COUNT), COUNT.usual)
    .option('--seconds <seconds>', 'end after so long', bounded(SECONDS), SECONDS.usual)
    .option('--rate <packets>', 'at most so many a second; what is left out is counted', bounded(RATE), RATE.usual)
    .option('--snap <bytes>', 'copy so many bytes of each packet (default: its headers, no payload)', bounded(SNAP))
    .addHelpText(
      'after',
      `
Filter words about the packet:  host, net, port, portrange (each with src or dst), tcp, udp, sctp, icmp, icmp6, ip, ip6, proto N,
  less N, greater N, syn, fin, rst, tcp[tcpflags] & (tcp-syn|tcp-ack) == tcp-syn
about what became of it:        service NAME, pool NAME, backend NAME or POOL/NAME, verdict forward|drop|reply|pass|held, drop REASON, dropped
joined by:                      and, or, not, parentheses (in quotes, or the shell takes them)

Examples:
  gue-director trace host 192.0.2.7                          where do this client's packets go?
  gue-director trace 'dropped and not drop not-a-service'    what is lost, and why?
  gue-director trace 'service web and (syn or rst)'
  gue-director trace backend web/web-3 --count 10 --json
  gue-director trace net 2001:db8::/32 and port 443 --write trace.pcapng
  gue-director trace tcp port 443 --write - | tshark -r - -T fields -e frame.interface_name -e frame.comment

Exit code 0 also when nothing matched; 2 for a filter that can not be read; 69 when no director answers, or it went away.`,
    )
    .action(async (filter: string[], options: Options) => {
      process.exitCode = await trace(filter.join(' '), options);
    });
}

async function trace(filter: string, options: Options): Promise<number> {
  if (options.json && options.write !== undefined) {
    throw new CodedError('GD_CLI_TRACE', '--json or --write: one of them', {
      exitCode: EXIT.USAGE,
      hint: 'a capture has the packets, JSON their fate',
    });
  }
  // Here too: a wrong filter needs no director to be told wrong.
  const { parseFilter } = await import('../../trace/filter/parse.ts');
  parseFilter(filter);
  const { openTrace } = await import('../../admin/trace-client.ts');
  const { count, seconds, rate, snap = SNAP.usual } = options;
  const running = await openTrace(await socketOf(options), { filter, count, seconds, rate, snap });
  // Not before: what stands in the file is lost only for a trace that there is.
  const sink = await sinkOf(options).catch((error: unknown) => {
    running.leave();
    throw error;
  });
  try {
    let interrupted = false;
    const interrupt = () => {
      interrupted = true;
      running.stop();
    };
    process.on('SIGINT', interrupt);
    process.on('SIGTERM', interrupt);
    // `trace | head`: a reader that has enough.
    process.stdout.once('error', interrupt);
    const ended = await follow(running.lines, sink, () => interrupted);
    process.off('SIGINT', interrupt);
    process.off('SIGTERM', interrupt);
    if (options.json && ended !== null) process.stdout.write(`${JSON.stringify(ended)}\n`);
    return ended === null && !interrupted ? EXIT.UNREACHABLE : EXIT.OK;
  } finally {
    sink.close();
  }
}

/** Tells every packet and returns how it ended; null when the connection ended first, which is said too. */
async function follow(lines: AsyncIterable<TraceLine>, sink: Sink, interrupted: () => boolean): Promise<Ended | null> {
  const { endedText } = await import('../render/trace.ts');
  let told = 0;
  let last: Extract<TraceLine, { kind: 'progress' }> | null = null;
  for await (const line of lines) {
    if (line.kind === 'packet') {
      told++;
      sink.packet(line);
    } else if (line.kind === 'started') process.stderr.write(startedText(line));
    else if (line.kind === 'note') process.stderr.write(`${line.text}\n`);
    else if (line.kind === 'progress') last = line;
    else {
      process.stderr.write(endedText(line));
      return line;
    }
  }
  const tally = { matched: 0, overRate: 0, noRoom: 0, ...(last ?? {}), told };
  const why = interrupted() ? 'client' : 'gone';
  process.stderr.write(endedText({ ...tally, matched: Math.max(tally.matched, told), why }));
  return null;
}

function startedText({ filter, threads, count, seconds }: Extract<TraceLine, { kind: 'started' }>): string {
  const what = filter === '' ? 'every packet' : filter;
  return `tracing ${what} on ${threads} ${threads === 1 ? 'thread' : 'threads'}: at most ${count} packets, ${seconds} s (Ctrl-C ends it)\n`;
}

interface Sink {
  packet(packet: TracedPacket): void;
  close(): void;
}

async function sinkOf({ json, write }: Options): Promise<Sink> {
  if (write !== undefined) return captureSink(write);
  if (json) return { packet: (packet) => void process.stdout.write(`${JSON.stringify(packet)}\n`), close: () => {} };
  const { tracedText } = await import('../render/trace.ts');
  const paint = paintFor(process.stdout);
  return { packet: (packet) => void process.stdout.write(tracedText(packet, paint)), close: () => {} };
}

/** Throws GD_CLI_TRACE_FILE when the file can not be made. */
async function captureSink(path: string): Promise<Sink> {
  const { captureHeader, captureRecords } = await import('../../trace/capture.ts');
  if (path === '-') {
    process.stdout.write(captureHeader());
    return { packet: (packet) => void process.stdout.write(captureRecords(packet)), close: () => {} };
  }
  let file: number;
  try {
    file = openSync(path, constants.O_WRONLY | constants.O_CREAT, 0o600);
    if (fstatSync(file).isFile()) {
      // Packets of clients: for whoever traces alone, also where the file was there before. Emptied only then.
      fchmodSync(file, 0o600);
      ftruncateSync(file);
    }
  } catch (error) {
    const { code = '', message } = error as NodeJS.ErrnoException;
    throw new CodedError('GD_CLI_TRACE_FILE', `can not write ${path}: ${code || message}`, {
      hint: 'name a file in a folder that you may write to',
      cause: error,
    });
  }
  const whole = (bytes: Uint8Array) => {
    for (let at = 0; at < bytes.length; ) at += writeSync(file, bytes, at);
  };
  whole(captureHeader());
  return { packet: (packet) => whole(captureRecords(packet)), close: () => closeSync(file) };
}
