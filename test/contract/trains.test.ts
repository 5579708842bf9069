// Trains through the `udp` egress and a real kernel: every byte that arrives is what the software path would have sent.
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { type TestContext, test } from 'node:test';
import { counterAt, SEND_ERRORS_AT } from '../../src/base/counters.ts';
import { DROP_REASONS } from '../../src/base/drop-reason.ts';
import { SEND_ERRORS } from '../../src/base/send-error.ts';
import { VERDICT_DROP, VERDICT_FORWARD } from '../../src/base/verdict.ts';
import { libc } from '../../src/raw-socket/library.ts';
import { pin } from '../../src/raw-socket/memory.ts';
import { IPPROTO_UDP, SO_NO_CHECK, SOL_SOCKET, switchOption, UDP_NO_CHECK6_TX } from '../../src/raw-socket/socket.ts';
import { decodeOuter } from '../check/outer.ts';
import { Random } from '../full/random.ts';
import { run } from '../host/namespace.ts';
import { needs } from '../needs.ts';
import { comparable, flowOf, type Loaded, TrainLab, type TrainLabOptions, upload } from './train-lab.ts';

const REFUSED_TRAINS = counterAt('refused_trains_total');
const errorsOf = (lab: TrainLab): Record<string, number> =>
  Object.fromEntries(SEND_ERRORS.map((name, n) => [name, lab.bank[SEND_ERRORS_AT + n]]).filter(([, count]) => count !== 0));

function open(t: TestContext, options: TrainLabOptions = {}): TrainLab {
  const lab = new TrainLab(options);
  t.after(() => lab.close());
  return lab;
}

const getsockname = libc<(fd: number, at: number, lengthAt: number) => number>(
  'int getsockname(int fd, uintptr_t at, uintptr_t lengthAt)',
);

/** The driver's socket of one source port. */
function descriptorOf(port: number, family: 4 | 6): number {
  const name = pin(40);
  for (const entry of readdirSync('/proc/self/fd')) {
    name.int32[8] = 32;
    if (getsockname(Number(entry), name.address, name.address + 32) < 0) continue;
    if (name.uint16[0] === (family === 4 ? 2 : 10) && ((name.bytes[2] << 8) | name.bytes[3]) === port) return Number(entry);
  }
  throw new Error(`no socket of port ${port}`);
}

/** Sends `packets` and holds what arrives against software, per flow and in order. Returns how many datagrams that were. */
function exchange(lab: TrainLab, packets: readonly Loaded[], label: string): number {
  lab.process(packets);
  const wanted = lab.software().flat();
  assert.equal(lab.batch.verdict.subarray(0, packets.length).indexOf(VERDICT_DROP), -1, label);
  lab.egress.send(lab.batch);
  assert.equal(
    lab.batch.verdict.subarray(0, packets.length).indexOf(VERDICT_DROP),
    -1,
    `${label}: ${JSON.stringify(errorsOf(lab))}`,
  );
  const arrived = lab.arrived(wanted.length).map(({ bytes }) => bytes);
  assert.equal(arrived.length, wanted.length, label);
  for (const bytes of arrived) assert.deepEqual(decodeOuter(bytes).complaints, [], label);
  const byFlow = (list: readonly Uint8Array[]) => {
    const flows = new Map<string, string[]>();
    for (const packet of list) flows.set(flowOf(packet), [...(flows.get(flowOf(packet)) ?? []), comparable(packet)]);
    return [...flows].sort(([a], [b]) => (a < b ? -1 : 1));
  };
  assert.deepEqual(byFlow(arrived), byFlow(wanted), label);
  return wanted.length;
}

for (const outer of [4, 6] as const) {
  for (const checksum of ['auto', 'full', 'none'] as const) {
    test(
      `trains over IPv${outer}, checksum ${checksum}: what the kernel cuts is what software sends`,
      needs('root', 'namespaces', 'ethtool'),
      (t) => {
        const lab = open(t, { outer, checksum });
        for (const segments of [1, 2, 3, 44, 45, 63, 64, 65, 128, 129, 300]) {
          const size = Math.min(1448, Math.floor(65_000 / segments));
          for (const [payload, protocol] of [
            [size * segments, 6],
            [size * segments - (size >> 1), 6],
            [size * segments - 1, 17],
          ] as const) {
            if (protocol === 17 && segments > 128) continue;
            const family = (segments & 1) === 0 ? 4 : 6;
            const mtuSize = family === 6 && size > 1428 ? 1428 : size;
            const packet = upload(family, protocol, payload, mtuSize, 2000 + segments);
            exchange(lab, [packet], `${segments} segments of ${size}, protocol ${protocol}`);
          }
        }
        assert.equal(lab.bank[REFUSED_TRAINS], 0);
        assert.deepEqual(errorsOf(lab), {});
      },
    );
  }

  test(
    `the largest super-packets over IPv${outer}, class and TTL kept, and any shape at all`,
    needs('root', 'namespaces', 'ethtool'),
    (t) => {
      const lab = open(t, { outer });
      for (const size of [1448, 1460, 536, 88]) {
        exchange(lab, [upload(4, 6, 65_535, size, 3000, { trafficClass: 0xb9 })], `64 KiB at ${size}`);
      }
      const random = new Random(outer);
      for (let n = 0; n < 60; n++) {
        const segmentSize = 200 + random.below(1200);
        const payload = segmentSize + 1 + random.below(65_600 - segmentSize);
        const family = random.pick([4, 6] as const);
        exchange(
          lab,
          [upload(family, 6, payload, segmentSize, 4000 + n, { trafficClass: random.below(256), flags: random.below(256) })],
          `${payload} at ${segmentSize}`,
        );
      }
      assert.equal(lab.bank[REFUSED_TRAINS], 0);
    },
  );

  test(`jumbo frames over IPv${outer}: segments of 8,948 bytes`, needs('root', 'namespaces', 'ethtool'), (t) => {
    const lab = open(t, { outer, mtu: 9100 });
    for (const payload of [65_100, 20_000, 8_949]) exchange(lab, [upload(4, 6, payload, 8948, 3001)], `${payload}`);
  });

  test(
    `mixed batches over IPv${outer}: singles and trains of many flows to several backends keep the order of each flow`,
    needs('root', 'namespaces', 'ethtool'),
    (t) => {
      const random = new Random(77 + outer);
      for (const checksum of ['auto', 'full'] as const) {
        const lab = open(t, { outer, checksum });
        for (let n = 0; n < 6; n++) {
          const packets = Array.from({ length: 64 }, () => {
            const port = 5000 + random.below(40);
            const payload = random.chance(2) ? 1 + random.below(1400) : 1449 + random.below(30_000);
            return upload(random.pick([4, 6] as const), 6, payload, 1400, port);
          });
          exchange(lab, packets, `batch ${n}`);
        }
        assert.deepEqual(errorsOf(lab), {});
      }
    },
  );
}

test('a super-packet is two messages: as few as the kernel and the device take', needs('root', 'namespaces', 'ethtool'), (t) => {
  for (const [outer, checksum, each] of [
    [4, 'auto', [43, 2]],
    [6, 'auto', [43, 2]],
    [4, 'none', Array.from({ length: 45 }, () => 1)],
  ] as const) {
    const lab = open(t, { outer, checksum, offloads: 'whole' });
    assert.deepEqual(lab.egress.facts.trains, 'udp-segment');
    lab.process([upload(4, 6, 45 * 1448, 1448, 2001)]);
    assert.equal(lab.batch.segmentCount[0], 45);
    lab.egress.send(lab.batch);
    const datagram = 4 + 20 + 32 + 1448;
    const arrived = lab.arrived(each.length);
    const headers = outer === 4 ? 28 : 48;
    assert.deepEqual(
      arrived.map(({ bytes }) => (bytes.length - headers) / datagram),
      each,
    );
    // As the device was given it: still one, with the size to cut it at.
    if (checksum === 'auto') assert.equal(arrived[0].gsoSize, datagram);
  }
});

for (const outer of [4, 6] as const) {
  test(
    `super-packets of one flow share messages over IPv${outer}; another flow, class or size does not`,
    needs('root', 'namespaces', 'ethtool'),
    (t) => {
      const lab = open(t, { outer, offloads: 'whole' });
      const headers = outer === 4 ? 28 : 48;
      const segmentsOf = (packets: readonly Loaded[], messages: number): number[] => {
        lab.process(packets);
        const wanted = lab
          .software()
          .flat()
          .map((bytes) => bytes.subarray(headers));
        lab.egress.send(lab.batch);
        const arrived = lab.arrived(messages);
        assert.equal(
          Buffer.compare(Buffer.concat(arrived.map(({ bytes }) => bytes.subarray(headers))), Buffer.concat(wanted)),
          0,
          'the same datagrams in the same order',
        );
        return arrived.map(({ bytes, gsoSize }) => (gsoSize === 0 ? 1 : Math.ceil((bytes.length - headers) / gsoSize)));
      };
      const whole = (change = {}) => upload(4, 6, 45 * 1448, 1448, 2001, change);
      assert.deepEqual(segmentsOf([whole(), whole(), whole(), whole()], 5), [43, 43, 43, 43, 8]);
      const oneOver = upload(4, 6, 44 * 1448, 1448, 2001);
      assert.deepEqual(segmentsOf([oneOver, oneOver], 3), [43, 43, 2]);
      // A short last segment, then a train and a single packet of another length, another class: a message of its own each.
      assert.deepEqual(segmentsOf([upload(4, 6, 3000, 1448, 2001), whole(), whole()], 4), [3, 43, 43, 4]);
      assert.deepEqual(segmentsOf([upload(4, 6, 2800, 1400, 2001), upload(4, 6, 2896, 1448, 2001)], 2), [2, 2]);
      const marked = upload(4, 6, 2 * 1448, 1448, 2001, { trafficClass: 3 });
      assert.deepEqual(segmentsOf([upload(4, 6, 2 * 1448, 1448, 2001), marked, marked], 2), [2, 4]);
      const pair = upload(4, 6, 2 * 1448, 1448, 2001);
      assert.deepEqual(segmentsOf([pair, upload(4, 6, 1448, 1448, 2001), pair, pair], 3), [2, 1, 4]);
      // Many short trains: 64 segments to a message.
      assert.deepEqual(
        segmentsOf(
          Array.from({ length: 50 }, () => upload(4, 6, 600, 200, 2001)),
          3,
        ),
        [64, 64, 22],
      );
    },
  );
}

test('a refused message that packets share drops them all, and none behind it', needs('root', 'namespaces', 'ethtool'), (t) => {
  const lab = open(t, { mtu: 1400 });
  const big = upload(4, 6, 45 * 1448, 1448, 2001);
  const small = upload(4, 6, 2 * 1300, 1300, 2001);
  lab.process([big, big, big, small]);
  const wanted = lab.software()[3];
  lab.egress.send(lab.batch);
  assert.deepEqual([...lab.batch.verdict.subarray(0, 4)], [0, 0, 0, 1]);
  assert.deepEqual(
    lab.arrived(3).map(({ bytes }) => comparable(bytes)),
    wanted.map(comparable),
  );
});

test(
  'parts of unequal length: a longer last one goes by itself, nothing is lost and nothing joined',
  needs('root', 'namespaces', 'ethtool'),
  (t) => {
    const lab = open(t, { offloads: 'whole' });
    const { batch } = lab;
    lab.process([upload(4, 6, 6 * 1000, 1000, 2001)]);
    // As fragments may be: 1000, 1000, 900, 1000, 1000, 1100. The bytes are not a packet's any more, which is nothing to the egress.
    const first = batch.recordOf(0, 0);
    batch.pieceLength[first + 2] = 900;
    batch.pieceLength[first + 5] = 1100;
    const wanted = lab.software()[0].map((bytes) => Buffer.from(bytes.subarray(28)).toString('hex'));
    lab.egress.send(batch);
    assert.equal(batch.verdict[0], VERDICT_FORWARD);
    const arrived = lab.arrived(3);
    assert.deepEqual(
      arrived.map(({ bytes, gsoSize }) => [bytes.length - 28, gsoSize]),
      [
        [2 * 1056 + 956, 1056],
        [2 * 1056, 1056],
        [1156, 0],
      ],
    );
    assert.equal(arrived.map(({ bytes }) => Buffer.from(bytes.subarray(28)).toString('hex')).join(''), wanted.join(''));
  },
);

for (const outer of [4, 6] as const) {
  const [level, option] = outer === 4 ? [SOL_SOCKET, SO_NO_CHECK] : [IPPROTO_UDP, UDP_NO_CHECK6_TX];
  test(
    `a train over IPv${outer} that the kernel refuses leaves segment by segment, in its place`,
    needs('root', 'namespaces', 'ethtool'),
    (t) => {
      const lab = open(t, { outer });
      const packets = [upload(4, 6, 900, 1448, 2001), upload(4, 6, 41 * 1448, 1448, 2001), upload(4, 6, 901, 1448, 2001)];
      lab.process([packets[1]]);
      lab.egress.send(lab.batch);
      lab.arrived(lab.batch.segmentCount[0]);
      // Behind the driver's back the socket may not fill checksums any more: from now on the kernel refuses to cut (EINVAL).
      assert.ok(switchOption(descriptorOf(lab.batch.sourcePort[0], outer), level, option, 1));
      lab.process(outer === 4 ? [packets[1], packets[1]] : packets);
      const wanted = lab.software().flat();
      lab.egress.send(lab.batch);
      assert.equal(lab.batch.verdict.subarray(0, lab.batch.count).indexOf(VERDICT_DROP), -1);
      assert.equal(lab.bank[REFUSED_TRAINS], outer === 4 ? 2 : 1);
      assert.deepEqual(errorsOf(lab), {});
      const withoutSum = (bytes: Uint8Array) => comparable(bytes.fill(0, outer === 4 ? 26 : 46, outer === 4 ? 28 : 48));
      const arrived = lab.arrived(wanted.length).map(({ bytes }) => bytes);
      assert.deepEqual(arrived.map(withoutSum), wanted.map(withoutSum));
    },
  );
}

test(
  'what is too big for the device is dropped with its reason and counted once, its neighbours leave',
  needs('root', 'namespaces', 'ethtool'),
  (t) => {
    const lab = open(t, { mtu: 1400 });
    const packets = [
      upload(4, 6, 1000, 1448, 2001),
      upload(4, 6, 60_000, 1448, 2001),
      upload(4, 6, 60_000, 1300, 2001),
      // Its last segment would fit: a part is not enough.
      upload(4, 6, 1448 + 10, 1448, 2001),
      upload(4, 6, 1001, 1448, 2001),
    ];
    lab.process(packets);
    const software = lab.software();
    lab.egress.send(lab.batch);
    const words = packets.map((_, i) => DROP_REASONS[lab.batch.reason[i]].word);
    assert.deepEqual(words, ['none', 'send-too-big', 'none', 'send-too-big', 'none']);
    const wanted = [...software[0], ...software[2], ...software[4]];
    const arrived = lab.arrived(wanted.length + 1).map(({ bytes }) => bytes);
    assert.deepEqual(arrived.map(comparable), wanted.map(comparable));
    assert.deepEqual(errorsOf(lab), { EMSGSIZE: 2 });
    lab.wire.near.inside(() => run('ip link set va down'));
    lab.process([upload(4, 6, 60_000, 1300, 2001)]);
    lab.egress.send(lab.batch);
    assert.equal(DROP_REASONS[lab.batch.reason[0]].word, 'send-unreachable');
    assert.deepEqual(errorsOf(lab), { EMSGSIZE: 2, ENETUNREACH: 1 });
  },
);
