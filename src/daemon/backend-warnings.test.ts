import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { StatusBackend, StatusHealth } from '../admin/status.ts';
import { backendWarnings } from './backend-warnings.ts';

const counts = { port: 0, protocol: 0, host: 3, net: 0, prohibited: 0 };
const said = (last: string | null, age: number | null): StatusBackend['unreachable'] => ({ ...counts, last, age });
const health = (more: Partial<StatusHealth>): StatusHealth => ({
  up: true,
  serves: true,
  share: 1,
  age: 10,
  heldFor: 0,
  penalty: 0,
  checks: [],
  ...more,
});
const check = { check: 'http:80', good: true, contrary: 0, detail: 'HTTP 200', milliseconds: 1, age: 1 };

test('a backend about which nothing is known has no warning, nor has a good one', () => {
  assert.deepEqual(backendWarnings({ unreachable: null, health: null }), []);
  assert.deepEqual(backendWarnings({ unreachable: said(null, null), health: health({ checks: [check] }) }), []);
});

test('what ICMP said lately, and checks that fail', () => {
  assert.deepEqual(backendWarnings({ unreachable: said('host', 4), health: null }), [
    'packets to it did not arrive: ICMP said "host unreachable" 4 s ago',
  ]);
  assert.deepEqual(backendWarnings({ unreachable: said('host', 601), health: null }), []);
  const bad = { ...check, good: false, detail: 'connection refused' };
  const turning = { ...check, check: 'icmp', contrary: 1, detail: 'no answer' };
  assert.deepEqual(backendWarnings({ unreachable: null, health: health({ up: false, checks: [bad, turning] }) }), [
    'its check http:80 is bad: connection refused',
    'its check icmp has failed once: no answer',
    'its checks are bad; it serves because too few others are good',
  ]);
});
