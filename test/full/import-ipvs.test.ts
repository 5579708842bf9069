import assert from 'node:assert/strict';
import { test } from 'node:test';
import { needs } from '../needs.ts';
import { importIpvsLine } from './import-ipvs.ts';

test(`scaled: ${importIpvsLine.claim}`, needs('uml', 'ipvsadm', 'python3'), async () => {
  const { passed, figures } = await importIpvsLine.run('scaled');
  assert.ok(passed, JSON.stringify(figures, null, 2));
});
