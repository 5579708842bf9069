// docs/import.md names every code and every option that means something.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { loadText } from '../../src/config/load.ts';
import { OPTION_NAMES } from '../../src/import/ipvs-options.ts';
import { filesBelow, read } from '../rules/sources.ts';

const docs = read('docs/import.md');
const source = filesBelow('src/import', '.ts')
  .filter((path) => !path.endsWith('.test.ts'))
  .map(read)
  .join('\n');

test('codes: those of the source and those of the page are the same', () => {
  const codes = (text: string) => [...new Set(text.match(/\bGD_IMPORT_[A-Z_]+\b/g))].sort();
  assert.ok(codes(source).length > 20);
  assert.deepEqual(codes(docs), codes(source));
});

test('every option of ipvsadm that a rule may have is on the page', () => {
  const short: Record<string, string> = {
    'add-service': '-A',
    'edit-service': '-E',
    'delete-service': '-D',
    clear: '-C',
    'add-server': '-a',
    'edit-server': '-e',
    'delete-server': '-d',
    'tcp-service': '-t',
    'udp-service': '-u',
    'fwmark-service': '-f',
    scheduler: '-s',
    persistent: '-p',
    netmask: '-M',
    'sched-flags': '-b',
    'real-server': '-r',
    gatewaying: '-g',
    ipip: '-i',
    masquerading: '-m',
    weight: '-w',
    'u-threshold': '-x',
    'l-threshold': '-y',
    ops: '-o',
  };
  // Commands that are no rules, ways of printing, and the synchronisation daemon's own options.
  const none = /^(restore|save|list|zero|numeric|ipv6|stop-daemon|sync.*|mcast.*)$/;
  for (const name of OPTION_NAMES.filter((one) => !none.test(one))) {
    const word = short[name] ?? `--${name}`;
    assert.ok(new RegExp(`(?<![\\w-])${word}(?![\\w-])`).test(docs), `${word} (${name})`);
  }
});

test('check accepts the configurations in docs/migration.md', () => {
  const examples = [...read('docs/migration.md').matchAll(/^```yaml\n([\s\S]*?)^```$/gm)];
  assert.equal(examples.length, 2);
  for (const [, yaml] of examples) assert.deepEqual(loadText(yaml, 'docs/migration.md').warnings, []);
});
