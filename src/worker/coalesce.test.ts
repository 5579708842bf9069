import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ip } from '../../test/builder/addresses.ts';
import { packet, type TcpFields } from '../../test/builder/packet.ts';
import { randomStream, type StreamChoices } from '../../test/builder/tcp-stream.ts';
import { Random } from '../../test/full/random.ts';
import fc from '../../test/property.ts';
import { coalesceSlowly, cut, hasFixedId, type Merged } from '../../test/reference/coalesce.ts';
import { Coalescer, MAX_TRAINS, type Outlet } from './coalesce.ts';
import { HEADER_ROOM, MAX_BYTES, MAX_SEGMENTS, type Train } from './train.ts';

const LIMITS = { trains: MAX_TRAINS, segments: MAX_SEGMENTS, bytes: MAX_BYTES };
const VIRTIO = 12;

/** Writes down what leaves, as the kernel would get it. */
class Recorder implements Outlet {
  readonly out: { bytes: Uint8Array; virtio: Uint8Array | null }[] = [];
  readonly #memory: Uint8Array;

  constructor(memory: Uint8Array) {
    this.#memory = memory;
  }

  packet(at: number, length: number): void {
    this.out.push({ bytes: this.#memory.slice(at, at + length), virtio: null });
  }

  superPacket(train: Train): void {
    const headers = new Uint8Array(HEADER_ROOM).fill(0xee);
    const view = new DataView(this.#memory.buffer, this.#memory.byteOffset);
    const length = train.writeHeaders(view, new DataView(headers.buffer), 0);
    const pieces = Array.from({ length: train.count }, (_, k) =>
      this.#memory.slice(train.payloadAt[k], train.payloadAt[k] + train.payloadOf(k)),
    );
    const bytes = Buffer.concat([headers.slice(VIRTIO, length), ...pieces]);
    this.out.push({ bytes: new Uint8Array(bytes), virtio: headers.slice(0, VIRTIO) });
  }
}

/** The packets in one memory with hostile bytes between them; the last one ends with the memory. */
function coalesce(batch: readonly Uint8Array[], gap = 8) {
  const memory = new Uint8Array(batch.reduce((total, one) => total + one.length + gap, 0)).fill(0xff);
  const recorder = new Recorder(memory);
  const coalescer = new Coalescer(new DataView(memory.buffer), recorder);
  let at = gap;
  for (const one of batch) {
    memory.set(one, at);
    at += one.length + gap;
  }
  at = gap;
  for (const one of batch) {
    coalescer.offer(at, one.length, one[0] >> 4);
    at += one.length + gap;
  }
  coalescer.flush();
  return recorder.out;
}

/** virtio-net header of a super-packet, by the document's words: flags, type, header length, size, start, offset, buffers. */
function virtioOf({ bytes, segmentSize }: Merged): Uint8Array {
  const at = bytes[0] >> 4 === 4 ? 20 : 40;
  const header = at + (bytes[at + 12] >> 4) * 4;
  return Uint8Array.of(1, at === 20 ? 1 : 4, header, 0, segmentSize % 256, Math.floor(segmentSize / 256), at, 0, 16, 0, 0, 0);
}

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

/** Holds a batch against the twin, and cuts what was merged. Returns how many were merged. */
function compare(batch: readonly Uint8Array[], label: string): number {
  const found = coalesce(batch);
  const wanted = coalesceSlowly(batch, LIMITS);
  assert.deepEqual(
    found.map(({ bytes, virtio }) => [hex(bytes), virtio === null ? '' : hex(virtio)]),
    wanted.map((one) => [hex(one.bytes), one.segmentSize === 0 ? '' : hex(virtioOf(one))]),
    label,
  );
  let merged = 0;
  const back: string[] = [];
  for (const { bytes, segmentSize, parts } of wanted) {
    merged += segmentSize === 0 ? 0 : parts.length;
    const segments = segmentSize === 0 ? [bytes] : cut(bytes, segmentSize, hasFixedId(parts));
    back.push(...segments.map(hex));
  }
  assert.deepEqual(back.toSorted(), batch.map(hex).toSorted(), `${label}: cutting gives back every packet`);
  return merged;
}

const CHOICES: StreamChoices[] = [
  { flows: 1, packets: 80, size: 30, trouble: 0 },
  { flows: 1, packets: 40, size: 60, trouble: 12 },
  { flows: 3, packets: 50, size: 90, trouble: 10 },
  { flows: 30, packets: 90, size: 24, trouble: 20 },
  { flows: 2, packets: 60, size: 1448, trouble: 0 },
  { flows: 4, packets: 40, size: 40, trouble: 4 },
];

test('random mixes of flows, losses, reordering and damage: equal to the slow twin, and cut back byte for byte', () => {
  let merged = 0;
  for (let seed = 1; seed <= 100; seed++) {
    const choices = CHOICES[seed % CHOICES.length];
    merged += compare(randomStream(new Random(seed * 7919), choices), `seed ${seed}`);
  }
  assert.ok(merged > 2_000, `only ${merged} packets were merged: the generator misses its purpose`);
});

test('the same, shrinking', () => {
  const choices = fc.record({
    flows: fc.integer({ min: 1, max: 20 }),
    packets: fc.integer({ min: 1, max: 40 }),
    size: fc.integer({ min: 1, max: 50 }),
    trouble: fc.integer({ min: 0, max: 30 }),
  });
  const property = fc.property(choices, fc.integer({ min: 1 }), (one, seed) => {
    compare(randomStream(new Random(seed), one), JSON.stringify({ ...one, seed }));
  });
  fc.assert(property, { numRuns: 150, seed: 20261122 });
});

test('packets of a flow keep their order', () => {
  for (let seed = 1; seed <= 60; seed++) {
    const batch = randomStream(new Random(seed), { flows: 5, packets: 60, size: 30, trouble: 8 });
    const key = (one: Uint8Array) => hex(one.slice(one[0] >> 4 === 4 ? 9 : 6, one[0] >> 4 === 4 ? 24 : 44));
    const tcp = (list: Uint8Array[]) => list.filter((one) => (one[0] === 0x45 ? one[9] === 6 : one[6] === 6));
    compare(batch, `seed ${seed}`);
    const back = coalesceSlowly(batch, LIMITS).flatMap(({ parts }) => [...parts]);
    for (const flow of new Set(tcp(batch).map(key))) {
      const mine = (list: Uint8Array[]) =>
        tcp(list)
          .filter((one) => key(one) === flow)
          .map(hex);
      assert.deepEqual(mine(back), mine(batch));
    }
  }
});

const CLIENT = '192.0.2.1';
const SERVICE = '198.51.100.1';
const FIRST = 1000;

/** `count` segments in order, `size` payload bytes each; `change` says what is different about one. */
function run4(
  count: number,
  size: number,
  change: (k: number) => TcpFields = () => ({}),
  id = (k: number) => k,
  df = true,
): Uint8Array[] {
  return Array.from({ length: count }, (_, k) =>
    packet()
      .ipv4({ src: ip(CLIENT), dst: ip(SERVICE), id: id(k) & 0xffff, df })
      .tcp({ seq: FIRST + k * size, ...change(k) })
      .payload(size)
      .bytes(),
  );
}

/** Sets the IPv4 flag that RFC 791 reserves. */
const reserved = (bytes: Uint8Array) => {
  bytes[6] |= 0x80;
  // The word 0x4000 became 0xc000: its sum grew by 0x8000 (RFC 1624).
  const sum = (~(bytes[10] * 256 + bytes[11]) & 0xffff) + 0x8000;
  const checksum = ~((sum & 0xffff) + (sum >> 16)) & 0xffff;
  bytes.set([checksum >> 8, checksum & 255], 10);
  return bytes;
};

/** Segments per thing that leaves. */
const shape = (batch: Uint8Array[]): number[] =>
  coalesce(batch).map(({ bytes, virtio }) => {
    if (virtio === null) return 1;
    const headers = virtio[2] + virtio[3] * 256;
    return Math.ceil((bytes.length - headers) / (virtio[4] + virtio[5] * 256));
  });

test('limits: 64 segments, 65,535 bytes', () => {
  assert.deepEqual(shape(run4(200, 100)), [64, 64, 64, 8]);
  assert.deepEqual(shape(run4(64, 1460)), [44, 20]);
  assert.deepEqual(shape(run4(3, 32747)), [2, 1]);
  assert.deepEqual(shape(run4(3, 32748)), [1, 1, 1]);
});

test('what ends a train and what breaks one', () => {
  const at = (k: number, fields: TcpFields) => (i: number) => (i === k ? fields : {});
  const rows: [string, Uint8Array[], number[]][] = [
    ['nothing', run4(6, 10), [6]],
    ['PSH ends it', run4(6, 10, at(2, { flags: 'ACK,PSH' })), [3, 3]],
    ['FIN ends it', run4(6, 10, at(5, { flags: 'ACK,FIN' })), [6]],
    ['SYN', run4(6, 10, at(2, { flags: 'ACK,SYN' })), [2, 1, 3]],
    ['RST', run4(6, 10, at(2, { flags: 'ACK,RST' })), [2, 1, 3]],
    ['URG', run4(6, 10, at(2, { flags: 'ACK,URG' })), [2, 1, 3]],
    ['CWR', run4(6, 10, at(2, { flags: 'ACK,CWR' })), [2, 1, 3]],
    ['no ACK', run4(6, 10, at(2, { flags: 0 })), [2, 1, 3]],
    ['ECE begins another', run4(6, 10, at(2, { flags: 'ACK,ECE' })), [2, 1, 3]],
    ['a window', run4(6, 10, at(2, { window: 9 })), [2, 1, 3]],
    ['an acknowledgement', run4(6, 10, (k) => ({ ack: k < 2 ? 1 : 2 })), [2, 4]],
    ['a wrong checksum', run4(6, 10, at(2, { checksum: 0x1234 })), [2, 1, 3]],
    ['a wrong first checksum', run4(6, 10, at(0, { checksum: 0x1234 })), [1, 5]],
    ['a gap', run4(6, 10, (k) => ({ seq: FIRST + k * 10 + (k < 3 ? 0 : 10) })), [3, 3]],
    ['a repeated segment', [...run4(3, 10), ...run4(3, 10)], [3, 3]],
    ['options', run4(6, 10, (k) => ({ options: Uint8Array.of(1, 1, 8, 10, 0, 0, 0, k < 2 ? 1 : 2, 0, 0, 0, 0) })), [2, 4]],
    ['the reserved flag', run4(6, 10).map(reserved), [1, 1, 1, 1, 1, 1]],
    ['DF on some', [...run4(3, 10), ...run4(6, 10, undefined, (k) => k, false).slice(3)], [3, 3]],
    ['identification 0 without DF', run4(3, 10, undefined, () => 0, false), [1, 1, 1]],
    ['identification 0 with DF', run4(6, 10, undefined, () => 0), [6]],
    ['identification that passes 65535', run4(6, 10, undefined, (k) => 65533 + k), [6]],
    ['identification that jumps', run4(6, 10, undefined, (k) => (k < 3 ? k : k + 7)), [3, 3]],
    ['identification that stands still later', run4(6, 10, undefined, (k) => Math.min(k, 2)), [3, 3]],
  ];
  for (const [what, batch, wanted] of rows) assert.deepEqual(shape(batch), wanted, what);
});

test('no damaged segment is ever merged: one bit anywhere behind the IP header', () => {
  const random = new Random(5);
  for (let round = 0; round < 400; round++) {
    const batch = run4(4, 1 + random.below(200));
    const damaged = random.below(4);
    const bytes = batch[damaged];
    const at = 20 + random.below(bytes.length - 20);
    bytes[at] ^= 1 << random.below(8);
    assert.ok(
      coalesce(batch).some(({ bytes: out, virtio }) => virtio === null && hex(out) === hex(bytes)),
      `round ${round}: the damaged packet leaves by itself and untouched`,
    );
  }
});

test('100,000 packets of random bytes: never an exception, nothing lost, nothing read behind the memory', () => {
  const random = new Random(11);
  const memory = new Uint8Array(120);
  for (let round = 0; round < 100_000; round++) {
    const length = 20 + random.below(101);
    const six = length >= 40 && random.chance(2);
    // The packet ends where its memory ends: a read behind it would throw.
    const view = new DataView(memory.buffer, 0, length);
    const count = { packets: 0 };
    const coalescer = new Coalescer(view, {
      packet: () => {
        count.packets++;
      },
      superPacket: (train) => {
        count.packets += train.count;
      },
    });
    random.fill(memory);
    memory[0] = six ? 0x60 : random.chance(3) ? 0x46 : 0x45;
    memory[six ? 6 : 9] = random.chance(4) ? random.below(256) : 6;
    if (!six) memory[6] &= random.chance(2) ? 0x40 : 0xff;
    if (!random.chance(4)) {
      memory[(six ? 40 : 20) + 13] = 0x10;
      memory[(six ? 40 : 20) + 12] = random.below(256);
    }
    // Twice the same memory, as a train of two would lie.
    coalescer.offer(0, length, six ? 6 : 4);
    coalescer.offer(0, length, six ? 6 : 4);
    coalescer.flush();
    assert.equal(count.packets, 2);
  }
});
