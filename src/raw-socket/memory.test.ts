import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { adviseHugePages } from './memory.ts';

const MIB = 1024 * 1024;

test('advice to use huge pages changes no byte, and needs memory that holds a huge page', () => {
  const words = new Int32Array(new SharedArrayBuffer(8 * MIB));
  words.fill(7);
  const offered = !readFileSync('/sys/kernel/mm/transparent_hugepage/enabled', 'utf8').includes('[never]');
  if (offered) assert.equal(adviseHugePages(words), true);
  assert.ok(words.every((word) => word === 7));
  assert.equal(adviseHugePages(new Uint8Array(MIB)), false);
});
