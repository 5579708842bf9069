import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Report } from '../../doctor/finding.ts';
import { doctorText } from './doctor.ts';
import { paintFor } from './paint.ts';

test('of many findings alike three are printed and the rest are counted, so that another is on the same page', () => {
  const alike = Array.from({ length: 50 }, (_, i) => ({
    id: 'backend-unreachable',
    level: 'warning' as const,
    text: `there is no way to backend web/w${i}`,
    fix: `ip route get 10.0.0.${i}`,
    checked: 'routes',
  }));
  const other = { id: 'gro-off', level: 'info' as const, text: 'eth0 does not merge', fix: '', checked: 'offloads' };
  const report: Report = { host: 'director', worst: 'warning', findings: [...alike, other] };
  const lines = doctorText(report, paintFor({ isTTY: false }, {}))
    .trimEnd()
    .split('\n');
  assert.equal(lines[0], 'this director is not at its best: 50 warnings, 0 of 1 areas good');
  assert.equal(lines.filter((line) => line.includes('there is no way')).length, 3);
  assert.deepEqual(
    lines.slice(-2).map((line) => line.trim()),
    ['and 47 more of these [backend-unreachable]; --json has all', 'info     eth0 does not merge [gro-off]'],
  );
});
