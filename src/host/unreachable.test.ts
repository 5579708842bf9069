import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ip } from '../../test/builder/addresses.ts';
import { QUIET_AFTER, UnreachableTable, type UnreachableTunnel } from './unreachable.ts';

const ROUTER = ip('192.0.2.254');

function tunnel(id: number, change: Partial<UnreachableTunnel> = {}): UnreachableTunnel {
  const ends = { source: ip('192.0.2.1'), address: ip('198.51.100.21'), ports: [6080], protocols: [17] };
  return { id, pool: 'web', name: `w${id}`, ...ends, ...change };
}

const begun = (table: UnreachableTable) => table.takeNews().map(({ tunnel: { id }, what }) => `${id} ${what}`);

test('a backend is told once while messages keep coming, for each kind, and again after silence', () => {
  const table = new UnreachableTable();
  const one = tunnel(1);
  table.setTunnels([one]);
  for (let now = 100; now < 100 + 3 * QUIET_AFTER; now += QUIET_AFTER / 2) table.hear(one, 'port', one.address, now);
  assert.deepEqual(begun(table), ['1 port']);
  const last = 100 + 2.5 * QUIET_AFTER;
  table.hear(one, 'host', ROUTER, last);
  table.hear(one, 'port', one.address, last + QUIET_AFTER - 1);
  assert.deepEqual(begun(table), ['1 host']);
  table.hear(one, 'port', one.address, last + 2 * QUIET_AFTER - 1);
  assert.deepEqual(begun(table), ['1 port']);
  assert.deepEqual(table.entry(1), {
    counts: { port: 8, protocol: 0, host: 1, net: 0, prohibited: 0 },
    last: { at: last + 2 * QUIET_AFTER - 1, what: 'port' },
  });
  assert.equal(table.entry(2), null);
});

test('what is said of a tunnel end is said of every backend there, and of no other', () => {
  const table = new UnreachableTable();
  const set = [
    tunnel(1),
    tunnel(2, { source: ip('192.0.2.9') }),
    tunnel(3, { ports: [6084] }),
    tunnel(4, { ports: [], protocols: [47] }),
  ];
  table.setTunnels(set);
  table.hear(set[0], 'port', ROUTER, 5);
  assert.deepEqual(begun(table), ['1 port', '2 port']);
  table.hear(set[3], 'protocol', ROUTER, 5);
  assert.deepEqual(begun(table), ['4 protocol']);
});

test('counts live as long as the backend is configured; its id may be another’s later', () => {
  const table = new UnreachableTable();
  table.setTunnels([tunnel(1), tunnel(2)]);
  table.hear(tunnel(1), 'net', ROUTER, 5);
  table.setTunnels([tunnel(1), tunnel(2, { address: ip('198.51.100.99') })]);
  assert.equal(table.entry(1)?.counts.net, 1);
  assert.equal(table.entry(2)?.counts.net, 0);
  table.setTunnels([tunnel(2)]);
  assert.deepEqual(begun(table), [], 'no news of what is gone');
  table.setTunnels([tunnel(1)]);
  assert.equal(table.entry(1)?.counts.net, 0);
});
