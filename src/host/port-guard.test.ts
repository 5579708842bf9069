import assert from 'node:assert/strict';
import { test } from 'node:test';
import { probePortFindings } from './port-guard.ts';

const RANGE = { base: 61_424, count: 16 };

test('ports outside the ephemeral range, or reserved in it, are nothing to speak of', () => {
  assert.deepEqual(probePortFindings(RANGE, '32768\t60999', ''), []);
  assert.deepEqual(probePortFindings(RANGE, null, null), []);
  assert.deepEqual(probePortFindings(RANGE, '1024\t65535', '8080,61424-61439'), []);
  assert.deepEqual(probePortFindings(RANGE, '1024\t65535', '61400-61430,61431-61500'), []);
  assert.deepEqual(probePortFindings(RANGE, '61440\t65535', null), []);
});

test('others are named with the command that reserves them, and what is reserved stays so', () => {
  const [finding] = probePortFindings(RANGE, '1024\t65535', '8080,61424-61438');
  assert.equal(finding.id, 'probe-ports-not-reserved');
  assert.match(finding.text, /61424-61439.*1024-65535/);
  assert.equal(finding.fix, 'sysctl -w net.ipv4.ip_local_reserved_ports=8080,61424-61438,61424-61439');
  assert.equal(
    probePortFindings({ base: 40000, count: 1 }, '32768 60999', '')[0].fix,
    'sysctl -w net.ipv4.ip_local_reserved_ports=40000',
  );
});
