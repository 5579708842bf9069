// The word of a drop reason is an anchor in docs/drop-reasons.md: table and page may not drift apart.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DROP_REASONS } from '../../src/base/drop-reason.ts';
import { read } from './sources.ts';

/** Sections of the page: heading word → text below it. */
function sections(page: string): Map<string, string> {
  const found = new Map<string, string>();
  for (const part of page.split(/^## /m).slice(1)) {
    const end = part.indexOf('\n');
    found.set(part.slice(0, end).trim(), part.slice(end + 1).trim());
  }
  return found;
}

const words = DROP_REASONS.map((entry) => entry.word).filter((word) => word !== 'none');

test('every drop reason is explained: meaning, causes, next command', () => {
  const page = sections(read('docs/drop-reasons.md'));
  for (const word of words) {
    const text = page.get(word);
    assert.ok(text !== undefined, `docs/drop-reasons.md has no heading "## ${word}"`);
    for (const part of ['**Meaning.**', '**Causes.**', '**Next.**']) assert.ok(text.includes(part), `${word}: no ${part}`);
    assert.match(text.slice(text.indexOf('**Next.**')), /`[^`]+`|```/, `${word}: the next step names no command or key`);
  }
});

test('the page explains no reason that does not exist', () => {
  const known = new Set<string>(words);
  const strangers = [...sections(read('docs/drop-reasons.md')).keys()].filter((word) => !known.has(word));
  assert.deepEqual(strangers, []);
});

test('reasons are words for metric labels, each once', () => {
  assert.equal(new Set(words).size, words.length);
  for (const word of words) assert.match(word, /^[a-z0-9]+(-[a-z0-9]+)*$/);
});
