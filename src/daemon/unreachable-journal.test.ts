import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ip } from '../../test/builder/addresses.ts';
import type { UnreachableNews } from '../host/unreachable.ts';
import { EventJournal } from '../observe/events.ts';
import type { Log } from '../observe/log.ts';
import { type BackendWay, LINES_PER_PERIOD, UnreachableJournal, unreachableHint } from './unreachable-journal.ts';

const SILENT = { info() {}, warn() {}, error() {} } as unknown as Log;
const GUE: BackendWay = { encapsulation: 'gue', ports: [6080] };

function news(id: number): UnreachableNews {
  const address = ip(`198.51.100.${id}`);
  const ends = { source: ip('192.0.2.1'), address, ports: [6080], protocols: [17] };
  return { tunnel: { id, pool: 'web', name: `w${id}`, ...ends }, what: 'port', by: address };
}

test('a rack that is gone is a page of lines and one for the rest, a minute later', () => {
  const journal = new EventJournal(SILENT);
  const told = new UnreachableJournal(journal);
  const many = Array.from({ length: LINES_PER_PERIOD + 30 }, (_, i) => news(i + 1));
  told.tell(many, () => GUE, 10);
  told.tell([news(200)], () => GUE, 11);
  assert.equal(journal.since().length, LINES_PER_PERIOD);
  const { level, kind, text, fields } = journal.since()[1];
  assert.deepEqual([level, kind], ['warn', 'backend-unreachable']);
  assert.match(
    text,
    /^tunnel packets to backend web\/w2 \(198\.51\.100\.2\) do not arrive: 198\.51\.100\.2 says "port unreachable"$/,
  );
  assert.match(String(fields.hint), /ip fou add port 6080 gue/);
  told.tell([], () => GUE, 69);
  assert.equal(journal.since().length, LINES_PER_PERIOD);
  told.tell([], () => GUE, 70);
  assert.equal(journal.since().at(-1)?.fields.more, 31);
  told.tell([news(1), news(2)], (id) => (id === 2 ? GUE : undefined), 71);
  assert.equal(journal.since().length, LINES_PER_PERIOD + 2, 'a backend that is gone is no news');
});

test('the hint is the command for this encapsulation and family', () => {
  const hint = (
    what: Parameters<typeof unreachableHint>[0],
    encapsulation: BackendWay['encapsulation'],
    ports: number[],
    address: string,
  ) => unreachableHint(what, { encapsulation, ports }, address, '192.0.2.254');
  const [four, six] = ['198.51.100.21', '2001:db8::21'];
  for (const [got, expected] of [
    [hint('port', 'gue', [6080], four), /modprobe fou; ip fou add port 6080 gue/],
    [hint('port', 'gue-v1', [6080], six), /modprobe fou6; ip -6 fou add port 6080 gue/],
    [hint('port', 'fou', [6084, 6086], four), /ip fou add port 6084 ipproto 4; ip fou add port 6086 ipproto 41/],
    [hint('port', 'fou', [6084], six), /ip -6 fou add port 6084 ipproto 4, or ipproto 41/],
    [hint('protocol', 'ipip', [], four), /modprobe ipip; modprobe sit; ip link set tunl0 up; ip link set sit0 up/],
    [
      hint('port', 'ipip', [], six),
      /: ip link add gue6 type ip6tnl mode any local 2001:db8::21 encaplimit none; ip link set gue6 up/,
    ],
    [hint('protocol', 'gre', [], six), /modprobe ip6_gre; ip link set ip6gre0 up/],
    [hint('port', 'gre', [], four), /: ip link set gre0 up/],
    [hint('host', 'gue', [6080], four), /192\.0\.2\.254 does not find it .*: ip neigh show 198\.51\.100\.21$/],
    [hint('net', 'gue', [6080], four), /from 192\.0\.2\.254; on that host: ip route get 198\.51\.100\.21/],
    [hint('prohibited', 'gre', [], four), /firewall at 192\.0\.2\.254 .*IP protocol 47/],
    [hint('prohibited', 'fou', [6084, 6086], four), /UDP port 6084 and 6086/],
  ] as const) {
    assert.match(got, expected);
  }
});
