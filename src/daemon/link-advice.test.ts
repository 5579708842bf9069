import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { PathMtuEntry } from '../host/path-mtu.ts';
import { type Advice, type CutSample, LinkAdvice, WINDOW_SECONDS } from './link-advice.ts';

function path(id: number, change: Partial<PathMtuEntry> = {}): PathMtuEntry {
  return {
    id,
    pool: 'web',
    name: `w${id}`,
    address: Uint8Array.of(10, 0, 0, id),
    overhead: 32,
    mtu: 1500,
    innerMtu: 1468,
    source: 'route',
    routeMtu: 1500,
    link: { name: 'eth0', mtu: 1500 },
    since: 0,
    expires: null,
    ...change,
  };
}

/** `looks` windows of the same samples, one after another from `from`; what was said, with the window's number. */
function repeat(advice: LinkAdvice, looks: number, samples: CutSample[], from = 0): [number, Advice][] {
  return Array.from({ length: looks }, (_, k) => k + from).flatMap((k) =>
    advice.look(samples, k * WINDOW_SECONDS).map((one): [number, Advice] => [k, one]),
  );
}

const busy = { packets: 100_000, cuts: 5000, largest: 1532 };

test('said once after a minute, with the command; again after an hour, or when a larger packet came', () => {
  const advice = new LinkAdvice();
  const said = repeat(advice, 360 + 7, [
    { path: path(1), ...busy },
    { path: path(2), ...busy, largest: 1200 },
  ]);
  assert.deepEqual(
    said.map(([k]) => k),
    [5, 365],
  );
  assert.equal(said[0][1].hint.split(',')[0], 'ip link set dev eth0 mtu 1532');
  assert.match(said[0][1].text, /the MTU of eth0 is 1500, 1532 would do/);
  assert.deepEqual(said[0][1].fields, {
    backends: ['web/w1', 'web/w2'],
    wanted: 1532,
    pathMtu: 1500,
    cutPerSecond: 1000,
    interface: 'eth0',
  });
  const larger = repeat(advice, 2, [{ path: path(1), ...busy, largest: 9032 }], 367);
  assert.deepEqual(
    larger.map(([k, { fields }]) => [k, fields.wanted]),
    [[367, 9032]],
  );
});

test('steady is 10 a second, or 1 % and one a second, six looks in a row; a pause begins anew', () => {
  for (const [packets, cuts, steady] of [
    [1_000_000, 100, true],
    [1_000_000, 99, false],
    [1000, 10, true],
    [1001, 10, false],
    [9, 9, false],
    [0, 0, false],
  ] as const) {
    const said = repeat(new LinkAdvice(), 10, [{ path: path(1), packets, cuts, largest: 1532 }]);
    assert.equal(said.length, steady ? 1 : 0, `${cuts} of ${packets}`);
  }
  const advice = new LinkAdvice();
  const quiet = { path: path(1), packets: 100_000, cuts: 0, largest: 0 };
  const pauses = [5, 5, 6].flatMap((looks, round) => [
    ...repeat(advice, looks, [{ path: path(1), ...busy }], round * 10),
    ...repeat(advice, 1, [quiet], round * 10 + looks),
  ]);
  assert.deepEqual(
    pauses.map(([k]) => k),
    [25],
  );
  // Quiet and back within the hour: nothing new to say.
  assert.equal(repeat(advice, 20, [{ path: path(1), ...busy }], 40).length, 0);
});

test('whose MTU is too small: the link’s, the route’s own, or that of a router on the way; each is said apart', () => {
  const said = repeat(new LinkAdvice(), 6, [
    { path: path(1), ...busy },
    { path: path(2, { mtu: 1400, routeMtu: 1400 }), ...busy },
    { path: path(3, { mtu: 1300, source: 'icmp', expires: 600 }), ...busy },
    { path: path(4, { mtu: 1300, source: 'icmp', expires: 600, link: { name: 'eth1', mtu: 9000 } }), ...busy },
    { path: path(5, { mtu: 0, source: 'unknown', routeMtu: 0, link: null }), packets: 0, cuts: 0, largest: 0 },
  ]).map(([, { hint }]) => hint);
  assert.equal(said.length, 4);
  assert.match(said[0], /^ip link set dev eth0 mtu 1532, and the same on the whole way/);
  assert.match(said[1], /^see it: ip route get 10\.0\.0\.2; then ip route change … mtu 1532/);
  assert.match(said[2], /raise its MTU to 1532: tracepath -n 10\.0\.0\.3, and here: ip link set dev eth0 mtu 1532$/);
  assert.match(said[3], /raise its MTU to 1532: tracepath -n 10\.0\.0\.4$/);
});

test('the wanted MTU of a backend is that of the last minute', () => {
  const advice = new LinkAdvice();
  const sample = (largest: number) => [{ path: path(1), packets: 100, cuts: largest > 0 ? 1 : 0, largest }];
  assert.equal(advice.wanted(1), 0);
  repeat(advice, 1, sample(1532));
  repeat(advice, 5, sample(1300), 1);
  assert.deepEqual([advice.wanted(1), advice.wanted(2)], [1532, 0]);
  repeat(advice, 1, sample(0), 6);
  assert.equal(advice.wanted(1), 1300);
  repeat(advice, 6, sample(0), 7);
  assert.equal(advice.wanted(1), 0);
});
