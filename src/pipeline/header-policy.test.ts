import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from '../../test/property.ts';
import { outerFields, type Policy } from '../../test/reference/header-policy.ts';
import * as policy from './header-policy.ts';
import { DEFAULT_HEADERS, type HeaderSpec, SOURCE_PORT_RULES } from './spec.ts';

const OVER4 = { family: 4, hasPorts: true, spread: 0 } as const;
const OVER6 = { family: 6, hasPorts: true, spread: 0 } as const;

const policies: fc.Arbitrary<Policy> = fc.record({
  ttl: fc.oneof(fc.constant('copy' as const), fc.integer({ min: 1, max: 255 })),
  dscp: fc.oneof(fc.constant('copy' as const), fc.integer({ min: 0, max: 63 })),
  ecn: fc.constantFrom('copy', 'zero', 'rfc3168'),
  df: fc.constantFrom('set', 'copy', 'clear'),
  identification: fc.constantFrom('fresh', 'zero'),
});

function inner4(ttl: number, trafficClass: number, dontFragment: boolean): Uint8Array {
  const bytes = new Uint8Array(20);
  bytes.set([0x45, trafficClass, 0, 20, 0, 7, dontFragment ? 0x40 : 0, 0, ttl, 6]);
  return bytes;
}

test('the default policies need nothing per packet, in either family', () => {
  assert.equal(policy.policyWord(DEFAULT_HEADERS, OVER4), 0);
  assert.equal(policy.policyWord(DEFAULT_HEADERS, OVER6), 0);
  assert.equal(policy.policyWord({ ...DEFAULT_HEADERS, ttl: 17 }, OVER4), 0, 'a fixed TTL stands in the template');
  assert.equal(policy.policyWord({ ...DEFAULT_HEADERS, df: 'clear' }, OVER6), 0, 'IPv6 has no DF');
  assert.equal(policy.policyWord({ ...DEFAULT_HEADERS, flowLabel: 'hash' }, OVER4), 0, 'IPv4 has no flow label');
  assert.equal(policy.policyWord({ ...DEFAULT_HEADERS, sourcePort: 'ipvs' }, { ...OVER4, hasPorts: false }), 0, 'no port');
});

test('a tunnel without ports has a flow label, one with ports only when told so', () => {
  const label = (flowLabel: HeaderSpec['flowLabel'], hasPorts: boolean) =>
    (policy.policyWord({ ...DEFAULT_HEADERS, flowLabel }, { ...OVER6, hasPorts }) & policy.FLOW_LABEL) !== 0;
  assert.deepEqual([label('auto', true), label('auto', false)], [false, true]);
  assert.deepEqual([label('hash', true), label('hash', false)], [true, true]);
  assert.deepEqual([label('zero', true), label('zero', false)], [false, false]);
});

test('each rule and a spread have their place in the word', () => {
  for (const [number, sourcePort] of SOURCE_PORT_RULES.entries()) {
    const word = policy.policyWord({ ...DEFAULT_HEADERS, dscp: 63, ttl: 'copy', sourcePort }, { ...OVER4, spread: 16 });
    assert.equal(policy.ruleOf(word), number);
    assert.notEqual(word & policy.SPREAD, 0);
    assert.equal(policy.trafficClassOf(word, 1), 0xfd);
  }
});

test('every policy says of every inner header what the RFCs say', () => {
  fc.assert(
    fc.property(
      policies,
      fc.constantFrom(4 as const, 6 as const),
      fc.integer({ min: 1, max: 255 }),
      fc.integer({ min: 0, max: 255 }),
      fc.boolean(),
      (wanted, family, ttl, trafficClass, dontFragment) => {
        const word = policy.policyWord({ ...DEFAULT_HEADERS, ...wanted }, { ...OVER4, family });
        const expected = outerFields(wanted, family, inner4(ttl, trafficClass, dontFragment));
        assert.equal(policy.trafficClassOf(word, trafficClass), expected.trafficClass);
        assert.equal(policy.hopsOf(word, wanted.ttl === 'copy' ? 64 : wanted.ttl, ttl), expected.ttl);
        if (family === 6) return;
        const flags = policy.flagsOf(word, dontFragment ? 0x4000 : 0);
        assert.equal(flags === 0x4000, expected.dontFragment);
        assert.equal(policy.needsIdentification(word, flags), expected.identification === null);
      },
    ),
  );
});

test('more fragments and the offset of an inner fragment stay inside', () => {
  const word = policy.policyWord({ ...DEFAULT_HEADERS, df: 'copy' }, OVER4);
  assert.equal(policy.flagsOf(word, 0x2000 | 185), 0);
  assert.equal(policy.flagsOf(word, 0xffff), 0x4000);
});

test('flow labels are 20 bits, never 0, and evenly spread over any four of them', () => {
  const buckets = new Int32Array(16);
  for (let n = 0; n < 16_000; n++) {
    const label = policy.flowLabelOf(Math.imul(n, 0x9e3779b1));
    assert.ok(label > 0 && label <= 0xfffff);
    buckets[label & 15]++;
  }
  // 1,000 expected in each: five standard deviations.
  for (const count of buckets) assert.ok(Math.abs(count - 1000) < 160, `${buckets}`);
  assert.ok(policy.flowLabelOf(0) > 0);
});
