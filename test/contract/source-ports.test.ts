// What is said of a way out before it is opened is what its driver says when it is: the path MTU watch believes only such ports.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type EgressSettings, openEgress } from '../../src/io/open.ts';
import { sourcePortsOf } from '../../src/io/source-ports.ts';
import { needs } from '../needs.ts';

const WAYS: readonly EgressSettings[] = [
  { driver: 'auto', sourcePortBase: 61600, sourcePorts: 8 },
  { driver: 'raw' },
  { driver: 'udp', sourcePortBase: 61500, sourcePorts: 16 },
];

for (const settings of WAYS) {
  test(`${settings.driver}: the ports that are told are the ports that are used`, needs('root'), () => {
    const egress = openEgress(settings);
    egress.close();
    const { sourcePortBase, sourcePortMask } = egress.facts;
    assert.deepEqual(sourcePortsOf(settings), { base: sourcePortBase, count: sourcePortMask + 1 });
  });
}

test('packets that go to no network have no ports', () => {
  assert.equal(sourcePortsOf({ driver: 'memory' }), null);
  assert.equal(sourcePortsOf({ driver: 'pcap-file', path: '/nowhere' }), null);
});
