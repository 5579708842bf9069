import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ManualTiming } from '../../test/reference/manual-timing.ts';
import { CheckRun } from './check-run.ts';
import type { Probe, ProbeTarget, Turn } from './probe.ts';

const TARGET = {} as ProbeTarget;

/** A check whose probe has ports to wait for, and answers after `takes` seconds. */
function rig(takes: number, refusal: Error | null = null) {
  const timing = new ManualTiming(0);
  const said: string[] = [];
  let free: ((turn: Turn | null) => void) | null = null;
  let taken = 0;
  const probe: Probe = {
    turn: (_, signal) => {
      if (refusal !== null) return Promise.reject(refusal);
      return new Promise((resolve) => {
        free = resolve;
        signal.addEventListener('abort', () => resolve(null));
      });
    },
    probe: (_, timeoutMs, __, turn) => {
      said.push(`asked from ${turn?.port} for ${timeoutMs} ms`);
      return new Promise((done) => timing.after(takes, () => done({ ok: true, detail: 'fine', milliseconds: takes * 1000 })));
    },
  };
  const run = new CheckRun({
    check: { type: 'icmp' },
    probe,
    timing,
    target: () => TARGET,
    ended: ({ ok, detail }) => said.push(`${ok} ${detail}`),
    failed: (error) => said.push(`failed ${(error as Error).message}`),
  });
  const give = () => {
    taken++;
    free?.({ port: 7, release: () => taken-- });
  };
  return { run, timing, said, give, taken: () => taken };
}

test('the wait for a turn is no part of the timeout, and the turn is given back', async () => {
  const { run, timing, said, give, taken } = rig(0.9);
  const turn = run.turn();
  await timing.pass(30);
  give();
  await turn;
  const ran = run.run();
  await timing.pass(1);
  await ran;
  assert.deepEqual(said, ['asked from 7 for 1000 ms', 'true fine']);
  assert.equal(taken(), 0);
});

test('a turn that can not be had is a fault of ours, once', async () => {
  const { run, timing, said } = rig(0.1, new Error('no ports'));
  await run.turn();
  await run.run();
  assert.deepEqual([said, run.counts.failed], [['failed no ports'], 1]);
  const again = run.run();
  await timing.pass(1);
  await again;
  assert.equal(said.at(-1), 'true fine');
});

test('one that is ended gives its turn back, whether it has it or is given it late', async () => {
  const has = rig(0.1);
  const turn = has.run.turn();
  has.give();
  await turn;
  has.run.end();
  assert.equal(has.taken(), 0);
  const waits = rig(0.1);
  const never = waits.run.turn();
  waits.run.end();
  await never;
  assert.deepEqual([waits.taken(), waits.said], [0, []]);
});
