import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { allowedProcessors, MOST_PROCESSORS, pinToProcessor } from './processors.ts';

/** As the kernel prints it: `0-1,4`. */
function listed(text: string): number[] {
  return text.split(',').flatMap((part) => {
    const [from, to = from] = part.split('-').map(Number);
    return Array.from({ length: to - from + 1 }, (_, i) => from + i);
  });
}

test('the processors of this thread are those that the kernel shows', () => {
  const shown = /^Cpus_allowed_list:\s+(\S+)$/m.exec(readFileSync('/proc/thread-self/status', 'utf8'))?.[1] ?? '';
  assert.deepEqual(allowedProcessors(), listed(shown));
});

test('a thread is kept on one processor, and no other thread is; one that is not there is refused', async () => {
  const before = allowedProcessors();
  const tsx = JSON.stringify(import.meta.resolve('tsx/esm/api'));
  const module = JSON.stringify(new URL('./processors.ts', import.meta.url).href);
  const script = `
    import(${tsx}).then(async ({ register }) => {
      register();
      const { allowedProcessors, pinToProcessor } = await import(${module});
      const wanted = allowedProcessors().at(-1);
      const done = [pinToProcessor(wanted), pinToProcessor(${MOST_PROCESSORS - 1})];
      require('node:worker_threads').parentPort.postMessage({ wanted, done, now: allowedProcessors() });
    });`;
  const worker = new Worker(script, { eval: true });
  const { wanted, done, now } = await new Promise<{ wanted: number; done: boolean[]; now: number[] }>((resolve, reject) => {
    worker.once('message', resolve);
    worker.once('error', reject);
  });
  assert.deepEqual(done, [true, false]);
  assert.deepEqual(now, [wanted]);
  assert.deepEqual(allowedProcessors(), before);
  assert.equal(pinToProcessor(MOST_PROCESSORS - 1), false);
});
