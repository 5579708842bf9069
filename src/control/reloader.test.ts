import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { CodedError } from '../base/errors.ts';
import { loadConfig } from '../config/load.ts';
import { planOf } from './plan.ts';
import { Reloader, type ReloadOutcome, type ReloadTarget } from './reloader.ts';
import type { Trial } from './trial-file.ts';

function yaml(weight: number, more = ''): string {
  return `services: [{ name: web, address: 192.0.2.1, protocol: tcp, port: 80, pool: a }]
pools: { a: { table-size: 251, backends: [{ name: w1, address: 198.51.100.1, weight: ${weight} }] } }
tunnel: { source: { ipv4: 203.0.113.1 } }
${more}`;
}

function rig(t: TestContext, trial: Trial | null = null) {
  const folder = mkdtempSync(join(tmpdir(), 'gd-reloader-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const file = join(folder, 'director.yaml');
  const write = (text: string) => writeFileSync(file, text);
  write(yaml(1));
  let config = loadConfig(file);
  let generation = 1;
  const steps: string[] = [];
  const told: ReloadOutcome[] = [];
  const faults = { examine: '', change: '' };
  const weight = (of = config) => of.spec.pools[0].backends[0].weight;
  const trials: (string | null)[] = [];
  const change = async (next: typeof config, word: string) => {
    steps.push(`${word} ${weight(next)}`);
    await sleep(5);
    if (faults.change !== '') throw new CodedError('GD_HOST_ROUTE_TAKEN', faults.change);
    config = next;
    generation++;
    steps.push(`end ${weight(next)}`);
  };
  const target: ReloadTarget = {
    get config() {
      return config;
    },
    get generation() {
      return generation;
    },
    plan: (next) => planOf({ before: config, after: next, inForce: config.spec, wanted: next.spec, generation, tables: false }),
    examine: () => {
      if (faults.examine !== '') throw new CodedError('GD_HOST_CHECK', faults.examine, { exitCode: 77, hint: 'look' });
    },
    change: (next) => change(next, 'begin'),
    changeBack: (before) => change(before, 'back to'),
    settled: () => steps.push('settled'),
    remember: (now) => trials.push(now === null ? null : `${/weight: (\d+)/.exec(now.tried)?.[1]} not ${weight()}`),
    told: (_, outcome) => told.push(outcome),
  };
  const reloader = new Reloader(target, trial);
  t.after(() => reloader.close());
  return { write, file, reloader, steps, told, faults, weight, trials, target };
}

test('one after the other, each with what the file holds at its turn', async (t) => {
  const { write, reloader, steps, weight } = rig(t);
  write(yaml(2));
  const first = reloader.reload({ cause: 'signal' });
  const second = reloader.reload({ cause: 'command' });
  await first;
  write(yaml(3));
  await second;
  const outcome = await reloader.reload({ cause: 'file' });
  assert.deepEqual(steps.slice(0, 3), ['begin 2', 'end 2', 'settled']);
  assert.equal(steps.length, 9);
  assert.deepEqual([outcome.result, weight(), reloader.counts.success], ['success', 3, 3]);
});

test('what is refused is told with its place, and nothing begins; what fails is told too, and the next one is tried', async (t) => {
  const { write, reloader, steps, faults, weight, file } = rig(t);
  write(yaml(70_000));
  const wrong = await reloader.reload({ cause: 'command' });
  assert.deepEqual([wrong.result, wrong.refusal?.exitCode, wrong.refusal?.problems[0].line, steps], ['refused', 78, 2, []]);
  assert.equal(reloader.last.result, 'refused');
  rmSync(file);
  assert.equal((await reloader.reload({ cause: 'file' })).refusal?.problems[0].code, 'GD_CONFIG_FILE_MISSING');
  write(yaml(2, 'threads: 4\n'));
  const restart = await reloader.reload({ cause: 'command' });
  assert.match(restart.refusal?.message ?? '', /director\.yaml:4:10 threads can not be changed while the director runs: 1 .* 4/);
  assert.match(restart.refusal?.hint ?? '', /restart/);
  write(yaml(2));
  faults.examine = 'no';
  assert.deepEqual([(await reloader.reload({ cause: 'command' })).refusal?.exitCode, steps], [77, []]);
  faults.examine = '';
  faults.change = 'taken';
  assert.deepEqual([(await reloader.reload({ cause: 'command' })).result, weight()], ['failed', 1]);
  faults.change = '';
  assert.deepEqual([(await reloader.reload({ cause: 'command' })).result, weight()], ['success', 2]);
  assert.deepEqual(reloader.counts, { success: 1, refused: 4, failed: 1, 'rolled-back': 0 });
});

test('conditions: a generation, a plan; neither counts as a look at the file', async (t) => {
  const { write, reloader, weight } = rig(t);
  write(yaml(2));
  const other = await reloader.reload({ cause: 'command', ifGeneration: 2 });
  assert.deepEqual([other.busy, other.refusal?.code, reloader.last.result], [true, 'GD_RELOAD_GENERATION', 'success']);
  const stale = await reloader.reload({ cause: 'command', ifGeneration: 1, ifPlan: 'ffff' });
  assert.deepEqual([stale.busy, stale.refusal?.code, weight()], [true, 'GD_RELOAD_PLAN', 1]);
  const id = / is (\w+) by now/.exec(stale.refusal?.message ?? '')?.[1] ?? '';
  assert.equal((await reloader.reload({ cause: 'command', ifPlan: id })).result, 'success');
  assert.equal((await reloader.reload({ cause: 'command', ifPlan: id })).busy, true, 'the plan is done');
});

test('to be confirmed: in time, not in time, taken back at once, and no other reload meanwhile', async (t) => {
  const { write, reloader, told, weight, steps } = rig(t);
  write(yaml(2));
  assert.equal(reloader.confirm(), false);
  assert.equal((await reloader.reload({ cause: 'command', confirmWithin: 100 })).confirmWithin, 100);
  write(yaml(3));
  assert.equal((await reloader.reload({ cause: 'file' })).refusal?.code, 'GD_RELOAD_PENDING');
  assert.deepEqual([reloader.confirm(), reloader.confirmWithin, weight()], [true, null, 2]);
  await reloader.reload({ cause: 'command', confirmWithin: 0.02 });
  assert.equal(weight(), 3);
  await sleep(80);
  assert.deepEqual([weight(), told.at(-1)?.result, reloader.last.result], [2, 'rolled-back', 'rolled-back']);
  await reloader.reload({ cause: 'command', confirmWithin: 100 });
  assert.equal((await reloader.rollBack('command'))?.result, 'rolled-back');
  assert.deepEqual([weight(), await reloader.rollBack('command')], [2, null]);
  const back = ['begin 3', 'end 3', 'back to 2', 'end 2'];
  assert.deepEqual(steps, ['begin 2', 'end 2', 'settled', ...back, ...back]);
});

test('what nobody confirmed is remembered until something else is: before it is in force, and beyond the end', async (t) => {
  const { write, reloader, trials, faults, file, target } = rig(t);
  write(yaml(2));
  faults.change = 'taken';
  await reloader.reload({ cause: 'command', confirmWithin: 100 });
  assert.deepEqual(trials.splice(0), ['2 not 1', null], 'it never was in force');
  faults.change = '';
  await reloader.reload({ cause: 'command', confirmWithin: 100 });
  await reloader.rollBack('command');
  assert.deepEqual(trials.splice(0), ['2 not 1'], 'the file holds it still');
  write(yaml(3));
  await reloader.reload({ cause: 'command', confirmWithin: 100 });
  reloader.close();
  assert.deepEqual(trials.splice(0), ['3 not 1'], 'an end is no confirmation');

  const next = new Reloader(target, { file, tried: yaml(3), confirmed: yaml(1) });
  t.after(() => next.close());
  assert.deepEqual(
    [next.last.cause, next.last.result, next.last.refusal?.code],
    ['start', 'rolled-back', 'GD_RELOAD_ROLLED_BACK'],
  );
  await next.reload({ cause: 'command' });
  assert.deepEqual(trials.splice(0), [null]);
  write(yaml(4));
  await next.reload({ cause: 'command', confirmWithin: 100 });
  next.confirm();
  assert.deepEqual(trials, ['4 not 3', null]);
});

test('another file than the running one is not reloaded, and both are named', async (t) => {
  const { write, reloader, steps, file } = rig(t);
  write(yaml(2));
  const { busy, refusal } = await reloader.reload({ cause: 'command', file: '/tmp/other.yaml' });
  assert.deepEqual([busy, refusal?.code, steps], [true, 'GD_RELOAD_OTHER_FILE', []]);
  assert.equal(refusal?.message, `the director runs ${file}, not /tmp/other.yaml`);
  assert.equal((await reloader.reload({ cause: 'command', file: join(file, '..', 'director.yaml') })).result, 'success');
  symlinkSync(file, `${file}.link`);
  assert.equal((await reloader.reload({ cause: 'command', file: `${file}.link` })).result, 'success');
});
