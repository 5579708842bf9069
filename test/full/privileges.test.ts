import assert from 'node:assert/strict';
import { test } from 'node:test';
import { needs } from '../needs.ts';
import { privileges } from './privileges.ts';

test(`scaled: ${privileges.claim}`, needs('root', 'namespaces', 'tun', 'systemd'), async () => {
  const { passed, figures } = await privileges.run('scaled');
  assert.ok(passed, JSON.stringify(figures, null, 2));
});
