/** What the demo found, as a table for people. */
import type { TransferResult } from './transfer.ts';

export interface Transfer extends TransferResult {
  /** The SHA-256 that the content has. */
  readonly expected: string;
  readonly good: boolean;
}

/** One row for a worker, one column for each kind of transfer; every cell counts good transfers. */
export function transferTable(workers: readonly string[], transfers: readonly Transfer[]): string {
  const columns: [string, TransferResult['kind'], number][] = [
    ['IPv4 downloads', 'download', 4],
    ['IPv4 uploads', 'upload', 4],
    ['IPv6 downloads', 'download', 6],
    ['IPv6 uploads', 'upload', 6],
  ];
  const rows: string[][] = [['', ...columns.map(([title]) => title), 'megabytes']];
  const row = (title: string, own: readonly Transfer[]) => {
    const cells = columns.map(([, kind, family]) => own.filter((one) => one.kind === kind && one.family === family).length);
    const bytes = own.reduce((sum, one) => sum + one.bytes, 0);
    rows.push([title, ...cells.map(String), (bytes / 1e6).toFixed(1)]);
  };
  const good = transfers.filter((one) => one.good);
  for (const worker of workers) {
    const own = good.filter((one) => one.worker === worker);
    row(worker, own);
  }
  row('together', good);
  const widths = rows[0].map((_, column) => Math.max(...rows.map((cells) => cells[column].length)));
  return rows
    .map((cells) => cells.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]) : cell.padStart(widths[i]))).join('   '))
    .map((line) => `    ${line}`)
    .join('\n');
}

/** The samples of a Prometheus text that tell this demo's story, in the order of the text. */
export function metricsExcerpt(text: string): string[] {
  const wanted =
    /^gue_director_(received_packets_total|forwarded_packets_total|forwarded_bytes_total|replied_packets_total|flow_table_hits_total|service_packets_total|backend_packets_total|table_digest_info|dropped_packets_total)\b/;
  // Drop counters at zero are many and say nothing here.
  return text.split('\n').filter((line) => wanted.test(line) && !(line.includes('dropped_') && line.endsWith(' 0')));
}
