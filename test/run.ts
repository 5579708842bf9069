// The runner behind `npm test`: node:test with its own spec output, in three passes: what computes; what waits for namespaces, daemons
// and guests (it asks test/needs.ts for them); and, one at a time, what says that it measures. One summary at the end covers all.
//
//   npm test                   everything
//   npm test -- maglev tun     only files whose path contains one of the words
//   npm test -- --times        and the slowest files at the end

import { setMaxListeners } from 'node:events';
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative, resolve } from 'node:path';
import { run } from 'node:test';
import { spec } from 'node:test/reporters';
import { isStrict, presentParts, SKIP_PREFIX } from './needs.ts';

const root = resolve(import.meta.dirname, '..');

const MINUTES = 60_000;
const FILE_LIMIT = 4 * MINUTES;
/** It takes eleven to twelve on two quiet cores and should stay below that; the limit is for what hangs. */
const SUITE_LIMIT = 18 * MINUTES;
const SIDE_BY_SIDE = 2;

/** What a Debian with iproute2 and Node has, run as root. */
const PLAIN = ['root', 'namespaces', 'tun', ''];

/** node's own summary, which comes as diagnostics; both passes are added up and printed once. */
const SUMMARY = ['tests', 'suites', 'pass', 'fail', 'cancelled', 'skipped', 'todo', 'duration_ms'] as const;

function testFiles(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.test.ts'))
    .map((entry) => join(entry.parentPath, entry.name));
}

/** A file that asks, by `needs(…)` or `needs: […]`, for a part of the machine that takes long to come or to answer. */
function waits(file: string): boolean {
  return /needs(\(|: \[)[^)\]]*'(namespaces|tun|uml|debootstrap)'/.test(readFileSync(file, 'utf8'));
}

/** A file of those that says that it measures: it gets the machine to itself. */
function runsAlone(file: string): boolean {
  return /^\/\/ Runs alone/m.test(readFileSync(file, 'utf8'));
}

const words = process.argv.slice(2).filter((argument) => !argument.startsWith('-'));
const files = [...testFiles(join(root, 'src')), ...testFiles(join(root, 'test'))]
  .filter((file) => words.length === 0 || words.some((word) => relative(root, file).includes(word)))
  .sort();
if (files.length === 0) {
  console.error(`no test file's path contains ${words.map((word) => `"${word}"`).join(' or ')}`);
  process.exit(2);
}

// The files are processes of their own: they are told once what the machine has, and write down what they asked for.
const needsRecord = join(tmpdir(), `gue-director-needs-${process.pid}`);
writeFileSync(needsRecord, '');
// `npm test` has just built: programs that tests start are the built ones (src/demo/cast.ts).
if (process.argv.includes('--built')) process.env.GUE_DIRECTOR_BUILT = '1';
// What a director would set for itself by executing itself once more, which each start of one would wait for (src/daemon/allocator.ts); its test takes it away.
process.env.MALLOC_ARENA_MAX ??= '1';
process.env.GUE_DIRECTOR_NEEDS = needsRecord;
process.env.GUE_DIRECTOR_PARTS = presentParts().join(',');

const reporter = new spec();
reporter.pipe(process.stdout);

const totals = new Map<string, number>(SUMMARY.map((word) => [word, 0]));
const skips: { name: string; reason: string }[] = [];
let failures = 0;

/** Milliseconds of its tests per file, for `--times`: what to look at when the suite gets slow. */
const times = new Map<string, number>();
const showTimes = process.argv.includes('--times');

interface Event {
  type: string;
  data: {
    name?: string;
    message?: string;
    nesting?: number;
    file?: string;
    skip?: boolean | string;
    details?: { type?: string; duration_ms?: number };
  };
}

function isSummary(event: Event): boolean {
  if (event.type !== 'test:diagnostic' || event.data.nesting !== 0) return false;
  const [word, count, ...more] = (event.data.message ?? '').split(' ');
  if (more.length > 0 || !totals.has(word) || Number.isNaN(Number(count))) return false;
  totals.set(word, (totals.get(word) as number) + Number(count));
  return true;
}

async function pass(chosen: string[], concurrency: number, deadline: number): Promise<void> {
  if (chosen.length === 0) return;
  const left = deadline - Date.now();
  const controller = new AbortController();
  // Each file listens for the end: more than ten are no leak.
  setMaxListeners(0, controller.signal);
  const alarm = setTimeout(() => controller.abort(), Math.max(left, 1));
  const stream = run({ files: chosen, concurrency, timeout: FILE_LIMIT, signal: controller.signal });
  for await (const raw of stream) {
    const event = raw as Event;
    if (isSummary(event)) continue;
    if (event.type === 'test:fail') failures++;
    if ((event.type === 'test:pass' || event.type === 'test:fail') && event.data.nesting === 0 && event.data.file !== undefined) {
      times.set(event.data.file, (times.get(event.data.file) ?? 0) + (event.data.details?.duration_ms ?? 0));
    }
    if (event.type === 'test:pass' && event.data.skip !== undefined && event.data.skip !== false) {
      skips.push({ name: event.data.name ?? '?', reason: String(event.data.skip) });
    }
    if (!reporter.write(event)) await new Promise((done) => reporter.once('drain', done));
  }
  clearTimeout(alarm);
  if (controller.signal.aborted) {
    failures++;
    console.error(`the suite took longer than ${SUITE_LIMIT / MINUTES} minutes and was stopped`);
  }
}

const deadline = Date.now() + SUITE_LIMIT;
const alone = files.filter(runsAlone);
const together = files.filter((file) => !alone.includes(file));
await pass(
  together.filter((file) => !waits(file)),
  SIDE_BY_SIDE,
  deadline,
);
await pass(together.filter(waits), SIDE_BY_SIDE, deadline);
await pass(alone, 1, deadline);

for (const word of SUMMARY) {
  reporter.write({ type: 'test:diagnostic', data: { nesting: 0, message: `${word} ${totals.get(word)}` } });
}
await new Promise<void>((done) => {
  reporter.once('end', done);
  reporter.end();
});

const tests = totals.get('tests') as number;
const skipped = totals.get('skipped') as number;
const failed = (totals.get('fail') as number) + (totals.get('cancelled') as number);

if (showTimes) {
  const slowest = [...times].sort(([, a], [, b]) => b - a).slice(0, 40);
  for (const [file, milliseconds] of slowest)
    console.log(`${(milliseconds / 1000).toFixed(1).padStart(6)} s  ${relative(root, file)}`);
}
if (skips.length > 0) console.log(`SKIPPED ${skips.length} of ${tests}: ${remedies().join('; ')}`);
if (isStrict() && skipped > 0) {
  failures++;
  console.log(`under CI=true a skip is a failure: ${skips.map((skip) => `${skip.name} (${skip.reason})`).join(', ')}`);
}
if (words.length === 0 && failures === 0) checkPoorMachine();
rmSync(needsRecord, { force: true });

console.log(`${totals.get('pass')} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`);
process.exitCode = failures > 0 || failed > 0 ? 1 : 0;

/** One line to type for all that was missing: every package in one apt-get, then what no package brings. */
function remedies(): string[] {
  const packages = new Set<string>();
  const others = new Set<string>();
  for (const { reason } of skips) {
    if (!reason.startsWith(SKIP_PREFIX)) {
      others.add(reason);
      continue;
    }
    for (const step of reason.slice(reason.indexOf(':') + 2).split('; ')) {
      if (!step.startsWith('apt-get install ')) others.add(step);
      else for (const name of step.slice('apt-get install '.length).split(' ')) packages.add(name);
    }
  }
  return packages.size > 0 ? [`apt-get install ${[...packages].sort().join(' ')}`, ...others] : [...others];
}

/**
 * A machine without User-Mode Linux, tshark and the other tools must still run four fifths of the suite, a transfer through namespaces
 * among them. Every call of `needs` wrote one line, so the share can be told on a rich machine too.
 */
function checkPoorMachine(): void {
  const asked = readFileSync(needsRecord, 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => line.split(','));
  const rich = asked.filter((parts) => parts.some((part) => !PLAIN.includes(part)));
  const inNamespaces = asked.filter((parts) => parts.includes('namespaces') && !rich.includes(parts));
  if (rich.length > tests / 5) {
    failures++;
    console.log(`${rich.length} of ${tests} tests need more than root, iproute2 and Node: more than one in five`);
  }
  if (inNamespaces.length === 0) {
    failures++;
    console.log('no test in namespaces would run on a machine with only iproute2 and Node');
  }
}
