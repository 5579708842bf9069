import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SnapshotGarbage } from './snapshot-garbage.ts';

const KB = 1024;
const parts = (...tables: SharedArrayBuffer[]) => ({ root: new SharedArrayBuffer(4 * KB), tables });

test('what was published before is gone when it was much, however small it looks to V8', async () => {
  const garbage = new SnapshotGarbage('major');
  const old: WeakRef<object>[] = [];
  for (let i = 0; i < 70; i++) {
    const one = parts(new SharedArrayBuffer(128 * KB));
    old.push(new WeakRef(one.tables[0]));
    garbage.published(one, 1000);
    // As main does between two changes.
    await new Promise((done) => setImmediate(done));
  }
  assert.equal(garbage.collections, 1);
  await new Promise((done) => setTimeout(done, 200));
  const left = old.slice(0, 60).filter((reference) => reference.deref() !== undefined).length;
  assert.equal(left, 0);
});

test('tables that stay are counted once; a little is collected after a while', () => {
  const garbage = new SnapshotGarbage('minor');
  const same = new SharedArrayBuffer(1024 * KB);
  for (let i = 0; i < 500; i++) garbage.published(parts(same), 1000);
  assert.equal(garbage.collections, 0);
  garbage.published(parts(same), 1299);
  assert.equal(garbage.collections, 0);
  garbage.published(parts(same), 1300);
  assert.equal(garbage.collections, 1);
  garbage.published(parts(same), 1500);
  assert.equal(garbage.collections, 1);
});
