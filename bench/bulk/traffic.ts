// One upload by iperf3: TCP from the client's kernel, counted by the server's application.

import { once } from 'node:events';
import { Actor, lastLines } from '../../src/demo/cast.ts';
import type { Namespace } from '../../src/demo/lab/namespace.ts';

export interface Transfer {
  /** Bytes that the server's application read, and in how many seconds by its own clock. */
  readonly bytes: number;
  readonly seconds: number;
  /** TCP segments that the client's kernel sent again. */
  readonly retransmits: number;
}

export interface Upload {
  readonly client: Namespace;
  readonly server: Namespace;
  /** Where the client connects to; the server listens on the same port of all its addresses. */
  readonly address: string;
  readonly port: number;
  readonly seconds: number;
  /** Connections side by side. */
  readonly streams: number;
}

interface Report {
  readonly error?: string;
  readonly end?: {
    readonly sum_sent?: { readonly retransmits?: number };
    readonly sum_received?: { readonly bytes: number; readonly seconds: number };
  };
}

/** Beyond the upload's own time: connecting, exchanging results, draining full buffers on a busy machine. */
const PATIENCE_SECONDS = 10;

/** Throws when no connection comes about, or the end does not come in time. Client and server are new each time, and gone afterwards. */
export async function upload({ client, server, address, port, seconds, streams }: Upload): Promise<Transfer> {
  const listener = Actor.command('the iperf3 server', server, 'iperf3', '-s', '-1', '--forceflush', '-p', String(port));
  try {
    await listener.says('listening');
    const args = ['-c', address, '-p', String(port), '-t', String(seconds), '-P', String(streams), '--json'];
    const sender = Actor.command('the iperf3 client', client, 'iperf3', ...args, '--connect-timeout', '3000');
    const limit = setTimeout(() => sender.child.kill('SIGKILL'), (seconds + PATIENCE_SECONDS) * 1000);
    const code = await sender.ended;
    clearTimeout(limit);
    const report = parse(sender.output);
    const received = report.end?.sum_received;
    if (code !== 0 || report.error !== undefined || received === undefined) {
      throw new Error(`iperf3 to ${address}: ${report.error ?? `exit code ${code}: ${lastLines(sender.words, 3)}`}`);
    }
    return { bytes: received.bytes, seconds: received.seconds, retransmits: report.end?.sum_sent?.retransmits ?? 0 };
  } finally {
    if (listener.child.exitCode === null && listener.child.signalCode === null) {
      listener.child.kill('SIGKILL');
      await once(listener.child, 'exit');
    }
  }
}

/** Empty when it was killed before it had anything to say. */
function parse(text: string): Report {
  try {
    return JSON.parse(text) as Report;
  } catch {
    return {};
  }
}
