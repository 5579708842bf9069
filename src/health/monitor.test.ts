import assert from 'node:assert/strict';
import { test } from 'node:test';
import { drawn, ManualTiming } from '../../test/reference/manual-timing.ts';
import { readExported } from './exported.ts';
import { type HealthEvent, HealthMonitor, type MonitoredPool } from './monitor.ts';
import type { ProbeOutcome } from './probe.ts';
import type { CheckSpec, HealthSpec } from './spec.ts';

const TCP = (port: number): CheckSpec => ({ type: 'tcp', port, send: null, expect: null });
const TUNNEL: CheckSpec = { type: 'tunnel', address: null, port: null };
const HEALTH: HealthSpec = {
  checks: [TCP(80)],
  interval: 2,
  timeout: 1,
  rise: 2,
  fall: 3,
  jitter: 0,
  initial: 'up',
  damping: null,
  slowStart: 0,
  minimum: null,
  belowMinimum: 'keep',
  whenDown: 'move',
  portUnreachable: 'fail',
};

function pool(name: string, backends: readonly string[], health: Partial<HealthSpec> = {}): MonitoredPool {
  const tunnel = { encapsulation: 'gue', port: 6080, source4: null, source6: null, checksum: 'auto' } as const;
  return {
    name,
    health: { ...HEALTH, ...health },
    backends: backends.map((text, i) => {
      const [backend, last = String(i + 1)] = text.split('@');
      const address = Uint8Array.of(192, 0, 2, Number(last));
      return {
        target: { pool: name, backend: { name: backend, address, weight: 1, state: 'active' }, tunnel, services: [] },
        takesFlows: true,
      };
    }),
  };
}

/** A monitor whose workers do what `says` says of them: `w1` or `w1 80` → good, a sentence, or nothing at all. */
function monitor(timing = new ManualTiming()) {
  const says = new Map<string, boolean | string | Error | 'silence'>();
  const events: string[] = [];
  const shares: string[] = [];
  const asked: string[] = [];
  let open = 0;
  const watcher = new HealthMonitor({
    timing,
    resources: { ping: () => assert.fail(), tunnel: () => assert.fail() },
    createProbe: (check) => ({
      probe: ({ backend: { name } }, _, signal) => {
        const label = check.type === 'tcp' ? `${name} ${check.port}` : `${name} ${check.type}`;
        asked.push(label);
        const answer = says.get(label) ?? says.get(name) ?? true;
        if (answer instanceof Error) return Promise.reject(answer);
        open++;
        return new Promise<ProbeOutcome>((resolve) => {
          let over = false;
          const end = (ok: boolean, detail: string) => {
            if (over) return;
            over = true;
            open--;
            resolve({ ok, detail, milliseconds: 10 });
          };
          signal.addEventListener('abort', () => end(false, 'ended'), { once: true });
          if (answer !== 'silence') timing.after(0.01, () => end(answer === true, answer === true ? 'fine' : String(answer)));
        });
      },
    }),
    changed: (all) => shares.push(all.map(({ backend, serves, share }) => `${backend}:${serves ? share : 'out'}`).join(' ')),
    tell: (event) => events.push(`${(timing.now() - 1000).toFixed(1)} ${wordsOf(event)}`),
  });
  return { watcher, timing, says, events, shares, asked, open: () => open };
}

function wordsOf(event: HealthEvent): string {
  if (event.kind === 'minimum') return `minimum ${event.pool.good}/${event.pool.wanted} kept ${event.kept.join()}`;
  const detail = event.kind === 'down' ? ` ${event.check}: ${event.detail}` : event.kind === 'failed' ? ` ${event.check}` : '';
  return `${event.kind} ${event.backend.name}${detail}`;
}

const untimed = (events: readonly string[]) => events.map((text) => text.replace(/^\S+ /, ''));

test('a worker that fails is out after fall runs, a silent one a timeout later; both come back', async () => {
  const { watcher, timing, says, events, shares } = monitor();
  watcher.follow([pool('a', ['w1', 'w2', 'w3'])]);
  await timing.pass(10);
  assert.deepEqual([events, shares], [[], ['w1:1 w2:1 w3:1']]);
  says.set('w1', 'connection refused').set('w2', 'silence');
  await timing.pass(3 * 2 + 1 + 0.5);
  assert.deepEqual(untimed(events), ['down w1 tcp:80: connection refused', 'down w2 tcp:80: no answer within 1 s']);
  assert.equal(shares.at(-1), 'w1:out w2:out w3:1');
  says.clear();
  await timing.pass(2 * 2 + 0.5);
  assert.deepEqual(untimed(events).slice(2).sort(), ['up w1', 'up w2']);
  assert.equal(shares.at(-1), 'w1:1 w2:1 w3:1');
  watcher.close();
});

test('found within fall × interval + timeout, whenever it fails', async () => {
  for (let phase = 0; phase < 2; phase += 0.15) {
    const timing = new ManualTiming(1000, drawn(7));
    const { watcher, says, events } = monitor(timing);
    watcher.follow([pool('a', ['w1', 'w2'], { jitter: 0.3 })]);
    await timing.pass(6 + phase);
    says.set('w1', 'silence');
    // The backstop of a probe that does not keep its time adds a quarter of a second.
    await timing.pass(3 * 2 + 1 + 0.25 + 0.01);
    assert.deepEqual(untimed(events), ['down w1 tcp:80: no answer within 1 s'], `phase ${phase}`);
    watcher.close();
  }
});

test('a fault of our own says nothing about the worker', async () => {
  const { watcher, timing, says, events, shares } = monitor();
  says.set('w1', new Error('EMFILE'));
  watcher.follow([pool('a', ['w1'])]);
  await timing.pass(20);
  assert.ok(events.length > 5);
  assert.deepEqual(new Set(untimed(events)), new Set(['failed w1 tcp:80']));
  assert.deepEqual(shares, ['w1:1']);
  const [{ checks }] = watcher.report().backends;
  assert.deepEqual([checks[0].counts.good, checks[0].counts.bad, checks[0].last], [0, 0, null]);
  assert.equal(checks[0].counts.failed, events.length);
});

test('port unreachable: doubt is settled by the tunnel check at once, and harms nobody alone', async () => {
  const { watcher, timing, says, events, asked } = monitor();
  watcher.follow([pool('a', ['w1'], { checks: [TCP(80), TUNNEL], interval: 60 })]);
  await timing.pass(10);
  asked.length = 0;
  // What was counted before we looked is no news.
  watcher.hear('a', 'w1', 40);
  watcher.hear('a', 'w1', 41);
  await timing.pass(1);
  assert.deepEqual(asked, []);
  watcher.hear('a', 'w1', 42);
  await timing.pass(1);
  assert.deepEqual([asked, events], [['w1 tunnel'], []]);
  says.set('w1 tunnel', 'port unreachable');
  watcher.hear('a', 'w1', 50);
  await timing.pass(1);
  assert.deepEqual(asked, ['w1 tunnel'], 'once in an interval');
  await timing.pass(60);
  watcher.hear('a', 'w1', 60);
  watcher.hear('a', 'nobody', 1);
  watcher.hear('b', 'w1', 1);
  await timing.pass(30);
  assert.deepEqual(untimed(events), ['down w1 tunnel: port unreachable']);
  const ignoring = monitor();
  ignoring.watcher.follow([pool('a', ['w1'], { portUnreachable: 'ignore', interval: 60 })]);
  await ignoring.timing.pass(10);
  ignoring.watcher.hear('a', 'w1', 0);
  ignoring.watcher.hear('a', 'w1', 9);
  await ignoring.timing.pass(10);
  assert.deepEqual(ignoring.asked, ['w1 80']);
});

test('slow start and damping happen by time alone', async () => {
  const { watcher, timing, says, events, shares } = monitor();
  const damping = { halfLife: 60, suppress: 1.5, reuse: 1, longest: 300 };
  watcher.follow([pool('a', ['w1', 'w2'], { slowStart: 10, rise: 1, fall: 1, damping })]);
  await timing.pass(3);
  for (let i = 0; i < 2; i++) {
    says.set('w1', 'broken');
    await timing.pass(2);
    says.clear();
    await timing.pass(2);
  }
  assert.deepEqual(untimed(events), ['down w1 tcp:80: broken', 'up w1', 'down w1 tcp:80: broken', 'held w1']);
  const [report] = watcher.report().backends;
  assert.ok(!report.serves && report.heldFor > 50 && report.heldFor < 60, `${report.heldFor}`);
  assert.deepEqual(shares.splice(0), ['w1:1 w2:1', 'w1:out w2:1', 'w1:0.1 w2:1', 'w1:0.2 w2:1', 'w1:0.3 w2:1', 'w1:out w2:1']);
  await timing.pass(report.heldFor + 0.1);
  assert.equal(untimed(events).at(-1), 'up w1');
  await timing.pass(10);
  assert.deepEqual(
    shares.map((text) => text.split(' ')[0]),
    ['0.1', '0.2', '0.3', '0.4', '0.5', '0.6', '0.7', '0.8', '0.9', '1'].map((share) => `w1:${share}`),
  );
  watcher.close();
  assert.equal(timing.pending, 0);
});

test('the minimum keeps the last good set', async () => {
  const { watcher, timing, says, events, shares } = monitor();
  watcher.follow([pool('a', ['w1', 'w2', 'w3'], { minimum: { percent: 50 } })]);
  await timing.pass(3);
  says.set('w1', 'broken');
  await timing.pass(8 + 60);
  says.set('w2', 'broken');
  await timing.pass(8);
  says.set('w3', 'broken');
  await timing.pass(8);
  assert.deepEqual(untimed(events), [
    'down w1 tcp:80: broken',
    'down w2 tcp:80: broken',
    'minimum 1/2 kept w2',
    'down w3 tcp:80: broken',
  ]);
  assert.deepEqual(shares.slice(1), ['w1:out w2:1 w3:1']);
  says.clear();
  await timing.pass(8);
  assert.ok(untimed(events).includes('minimum 2/2 kept '));
  assert.equal(shares.at(-1), 'w1:1 w2:1 w3:1');
});

test('of workers that fail together none is left with the load of all', async () => {
  const { watcher, timing, says, events, shares } = monitor();
  watcher.follow([pool('a', ['w1', 'w2', 'w3'], { minimum: { count: 1 } })]);
  await timing.pass(3);
  for (const name of ['w1', 'w2', 'w3']) says.set(name, 'broken');
  await timing.pass(200);
  assert.equal(untimed(events).at(-1), 'minimum 0/1 kept w1,w2,w3');
  assert.equal(shares.at(-1), 'w1:1 w2:1 w3:1');
});

test('initial: down: before everybody was asked it is no news that nobody is good; then it is', async () => {
  const { watcher, timing, says, events, shares } = monitor();
  const rules = { initial: 'down', minimum: { count: 1 } } as const;
  watcher.follow([pool('a', ['w1', 'w2'], rules)]);
  assert.deepEqual([events, shares], [[], ['w1:out w2:out']]);
  await timing.pass(3);
  assert.deepEqual(untimed(events), ['up w1', 'up w2']);
  says.set('x1', 'broken').set('x2', 'broken');
  watcher.follow([pool('b', ['x1', 'x2'], rules)]);
  await timing.pass(1.2);
  assert.equal(events.length, 2, 'x2 was not asked yet');
  await timing.pass(8);
  assert.deepEqual(untimed(events).slice(2), ['minimum 0/1 kept ']);
});

test('who is good and only held for flapping serves while nobody else does', async () => {
  const { watcher, timing, says, events, shares } = monitor();
  const damping = { halfLife: 600, suppress: 1.5, reuse: 1, longest: 3000 };
  watcher.follow([pool('a', ['w1', 'w2'], { rise: 1, fall: 1, damping })]);
  await timing.pass(3);
  for (let i = 0; i < 2; i++) {
    says.set('w1', 'broken');
    await timing.pass(2);
    says.clear();
    await timing.pass(2);
  }
  assert.deepEqual([untimed(events).at(-1), shares.at(-1)], ['held w1', 'w1:out w2:1']);
  says.set('w2', 'broken');
  await timing.pass(3);
  assert.equal(shares.at(-1), 'w1:1 w2:out');
  says.set('w1', 'broken');
  await timing.pass(3);
  assert.equal(shares.at(-1), 'w1:out w2:out');
  says.clear();
  await timing.pass(3);
  assert.equal(shares.at(-1), 'w1:out w2:1', 'w1 is held still');
});

test('when-down: keep-flows is said of whoever does not serve, and of nobody else', async () => {
  const { watcher, timing, says } = monitor();
  watcher.follow([pool('a', ['w1', 'w2'], { whenDown: 'keep-flows' }), pool('b', ['w1'])]);
  says.set('w1', 'broken');
  await timing.pass(10);
  assert.deepEqual(
    watcher.shares().map(({ pool: name, backend, serves, keepsFlows }) => [name, backend, serves, keepsFlows]),
    [
      ['a', 'w1', false, true],
      ['a', 'w2', true, false],
      ['b', 'w1', false, false],
    ],
  );
});

test('a reload keeps what stays, forgets what goes, and leaves no run behind', async () => {
  const { watcher, timing, says, events, shares, asked, open } = monitor();
  const a = (backends: string[], health: Partial<HealthSpec> = {}) => pool('a', backends, health);
  watcher.follow([a(['w1', 'w2'])]);
  says.set('w1', 'broken').set('w2', 'silence');
  await timing.pass(10);
  assert.equal(shares.at(-1), 'w1:out w2:out');
  // w1 stays down under other times and with one check more; w2 is another backend now; w3 is new.
  says.set('w2', true);
  watcher.follow([a(['w1', 'w2@77', 'w3'], { interval: 1, timeout: 0.5, checks: [TCP(81), TCP(80)] }), pool('b', ['x1'])]);
  assert.equal(shares.at(-1), 'w1:out w2:1 w3:1 x1:1');
  events.length = 0;
  says.set('w1 81', true);
  await timing.pass(10);
  assert.deepEqual(events, []);
  says.clear();
  await timing.pass(2.5);
  assert.deepEqual(untimed(events), ['up w1']);
  const [w1] = watcher.report().backends;
  assert.deepEqual(
    w1.checks.map(({ check, good }) => [check, good]),
    [
      ['tcp:81', true],
      ['tcp:80', true],
    ],
  );
  assert.ok(w1.checks[1].counts.bad > w1.checks[0].counts.bad, 'counts go on');
  watcher.follow([pool('b', ['x1'])]);
  await timing.pass(2);
  asked.length = 0;
  await timing.pass(5);
  assert.deepEqual(new Set(asked), new Set(['x1 80']));
  says.set('x1', 'silence');
  await timing.pass(2.1);
  watcher.follow([]);
  await timing.pass(5);
  assert.deepEqual([open(), timing.pending, shares.at(-1)], [0, 0, '']);
});

test('state goes through JSON into another monitor, for what is the same there', async () => {
  const { watcher, timing, says } = monitor();
  const damping = { halfLife: 60, suppress: 1.5, reuse: 1, longest: 300 };
  const rules = { checks: [TCP(80), TCP(81)], rise: 1, fall: 1, damping, minimum: { count: 1 } };
  watcher.follow([pool('a', ['w1', 'w2', 'w3'], rules)]);
  await timing.pass(3);
  says.set('w1 81', 'broken').set('w2', 'broken');
  await timing.pass(3);
  const state = readExported(JSON.parse(JSON.stringify(watcher.exportState())));
  assert.ok(state !== null);
  watcher.close();

  const next = monitor(timing);
  next.watcher.restore(state);
  next.watcher.follow([pool('a', ['w1', 'w2@99', 'w3'], rules)]);
  // w2 has another address.
  assert.deepEqual(next.shares, ['w1:out w2:1 w3:1']);
  const [w1] = next.watcher.report().backends;
  assert.deepEqual(
    w1.checks.map(({ good, last }) => [good, last?.detail]),
    [
      [true, 'fine'],
      [false, 'broken'],
    ],
  );
  assert.ok(w1.penalty > 0.9);
  // Without the check that failed it would serve.
  const third = monitor(timing);
  third.watcher.restore(state);
  third.watcher.follow([pool('a', ['w1', 'w2', 'w3'], { ...rules, checks: [TCP(80)] })]);
  assert.equal(third.shares.at(-1), 'w1:1 w2:out w3:1');
});

test('what is no state is refused', () => {
  const { watcher } = monitor();
  watcher.follow([pool('a', ['w1'])]);
  const state = JSON.parse(JSON.stringify(watcher.exportState()));
  assert.deepEqual(readExported(state), state);
  const wrong: ((copy: typeof state) => void)[] = [
    (copy) => (copy.version = 2),
    (copy) => (copy.savedAt = 'now'),
    (copy) => (copy.pools = {}),
    (copy) => (copy.pools[0].lastGood = [1]),
    (copy) => (copy.backends[0].checks = []),
    (copy) => (copy.backends[0].state.up = 1),
    (copy) => (copy.backends[0].state.penalty = null),
    (copy) => (copy.backends[0].state.checks[0].good = undefined),
    (copy) => (copy.backends[0].state.checks[0].last = {}),
  ];
  for (const spoil of wrong) {
    const copy = structuredClone(state);
    spoil(copy);
    assert.equal(readExported(copy), null, String(spoil));
  }
  for (const other of [null, 1, 'x', [], {}]) assert.equal(readExported(other), null);
});
