import assert from 'node:assert/strict';
import { test } from 'node:test';
import { needs } from '../needs.ts';
import { xdpHttp } from './xdp-http.ts';

test(`scaled: ${xdpHttp.claim}`, needs('root', 'namespaces', 'xdp', 'uml'), async () => {
  const { passed, figures } = await xdpHttp.run('scaled');
  assert.ok(passed, JSON.stringify(figures, null, 2));
});
