import assert from 'node:assert/strict';
import { test } from 'node:test';
import { needs } from '../needs.ts';
import { ipvsBytes } from './ipvs-bytes.ts';

test(`scaled: ${ipvsBytes.claim}`, needs('root', 'uml', 'ipvsadm', 'python3'), async () => {
  const { passed, figures } = await ipvsBytes.run('scaled');
  assert.ok(passed, JSON.stringify(figures, null, 2));
});
