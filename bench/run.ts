// npm run bench -- NAME [--json] [--quick] [--driver DRIVER]: measures one thing, several rounds, and says on what it was measured.
//
// A bench is a file here that exports `name` and `run({ quick })`; adding one means adding it to the list below.

import { execFileSync } from 'node:child_process';
import { cpus } from 'node:os';

export interface Bench {
  readonly name: string;
  /** What `--driver` may name; absent: nothing. */
  readonly drivers?: readonly string[];
  run(options: { quick: boolean; driver?: string }): Promise<{ name: string; rows: Record<string, string | number>[] }>;
}

const BENCHES: Readonly<Record<string, () => Promise<Bench>>> = {
  bulk: () => import('./bulk.ts'),
  forward: () => import('./forward.ts'),
  history: () => import('./history.ts'),
  latency: () => import('./latency.ts'),
  pipeline: () => import('./pipeline.ts'),
  scale: () => import('./scale.ts'),
  reload: () => import('./reload.ts'),
  rings: () => import('./rings.ts'),
  segment: () => import('./segment.ts'),
  table: () => import('./table.ts'),
  worker: () => import('./worker.ts'),
};

function commit(): string {
  try {
    return execFileSync('git', ['rev-parse', '--short', 'HEAD'], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    }).trim();
  } catch {
    return 'unknown (not a git checkout)';
  }
}

/** A table for people; rows may have different columns. */
function table(rows: readonly Record<string, string | number>[]): string {
  const blocks: string[] = [];
  let from = 0;
  // Rows with the same columns belong together.
  for (let at = 1; at <= rows.length; at++) {
    const same = at < rows.length && Object.keys(rows[at]).join() === Object.keys(rows[from]).join();
    if (same) continue;
    const columns = Object.keys(rows[from]);
    const cells = [columns, ...rows.slice(from, at).map((row) => columns.map((column) => String(row[column])))];
    const widths = columns.map((_, c) => Math.max(...cells.map((line) => line[c].length)));
    const align = (cell: string, c: number) => (c === 0 ? cell.padEnd(widths[c]) : cell.padStart(widths[c]));
    blocks.push(cells.map((line) => line.map(align).join('  ').trimEnd()).join('\n'));
    from = at;
  }
  return blocks.join('\n\n');
}

const words = process.argv.slice(2);
const driverAt = words.indexOf('--driver');
const driver = driverAt < 0 ? undefined : (words.splice(driverAt, 2)[1] ?? '');
const names = words.filter((word) => !word.startsWith('-'));
const unknown = [
  ...names.filter((name) => BENCHES[name] === undefined),
  ...words.filter((word) => word.startsWith('-') && !['--json', '--quick'].includes(word)),
];
if (names.length === 0 || unknown.length > 0) {
  if (unknown.length > 0) console.error(`unknown: ${unknown.join(', ')}`);
  console.error(
    `usage: npm run bench -- NAME… [--json] [--quick] [--driver DRIVER]\nbenches: ${Object.keys(BENCHES).join(', ')}`,
  );
  process.exit(2);
}

const processors = cpus();
const machine = {
  date: new Date().toISOString(),
  commit: commit(),
  node: process.version,
  cpu: `${processors.length} × ${processors[0]?.model.trim() ?? 'unknown'}`,
};
for (const name of names) {
  const bench = await BENCHES[name]();
  if (driver !== undefined && bench.drivers?.includes(driver) !== true) {
    console.error(`${name} has no driver "${driver}"; it has ${bench.drivers?.join(', ') ?? 'none to choose'}`);
    process.exit(2);
  }
  const { rows } = await bench.run({ quick: words.includes('--quick'), ...(driver === undefined ? {} : { driver }) });
  if (words.includes('--json')) console.log(JSON.stringify({ name, ...machine, rows }, null, 2));
  else console.log(`${name}: ${machine.date}, ${machine.commit}, Node ${machine.node}, ${machine.cpu}\n\n${table(rows)}\n`);
}
