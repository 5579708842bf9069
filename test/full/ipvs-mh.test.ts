import assert from 'node:assert/strict';
import { test } from 'node:test';
import { needs } from '../needs.ts';
import { ipvsMh } from './ipvs-mh.ts';

test(`scaled: ${ipvsMh.claim}`, needs('uml', 'ipvsadm', 'python3'), async () => {
  const { passed, figures } = await ipvsMh.run('scaled');
  assert.ok(passed, JSON.stringify(figures, null, 2));
});
