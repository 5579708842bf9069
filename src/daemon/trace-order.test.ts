// Real threads with the memory drivers: no kernel state, no privilege.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Publisher } from '../control/publisher.ts';
import { EventJournal } from '../observe/events.ts';
import { createLog } from '../observe/log.ts';
import { SnapshotBuilder } from '../pipeline/snapshot.ts';
import { boottimeClock } from '../raw-socket/clock.ts';
import { RING_BYTES } from '../trace/bounds.ts';
import type { Expression } from '../trace/filter/expression.ts';
import { ringMemory } from '../trace/ring.ts';
import { ForwardingThreads } from './forwarding-threads.ts';

test('an order that a thread can not follow costs the trace, not the thread', async () => {
  const clock = boottimeClock();
  const publisher = new Publisher({ builder: new SnapshotBuilder(), now: () => clock.seconds() });
  const spec = { services: [], pools: [] };
  publisher.publish(spec);
  const subject = new ForwardingThreads({
    threads: 1,
    ingress: { driver: 'memory' },
    egress: { driver: 'memory' },
    flowEntries: 64,
    fragments: { entries: 64, timeout: 5, holdBytes: 65536, holdPackets: 16, holdPerSource: 16, holdTimeout: 1 },
    publisher,
    clock,
    journal: new EventJournal(createLog({ level: 'silent', format: 'json', write: () => {} })),
    replaced: () => {},
    interfaceIndex: () => 0,
    gaveUp: () => {},
  });
  await subject.start();
  try {
    const [seat] = subject.seats;
    const order = (filter: Expression) => {
      const until = clock.seconds() + 60;
      const names = { services: [], pools: [], backends: [] };
      seat.post({ kind: 'trace', names, order: { filter, snap: 0, rate: 1, until, ring: ringMemory(RING_BYTES) } });
    };
    // None that a filter in words becomes: what the parser may have overlooked.
    order({ is: 'flags', mask: {} as number, test: '!=', value: 0 });
    const deadline = Date.now() + 5000;
    while (seat.traceFailure === '' && seat.failures === 0 && Date.now() < deadline) await sleep(5);
    assert.match(seat.traceFailure, /RangeError: .*whole number/);
    order({ is: 'flags', mask: 2, test: '!=', value: 0 });
    await publisher.publish(spec).everywhere;
    await sleep(20);
    assert.deepEqual([seat.occupied, seat.failures, seat.traceFailure], [true, 0, '']);
  } finally {
    await subject.stop();
    publisher.close();
  }
});
