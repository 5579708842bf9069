import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatAddress } from '../base/address.ts';
import { Arena, SMALL_STRIDE } from '../base/arena.ts';
import { Batch, LINK_RAW_IP } from '../base/batch.ts';
import { ManualClock } from '../base/clock.ts';
import { counterAt, createBank, DROPS_AT } from '../base/counters.ts';
import { dropReason } from '../base/drop-reason.ts';
import { Publisher } from '../control/publisher.ts';
import type { DriverStatistics } from '../io/driver.ts';
import { MemoryEgress } from '../io/memory/egress.ts';
import { MemoryIngress } from '../io/memory/ingress.ts';
import { FlowTable } from '../pipeline/flow-table.ts';
import { FragmentHold } from '../pipeline/fragment-hold.ts';
import { FragmentTable } from '../pipeline/fragment-table.ts';
import { Pipeline } from '../pipeline/pipeline.ts';
import { Snapshot, SnapshotBuilder, type SnapshotParts } from '../pipeline/snapshot.ts';
import type { Spec } from '../pipeline/spec.ts';
import { forward } from './forwarding-loop.ts';
import { WORD_COUNT, WORD_GENERATION, WORD_HEARTBEAT, WORD_MAIL } from './thread-protocol.ts';

const BURST = 8;

function specWith(backend: string): Spec {
  return {
    services: [
      {
        name: 'dns',
        prefix: { bytes: Uint8Array.of(192, 0, 2, 10), length: 32 },
        protocol: 17,
        portFrom: 53,
        portTo: 53,
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
        backends: [{ name: backend, address: Uint8Array.from(backend.split('.').map(Number)), weight: 1, state: 'active' }],
      },
    ],
  };
}

/** IPv4 and UDP from 203.0.113.7 to 192.0.2.10:53, without payload; the UDP checksum is left out (0), the header's is right. */
function datagram(sourcePort: number): Uint8Array {
  const packet = Uint8Array.of(
    0x45,
    0,
    0,
    28,
    0,
    0,
    0x40,
    0,
    64,
    17,
    0,
    0,
    203,
    0,
    113,
    7,
    192,
    0,
    2,
    10,
    0,
    0,
    0,
    53,
    0,
    8,
    0,
    0,
  );
  new DataView(packet.buffer).setUint16(20, sourcePort);
  let sum = 0;
  for (let at = 0; at < 20; at += 2) sum += (packet[at] << 8) | packet[at + 1];
  new DataView(packet.buffer).setUint16(10, ~((sum & 0xffff) + (sum >>> 16)) & 0xffff);
  return packet;
}

/** A thread's parts without a thread. The scenario is driven from `afterBatch`, which is called when a batch was sent. */
class Bench {
  readonly words = new Int32Array(WORD_COUNT);
  readonly bank = createBank();
  readonly kernelDrops = new Float64Array(1);
  readonly clock = new ManualClock(1000);
  readonly egress = new MemoryEgress();
  readonly publisher = new Publisher({ builder: new SnapshotBuilder(), now: () => this.clock.seconds(), interval: 1 });
  readonly mail: SnapshotParts[] = [];
  ingress: MemoryIngress;
  waits = 0;
  exhausted = 0;
  batches = 0;
  cpu = 0;
  readonly refused: string[] = [];
  afterBatch: () => void = () => {};
  onWait: () => void = () => {};
  #stopping = false;

  constructor(frames: Uint8Array[], rounds: number) {
    const facts = { link: LINK_RAW_IP, hopDone: true, canPass: false, headerVerified: true } as const;
    this.ingress = new MemoryIngress({ frames, rounds, facts, burst: BURST });
    this.publisher.publish(specWith('198.51.100.11'));
    this.publisher.subscribe({
      offer: (parts) => {
        this.mail.push(parts);
        this.words[WORD_MAIL]++;
      },
      acknowledged: () => this.words[WORD_GENERATION],
    });
  }

  stop(): void {
    this.#stopping = true;
    this.words[WORD_MAIL]++;
  }

  run(): void {
    const first = this.publisher.current as SnapshotParts;
    const pipeline = new Pipeline({
      snapshot: new Snapshot(first),
      flows: new FlowTable(64, new Int32Array(4)),
      bank: this.bank,
      fragments: new FragmentTable(64, new Int32Array(4), 5),
      hold: new FragmentHold(),
      sourcePortBase: 49152,
      sourcePortMask: 16383,
    });
    this.words[WORD_GENERATION] = first.generation;
    const { egress } = this;
    forward({
      ingress: this.ingress,
      egress: {
        name: egress.name,
        facts: egress.facts,
        send: (batch) => {
          egress.send(batch);
          this.batches++;
          this.afterBatch();
        },
        close: () => {},
      },
      pipeline,
      batch: new Batch(Arena.inProcess(32, SMALL_STRIDE), this.ingress.facts),
      clock: this.clock,
      cpuSeconds: () => {
        this.cpu += 0.5;
        return this.cpu;
      },
      wait: () => {
        this.waits++;
        this.onWait();
      },
      readMail: () => {
        for (const parts of this.mail.splice(0)) {
          pipeline.snapshot = new Snapshot(parts);
          this.words[WORD_GENERATION] = parts.generation;
        }
        return !this.#stopping;
      },
      exhausted: () => {
        this.exhausted++;
      },
      refused: (driver, errno) => this.refused.push(`${driver} ${errno}`),
      words: this.words,
      bank: this.bank,
      kernelDrops: this.kernelDrops,
    });
  }

  count(name: Parameters<typeof counterAt>[0]): number {
    return this.bank[counterAt(name)];
  }
}

const outerDestination = (packet: Uint8Array): string => formatAddress(packet.subarray(16, 20));

test('a second spec takes over between two batches, under traffic, and no packet is lost', async () => {
  const bench = new Bench(
    Array.from({ length: 32 }, (_, i) => datagram(1024 + i)),
    Number.POSITIVE_INFINITY,
  );
  let everywhere: Promise<void> | null = null;
  bench.afterBatch = () => {
    if (bench.batches === 5) everywhere = bench.publisher.publish(specWith('198.51.100.12')).everywhere;
    if (bench.batches === 12) bench.stop();
  };
  bench.run();
  const destinations = bench.egress.packets.map(outerDestination);
  assert.deepEqual(destinations, [
    ...Array(5 * BURST).fill('198.51.100.11'),
    // The flows had entries for a backend that is gone: all move to the new one, none is dropped.
    ...Array(7 * BURST).fill('198.51.100.12'),
  ]);
  assert.equal(bench.count('received_packets_total'), 12 * BURST);
  assert.equal(bench.count('forwarded_packets_total'), 12 * BURST);
  assert.equal(bench.count('batches_total'), 12);
  assert.ok(everywhere !== null);
  await everywhere;
  assert.equal(bench.publisher.settled, true);
  assert.equal(bench.publisher.held.length, 1);
});

test('an empty source is waited for, an exhausted one announced once, and the loop stays stoppable', () => {
  const bench = new Bench([datagram(5000)], 1);
  bench.onWait = () => {
    if (bench.waits === 3) bench.stop();
  };
  bench.run();
  assert.equal(bench.egress.count, 1);
  assert.equal(bench.exhausted, 1);
  assert.equal(bench.waits, 3);
  assert.equal(bench.count('wakeups_total'), 3);
  assert.equal(bench.count('batches_total'), 1, 'nothing received is no batch');
});

test('once a second: heartbeat and the kernel’s drops, which go on where a predecessor ended', () => {
  const bench = new Bench([datagram(5000)], 1);
  let asked = 0;
  bench.kernelDrops[0] = 100;
  bench.bank[counterAt('forwarding_cpu_seconds_total')] = 40;
  // What the thread used before it began to forward is not counted; half a second at each look is.
  bench.cpu = 7;
  bench.ingress.statistics = (): DriverStatistics => ({ kernelDrops: ++asked });
  bench.onWait = () => {
    if (bench.waits % 10 === 0) bench.clock.set(bench.clock.seconds() + 1);
    if (bench.waits === 41) bench.stop();
  };
  bench.run();
  assert.equal(bench.words[WORD_HEARTBEAT], 1004);
  assert.equal(asked, 6, 'at 1000 … 1004, and at the end');
  assert.equal(bench.kernelDrops[0], 106);
  assert.equal(bench.bank[counterAt('forwarding_cpu_seconds_total')], 43, 'six looks');
});

test('a driver’s errno is reported when it changes, once a second at most', () => {
  const bench = new Bench([datagram(5000)], 1);
  const ingress = bench.ingress as { lastErrno?: number };
  bench.onWait = () => {
    if (bench.waits === 2) ingress.lastErrno = 19;
    if (bench.waits === 20) ingress.lastErrno = 105;
    if (bench.waits % 5 === 0) bench.clock.set(bench.clock.seconds() + 1);
    if (bench.waits === 40) bench.stop();
  };
  bench.run();
  assert.deepEqual(bench.refused, ['memory 19', 'memory 105']);
});

test('what a driver throws ends the loop', () => {
  const bench = new Bench([datagram(5000)], Number.POSITIVE_INFINITY);
  bench.afterBatch = () => {
    throw new Error('the device is gone');
  };
  assert.throws(() => bench.run(), /the device is gone/);
});

test('a fragment that still waits for its first one when the thread stops is counted as dropped', () => {
  const fragment = datagram(1024);
  // Offset 8, the last one.
  fragment[6] = 0;
  fragment[7] = 1;
  const view = new DataView(fragment.buffer);
  view.setUint16(10, 0);
  let sum = 0;
  for (let at = 0; at < 20; at += 2) sum += view.getUint16(at);
  view.setUint16(10, ~((sum & 0xffff) + (sum >>> 16)) & 0xffff);
  const bench = new Bench([fragment, datagram(1025)], 1);
  bench.onWait = () => bench.stop();
  bench.run();
  const dropped = bench.bank[DROPS_AT + dropReason('fragment-timeout')];
  assert.deepEqual([dropped, bench.count('fragments_held_total'), bench.count('fragments_timed_out_total')], [1, 1, 1]);
  assert.deepEqual([bench.count('received_packets_total'), bench.count('forwarded_packets_total')], [2, 1]);
});
