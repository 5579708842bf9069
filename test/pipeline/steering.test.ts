// Which backend a flow gets, and that it stays: the rules of docs/architecture.md, "The flow table".
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FlowTable } from '../../src/pipeline/flow-table.ts';
import type { BackendState } from '../../src/pipeline/spec.ts';
import { packet } from '../builder/packet.ts';
import fc from '../property.ts';
import { backends, Rig, SERVICE4, specOf } from './rig.ts';

const frame = (sport: number, flags = 'ACK') => packet().ipv4({ dst: SERVICE4 }).tcp({ sport, dport: 443, flags }).bytes();
const datagram = (sport: number) => packet().ipv4({ dst: SERVICE4 }).udp({ sport, dport: 443 }).bytes();
const SPORTS = Array.from({ length: 300 }, (_, i) => 10000 + i);
/** Ports of other connections, which no entry knows. */
const FRESH = SPORTS.map((sport) => sport + 20000);

function backendOf(rig: Rig, flags = 'ACK', now = 0, sports = SPORTS): (string | null)[] {
  return rig
    .run(
      sports.map((sport) => frame(sport, flags)),
      { now },
    )
    .map((o) => o.backend);
}

test('a SYN creates no entry, the first later packet creates it, the second confirms it, a RST creates none', () => {
  const rig = new Rig(specOf());
  backendOf(rig, 'SYN');
  backendOf(rig, 'RST');
  assert.deepEqual(rig.flows.occupancy(), { entries: 0, confirmed: 0 });
  backendOf(rig, 'ACK');
  assert.deepEqual(rig.flows.occupancy(), { entries: 300, confirmed: 0 });
  backendOf(rig, 'PSH,ACK');
  assert.deepEqual(rig.flows.occupancy(), { entries: 300, confirmed: 300 });
});

test('a second packet later than a minute confirms nothing, it may be of another flow with the same ports; one soon after it does', () => {
  const rig = new Rig(specOf());
  for (const [now, confirmed] of [
    [100, 0],
    [161, 0],
    [221, 300],
  ]) {
    backendOf(rig, 'ACK', now);
    assert.deepEqual(rig.flows.occupancy(), { entries: 300, confirmed });
  }
});

test('every packet of a flow goes where its SYN went', () => {
  const rig = new Rig(specOf({ backends: backends(7) }));
  const syn = backendOf(rig, 'SYN');
  assert.deepEqual(backendOf(rig, 'ACK'), syn);
  assert.deepEqual(backendOf(rig, 'FIN,ACK'), syn);
  assert.equal(new Set(syn).size, 7);
});

test('flows with an entry stay through a change; new flows use the new table', () => {
  const rig = new Rig(specOf({ backends: backends(3) }));
  const before = backendOf(rig, 'ACK');
  rig.publish(specOf({ backends: backends(6) }), 10);
  assert.deepEqual(backendOf(rig, 'ACK', 11), before);
  assert.equal(new Set(backendOf(rig, 'SYN', 11, FRESH)).size, 6);
});

test('after a change every packet of a new connection goes where its SYN went, also where the slot has moved', () => {
  const before = backendOf(new Rig(specOf({ backends: backends(3) })), 'SYN');
  const rig = new Rig(specOf({ backends: backends(3) }));
  rig.publish(specOf({ backends: backends(6) }), 10);
  const syn = backendOf(rig, 'SYN', 11);
  const moved = syn.filter((backend, i) => backend !== before[i]).length;
  assert.ok(moved > 100, `${moved} slots moved`);
  // An entry for those, and for no other; unconfirmed: it may not drive out a flow that lives.
  assert.deepEqual(rig.flows.occupancy(), { entries: moved, confirmed: 0 });
  assert.deepEqual(backendOf(rig, 'SYN', 12), syn);
  assert.deepEqual(backendOf(rig, 'ACK', 12), syn);
  assert.deepEqual(backendOf(rig, 'PSH,ACK', 13), syn);
  // When the previous table no longer answers, a SYN leaves nothing.
  const late = new Rig(specOf({ backends: backends(3) }));
  late.publish(specOf({ backends: backends(6) }), 10);
  backendOf(late, 'SYN', 10 + 3600);
  assert.deepEqual(late.flows.occupancy(), { entries: 0, confirmed: 0 });
});

test('a 5-tuple used again after a change: its SYN goes where its later packets will find the old entry', () => {
  const rig = new Rig(specOf({ backends: backends(4) }));
  backendOf(rig, 'ACK');
  rig.publish(specOf({ backends: backends(6) }), 10);
  const day = 86400;
  const syn = backendOf(rig, 'SYN', day);
  assert.deepEqual(backendOf(rig, 'ACK', day), syn);
  // Also when the entry is in another thread's shard, and when its backend is gone.
  const other = new Rig(specOf({ backends: backends(4) }), undefined, { siblings: [rig.flows] });
  other.publish(specOf({ backends: backends(6) }), 10);
  const there = backendOf(other, 'SYN', day);
  assert.deepEqual(there, syn);
  assert.deepEqual(backendOf(other, 'ACK', day), there);
  rig.publish(specOf({ backends: backends(6).slice(2) }), day + 1);
  const moved = backendOf(rig, 'SYN', day + 1);
  assert.deepEqual(backendOf(rig, 'ACK', day + 1), moved);
});

test('a SYN that follows an entry leaves it as it is: a forged one keeps nothing alive', () => {
  const rig = new Rig(specOf());
  backendOf(rig, 'ACK', 5);
  const words = rig.flows.words.slice();
  backendOf(rig, 'SYN', 900);
  assert.deepEqual(rig.flows.words, words);
});

test('without an entry the previous table answers, for one hour and only if its backend still serves', () => {
  const before = backendOf(new Rig(specOf({ backends: backends(3) })), 'SYN');
  const changed = (seconds: number, next = backends(6)) => {
    const rig = new Rig(specOf({ backends: backends(3) }), undefined, { entries: 1 });
    rig.publish(specOf({ backends: next }), 100);
    return backendOf(rig, 'ACK', 100 + seconds);
  };
  assert.deepEqual(changed(3599), before);
  assert.notDeepEqual(changed(3600), before);
  const without1 = changed(1, backends(6).slice(1));
  before.forEach((name, i) => {
    if (name !== 'w1') assert.equal(without1[i], name);
    else assert.notEqual(without1[i], 'w1');
  });
});

test('UDP: the previous table answers for a minute only, so that a new backend gets its share', () => {
  const changed = (seconds: number) => {
    const rig = new Rig(specOf({ backends: backends(1), protocol: 17 }));
    rig.publish(specOf({ backends: backends(2), protocol: 17 }), 100);
    return new Set(rig.run(SPORTS.map(datagram), { now: 100 + seconds }).map((o) => o.backend)).size;
  };
  assert.equal(changed(59), 1);
  assert.equal(changed(60), 2);
});

test('a draining backend keeps its flows and gets no new ones; a down one loses them at once', () => {
  const states = (state: BackendState) => specOf({ backends: backends(3).map((b) => (b.name === 'w2' ? { ...b, state } : b)) });
  const rig = new Rig(specOf());
  const before = backendOf(rig, 'ACK');
  rig.publish(states('draining'), 10);
  assert.deepEqual(backendOf(rig, 'ACK', 10), before);
  assert.ok(!backendOf(rig, 'SYN', 10, FRESH).includes('w2'));
  rig.publish(states('down'), 20);
  const after = backendOf(rig, 'ACK', 20);
  before.forEach((name, i) => {
    if (name === 'w2') assert.notEqual(after[i], 'w2');
    else assert.equal(after[i], name);
  });
  rig.publish(specOf(), 30);
  assert.deepEqual(backendOf(rig, 'ACK', 30), after, 'entries followed the flows');
});

test('another thread finds the flow in its sibling shard', () => {
  const first = new Rig(specOf({ backends: backends(3) }));
  const before = backendOf(first, 'ACK');
  const second = new Rig(specOf({ backends: backends(3) }), undefined, { siblings: [first.flows] });
  // Both saw the change, and it is long ago: only the sibling's entry can answer.
  second.publish(specOf({ backends: backends(3).concat(backends(6).slice(3)) }), 10);
  assert.deepEqual(backendOf(second, 'ACK', 9000), before);
  assert.deepEqual(second.flows.occupancy(), { entries: 300, confirmed: 300 });
});

test('flows that another thread has, whatever their number, take no place of a living confirmed one; after a change of threads they do', () => {
  // Who chooses the thread of a packet (fragments, IPv6 flow labels) could otherwise end flows with two packets for each.
  const flood = Array.from({ length: 400 }, (_, i) => frame(20_000 + i));
  const run = (recutUntil: number) => {
    const there = new Rig(specOf({ backends: backends(3) }));
    there.run(flood, { now: 90 });
    const here = new Rig(specOf({ backends: backends(3) }), undefined, { entries: 64, siblings: [there.flows] });
    here.flows.recutUntil = recutUntil;
    here.run(
      SPORTS.flatMap((sport) => [frame(sport), frame(sport)]),
      { now: 90 },
    );
    const before = here.flows.words.slice();
    assert.equal(here.flows.occupancy().confirmed, 64);
    here.run(flood, { now: 100 });
    return [before, here.flows.words];
  };
  const [before, after] = run(0);
  assert.deepEqual(after, before);
  const [, changed] = run(101);
  assert.equal(
    Array.from(changed).filter((word, i) => i % 4 === 3 && word === 100).length,
    64,
    'what was here is of flows that went elsewhere',
  );
});

test('a thread that is alone keeps the same entries, and counts the same, as one beside another that knows nothing', () => {
  const word = fc.record({
    now: fc.constantFrom(0, 0, 0, 1, 30, 700),
    packets: fc.array(fc.tuple(fc.nat(120), fc.constantFrom('ACK', 'ACK', 'ACK', 'SYN', 'RST', 'PSH,ACK')), {
      minLength: 1,
      maxLength: 16,
    }),
  });
  fc.assert(
    fc.property(fc.array(word, { minLength: 1, maxLength: 30 }), (batches) => {
      const [alone, beside] = [[], [new FlowTable(32, Int32Array.of(11, 22))]].map((siblings) => {
        return new Rig(specOf({ backends: backends(7) }), undefined, { entries: 32, siblings });
      });
      let now = 100;
      for (const { now: later, packets } of batches) {
        now += later;
        const frames = packets.map(([client, flags]) => frame(10_000 + client, flags));
        const found = [alone, beside].map((rig) => rig.run(frames, { now }).map(({ backend }) => backend));
        assert.deepEqual(found[0], found[1]);
      }
      assert.deepEqual(alone.flows.words, beside.flows.words);
      assert.deepEqual(alone.bank, beside.bank);
    }),
    { numRuns: 60 },
  );
});

test('an entry older than the present holder of its id is not believed', () => {
  const memory = new SharedArrayBuffer(4096 * 16);
  const flows = new FlowTable(4096, Int32Array.of(11, 22), memory);
  const rig = new Rig(specOf({ backends: backends(3) }));
  rig.publish(specOf({ backends: backends(3) }), 5000);
  const fresh = backendOf(rig, 'SYN', 5000);
  assert.equal(flows.capacity, 4096);
  // Entries written long before w4 existed but naming its id.
  rig.publish(specOf({ backends: backends(4) }), 6000);
  const id = 3;
  rig.run(
    SPORTS.map((sport) => frame(sport)),
    { now: 6000 },
  );
  for (let at = 0; at < rig.flows.words.length; at += 4) {
    if (rig.flows.words[at + 2] !== 0) {
      rig.flows.words[at + 2] = id + 1;
      rig.flows.words[at + 3] = 5999;
    }
  }
  const after = backendOf(rig, 'ACK', 6001);
  assert.ok(
    after.some((name) => name !== 'w4'),
    `${new Set(after).size} backends, before ${new Set(fresh).size}`,
  );
});

test('affinity: one client address, or one address pair, keeps one backend whatever its ports', () => {
  for (const affinity of ['source-address', '3-tuple'] as const) {
    for (const build of [
      (host: number, sport: number) =>
        packet()
          .ipv4({ src: `192.0.2.${host}`, dst: SERVICE4 })
          .tcp({ sport, dport: 443 })
          .bytes(),
      (host: number, sport: number) =>
        packet()
          .ipv6({ src: `2001:db8:1::${host.toString(16)}` })
          .tcp({ sport, dport: 443 })
          .bytes(),
    ]) {
      const rig = new Rig(specOf({ affinity, backends: backends(5) }));
      const seen = new Set<string | null>();
      for (let host = 1; host < 60; host++) {
        const own = new Set(rig.run([1, 2, 3, 4].map((n) => build(host, 1000 * n))).map((o) => o.backend));
        assert.equal(own.size, 1);
        seen.add([...own][0]);
      }
      assert.equal(seen.size, 5);
    }
  }
});

test('a reload that takes a service away, or brings it back, holds from the next batch', () => {
  const rig = new Rig(specOf());
  assert.equal(rig.one(frame(10000)).verdict, 'forward');
  rig.publish(specOf({ protocol: 17 }), 10);
  assert.equal(rig.one(frame(10000)).reason, 'not-a-service');
  assert.equal(rig.one(datagram(10000)).verdict, 'forward');
  rig.publish(specOf(), 20);
  assert.equal(rig.one(frame(10000)).verdict, 'forward');
  assert.equal(rig.one(datagram(10000)).reason, 'not-a-service');
});
