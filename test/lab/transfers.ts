// A lab with the real daemon in it, user-space workers and web servers, and transfers through it whose content is known.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { Actor } from '../../src/demo/cast.ts';
import { type DirectorChoices, directorConfiguration, METRICS, WEB_PORT } from '../../src/demo/configuration.ts';
import { contentHash } from '../../src/demo/content.ts';
import { Lab, type LabOptions } from '../../src/demo/lab/topology.ts';
import type { TransferOrder, TransferResult } from '../../src/demo/transfer.ts';

const BYTES = 3_000_000;
export interface Stage {
  readonly lab: Lab;
  readonly folder: string;
  readonly director: Actor;
  readonly workers: readonly Actor[];
  /** What the test itself added to the lab's network. */
  readonly before: readonly string[];
}

export interface StageOptions extends LabOptions {
  /** Changes the lab before anything is started in it. */
  readonly prepare?: ((lab: Lab) => void) | undefined;
}

export async function open(t: TestContext, choices: DirectorChoices, options: StageOptions = {}): Promise<Stage> {
  const folder = mkdtempSync(join(tmpdir(), 'gue-director-transfer-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const lab = Lab.create({ workers: 2, ...options });
  t.after(() => lab.close());
  options.prepare?.(lab);
  const before = lab.leftovers();
  const file = join(folder, 'director.yaml');
  writeFileSync(file, directorConfiguration(lab, choices));
  const director = Actor.start('director', lab.director, '../cli/main', 'run', '--config', file);
  const workers = lab.workers.map((worker) => Actor.start(worker.role, worker, '../cli/main', 'worker'));
  const servers = lab.workers.map((worker) => Actor.start(worker.role, worker, './web-server', worker.role, String(WEB_PORT)));
  await Promise.all([...workers, ...servers].map((actor) => actor.says('ready')));
  const probe = Actor.start('probe', lab.director, './fetch', `http://${METRICS}/-/ready`, '20');
  await Promise.race([probe.ended, director.fails(25)]);
  return { lab, folder, director, workers, before };
}

/** One download and one upload over each family; every hash must be right. */
export async function transferAll({ lab, director }: Stage): Promise<void> {
  const orders: TransferOrder[] = [lab.vip4, lab.vip6].flatMap((address) =>
    (['download', 'upload'] as const).map((kind) => ({ kind, address, port: WEB_PORT, bytes: BYTES })),
  );
  const client = Actor.start('client', lab.client, './web-client');
  client.child.stdin!.end(`${JSON.stringify(orders)}\n`);
  const lines = await client.lines(orders.length, 20).catch(async (error: unknown) => {
    const probe = Actor.start('metrics', lab.director, './fetch', `http://${METRICS}/metrics`, '1');
    await probe.ended;
    const drops = probe.output.split('\n').filter((line) => /_total/.test(line) && !line.startsWith('#') && !line.endsWith(' 0'));
    throw new Error(`${director.words}\n${client.output}\n${drops.join('\n')}`, { cause: error });
  });
  const hash = contentHash(BYTES);
  for (const line of lines) {
    const { kind, family, bytes, sha256, error } = JSON.parse(line) as TransferResult;
    assert.deepEqual([kind, family, error, bytes, sha256], [kind, family, '', BYTES, hash], director.words);
  }
}

/** Everything ends with 0 and gives back what it took. */
export async function end({ lab, director, workers, before }: Stage): Promise<void> {
  assert.equal(await director.stop(), 0, director.words);
  for (const worker of workers) {
    assert.equal(await worker.stop(), 0, worker.words);
    assert.doesNotMatch(worker.words, /refused|warning/);
  }
  assert.deepEqual(lab.leftovers(), before);
}

/** Counters of the director, by name with labels. */
export async function counters({ lab }: Stage): Promise<Map<string, number>> {
  const probe = Actor.start('metrics', lab.director, './fetch', `http://${METRICS}/metrics`, '5');
  await probe.ended;
  const lines = probe.output.split('\n').filter((line) => line.startsWith('gue_director_'));
  return new Map(lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ') + 1))]));
}
