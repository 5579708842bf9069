import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { SnapshotBuilder, type SnapshotParts } from '../pipeline/snapshot.ts';
import type { Spec } from '../pipeline/spec.ts';
import { Publisher, type Subscriber } from './publisher.ts';

const SPEC: Spec = {
  services: [
    {
      name: 'web',
      prefix: { bytes: Uint8Array.of(192, 0, 2, 10), length: 32 },
      protocol: 6,
      portFrom: 80,
      portTo: 80,
      affinity: '5-tuple',
      pool: 'front',
    },
  ],
  pools: [
    {
      name: 'front',
      tableSize: 251,
      seed: 1,
      tunnel: { encapsulation: 'gue', port: 6080, source4: Uint8Array.of(198, 51, 100, 1), source6: null, checksum: 'auto' },
      backends: [{ name: 'w1', address: Uint8Array.of(198, 51, 100, 11), weight: 1, state: 'active' }],
    },
  ],
};
const BROKEN: Spec = { ...SPEC, services: [{ ...SPEC.services[0], pool: 'nowhere' }] };

class Reader implements Subscriber {
  readonly offered: SnapshotParts[] = [];
  generation: number;

  constructor(generation = 0) {
    this.generation = generation;
  }

  offer(parts: SnapshotParts): void {
    this.offered.push(parts);
  }

  acknowledged(): number {
    return this.generation;
  }
}

function publisher(): Publisher {
  return new Publisher({ builder: new SnapshotBuilder(), now: () => 100, interval: 1 });
}

test('a snapshot is offered to all, and everywhere once all have acknowledged', async () => {
  const subject = publisher();
  const readers = [new Reader(), new Reader()];
  for (const reader of readers) subject.subscribe(reader);
  const { parts, everywhere } = subject.publish(SPEC);
  assert.deepEqual(
    readers.map((reader) => reader.offered.map((one) => one.generation)),
    [[parts.generation], [parts.generation]],
  );
  let done = false;
  everywhere.then(() => {
    done = true;
  });
  readers[0].generation = parts.generation;
  await sleep(10);
  assert.equal(done, false);
  assert.equal(subject.settled, false);
  readers[1].generation = parts.generation;
  await everywhere;
  assert.equal(subject.settled, true);
});

test('old snapshots are kept while somebody reads them, and then let go', async () => {
  const subject = publisher();
  const [slow, quick] = [new Reader(), new Reader()];
  subject.subscribe(slow);
  subject.subscribe(quick);
  const first = subject.publish(SPEC).parts.generation;
  slow.generation = first;
  const publications = [subject.publish(SPEC), subject.publish(SPEC)];
  const last = publications[1].parts.generation;
  quick.generation = last;
  await sleep(10);
  assert.deepEqual(subject.held, [first, first + 1, last]);
  slow.generation = last;
  await Promise.all(publications.map((publication) => publication.everywhere));
  assert.deepEqual(subject.held, [last]);
});

test('nobody waits for a reader that has gone', async () => {
  const subject = publisher();
  const [alive, dead] = [new Reader(), new Reader()];
  subject.subscribe(alive);
  subject.subscribe(dead);
  const { parts, everywhere } = subject.publish(SPEC);
  alive.generation = parts.generation;
  subject.unsubscribe(dead);
  await everywhere;
  assert.deepEqual(subject.held, [parts.generation]);
});

test('a spec that can not be built changes nothing', () => {
  const subject = publisher();
  const reader = new Reader();
  subject.subscribe(reader);
  const { parts } = subject.publish(SPEC);
  assert.throws(() => subject.publish(BROKEN), { code: 'GD_SNAPSHOT_POOL' });
  assert.equal(subject.current, parts);
  assert.equal(subject.spec, SPEC);
  assert.equal(reader.offered.length, 1);
  subject.close();
});

test('without readers a publication is everywhere at once', async () => {
  const subject = publisher();
  await subject.publish(SPEC).everywhere;
  await subject.publish(SPEC).everywhere;
  assert.equal(subject.held.length, 1);
});
