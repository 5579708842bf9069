// docs/troubleshooting.md and the broken labs are one list.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { read } from '../../rules/sources.ts';
import { BROKEN_LABS } from './index.ts';
import { COLUMNS, firstScreen, fixOf, ROWS } from './screen.ts';

const rows = read('docs/troubleshooting.md')
  .split('\n')
  .filter((line) => line.startsWith('| ') && !line.startsWith('| Cause'));

test('each broken lab has its row in docs/troubleshooting.md, with its command and its finding, and no row is of anything else', () => {
  assert.deepEqual(rows.map((row) => row.split('|')[1].trim()).sort(), BROKEN_LABS.map(({ cause }) => cause).sort());
  for (const { cause, finding, at, command } of BROKEN_LABS) {
    const row = rows.find((line) => line.startsWith(`| ${cause} |`)) ?? '';
    const lab = { file: 'director.yaml', lab: { client: {} } };
    const [word, flag] = command(lab as never);
    const typed = flag === '--worker' ? 'gue-director doctor --worker --config director.yaml' : `gue-director ${word}`;
    assert.ok(row.includes(`\`${typed}`), `${cause}: ${typed}`);
    assert.ok(row.includes(at === 'director' ? '| director |' : '| worker |'), `${cause}: ${at}`);
    for (const part of finding.split(' … ')) assert.ok(row.includes(part), `${cause}: ${part}`);
  }
});

test('a first screen has 24 rows of 80 columns, and a longer line takes several of them', () => {
  const long = 'x'.repeat(COLUMNS * 2 + 1);
  assert.equal(firstScreen(`${long}\n`.repeat(10)), `${`${long}\n`.repeat(ROWS / 3)}`);
  assert.equal(firstScreen(`a\n\n${'y'.repeat(COLUMNS * 40)}`), `a\n\n${'y'.repeat(COLUMNS * (ROWS - 2))}`);
  assert.equal(fixOf('error    this [that]\n         fix: rm it\nerror    none [no]\nok       fine [well]\n', 'that'), 'rm it');
  assert.equal(fixOf('error    none [no]\nok       fine [well]\n', 'no'), null);
});
