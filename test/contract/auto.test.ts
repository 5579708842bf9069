// What `auto` promises beside the contract of every egress: two ways out that look like one.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { type TestContext, test } from 'node:test';
import { createBank, SEND_ERRORS_AT } from '../../src/base/counters.ts';
import { SEND_ERRORS } from '../../src/base/send-error.ts';
import { VERDICT_DROP } from '../../src/base/verdict.ts';
import { AutoEgress } from '../../src/io/auto/egress.ts';
import { MemoryIngress } from '../../src/io/memory/ingress.ts';
import { createBatch } from '../../src/io/open.ts';
import { openDatagramSocket } from '../../src/raw-socket/datagram.ts';
import { closeDescriptor } from '../../src/raw-socket/file.ts';
import { E } from '../../src/raw-socket/library.ts';
import { decodeOuter } from '../check/outer.ts';
import { Random } from '../full/random.ts';
import { needs } from '../needs.ts';
import { reasonOf, stage } from './driver.ts';
import { Capture, FAR4, FAR6, Injector, NEAR4, NEAR6, Wire } from './lab.ts';
import { internetChecksum, ipPacket, type OuterPacket, outerPacket } from './packets.ts';
import { comparable, flowOf, type Loaded, TrainLab, type TrainLabOptions, upload } from './train-lab.ts';

const lab = needs('root', 'namespaces');
const labWithOffloads = needs('root', 'namespaces', 'ethtool');
const EPHEMERAL = 61440;

const ends = (family: 4 | 6) => (family === 4 ? { source: NEAR4, destination: FAR4 } : { source: NEAR6, destination: FAR6 });

/** A wire of 1,500 bytes with `auto` at its near end and a capture at its far end. */
function openWire(t: TestContext) {
  const wire = new Wire(1500);
  const capture = wire.far.inside(() => new Capture('vb'));
  const egress = wire.near.inside(() => new AutoEgress());
  const mapped = createBatch(new MemoryIngress({ frames: [] }), 64);
  t.after(() => {
    egress.close();
    capture.close();
    mapped.release();
    wire.close();
  });
  return { wire, capture, egress, batch: mapped.batch };
}

function openLab(t: TestContext, options: TrainLabOptions): TrainLab {
  const made = new TrainLab({ egress: (bank) => new AutoEgress({ sourcePorts: 16, bank }), ...options });
  t.after(() => made.close());
  return made;
}

test('a single packet is the same bytes by either way, down to identification, flow label and checksum', lab, (t) => {
  const { capture, egress, batch } = openWire(t);
  const packets: OuterPacket[] = [];
  for (const family of [4, 6] as const) {
    for (const trafficClass of [0, 0x02, 0xb8, 0xff]) {
      for (const ttl of [64, 63, 1]) {
        for (const checksum of family === 4 ? [false, true] : [true]) {
          const sourcePort = EPHEMERAL + ((packets.length * 7) & 255);
          const flowLabel = family === 6 && ttl !== 63 ? 0xabcde ^ (packets.length * 0x1357) : 0;
          const size = 100 + packets.length;
          packets.push(outerPacket({ family, ...ends(family), sourcePort, size, checksum, trafficClass, ttl, flowLabel }));
        }
      }
    }
  }
  const hex = (list: readonly Uint8Array[]) => list.map((bytes) => Buffer.from(bytes).toString('hex')).sort();
  for (const [way, trains] of [
    ['raw', 0],
    ['udp', 1],
  ] as const) {
    stage(batch, packets);
    batch.trains = trains;
    egress.send(batch);
    assert.deepEqual(hex(capture.take(packets.length)), hex(packets.map(({ bytes }) => bytes)), way);
  }
});

for (const outer of [4, 6] as const) {
  test(`a flow keeps its order over IPv${outer} from batch to batch, with trains and without`, labWithOffloads, (t) => {
    const random = new Random(90 + outer);
    const near = openLab(t, { outer });
    const wanted: Uint8Array[] = [];
    const kinds = { singles: 0, trains: 0 };
    for (let n = 0; n < 24; n++) {
      const single = n % 2 === 0;
      const packets = Array.from({ length: 12 }, (): Loaded => {
        const payload = single || random.chance(2) ? 1 + random.below(1300) : 1401 + random.below(6000);
        return upload(random.pick([4, 6] as const), 6, payload, 1400, 5000 + random.below(6));
      });
      near.process(packets);
      kinds[near.batch.trains === 0 ? 'singles' : 'trains']++;
      wanted.push(...near.software().flat());
      near.egress.send(near.batch);
      assert.equal(near.batch.verdict.subarray(0, packets.length).indexOf(VERDICT_DROP), -1);
    }
    assert.ok(kinds.singles >= 12 && kinds.trains >= 8, JSON.stringify(kinds));
    const arrived = near.arrived(wanted.length).map(({ bytes }) => bytes);
    for (const bytes of arrived) assert.deepEqual(decodeOuter(bytes).complaints, []);
    const byFlow = (list: readonly Uint8Array[]) => {
      const flows = new Map<string, string[]>();
      for (const packet of list) flows.set(flowOf(packet), [...(flows.get(flowOf(packet)) ?? []), comparable(packet)]);
      return [...flows].sort(([a], [b]) => (a < b ? -1 : 1));
    };
    assert.deepEqual(byFlow(arrived), byFlow(wanted));
  });
}

test('a super-packet leaves in one message; beside fragments of tunnel packets it does not', labWithOffloads, (t) => {
  const near = openLab(t, { offloads: 'whole' });
  const send = (fragments: number): number[] => {
    near.process([upload(4, 6, 10 * 1448, 1448, 2001)]);
    near.batch.outerFragmented = fragments;
    near.egress.send(near.batch);
    near.batch.outerFragmented = 0;
    return near.arrived(10).map(({ gsoSize }) => gsoSize);
  };
  assert.deepEqual(send(0), [4 + 20 + 32 + 1448]);
  assert.deepEqual(
    send(1),
    Array.from({ length: 10 }, () => 0),
  );
});

test('a port that another program holds: raw alone, from the same ports, with a warning', labWithOffloads, (t) => {
  let egress: AutoEgress | null = null;
  const near = openLab(t, {
    offloads: 'whole',
    egress: (bank) => {
      const other = openDatagramSocket(Uint8Array.of(0, 0, 0, 0), EPHEMERAL + 5, 4096);
      t.after(() => closeDescriptor(other));
      egress = new AutoEgress({ sourcePorts: 16, bank });
      return egress;
    },
  });
  const { name, facts, warning } = egress!;
  assert.equal(name, 'auto:raw');
  assert.match(warning?.message ?? '', /segment by segment.*UDP port 61445/);
  assert.match(warning?.hint ?? '', /ss -ulnp .*61445.*egress\.source-port-base.*then start again/);
  assert.deepEqual(
    [facts.layer, facts.trains, facts.trainsNeedChecksum, facts.sourcePortBase, facts.sourcePortMask],
    ['l3', 'none', false, EPHEMERAL, 15],
  );
  near.process([upload(4, 6, 10 * 1448, 1448, 2001), upload(6, 6, 500, 1448, 2002)]);
  const wanted = near.software().flat().map(comparable);
  near.egress.send(near.batch);
  const arrived = near.arrived(wanted.length).map(({ bytes }) => comparable(bytes));
  assert.deepEqual(arrived, wanted);
});

test('too few open files: raw alone, with the limit to raise in the hint', lab, (t) => {
  const wire = new Wire(1500);
  t.after(() => wire.close());
  const limit = (soft: string): string =>
    execFileSync('prlimit', ['--pid', `${process.pid}`, ...soft.split(' ')], { encoding: 'utf8' });
  const before = limit('--nofile --noheadings --raw --output SOFT').trim();
  wire.near.inside(() => {
    const open = readdirSync('/proc/self/fd').length;
    limit(`--nofile=${open + 100}:`);
    try {
      const egress = new AutoEgress();
      assert.equal(egress.name, 'auto:raw');
      assert.match(egress.warning?.message ?? '', /EMFILE/);
      assert.match(egress.warning?.hint ?? '', /egress\.source-ports.*LimitNOFILE/);
      assert.equal(readdirSync('/proc/self/fd').length, open + 2, 'what was opened is closed again');
      egress.close();
    } finally {
      limit(`--nofile=${before}:`);
    }
  });
});

test('ports that do not exist are an error, not a reason to go on without', lab, () => {
  const before = readdirSync('/proc/self/fd').length;
  assert.throws(() => new AutoEgress({ sourcePorts: 3 }), { code: 'GD_IO_UDP_PORTS' });
  assert.equal(readdirSync('/proc/self/fd').length, before);
});

test('ICMP that names a bound port makes the kernel lower its path MTU, and disturbs neither way', lab, (t) => {
  const { wire, capture, egress, batch } = openWire(t);
  const quoted = outerPacket({ family: 4, ...ends(4), sourcePort: EPHEMERAL, size: 1400, checksum: false });
  const message = Buffer.concat([Buffer.from([3, 4, 0, 0, 0, 0, 600 >> 8, 600 & 255]), quoted.bytes.subarray(0, 28)]);
  message.writeUInt16BE(internetChecksum(message), 2);
  const injector = wire.far.inside(() => new Injector());
  t.after(() => injector.close());
  injector.deliver([ipPacket({ family: 4, source: FAR4, destination: NEAR4 }, 1, message)]);
  const route = (): string => wire.near.inside(() => execFileSync('ip', ['route', 'get', '10.1.0.2'], { encoding: 'utf8' }));
  for (const end = Date.now() + 1000; !/mtu 600/.test(route()) && Date.now() < end; );
  assert.match(route(), /mtu 600/, 'the kernel believes it');
  for (const trains of [0, 1]) {
    stage(batch, [quoted]);
    batch.trains = trains;
    egress.send(batch);
    assert.equal(reasonOf(batch, 0), 'none', `trains ${trains}`);
    assert.deepEqual(
      capture.take(1).map(({ length }) => length),
      [1400],
    );
  }
});

test('errors of both parts are counted in one bank, and the last errno is the last one', lab, (t) => {
  const wire = new Wire(1500);
  t.after(() => wire.close());
  const bank = createBank();
  const egress = wire.near.inside(() => new AutoEgress({ bank }));
  const { batch, release } = createBatch(new MemoryIngress({ frames: [] }), 4);
  t.after(() => {
    egress.close();
    release();
  });
  const send = (packet: OuterPacket, trains: number): string => {
    stage(batch, [packet]);
    batch.trains = trains;
    wire.near.inside(() => egress.send(batch));
    return reasonOf(batch, 0);
  };
  const common = { family: 4, source: NEAR4, sourcePort: EPHEMERAL, checksum: false } as const;
  const tooBig = outerPacket({ ...common, destination: FAR4, size: 1501 });
  const nowhere = outerPacket({ ...common, destination: Uint8Array.of(10, 77, 0, 1), size: 100 });
  assert.equal(egress.lastErrno, 0);
  assert.equal(send(tooBig, 0), 'send-too-big');
  assert.equal(egress.lastErrno, E.EMSGSIZE);
  assert.equal(send(nowhere, 1), 'send-unreachable');
  assert.equal(egress.lastErrno, E.ENETUNREACH);
  assert.equal(send(tooBig, 0), 'send-too-big');
  assert.equal(egress.lastErrno, E.ENETUNREACH, 'an errno that was told is told again only after another one of the same part');
  const counted = (name: string): number => bank[SEND_ERRORS_AT + SEND_ERRORS.indexOf(name as never)];
  assert.deepEqual([counted('EMSGSIZE'), counted('ENETUNREACH')], [2, 1]);
});
