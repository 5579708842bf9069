// Runs alone (test/run.ts): it measures what the machine gives it.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { needs } from '../needs.ts';
import { bulk } from './bulk.ts';

const parts = needs('root', 'namespaces', 'tun', 'iperf3', 'haproxy', 'cc');

test('scaled: every contender of "npm run bench -- bulk" moves data, and no packet is lost', parts, async () => {
  const { passed, figures } = await bulk.run('scaled');
  assert.ok(passed, JSON.stringify(figures, null, 2));
  for (const contender of ['director, udp', 'floor in C', 'HAProxy', 'plain forwarding']) {
    assert.ok(`1 × TCP, ${contender}: Gbit/s, median (least–most)` in figures, `${contender} did not take part`);
  }
});
