// The worker merges what it unwraps: real uploads through the daemon, with and without, and over a path that loses, reorders, repeats and
// damages. The kernel's own counters of the worker's TUN device say how many packets it was given.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { Actor } from '../../src/demo/cast.ts';
import { directorConfiguration, METRICS, TUNNEL_PORT, WEB_PORT } from '../../src/demo/configuration.ts';
import { contentHash } from '../../src/demo/content.ts';
import { Lab } from '../../src/demo/lab/topology.ts';
import type { TransferOrder, TransferResult } from '../../src/demo/transfer.ts';
import { needs } from '../needs.ts';

const BYTES = 8_000_000;
const BEHIND_RELAY = 6081;
/** From src/demo, where Actor looks. */
const RELAY = '../../test/lab/unreliable-relay';

interface Figures {
  readonly packets: number;
  readonly bytes: number;
  readonly wrongChecksums: number;
  /** The worker's last line. */
  readonly summary: string;
}

function deviceCounters(lab: Lab): { packets: number; bytes: number; wrongChecksums: number } {
  const line = lab.workers[0]
    .run('cat', ['/proc/net/dev'])
    .split('\n')
    .find((one) => one.trim().startsWith('gw0:')) as string;
  const [bytes, packets] = line.split(':')[1].trim().split(/\s+/).map(Number);
  const rows = lab.workers[0]
    .run('cat', ['/proc/net/snmp'])
    .split('\n')
    .filter((row) => row.startsWith('Tcp:'))
    .map((row) => row.split(' '));
  return { packets, bytes, wrongChecksums: Number(rows[1][rows[0].indexOf('InCsumErrors')]) };
}

/** Uploads to each address through director and worker; every hash must be right. */
async function upload(t: TestContext, addresses: (lab: Lab) => string[], bytes: number, ...options: string[]): Promise<Figures> {
  const folder = mkdtempSync(join(tmpdir(), 'gue-director-coalesce-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const lab = Lab.create({ workers: 1 });
  t.after(() => lab.close());
  const file = join(folder, 'director.yaml');
  writeFileSync(file, directorConfiguration(lab));
  const director = Actor.start('director', lab.director, '../cli/main', 'run', '--config', file);
  const worker = Actor.start('worker', lab.workers[0], '../cli/main', 'worker', ...options);
  const server = Actor.start('server', lab.workers[0], './web-server', 'worker-1', String(WEB_PORT));
  const others = options.includes(String(BEHIND_RELAY))
    ? [Actor.start('relay', lab.workers[0], RELAY, String(TUNNEL_PORT), String(BEHIND_RELAY), '7')]
    : [];
  await Promise.all([worker, server, ...others].map((actor) => actor.says('ready')));
  const probe = Actor.start('probe', lab.director, './fetch', `http://${METRICS}/-/ready`, '20');
  await Promise.race([probe.ended, director.fails(25)]);

  const orders = addresses(lab).map((address): TransferOrder => ({ kind: 'upload', address, port: WEB_PORT, bytes }));
  const client = Actor.start('client', lab.client, './web-client');
  client.child.stdin!.end(`${JSON.stringify(orders)}\n`);
  for (const line of await client.lines(orders.length, 40)) {
    const { error, bytes: arrived, sha256 } = JSON.parse(line) as TransferResult;
    assert.deepEqual([error, arrived, sha256], ['', bytes, contentHash(bytes)], `${director.words}\n${worker.words}`);
  }
  const counters = deviceCounters(lab);
  for (const relay of others) {
    await relay.stop();
    const { lost, late, twice, damaged } = JSON.parse(relay.output.trimEnd().split('\n').at(-1) as string);
    for (const [what, count] of Object.entries({ lost, late, twice, damaged })) assert.ok(Number(count) > 0, `${count} ${what}`);
  }
  assert.equal(await worker.stop(), 0, worker.words);
  assert.doesNotMatch(worker.words, /refused|warning/);
  assert.equal(await director.stop(), 0, director.words);
  return { ...counters, summary: worker.output.trimEnd().split('\n').at(-1) as string };
}

test('uploads over both families: a fraction of the packets, the same bytes', needs('namespaces', 'tun'), async (t) => {
  const both = (lab: Lab) => [lab.vip4, lab.vip6];
  const merged = await upload(t, both, BYTES);
  const single = await upload(t, both, BYTES, '--no-gro');
  assert.doesNotMatch(single.summary, /super-packets/);
  assert.match(merged.summary, / of them in \d+ super-packets/);
  assert.ok(single.packets > (2 * BYTES) / 1460, `${single.packets} packets without merging`);
  assert.ok(merged.packets < single.packets / 2, `${merged.packets} packets merged, ${single.packets} without`);
  assert.ok(merged.bytes > 2 * BYTES && merged.bytes < single.bytes, `${merged.bytes} bytes merged, ${single.bytes} without`);
  assert.equal(merged.wrongChecksums, 0);
  t.diagnostic(`${single.packets} packets of ${Math.round(single.bytes / single.packets)} bytes without merging`);
  t.diagnostic(`${merged.packets} packets of ${Math.round(merged.bytes / merged.packets)} bytes with`);
});

test('a path that loses, reorders, repeats and damages: every byte right', needs('namespaces', 'tun'), async (t) => {
  const { summary, wrongChecksums } = await upload(t, (lab) => [lab.vip4], 2_000_000, '--port', String(BEHIND_RELAY));
  assert.match(summary, / of them in \d+ super-packets/);
  // Damaged segments reached the kernel by themselves, for it to count and refuse.
  assert.ok(wrongChecksums > 0);
  t.diagnostic(summary);
});
