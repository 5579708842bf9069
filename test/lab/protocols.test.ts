// Other protocols through the real daemon and three workers: UDP dealt out by the datagram, ESP and SCTP as real kernels send and receive them.

import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { Lab } from '../../src/demo/lab/topology.ts';
import { Program } from '../full/program.ts';
import { needs } from '../needs.ts';
import { built, RunningDirector, runIn } from '../uml/director.ts';

const SCRIPT = join(import.meta.dirname, 'protocols.py');
const ESP = 50;
const SCTP = 132;
const PACKETS = 20;
const SOURCES = ['10.80.0.2', ...Array.from({ length: 7 }, (_, k) => `10.80.0.${20 + k}`)];

function configuration(lab: Lab): string {
  const backends = lab.workers.map(({ role, address4 }) => `{ name: ${role}, address: ${address4} }`).join(', ');
  return [
    'services:',
    `  - { name: dns, address: ${lab.vip4}, protocol: udp, port: 53, affinity: none, pool: p }`,
    `  - { name: esp, address: ${lab.vip4}, protocol: esp, pool: p }`,
    `  - { name: sctp, address: ${lab.vip4}, protocol: sctp, port: 2905, affinity: ports, pool: p }`,
    `pools: { p: { table-size: 1009, backends: [${backends}] } }`,
    `tunnel: { source: { ipv4: ${lab.director.address4} } }`,
    '',
  ].join('\n');
}

async function counted(counters: readonly Program[], expected: number): Promise<number[]> {
  const counts = () => counters.map(({ words }) => Number([...words.matchAll(/seen (\d+)/g)].at(-1)?.[1] ?? 0));
  const deadline = performance.now() + 5000;
  while (counts().reduce((a, b) => a + b) < expected && performance.now() < deadline) await new Promise((r) => setTimeout(r, 50));
  return counts();
}

test('UDP by the datagram, ESP by addresses, SCTP by ports', needs('root', 'namespaces', 'tun', 'python3'), async () => {
  const lab = Lab.create({ workers: 3 });
  const programs: Program[] = [];
  try {
    const python = (k: number, ...args: string[]) => Program.start(lab.workers[k], 'python3', [SCRIPT, ...args], 'ready');
    const counters: Record<number, Program[]> = { [ESP]: [], [SCTP]: [] };
    for (const [k, worker] of lab.workers.entries()) {
      programs.push(await Program.start(worker, process.execPath, [built('cli/main'), 'worker'], 'ready'));
      programs.push(await python(k, 'answer', lab.vip4, '53', worker.role));
      for (const protocol of [ESP, SCTP]) counters[protocol].push(await python(k, 'count', String(protocol), lab.vip4));
    }
    programs.push(...counters[ESP], ...counters[SCTP]);
    lab.client.ip(...SOURCES.slice(1).map((source) => `addr add ${source}/24 dev eth0`));
    const director = await RunningDirector.start(lab.director, configuration(lab));
    try {
      const names = JSON.parse(await runIn(lab.client, 'python3', [SCRIPT, 'ask', lab.vip4, '53', '300'])) as Record<
        string,
        number
      >;
      assert.equal(Object.keys(names).length, 3);
      for (const [name, count] of Object.entries(names)) assert.ok(count > 60 && count < 140, `${name} ${count} of 300`);

      for (const protocol of [ESP, SCTP]) {
        await runIn(lab.client, 'python3', [SCRIPT, 'send', String(protocol), lab.vip4, String(PACKETS), ...SOURCES]);
        const counts = await counted(counters[protocol], PACKETS * SOURCES.length);
        assert.equal(
          counts.reduce((a, b) => a + b),
          PACKETS * SOURCES.length,
          `${protocol}: ${counts}`,
        );
        // A source's packets stay together; of SCTP, whose ports are all the same here, those of every source do.
        for (const count of counts) assert.equal(count % PACKETS, 0, `${protocol}: ${counts}`);
        assert.equal(counts.filter((count) => count > 0).length > 1, protocol === ESP, `${protocol}: ${counts}`);
      }
    } finally {
      await director.stop();
    }
  } finally {
    await Promise.all(programs.map((program) => program.stop()));
    lab.close();
  }
});
