// npm run test:full -- NAME…: runs lines of what the project must show at full size and writes docs/evidence/NAME.md.

import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { cpus, release } from 'node:os';
import { join, resolve } from 'node:path';
import type { Line, Outcome } from './line.ts';
import { LINES } from './lines.ts';

const root = resolve(import.meta.dirname, '../..');

function git(...args: string[]): string {
  return execFileSync('git', args, { cwd: root, encoding: 'utf8' }).trim();
}

function evidence(line: Line, outcome: Outcome, seconds: number): string {
  const changed = git('status', '--porcelain', '--', 'src', 'test', 'package-lock.json') === '' ? '' : ', with local changes';
  const processors = cpus();
  return [
    `# ${line.name}`,
    '',
    line.claim,
    '',
    `**${outcome.passed ? 'Passed' : 'FAILED'}** in ${seconds.toFixed(1)} s.`,
    '',
    `- Date: ${new Date().toISOString()}`,
    `- Commit: ${git('rev-parse', 'HEAD')}${changed}`,
    `- Machine: Linux ${release()}, Node ${process.version}, ${processors.length} × ${processors[0]?.model.trim() ?? 'unknown'}`,
    `- Again: \`npm run test:full -- ${line.name}\``,
    '',
    '| Figure | Value |',
    '|---|---|',
    ...Object.entries(outcome.figures).map(
      ([name, value]) => `| ${name} | ${String(value).replaceAll('|', '\\|').replaceAll('\n', ' ')} |`,
    ),
    '',
  ].join('\n');
}

const names = process.argv.slice(2);
if (names.length === 0 || names.includes('--list')) {
  for (const line of LINES) console.log(`${line.name.padEnd(14)} ${line.claim}`);
  if (names.length === 0) console.log('\nusage: npm run test:full -- NAME… | all');
  process.exit(names.length === 0 ? 2 : 0);
}
const chosen = names.includes('all') ? LINES : names.map((name) => LINES.find((line) => line.name === name) ?? name);
const unknown = chosen.filter((line) => typeof line === 'string');
if (unknown.length > 0) {
  console.error(`no line is called ${unknown.join(', ')}; there are ${LINES.map((line) => line.name).join(', ')}`);
  process.exit(2);
}

let failed = 0;
for (const line of chosen as Line[]) {
  console.log(`${line.name}: ${line.claim}`);
  const started = performance.now();
  let outcome: Outcome;
  try {
    outcome = await line.run('full');
  } catch (error) {
    outcome = { passed: false, figures: { error: (error as Error).stack ?? String(error) } };
  }
  const seconds = (performance.now() - started) / 1000;
  if (!outcome.passed) failed++;
  for (const [name, value] of Object.entries(outcome.figures)) console.log(`  ${name}: ${value}`);
  console.log(`  ${outcome.passed ? 'passed' : 'FAILED'} in ${seconds.toFixed(1)} s\n`);
  mkdirSync(join(root, 'docs/evidence'), { recursive: true });
  writeFileSync(join(root, 'docs/evidence', `${line.name}.md`), evidence(line, outcome, seconds));
}
console.log(`${chosen.length - failed} passed, ${failed} failed`);
process.exitCode = failed > 0 ? 1 : 0;
