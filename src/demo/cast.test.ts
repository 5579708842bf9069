import assert from 'node:assert/strict';
import { test } from 'node:test';
import { loaderArguments } from './cast.ts';

test('a child gets the loader and nothing else of what this process was given', () => {
  assert.deepEqual(loaderArguments(['--report-signal=SIGUSR2', '--import=tsx', '--test-timeout=5']), ['--import=tsx']);
  assert.deepEqual(loaderArguments(['--import', 'tsx', '--test']), ['--import', 'tsx']);
  assert.deepEqual(loaderArguments([]), []);
});
