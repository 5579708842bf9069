// A running director explains what it does: by its own flow table, drains and path MTUs, over the socket and over HTTP.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Answer } from '../../src/explain/answer.ts';
import { DrainStage, PORT } from '../full/drain-stage.ts';
import { needs } from '../needs.ts';
import { built, runIn } from '../uml/director.ts';

test(
  'flows of a running director: whose entry they follow, also while its backend drains; what would move without it; nothing is changed',
  needs('root', 'namespaces', 'tun', 'python3'),
  async () => {
    const stage = await DrainStage.open(3, ({ lab }) => [
      'backends:',
      ...lab.workers.map(({ role, address4 }) => `  - { name: ${role}, address: "${address4}" }`),
    ]);
    try {
      const { owners, failed } = await stage.connect('open', 30);
      assert.equal(failed, 0);
      await stage.say();
      const flowsBefore = (await stage.counters()).get('gue_director_flow_table_inserts_total');
      const ports = (await runIn(stage.lab.client, 'ss', ['-Htn', 'dst', stage.lab.vip4]))
        .split('\n')
        .flatMap((line) => /\s(\S+):(\d+)\s+\S+:7000\s*$/.exec(line)?.slice(1, 3).join(':') ?? []);
      assert.equal(ports.length, 30);
      const ask = async (flow: string, ...more: string[]) => {
        const { code, output } = await stage.command('explain', '--json', 'tcp', flow, `${stage.lab.vip4}:${PORT}`, ...more);
        assert.equal(code, 0, output);
        return JSON.parse(output) as Answer;
      };
      const told = new Map<string, Answer>();
      for (const flow of ports.slice(0, 6)) told.set(flow, await ask(flow));
      for (const [flow, { choice, flow: found, sent }] of told) {
        assert.equal(choice?.from, 'entry', flow);
        assert.equal(found?.entry?.confirmed, true, flow);
        assert.ok((owners[choice?.backend ?? ''] ?? 0) > 0, flow);
        assert.equal(sent?.lengths.length, 1);
      }
      const [flow, { choice }] = [...told][0];
      const backend = `${choice?.pool}/${choice?.backend}`;
      const without = await ask(flow, '--without', backend);
      assert.equal(without.without?.moves, true);
      assert.notEqual(without.without?.trail.choice?.backend, choice?.backend);
      // The same worker while it drains, though the table says another; who is new goes there.
      assert.equal((await stage.command('drain', 'backend', backend)).code, 0);
      const draining = await ask(flow);
      assert.deepEqual(
        [draining.choice?.from, draining.choice?.backend, draining.choice?.state],
        ['entry', choice?.backend, 'draining'],
      );
      assert.notEqual(draining.choice?.table?.backend, backend);
      const text = await stage.command('explain', 'tcp', flow, `${stage.lab.vip4}:${PORT}`);
      assert.match(text.output, /because its flow table entry says so\n\s+it is draining/);
      // Over HTTP as well, and a question that can not be read.
      const fetch = (query: string) =>
        runIn(stage.lab.director, process.execPath, [built('demo/fetch'), `http://127.0.0.1:6079/-/explain?${query}`, '5']);
      const overHttp = JSON.parse(await fetch(`flow=tcp+${flow}+${stage.lab.vip4}:${PORT}&flags=syn`)) as Answer;
      assert.equal(overHttp.choice?.backend, choice?.backend);
      // A packet longer than a query.
      const long = Buffer.concat([Buffer.from('4500', 'hex'), Buffer.alloc(4000)]);
      long.writeUInt16BE(long.length, 2);
      const posted = await stage.command('explain', '--json', '--hex', long.toString('hex'));
      assert.equal((JSON.parse(posted.output) as Answer).packet.length, long.length, posted.output);
      const refused = await stage.command('explain', 'tcp', 'nonsense', '10.0.0.1:1');
      assert.deepEqual([refused.code, /"nonsense" is not ADDRESS:PORT/.test(refused.output)], [2, true]);
      assert.equal((await stage.counters()).get('gue_director_flow_table_inserts_total'), flowsBefore);
    } finally {
      assert.equal(await stage.close(), 0);
    }
  },
);
