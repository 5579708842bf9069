import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from '../../test/property.ts';
import { judge, type Member, type Verdict } from './minimum.ts';
import type { HealthSpec } from './spec.ts';

type Rules = Pick<HealthSpec, 'minimum' | 'belowMinimum'>;

/** `A` up, `a` down, `a?` down for a short time, `a*` good but held down; behind a dash those that take no new flows. */
function members(text: string): Member[] {
  const [takers, others = ''] = text.split('-');
  const some = (part: string, takesFlows: boolean) =>
    [...part.matchAll(/([a-z])([?*]?)/gi)].map(([, letter, mark]): Member => {
      const name = letter.toLowerCase();
      return { name, up: letter !== name, takesFlows, isHeld: mark === '*', isRecent: mark === '?' };
    });
  return [...some(takers, true), ...some(others, false)];
}

const NOBODY = { lastGood: new Set<string>(), isBelow: false };

/** Who serves after each of these states, in turn. */
function serving(rules: Rules, ...states: string[]): string[] {
  let before: Pick<Verdict, 'lastGood' | 'isBelow'> = NOBODY;
  return states.map((state) => {
    const verdict = judge(members(state), rules, before);
    before = verdict;
    return `${[...verdict.serving].sort().join('')}${verdict.isBelow ? '!' : ''}`;
  });
}

test('without the rule whoever is up serves', () => {
  assert.deepEqual(serving({ minimum: null, belowMinimum: 'keep' }, 'ABC', 'aBc', 'abc', 'Abc-D'), ['abc', 'b', '', 'ad']);
});

test('keep: below the minimum the last good set goes on, with whoever is good', () => {
  const keep: Rules = { minimum: { count: 2 }, belowMinimum: 'keep' };
  assert.deepEqual(serving(keep, 'ABCD', 'aBCD', 'abCD', 'abcD', 'abcd', 'Abcd', 'ABcd', 'AbcD'), [
    'abcd',
    'bcd',
    'cd',
    'cd!',
    'cd!',
    'acd!',
    'ab',
    'ad',
  ]);
});

test('keep: who is gone from the configuration is not kept; where there never were enough, whoever is up serves', () => {
  const keep: Rules = { minimum: { percent: 50 }, belowMinimum: 'keep' };
  assert.deepEqual(serving(keep, 'ABCD', 'abcd', 'bcd', 'bcdE', 'bE'), ['abcd', 'abcd!', 'bcd!', 'bcde!', 'e']);
  assert.deepEqual(serving(keep, 'abcd', 'Abcd', 'ABcd'), ['!', 'a!', 'ab']);
});

test('unready: who is bad is out', () => {
  assert.deepEqual(serving({ minimum: { percent: 75 }, belowMinimum: 'unready' }, 'ABCD', 'aBCD', 'abCD'), [
    'abcd',
    'bcd',
    'cd!',
  ]);
});

test('who takes no new flows does not count, and is not kept for its own sake', () => {
  const keep: Rules = { minimum: { percent: 100 }, belowMinimum: 'keep' };
  assert.deepEqual(serving(keep, 'AB-CD', 'AB-cD', 'aB-cd', '-C', ''), ['abcd', 'abd', 'ab!', 'c', '']);
});

test('who failed a moment ago is kept with the last one; who was down for long is not', () => {
  const keep: Rules = { minimum: { count: 1 }, belowMinimum: 'keep' };
  assert.deepEqual(serving(keep, 'ABC', 'a?BC', 'a?b?C', 'a?b?c?', 'abc', 'abC'), ['abc', 'bc', 'c', 'abc!', 'abc!', 'c']);
  assert.deepEqual(serving(keep, 'ABC', 'a?BC', 'ab?C', 'abc?'), ['abc', 'bc', 'c', 'c!']);
  // Nobody ever served, so nobody is kept for having failed just now.
  assert.deepEqual(serving(keep, 'a?b?', 'ab'), ['!', '!']);
  const unready: Rules = { minimum: { count: 1 }, belowMinimum: 'unready' };
  assert.deepEqual(serving(unready, 'ABC', 'a?b?c?'), ['abc', '!']);
});

test('who is held down for flapping serves when nobody else is up, or too few are', () => {
  const none: Rules = { minimum: null, belowMinimum: 'keep' };
  assert.deepEqual(serving(none, 'A*B', 'a*B', 'a*b', 'a*b*', 'a*B*'), ['ab', 'b', 'a', 'ab', 'b']);
  for (const belowMinimum of ['keep', 'unready'] as const) {
    const two: Rules = { minimum: { count: 2 }, belowMinimum };
    assert.deepEqual(serving(two, 'a*BC', 'a*b*C', 'a*BC-d*', 'a*b*c-d*'), ['bc', 'abc', 'bc', 'abd'], belowMinimum);
  }
  assert.deepEqual(serving({ minimum: { count: 3 }, belowMinimum: 'unready' }, 'a*BC', 'a*Bc'), ['abc', 'ab!']);
});

test('shares are rounded up', () => {
  for (const [percent, of, wanted] of [
    [50, 3, 2],
    [1, 3, 1],
    [100, 3, 3],
    [34, 3, 2],
    [33, 3, 1],
    [50, 0, 0],
  ] as const) {
    const many = members('ABC'.slice(0, of));
    assert.equal(judge(many, { minimum: { percent }, belowMinimum: 'keep' }, NOBODY).wanted, wanted, `${percent} % of ${of}`);
  }
});

test('who is up always serves; keep never leaves fewer serving than were good last, of those that are left', () => {
  const states = fc.array(fc.array(fc.boolean(), { minLength: 4, maxLength: 4 }), { minLength: 1, maxLength: 20 });
  fc.assert(
    fc.property(
      states,
      fc.integer({ min: 1, max: 4 }),
      fc.constantFrom('keep' as const, 'unready' as const),
      (ups, count, mode) => {
        let before: Pick<Verdict, 'lastGood' | 'isBelow'> = { lastGood: new Set('abcd'), isBelow: false };
        for (const up of ups) {
          const now = [...'abcd'].map((name, i) => ({ name, up: up[i], takesFlows: true }));
          const verdict = judge(now, { minimum: { count }, belowMinimum: mode }, before);
          for (const { name, up: isUp } of now) if (isUp) assert.ok(verdict.serving.has(name));
          if (mode === 'keep') assert.ok(verdict.serving.size >= Math.min(count, 4));
          else assert.equal(verdict.serving.size, up.filter(Boolean).length);
          before = verdict;
        }
      },
    ),
  );
});
