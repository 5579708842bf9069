// One iperf3 transfer from a namespace, and what both of its ends counted.

import type { Namespace } from '../../src/demo/lab/namespace.ts';
import { runIn } from '../uml/director.ts';

export interface IperfResult {
  /** Bytes that the receiver got. */
  readonly bytes: number;
  readonly gigabitsPerSecond: number;
  readonly retransmits: number;
}

export interface IperfOrder {
  readonly address: string;
  readonly port: number;
  readonly bytes: number;
  /** `down`: the server sends. */
  readonly direction: 'up' | 'down';
  /** Limit of the sender, bits per second; none by default. */
  readonly bitrate?: number;
}

interface Report {
  readonly error?: string;
  readonly end: {
    readonly sum_sent: { readonly bytes: number; readonly retransmits: number };
    readonly sum_received: { readonly bytes: number; readonly bits_per_second: number };
  };
}

/** Throws with iperf3's own words when it fails. */
export async function iperf(client: Namespace, order: IperfOrder): Promise<IperfResult> {
  const { address, port, bytes, direction, bitrate } = order;
  const args = ['-c', address, '-p', String(port), '-n', String(bytes), '-J', '--connect-timeout', '5000'];
  if (direction === 'down') args.push('-R');
  if (bitrate !== undefined) args.push('-b', String(bitrate));
  const report = JSON.parse(await runIn(client, 'iperf3', args)) as Report;
  if (report.error !== undefined) throw new Error(`iperf3: ${report.error}`);
  const { sum_sent: sent, sum_received: received } = report.end;
  return { bytes: received.bytes, gigabitsPerSecond: received.bits_per_second / 1e9, retransmits: sent.retransmits };
}
