import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createBank, DROPS_AT } from '../base/counters.ts';
import { dropReason } from '../base/drop-reason.ts';
import { DropWatch } from './drop-summary.ts';

test('only what rose since the last look, over all threads; ordinary reasons do not warn', () => {
  const banks = [createBank(), createBank()];
  const watch = new DropWatch();
  assert.equal(watch.look(banks), null);
  banks[0][DROPS_AT + dropReason('not-a-service')] = 2;
  banks[1][DROPS_AT + dropReason('not-a-service')] = 3;
  assert.deepEqual(watch.look(banks), { level: 'info', reasons: { 'not-a-service': 5 } });
  assert.equal(watch.look(banks), null);
  banks[1][DROPS_AT + dropReason('send-unreachable')] = 1;
  assert.deepEqual(watch.look(banks), { level: 'warn', reasons: { 'send-unreachable': 1 } });
});
