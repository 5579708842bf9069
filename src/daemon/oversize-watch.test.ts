import assert from 'node:assert/strict';
import { test } from 'node:test';
import { counterAt, createBank } from '../base/counters.ts';
import { OversizeWatch, type WayToBackend } from './oversize-watch.ts';

const RECEIVED = counterAt('received_packets_total');
const CUT = counterAt('resegmented_packets_total');
const FRAGMENTED = counterAt('fragmented_inner_packets_total');

const way = (name: string, mtu: number, overhead = 32, linkMtu = mtu): WayToBackend => ({
  pool: 'p',
  name,
  mtu,
  overhead,
  link: { name: 'eth0', mtu: linkMtu },
});

/** Ten seconds with so many packets of which so many were too big. */
function pass(banks: Float64Array[], received: number, cut: number): void {
  banks[0][RECEIVED] += received;
  banks[0][CUT] += Math.floor(cut / 2);
  banks[1][FRAGMENTED] += cut - Math.floor(cut / 2);
}

test('steady: said once, with the MTU that would end it, and again after an hour', () => {
  const banks = [createBank(), createBank()];
  const watch = new OversizeWatch();
  const ways = [way('w1', 9000), way('w2', 1500), way('w3', 1500, 52)];
  const said: number[] = [];
  for (let look = 0; look < 400; look++) {
    pass(banks, 10_000, 5000);
    const hint = watch.look(banks, ways);
    if (hint === null) continue;
    said.push(look);
    assert.deepEqual([hint.needed, hint.hint], [1552, 'ip link set dev eth0 mtu 1552']);
    assert.match(hint.text, /way to backend p\/w3 carries 1500 bytes, full client packets need 1552; raise the link MTU to 1552/);
  }
  assert.deepEqual(said, [2, 362]);
});

test('a burst, a trickle and a pause are not steady', () => {
  const banks = [createBank(), createBank()];
  const watch = new OversizeWatch();
  const look = (received: number, cut: number) => {
    pass(banks, received, cut);
    return watch.look(banks, [way('w', 1500)]);
  };
  for (const cut of [9000, 9000, 0, 9000, 9000, 100, 9000]) assert.equal(look(10_000, cut), null);
  for (let n = 0; n < 5; n++) assert.equal(look(1_000_000, 9000), null, 'less than one in a hundred');
  for (let n = 0; n < 5; n++) assert.equal(look(100, 90), null, 'a handful');
});

test('the small link is elsewhere, or the packets are larger than clients of Ethernet send', () => {
  for (const [ways, hint] of [
    [[way('w', 1400, 32, 1600)], /tracepath/],
    [[way('w', 1600)], /path_mtu_bytes/],
    [[way('w', 0)], /path_mtu_bytes/],
  ] as const) {
    const banks = [createBank(), createBank()];
    const watch = new OversizeWatch();
    const hints = [0, 1, 2].map(() => {
      pass(banks, 1000, 900);
      return watch.look(banks, ways);
    });
    assert.match(hints[2]?.hint ?? '', hint);
  }
});
