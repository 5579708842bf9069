import assert from 'node:assert/strict';
import { test } from 'node:test';
import { attempt } from './attempt.ts';

test("a worker's words come without control characters, and not at any length", async () => {
  const signal = new AbortController().signal;
  const said = (detail: string) =>
    attempt({ timeoutMs: 1000, signal }, (end) => {
      end(false, detail);
      return () => {};
    });
  assert.equal(
    (await said('certificate refused: CN=evil\x1b[2J\u202ex\n')).detail,
    'certificate refused: CN=evil\ufffd[2J\ufffdx\ufffd',
  );
  assert.equal((await said('x'.repeat(100_000))).detail.length, 200);
  assert.equal((await said('Zertifikat gültig für “web”')).detail, 'Zertifikat gültig für “web”');
});
