import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from '../../test/property.ts';
import { type HistoryRun, standingAfter } from '../../test/reference/health.ts';
import { decayed, releasedAt } from './damping.ts';
import type { DampingSpec } from './spec.ts';
import { newCheck, newStanding, Standing, type StandingChange, type StandingRules } from './standing.ts';

const RULES: StandingRules = { rise: 2, fall: 3, initial: 'up', damping: null, slowStart: 0 };
const DAMPING: DampingSpec = { halfLife: 60, suppress: 3, reuse: 1, longest: 300 };

function standing(change: Partial<StandingRules> = {}, checks = 1, options = {}): Standing {
  const rules = { ...RULES, ...change };
  return new Standing(rules, newStanding(rules, checks, 0), options);
}

/** One run a second from `at` on: `+` good, `-` bad. Returns the changes as words. */
function run(one: Standing, runs: string, at: number, check = 0): string[] {
  return [...runs].flatMap((sign, i) => words(one.ran(check, outcome(sign === '+'), at + i), at + i));
}

const outcome = (ok: boolean) => ({ ok, detail: ok ? 'fine' : 'broken', milliseconds: 1 });

function words(changes: readonly StandingChange[], at: number): string[] {
  return changes.map((change) => `${change.to}@${at}`);
}

test('rise and fall count runs in a row', () => {
  const one = standing();
  assert.deepEqual(run(one, '--+--+---', 1), ['down@9']);
  assert.deepEqual(run(one, '+-+-++', 10), ['up@15']);
  assert.equal(one.up, true);
});

test('down says which check failed and why', () => {
  const one = standing({}, 2);
  run(one, '+++', 1, 0);
  assert.deepEqual(
    [1, 2, 3].flatMap((at) => one.ran(1, outcome(false), at)),
    [{ to: 'down', check: 1, detail: 'broken' }],
  );
  // The other one goes bad as well: no further change, and both must be good again.
  assert.deepEqual(run(one, '---', 4, 0), []);
  assert.deepEqual(run(one, '++', 7, 1), []);
  assert.deepEqual(run(one, '++', 9, 0), ['up@10']);
});

test('initial down: the first good run proves a backend, but not after a bad one', () => {
  const fresh = standing({ initial: 'down' });
  assert.equal(fresh.up, false);
  assert.deepEqual(run(fresh, '+', 1), ['up@1']);
  const bad = standing({ initial: 'down' });
  assert.deepEqual(run(bad, '-++', 1), ['up@3']);
  const two = standing({ initial: 'down' }, 2);
  assert.deepEqual([...run(two, '+', 1, 0), ...run(two, '+', 2, 1)], ['up@2']);
});

test('doubt: one bad run is enough, a good one clears it', () => {
  const one = standing();
  one.doubt(0);
  assert.deepEqual(run(one, '+--', 1), []);
  one.doubt(0);
  assert.deepEqual(run(one, '-', 4), ['down@4']);
  // Of one that is bad there is nothing to doubt: its rise is as before.
  one.doubt(0);
  assert.deepEqual(run(one, '++', 5), ['up@6']);
});

test('slow start: ten steps, each at its time, from the second time up on', () => {
  const one = standing({ slowStart: 10, rise: 1, fall: 1 });
  assert.equal(one.share(0), 1);
  run(one, '-+', 99);
  assert.equal(one.nextTick(100), 101);
  const shares: number[] = [];
  for (let now = 100; now !== Number.POSITIVE_INFINITY; now = one.nextTick(now)) {
    one.tick(now);
    shares.push(one.share(now));
  }
  assert.deepEqual(shares, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1]);
  assert.equal(one.state.starting, false);
  // Down while it starts: anew.
  run(one, '-', 200);
  assert.equal(one.share(200), 0);
  run(one, '+', 201);
  run(one, '-+', 205);
  assert.equal(one.share(206), 0.1);
  const first = standing({ slowStart: 10, initial: 'down' });
  run(first, '+', 1);
  assert.equal(first.share(1), 1, 'everybody comes at once');
  const late = standing({ slowStart: 10, initial: 'down' }, 1, { slowFirst: true });
  run(late, '+', 1);
  assert.equal(late.share(1), 0.1, 'others serve already');
});

test('one that flaps is held, and let go by time alone', () => {
  const one = standing({ rise: 1, fall: 1, damping: DAMPING });
  assert.deepEqual(run(one, '-+-+', 1), ['down@1', 'up@2', 'down@3', 'up@4']);
  // 1 + 2^(-2/60) + 2^(-4/60) is below 3; a fourth time is not.
  assert.deepEqual(run(one, '-+', 5), ['down@5', 'up@6']);
  assert.deepEqual(run(one, '-+', 7), ['down@7', 'held@8']);
  assert.equal(one.good, true);
  const until = one.nextTick(8);
  assert.ok(Math.abs(decayed(one.state.penalty, DAMPING, until) - 1) < 1e-9);
  assert.ok(until > 7 + 60 * Math.log2(3) && until < 7 + 60 * 2, `${until}`);
  assert.deepEqual(one.tick(until - 0.01), [], 'told once');
  assert.deepEqual(words(one.tick(until), 0), ['up@0']);
  // It flaps while it is held: the hold begins anew, and is told anew.
  const again = standing({ rise: 1, fall: 1, damping: DAMPING });
  assert.deepEqual(run(again, '-+-+-+-+', 1).at(-1), 'held@8');
  assert.deepEqual(run(again, '-+', 30), ['held@31']);
  assert.ok(again.nextTick(31) > until);
});

test('nobody is held longer than the longest hold', () => {
  const one = standing({ rise: 1, fall: 1, damping: { ...DAMPING, longest: 20 } });
  run(one, '-+'.repeat(50), 0);
  assert.equal(one.nextTick(99), 98 + 20);
  assert.deepEqual(words(one.tick(118), 118), ['up@118']);
  assert.equal(releasedAt({ value: 5, at: 3, held: false }, DAMPING), 3);
});

test('a reload: kept checks keep what they know, a new one begins as the backend stands', () => {
  const one = standing({}, 2);
  run(one, '---', 1, 1);
  assert.equal(one.up, false);
  const [good, bad] = one.state.checks;
  // The bad one is taken away.
  assert.deepEqual(words(one.change(RULES, [good, newCheck(true)], 10), 10), ['up@10']);
  assert.deepEqual(words(one.change({ ...RULES, initial: 'down' }, [bad], 11), 11), ['down@11']);
});

test('state machine and slow twin agree after every run', () => {
  const history = fc.array(fc.record({ gap: fc.integer({ min: 0, max: 40 }), check: fc.nat({ max: 2 }), ok: fc.boolean() }), {
    maxLength: 60,
  });
  const rules = fc.record({
    rise: fc.integer({ min: 1, max: 3 }),
    fall: fc.integer({ min: 1, max: 3 }),
    initial: fc.constantFrom('up' as const, 'down' as const),
    damping: fc.option(
      fc.record({
        halfLife: fc.integer({ min: 5, max: 100 }),
        suppress: fc.constantFrom(1.5, 2, 3),
        reuse: fc.constantFrom(0.5, 1),
        longest: fc.constantFrom(15, 100, 10_000),
      }),
    ),
  });
  fc.assert(
    fc.property(history, rules, fc.integer({ min: 1, max: 3 }), (steps, drawn, checks) => {
      const one = standing({ ...drawn, slowStart: 0 }, checks);
      const runs: HistoryRun[] = [];
      let now = 1;
      for (const { gap, check, ok } of steps) {
        now += gap + 0.37;
        // What only time changes happens before the run, as the timer of the monitor has it.
        one.tick(now);
        runs.push({ at: now, check: check % checks, ok });
        one.ran(check % checks, outcome(ok), now);
        one.tick(now);
        const twin = standingAfter(runs, checks, drawn, now);
        assert.deepEqual(
          one.state.checks.map(({ good }) => good),
          twin.good,
        );
        assert.ok(Math.abs(one.penalty(now) - twin.penalty) < 1e-9);
        assert.equal(one.up, twin.up);
        const next = one.nextTick(now);
        if (next === Number.POSITIVE_INFINITY) continue;
        assert.equal(standingAfter(runs, checks, drawn, next - 0.01).up, false);
        assert.equal(standingAfter(runs, checks, drawn, next + 0.01).up, one.good);
      }
    }),
    { numRuns: 300 },
  );
});
