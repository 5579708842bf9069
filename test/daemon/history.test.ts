// A running director says what happened: whose packets it dropped and when, what rose in which second, which states changed; and "nothing recorded" where nothing is.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { askHistory } from '../../src/admin/client.ts';
import { historyText } from '../../src/cli/render/history.ts';
import { paintFor } from '../../src/cli/render/paint.ts';
import { nodeCommand } from '../../src/demo/cast.ts';
import type { HistoryAnswer } from '../../src/observe/history.ts';
import { needs } from '../needs.ts';
import { buildLab, configuration, RunningDirector } from './running-director.ts';

const CLI = nodeCommand('../cli/main')[1];
const PORT = 40_001;

/** Datagrams from one port, `count` to each port of `there`. */
const SENDER = `
import socket, sys
there, count = sys.argv[1], int(sys.argv[2])
s = socket.socket(socket.AF_INET6 if ':' in there else socket.AF_INET, socket.SOCK_DGRAM)
s.bind(('', ${PORT}))
for port in sys.argv[3:]:
    for _ in range(count): s.sendto(b'x' * 22, (there, int(port)))
`;

test(
  'what happened to this client, and to another one, and two hours ago',
  needs('root', 'namespaces', 'tun', 'python3'),
  async (t) => {
    const lab = buildLab(t, 1);
    const director = await RunningDirector.start(t, lab, configuration(lab, { threads: 2 }));
    const begun = Date.now();
    // Port 53 is a service, port 54 is none.
    lab.client.run('python3', ['-c', SENDER, lab.vip4, '3', '53', '54']);
    lab.client.run('python3', ['-c', SENDER, lab.vip6, '2', '54']);
    const sent = Date.now();
    // The second in which that was, and the one behind it.
    await new Promise((done) => setTimeout(done, 2100 - (Date.now() % 1000)));

    const history = (...args: string[]) => lab.director.run(process.execPath, [...CLI, 'history', ...args]);
    const told = JSON.parse(history('--last', '1m', '--client', lab.client.address4, '--json')) as HistoryAnswer;
    const { notes } = told;
    assert.deepEqual(
      notes?.map(({ time: _, thread: __, ...rest }) => rest),
      new Array(3).fill({
        ...{ reason: 'not-a-service', length: 50, protocol: 'udp', source: lab.client.address4, sport: PORT },
        ...{ destination: lab.vip4, dport: 54, service: null, backend: null },
      }),
    );
    for (const { time } of notes ?? []) assert.ok(Date.parse(time) >= begun - 1 && Date.parse(time) <= sent + 1, time);
    assert.deepEqual(
      told.services.map(({ name, packets, bytes }) => [name, packets, bytes]),
      [['dns-4', 3, 150]],
    );
    assert.deepEqual(
      told.backends.map(({ name, packets }) => [name, packets]),
      [[`over-6/${lab.workers[0].role}`, 3]],
    );
    const drops = told.drops.find(({ name }) => name === 'not-a-service');
    assert.ok((drops?.noted ?? 0) >= 5 && drops?.noted === drops?.packets, JSON.stringify(drops));
    assert.ok((drops?.peak ?? 0) >= 3 && Date.parse(drops?.peakAt ?? '') <= sent, JSON.stringify(drops));
    assert.ok(
      told.events.some(({ kind }) => kind === 'ready'),
      'its own start',
    );
    assert.equal(told.counters.because, 'before-start');

    // The same without a process for each.
    const socket = { path: join(lab.director.runtimeDirectory, 'admin.sock') };
    const text = async (query: Readonly<Record<string, string>>) =>
      historyText((await askHistory(socket, query)) as HistoryAnswer, paintFor({}, { NO_COLOR: '1' }));
    const six = await text({ last: '60', client: lab.client.address6 });
    assert.match(six, /: 2 packets dropped\n/);
    assert.ok(six.includes(`gue-director explain udp [${lab.client.address6}]:${PORT} [${lab.vip6}]:54\n`), six);
    const other = await text({ last: '60', client: '192.0.2.99' });
    assert.match(other, /192\.0\.2\.99: nothing recorded: no drop of a packet from or to it is noted in this window\n/);
    // What was dropped belonged to no service: it stands below, and is nobody's.
    const service = await text({ last: '60', service: 'dns-4' });
    assert.match(
      service,
      /\nservice dns-4: no drop recorded: [\s\S]* dns-4 {2}[\s\S]*\nNot only service dns-4, [\s\S]*\n {2}not-a-service +\d+ +0 /,
    );
    const reason = await text({ last: '60', reason: 'no-backend' });
    assert.match(reason, /\n\nno-backend: nothing recorded: [\s\S]*\nNot only no-backend, [\s\S]*\nstate changes\n/);
    // A second that is shown lies in the window of that second.
    const peak = drops?.peakAt ?? '';
    const second = (await askHistory(socket, { at: peak, window: '1' })) as HistoryAnswer;
    assert.match(peak, /\.000Z$/);
    assert.equal(second.drops.find(({ name }) => name === 'not-a-service')?.peakAt, peak);
    const before = new Date(begun - 2 * 3_600_000).toISOString();
    const long = await text({ at: before, client: lab.client.address4 });
    assert.match(long, /no counters of this window are held: this director has recorded since .*\nnothing recorded\n/);
    assert.match(long, /: nothing recorded: [\s\S]*the nearest after it: /);

    // Over HTTP everything but the clients; and questions that can not be read.
    const { status, body } = director.get('/-/history?last=60');
    const remote = JSON.parse(body) as HistoryAnswer;
    assert.deepEqual([status, remote.notes, remote.services], [200, null, told.services]);
    assert.ok(!body.includes(lab.client.address4));
    await assert.rejects(askHistory(socket, { backend: 'nope' }), { code: 'GD_HISTORY_QUESTION', exitCode: 2 });
    assert.throws(() => history('--service', 'nope'), /services: dns-4, dns-6/);
  },
);
