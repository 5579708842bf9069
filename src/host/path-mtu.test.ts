// The rules by which a path MTU falls and rises, against a slow twin and as properties.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from '../../test/property.ts';
import { EXPIRES_AFTER, FLOOR4, FLOOR6, MOST_STEPS, type PathMtuBackend, PathMtuTable } from './path-mtu.ts';

function backend(id: number, family: 4 | 6 = 4): PathMtuBackend {
  const address = new Uint8Array(family === 4 ? 4 : 16).fill(10);
  address[address.length - 1] = id;
  return { id, pool: 'web', name: `b${id}`, address, overhead: family === 4 ? 32 : 52 };
}

/** A table of backend 0 (IPv4) and 1 (IPv6), both with a route of 1,500. */
function table(): PathMtuTable {
  const made = new PathMtuTable({ backends: 8 });
  made.setBackends([backend(0), backend(1, 6)], 0);
  made.fromRoute(0, 1500, 0, 'eth0');
  made.fromRoute(1, 1500, 0, 'eth0');
  made.takeChanges();
  return made;
}

test('unknown is 0, a route is taken as it is, ICMP lowers one backend, and the shared memory says the same', () => {
  const made = new PathMtuTable({ backends: 8 });
  const cells = new Int32Array(made.memory);
  made.setBackends([backend(0), backend(1, 6)], 5);
  assert.deepEqual([...cells], [0, 0, 0, 0, 0, 0, 0, 0]);
  assert.equal(made.report()[0].source, 'unknown');
  const link = { name: 'eth0', mtu: 9216 };
  made.fromRoute(0, 1500, 6);
  made.fromRoute(1, 9000, 6, '', link);
  assert.equal(made.fromIcmp(0, 1400, 7), 'lowered');
  assert.equal(made.fromIcmp(2, 1400, 7), 'unknown-backend');
  assert.deepEqual([...cells.subarray(0, 3)], [1400, 9000, 0]);
  assert.deepEqual(made.report(), [
    {
      ...backend(0),
      mtu: 1400,
      innerMtu: 1368,
      source: 'icmp',
      routeMtu: 1500,
      link: null,
      since: 7,
      expires: 7 + EXPIRES_AFTER,
    },
    { ...backend(1, 6), mtu: 9000, innerMtu: 8948, source: 'route', routeMtu: 9000, link, since: 6, expires: null },
  ]);
  assert.deepEqual(
    made.takeChanges().map(({ backend: { name }, from, to, cause }) => [name, from, to, cause]),
    [
      ['b0', 0, 1400, 'icmp'],
      ['b1', 0, 9000, 'route'],
    ],
  );
  assert.deepEqual(made.takeChanges(), []);
});

test('the floors hold, and what is below them is counted as suspicious', () => {
  const made = table();
  assert.equal(made.fromIcmp(0, 68, 1), 'lowered');
  assert.equal(made.fromIcmp(1, 0, 1), 'lowered');
  assert.deepEqual([made.mtu(0), made.mtu(1)], [FLOOR4, FLOOR6]);
  assert.equal(made.counts.clamped, 2);
  assert.equal(made.fromIcmp(0, 1, 2), 'not-lower');
  // A route below the floor is the administrator's word: ICMP neither raises nor lowers it.
  made.fromRoute(0, 500, 3, 'eth0');
  made.fromIcmp(0, 80, 4);
  assert.equal(made.mtu(0), 500);
});

test('a router that gives no MTU: the next plateau below the refused packet, less a header when it may be one of 4.2BSD', () => {
  for (const [quoted, expected] of [
    [1499, 1492],
    [1492, 1006],
    // Not below the estimate of 1,500: 20 bytes may be the header, counted twice.
    [1500, 1006],
    [1514, 1492],
    [600, FLOOR4],
    [300, FLOOR4],
    [0, FLOOR4],
  ]) {
    const made = table();
    assert.equal(made.fromIcmp(0, 0, 1, quoted), 'lowered', `${quoted}`);
    assert.equal(made.mtu(0), expected, `${quoted}`);
    assert.deepEqual([made.counts.guessed, made.counts.clamped], [1, 0]);
  }
  // A quote far above everything that we send teaches nothing.
  assert.equal(table().fromIcmp(0, 0, 1, 65535), 'not-lower');
});

test('a lease ends on time, counted from the last lowering; what is not lower prolongs nothing', () => {
  const made = table();
  made.fromIcmp(0, 1400, 100);
  made.fromIcmp(0, 1300, 200);
  made.fromIcmp(0, 1300, 700);
  made.expire(799);
  assert.equal(made.mtu(0), 1300);
  made.takeChanges();
  made.expire(800);
  assert.equal(made.mtu(0), 1500);
  assert.deepEqual(
    made.takeChanges().map(({ from, to, cause }) => [from, to, cause]),
    [[1300, 1500, 'expired']],
  );
  // A report that comes after the end of a lease, before anybody called `expire`, begins a new one.
  made.fromIcmp(0, 1300, 900);
  assert.equal(made.fromIcmp(0, 1450, 1500), 'lowered');
  assert.equal(made.mtu(0), 1450);
});

test('a route through another next hop forgets ICMP; another MTU of the same way does not', () => {
  const made = table();
  made.fromIcmp(0, 1400, 1);
  made.fromRoute(0, 9000, 2, 'eth0');
  assert.equal(made.mtu(0), 1400);
  made.fromRoute(0, 1300, 3, 'eth0');
  assert.deepEqual([made.mtu(0), made.report()[0].source], [1300, 'route']);
  made.fromRoute(0, 9000, 4, 'eth0');
  assert.equal(made.mtu(0), 1400);
  made.fromRoute(0, 9000, 5, 'eth1');
  assert.equal(made.mtu(0), 9000);
  made.fromRoute(0, 0, 6);
  assert.deepEqual([made.mtu(0), made.report()[0].source], [0, 'unknown']);
});

test('a creeping liar gets a few exact steps, then plateaus; the truth is never refused', () => {
  const made = table();
  let changes = 0;
  for (let mtu = 1499; mtu > 68; mtu--) if (made.fromIcmp(0, mtu, 1) === 'lowered') changes++;
  assert.equal(made.mtu(0), FLOOR4);
  assert.ok(changes <= MOST_STEPS, `${changes}`);
  const other = table();
  for (let mtu = 1499; mtu > 1480; mtu--) other.fromIcmp(0, mtu, 1);
  assert.equal(other.mtu(0), 1006);
  // Every lease has its own exact steps.
  other.expire(1 + EXPIRES_AFTER);
  other.fromIcmp(0, 1450, 1000);
  assert.equal(other.mtu(0), 1450);
  const true1450 = table();
  for (let mtu = 1499; mtu > 1492; mtu--) true1450.fromIcmp(0, mtu, 1);
  true1450.fromIcmp(0, 1450, 1);
  assert.equal(true1450.mtu(0), 1450);
});

test('backends come and go: cells are cleared, an id with another address starts anew, the same one keeps what it knows', () => {
  const made = table();
  const cells = new Int32Array(made.memory);
  made.fromIcmp(0, 1400, 1);
  made.fromIcmp(1, 1400, 1);
  made.setBackends([{ ...backend(0), name: 'renamed' }, backend(3)], 2);
  assert.deepEqual([...cells.subarray(0, 4)], [1400, 0, 0, 0]);
  assert.equal(made.report()[0].name, 'renamed');
  made.setBackends([{ ...backend(0), address: Uint8Array.of(10, 9, 9, 9) }], 3);
  assert.equal(cells[0], 0);
  made.expire(10_000);
  assert.equal(made.counts.expired, 0);
  assert.throws(() => made.setBackends([backend(8)], 4), RangeError);
});

/** The slow twin: keeps every event and answers by reading them all again. */
class Twin {
  readonly #events: { kind: 'route' | 'icmp'; mtu: number; at: number; way: string }[] = [];
  readonly #floor: number;

  constructor(floor: number) {
    this.#floor = floor;
  }

  route(mtu: number, at: number, way: string): void {
    this.#events.push({ kind: 'route', mtu, at, way });
  }

  icmp(mtu: number, at: number): void {
    this.#events.push({ kind: 'icmp', mtu, at, way: '' });
  }

  /** Lowerings that are in force at `now`, oldest first. */
  #lease(upTo: number, now: number): number[] {
    let lease: number[] = [];
    let last = 0;
    let way = '';
    for (let i = 0; i < upTo; i++) {
      const event = this.#events[i];
      if (lease.length > 0 && event.at >= last + EXPIRES_AFTER) lease = [];
      if (event.kind === 'route') {
        if (event.way !== way) lease = [];
        way = event.way;
        continue;
      }
      const route = this.#events.slice(0, i).findLast(({ kind }) => kind === 'route')?.mtu ?? 0;
      const present = Math.min(65535, route || 65535, ...lease);
      const bounded = Math.max(this.#floor, event.mtu);
      if (bounded >= present) continue;
      const steps = [65535, 32000, 17914, 8166, 4352, 2002, 1492, 1006].filter((step) => step >= this.#floor);
      const rounded = lease.length < 8 ? bounded : (steps.find((step) => step <= bounded) ?? this.#floor);
      lease = [...lease, rounded];
      last = event.at;
    }
    return lease.length > 0 && now >= last + EXPIRES_AFTER ? [] : lease;
  }

  mtu(now: number): number {
    const route = this.#events.findLast(({ kind }) => kind === 'route')?.mtu ?? 0;
    const lowest = Math.min(...this.#lease(this.#events.length, now), Infinity);
    const both = Math.min(route || Infinity, lowest);
    return both === Infinity ? 0 : both;
  }
}

const event = fc.record({
  // `creep`: a little less than what is believed.
  kind: fc.constantFrom('icmp', 'icmp', 'creep', 'creep', 'creep', 'creep', 'creep', 'route', 'expire'),
  mtu: fc.oneof(fc.integer({ min: 1, max: 1600 }), fc.integer({ min: 1400, max: 1500 }), fc.integer({ min: 1, max: 0xffffffff })),
  wait: fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 20 }), fc.integer({ min: 0, max: 700 })),
  way: fc.constantFrom('eth0', 'eth0', 'eth0', 'eth1'),
  linkMtu: fc.constantFrom(1500, 1500, 1600, 9000, 1300, 0, 65536),
});

test('any history: equal to the slow twin, never raised by ICMP, never below the floor by it, back to the route in time', () => {
  fc.assert(
    fc.property(fc.constantFrom<4 | 6>(4, 6), fc.array(event, { minLength: 1, maxLength: 60 }), (family, events) => {
      const floor = family === 4 ? FLOOR4 : FLOOR6;
      const made = new PathMtuTable({ backends: 4 });
      made.setBackends([backend(2, family)], 0);
      const cells = new Int32Array(made.memory);
      const twin = new Twin(floor);
      let now = 0;
      let route = 0;
      let stepsInWindow: number[] = [];
      let way = '';
      for (const each of events) {
        now += each.wait;
        made.expire(now);
        const before = made.mtu(2);
        if (each.kind === 'route') {
          route = Math.min(each.linkMtu, 65535);
          if (way !== each.way) stepsInWindow = [];
          way = each.way;
          made.fromRoute(2, each.linkMtu, now, each.way);
          twin.route(route, now, each.way);
        } else if (each.kind !== 'expire') {
          const mtu = each.kind === 'icmp' ? each.mtu : Math.max(1, before - 1 - (each.mtu % 3));
          const outcome = made.fromIcmp(2, mtu, now);
          twin.icmp(mtu, now);
          const after = made.mtu(2);
          assert.ok(before === 0 || after <= before, `raised by ICMP: ${before} → ${after}`);
          assert.ok(after === 0 || after >= Math.min(floor, before || floor), `below the floor: ${after}`);
          assert.equal(outcome === 'lowered', after !== before);
          // Never refuses what is lower than it believes.
          if (mtu < before && before > floor) assert.ok(after <= Math.max(floor, mtu));
          if (outcome === 'lowered') {
            if (stepsInWindow.length > 0 && now - stepsInWindow[stepsInWindow.length - 1] >= EXPIRES_AFTER) stepsInWindow = [];
            stepsInWindow.push(now);
            assert.ok(stepsInWindow.length <= MOST_STEPS);
          }
        }
        assert.equal(made.mtu(2), twin.mtu(now));
        assert.equal(cells[2], made.mtu(2));
        assert.deepEqual([cells[0], cells[1], cells[3]], [0, 0, 0]);
      }
      made.expire(now + EXPIRES_AFTER);
      assert.equal(made.mtu(2), route);
    }),
    { numRuns: 3000 },
  );
});
