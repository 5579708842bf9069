// `gue-director trace` of a running director: who may, how it ends, and that it goes on over a reload and a thread that is replaced.

import assert from 'node:assert/strict';
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { Actor } from '../../src/demo/cast.ts';
import type { TracedPacket, TraceLine } from '../../src/trace/told.ts';
import { buildLab, configuration, eventually, RunningDirector, sendDatagrams } from '../daemon/running-director.ts';
import { needs } from '../needs.ts';

const tracedBy = (actor: Actor) =>
  actor.output
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line) as TraceLine)
    .filter((line): line is TracedPacket => line.kind === 'packet');

test('traces of a running director', needs('root', 'namespaces', 'tun'), async (t: TestContext) => {
  const lab = buildLab(t, 2);
  const director = await RunningDirector.start(t, lab, configuration(lab));
  const socket = join(lab.director.runtimeDirectory, 'admin.sock');
  const launch = (...args: string[]) => {
    const actor = Actor.start('trace', lab.director, '../cli/main', 'trace', '--socket', socket, ...args);
    t.after(() => actor.child.kill('SIGKILL'));
    return actor;
  };
  const tracing = async (...args: string[]) => {
    const actor = launch(...args);
    await actor.says('tracing ');
    return actor;
  };

  // Text: what became of a packet and what left, and of one that is dropped why. It ends after its count.
  const text = await tracing('--count', '2', `host ${lab.vip4} and udp`, 'and', 'not', 'verdict', 'pass');
  sendDatagrams(lab, lab.vip4, 53, 1, 1);
  sendDatagrams(lab, lab.vip4, 54, 1, 1);
  assert.equal(await text.ended, 0, text.words);
  assert.match(
    text.output,
    /#1 {2}udp \S+:\d+ → \S+:53 {2}92 bytes\n {4}forward: dns-4 → over-6\/worker-\d \(\S+\), gue, source port \d+\n {4}1 packet left: 144 bytes\n/,
  );
  assert.match(text.output, /#2 {2}udp \S+ → \S+:54 .*\n {4}drop not-a-service: no service has this destination/);
  assert.match(text.words, /2 packets told of 2 that matched; ended: as many packets as asked for/);

  // A second one is refused while the first runs, over HTTP nobody is served, and the log knows that somebody traced.
  const first = await tracing('--json', '--seconds', '600', 'service dns-4');
  const capture = join(lab.director.runtimeDirectory, 'old.pcapng');
  writeFileSync(capture, 'what was traced yesterday', { mode: 0o644 });
  const second = launch('udp', '--write', capture);
  assert.equal(await second.ended, 1);
  assert.equal(readFileSync(capture, 'utf8'), 'what was traced yesterday');
  assert.match(second.words, /somebody else traces "service dns-4", for at most \d+ s more/);
  const script = `fetch('http://127.0.0.1:6079/-/trace', { method: 'POST' }).then((r) => process.stdout.write(String(r.status)))`;
  assert.equal(lab.director.run(process.execPath, ['-e', script]), '405');
  assert.equal(director.entries('trace-started').length, 2);
  // The log has the filter, with the client's address; events, which HTTP tells, have not.
  assert.match(String(director.entries('trace-started')[0].filter), new RegExp(`host ${lab.vip4}`));
  const events = `Promise.all(['history?last=600', 'ui'].map((path) => fetch('http://127.0.0.1:6079/-/' + path).then((r) => r.text()))).then((all) => process.stdout.write(all.join('\\n')))`;
  const shown = lab.director.run(process.execPath, ['-e', events]);
  assert.match(shown, /trace-started/);
  assert.doesNotMatch(shown, /udp and not verdict pass/);
  assert.doesNotMatch(JSON.stringify(director.log), /4500005c/, 'no packet in the log');

  // It goes on with the thread that comes after one that failed, and says so.
  sendDatagrams(lab, lab.vip4, 53, 3, 1);
  await eventually(() => tracedBy(first).length === 3, 'three packets');
  director.actor.child.kill('SIGUSR2');
  await director.event('thread-restarted');
  await first.says('forwarding thread 0 was replaced');
  sendDatagrams(lab, lab.vip4, 53, 2, 1);
  await eventually(() => tracedBy(first).length === 5, 'five packets');

  // And over a reload that gives the services other numbers.
  const yaml = readFileSync(director.file, 'utf8');
  const added = `services:\n  - { name: first, address: "${lab.vip4}", protocol: udp, port: 99, pool: over-6 }\n`;
  writeFileSync(director.file, yaml.replace('services:\n', added));
  director.actor.child.kill('SIGHUP');
  await eventually(() => director.log.some(({ event }) => event === 'reload-done' || event === 'reloaded'), 'reloaded');
  sendDatagrams(lab, lab.vip4, 99, 1, 1);
  sendDatagrams(lab, lab.vip4, 53, 2, 1);
  await eventually(() => tracedBy(first).length === 7, 'seven packets');
  const told = tracedBy(first);
  assert.deepEqual(
    [...new Set(told.map(({ service, verdict, dport }) => `${service} ${verdict} ${dport}`))],
    ['dns-4 forward 53'],
  );
  // Headers alone: IPv4 and UDP, and behind the tunnel's headers the same again.
  assert.deepEqual([told[0].bytes.length / 2, told[0].left[0].bytes.length / 2, told[0].left[0].length], [28, 80, 144]);

  // A client that is killed ends its trace.
  first.child.kill('SIGKILL');
  await eventually(() => director.entries('trace-ended').length === 2, 'the trace ended');
  assert.equal(director.entries('trace-ended')[1].why, 'client');

  // It ends after its seconds; what is over the rate is counted.
  const rated = await tracing('--json', '--seconds', '2', '--rate', '1', 'service dns-4');
  sendDatagrams(lab, lab.vip4, 53, 40, 1);
  assert.equal(await rated.ended, 0);
  const ended = JSON.parse(rated.output.trim().split('\n').at(-1) as string) as Extract<TraceLine, { kind: 'ended' }>;
  assert.deepEqual(
    [ended.kind, ended.why, ended.matched, ended.told + ended.overRate, ended.noRoom],
    ['ended', 'seconds', 40, 40, 0],
  );
  assert.ok(ended.told >= 1 && ended.told <= 3 && tracedBy(rated).length === ended.told, `${ended.told} told`);

  // What can not be read, or names nobody.
  const wrong = launch('port https');
  assert.deepEqual([await wrong.ended, /column 6: "https" is no port/.test(wrong.words)], [2, true], wrong.words);
  const nobody = launch('service dns-5');
  assert.deepEqual(
    [await nobody.ended, /no service is named "dns-5"[\s\S]*first, dns-4, dns-6/.test(nobody.words)],
    [2, true],
    nobody.words,
  );

  // A director that stops says so to whoever traces.
  const last = await tracing('--write', capture);
  assert.equal(await director.actor.stop(), 0, director.actor.words);
  assert.equal(await last.ended, 0);
  assert.match(last.words, /ended: the director stops/);
  assert.deepEqual([statSync(capture).mode & 0o777, readFileSync(capture).readUInt32BE(0)], [0o600, 0x0a0d0d0a]);
});
