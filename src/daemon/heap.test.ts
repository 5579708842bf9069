import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { getHeapSpaceStatistics } from 'node:v8';
import { Worker } from 'node:worker_threads';
import { collectAll, collectAndShrink, collectYoung } from './heap.ts';

const youngBytes = () => getHeapSpaceStatistics().find(({ space_name }) => space_name === 'new_space')?.space_used_size ?? 0;

test('young objects that nobody has go with a young collection', () => {
  let held: object[] | null = Array.from({ length: 4000 }, (_, i) => ({ i, name: `${i}` }));
  const before = youngBytes();
  assert.equal(held.length, 4000);
  held = null;
  collectYoung();
  assert.ok(youngBytes() < before, `${youngBytes()} of ${before}`);
});

test('what nobody has goes with a whole one, before it returns', async () => {
  const reference = new WeakRef({ of: 'nobody' });
  // A WeakRef holds what it was made for to the end of the task.
  await new Promise((done) => setImmediate(done));
  collectAll();
  assert.equal(reference.deref(), undefined);
});

test('memory that is empty goes back to the system', async () => {
  let held: object[] | null = Array.from({ length: 200_000 }, (_, i) => ({ i }));
  await new Promise((done) => setTimeout(done, 50));
  const full = process.memoryUsage().heapTotal;
  assert.equal(held.length, 200_000);
  held = null;
  collectAndShrink();
  await new Promise((done) => setTimeout(done, 200));
  assert.ok(process.memoryUsage().heapTotal < full - (4 << 20), `${process.memoryUsage().heapTotal} of ${full}`);
});

test("memory that C's allocator has left over goes back too, though not all around it is free", async () => {
  const anonymous = () => Number(/^RssAnon:\s+(\d+)/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]) / 1024;
  const before = anonymous();
  // Below the size from which malloc maps each block for itself; every hundredth stays.
  const blocks = Array.from({ length: 2000 }, () => Buffer.allocUnsafeSlow(32_768).fill(1));
  const full = anonymous();
  assert.ok(full > before + 50, `${before} to ${full} MiB`);
  const held = blocks.filter((_, i) => i % 100 === 0);
  blocks.length = 0;
  // What young collections found dead is freed by a task of V8's.
  await new Promise((done) => setTimeout(done, 50));
  collectAndShrink();
  await new Promise((done) => setTimeout(done, 500));
  assert.ok(anonymous() < full - 40, `${before} to ${full} to ${anonymous()} MiB, ${held.length} blocks`);
});

test('threads that begin together all have it', async () => {
  const own = JSON.stringify(new URL('./heap.ts', import.meta.url).href);
  const tsx = JSON.stringify(import.meta.resolve('tsx/esm/api'));
  const script = `import(${tsx}).then(({ register }) => { register(); return import(${own}); }).then(({ collectAll }) => collectAll())`;
  const threads = Array.from({ length: 8 }, () => new Worker(script, { eval: true }));
  const codes = await Promise.all(
    threads.map((thread) => new Promise((done, fail) => thread.once('exit', done).once('error', fail))),
  );
  assert.deepEqual(codes, [0, 0, 0, 0, 0, 0, 0, 0]);
});
