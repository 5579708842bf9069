import assert from 'node:assert/strict';
import { test } from 'node:test';
import { needs } from '../needs.ts';
import { umlInterop } from './uml-interop.ts';

test(
  'scaled: HTTP through the director to a real Linux kernel',
  needs('root', 'namespaces', 'tun', 'uml', 'ethtool', 'tcpdump'),
  async () => {
    const { passed, figures } = await umlInterop.run('scaled');
    assert.ok(passed, JSON.stringify(figures, null, 2));
  },
);
