import assert from 'node:assert/strict';
import { test } from 'node:test';
import { scaleServices } from './scale-services.ts';

test(`scaled: ${scaleServices.claim}`, async () => {
  const { passed, figures } = await scaleServices.run('scaled');
  assert.ok(passed, JSON.stringify(figures, null, 2));
});
