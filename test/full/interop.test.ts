import assert from 'node:assert/strict';
import { test } from 'node:test';
import { needs } from '../needs.ts';
import { interop } from './interop.ts';

test(
  'scaled: every encapsulation to a real Linux kernel, and docs/interop.md says what was found',
  needs('root', 'namespaces', 'tun', 'uml', 'python3', 'tcpdump'),
  async () => {
    const { passed, figures } = await interop.run('scaled');
    assert.ok(passed, JSON.stringify(figures, null, 2));
  },
);
