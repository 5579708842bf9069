// What is dropped is noted: by whom, when, why and how long; read back by another hand than wrote it, and held against lists.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatAddress } from '../../src/base/address.ts';
import { LINK_ETHERNET, LINK_RAW_IP } from '../../src/base/batch.ts';
import type { WallClock } from '../../src/base/clock.ts';
import {
  COUNT_BEGUN,
  COUNT_DONE,
  COUNT_WORDS,
  clearDropNotes,
  createDropNotes,
  type DropNote,
  NOTES_KEPT,
} from '../../src/base/drop-notes.ts';
import { DROP_REASONS } from '../../src/base/drop-reason.ts';
import { VERDICT_DROP } from '../../src/base/verdict.ts';
import { protocolWord, readTuple } from '../../src/explain/tuple.ts';
import { DropNotes } from '../../src/pipeline/drop-notes.ts';
import { FragmentHold } from '../../src/pipeline/fragment-hold.ts';
import { packet } from '../builder/packet.ts';
import fc from '../property.ts';
import { NoteLists, readDropNotes } from '../reference/drop-notes.ts';
import { backends, PACKET, Rig, SERVICE4, SERVICE6, specOf, TAP, TUN } from './rig.ts';

/** The time of day as the test sets it, in milliseconds. */
class SetClock implements WallClock {
  now = 0;
  seconds = 0;
  milliseconds = 0;

  read(): void {
    this.seconds = Math.floor(this.now / 1000) | 0;
    this.milliseconds = this.now % 1000;
  }
}

interface Bench {
  readonly rig: Rig;
  readonly clock: SetClock;
  readonly memory: SharedArrayBuffer;
}

function benchOf(facts = TUN, options: { capacity?: number; hold?: FragmentHold } = {}, spec = specOf()): Bench {
  const memory = createDropNotes();
  const clock = new SetClock();
  const dropNotes = new DropNotes(memory, clock);
  if (options.hold !== undefined) dropNotes.watch(options.hold, facts.link);
  return { rig: new Rig(spec, facts, { ...options, dropNotes }), clock, memory };
}

function all(memories: readonly SharedArrayBuffer[], from = 0, to = Number.POSITIVE_INFINITY): DropNote[] {
  const notes: DropNote[] = [];
  readDropNotes(memories, from, to, (note) => notes.push(note));
  return notes;
}

/** As readTuple has it, which reads frames for people. */
function tupleOf({ source, destination, protocol, sport, dport }: DropNote): object {
  return {
    ...(source === undefined ? {} : { source: formatAddress(source), destination: formatAddress(destination as Uint8Array) }),
    ...(protocol === undefined ? {} : { protocol: protocolWord(protocol) }),
    ...(sport === undefined ? {} : { sport, dport }),
  };
}

const clientPort = fc.integer({ min: 1, max: 65535 });
/** Frames that are forwarded, and frames that are dropped for many reasons, in front of which an Ethernet header may stand. */
const frames = fc.record({
  kind: fc.constantFrom(
    'fine',
    'no-service',
    'udp',
    'six',
    'fragment',
    'icmp',
    'short',
    'version',
    'ttl',
    'sctp',
    'extension',
    'esp',
    'ihl',
    'fragment6',
  ),
  sport: clientPort,
  host: fc.integer({ min: 1, max: 250 }),
  cut: fc.integer({ min: 0, max: 60 }),
});

function frameOf(
  { kind, sport, host, cut }: { kind: string; sport: number; host: number; cut: number },
  ethernet: boolean,
): Uint8Array {
  const start = () => (ethernet ? packet().ethernet() : packet());
  const src = `192.0.2.${host}`;
  const v4 = { src, dst: SERVICE4 };
  const v6 = { src: `2001:db8:1::${host.toString(16)}`, dst: SERVICE6 };
  switch (kind) {
    case 'no-service':
      return start().ipv4(v4).tcp({ sport, dport: 80 }).payload(10).bytes();
    case 'udp':
      return start().ipv4(v4).udp({ sport, dport: 443 }).payload(30).bytes();
    case 'six':
      return start().ipv6(v6).udp({ sport, dport: 443 }).payload(7).bytes();
    case 'extension':
      return start().ipv6(v6).extension('destination').tcp({ sport, dport: 1 }).bytes();
    case 'fragment':
      return start()
        .ipv4({ ...v4, offset: 8 * host, more: true, df: false })
        .payload(64)
        .bytes();
    case 'icmp':
      return start().ipv4(v4).icmp4({ type: 13 }).payload(8).bytes();
    case 'short':
      return start()
        .ipv4(v4)
        .tcp({ sport, dport: 443 })
        .bytes()
        .slice(0, (ethernet ? 14 : 0) + cut);
    case 'version':
      return start()
        .ipv4({ ...v4, version: 7 })
        .tcp({ sport, dport: 443 })
        .bytes();
    case 'ttl':
      return start()
        .ipv4({ ...v4, ttl: 0 })
        .tcp({ sport, dport: 443 })
        .bytes();
    case 'sctp':
      return start()
        .ipv4({ ...v4, protocol: 132 })
        .payload(40)
        .bytes();
    case 'ihl':
      return start()
        .ipv4({ ...v4, ihl: 3 })
        .tcp({ sport, dport: 443 })
        .bytes();
    case 'fragment6':
      return start()
        .ipv6(v6)
        .fragment({ offset: 8 * host, more: true, nextHeader: 17 })
        .payload(64)
        .bytes();
    case 'esp':
      return start()
        .ipv6({ ...v6, nextHeader: 50 })
        .payload(40)
        .bytes();
    default:
      return start().ipv4(v4).tcp({ sport, dport: 443 }).payload(20).bytes();
  }
}

test('every drop is noted with its time, reason and 5-tuple, as who reads the frame finds them: against lists', () => {
  for (const facts of [TUN, PACKET]) {
    const isEthernet = facts.link === LINK_ETHERNET;
    fc.assert(
      fc.property(fc.array(fc.array(frames, { minLength: 1, maxLength: 16 }), { maxLength: 8 }), (batches) => {
        const { rig, clock, memory } = benchOf(facts);
        const lists = new NoteLists(NOTES_KEPT);
        const expected: object[] = [];
        clock.now = 1_795_000_000_250;
        for (const kinds of batches) {
          clock.now += 333;
          const sent = kinds.map((kind) => frameOf(kind, isEthernet));
          rig.run(sent).forEach(({ verdict, reason }, i) => {
            if (verdict !== 'drop') return;
            const view = new DataView(sent[i].buffer, sent[i].byteOffset, sent[i].length);
            const tuple = readTuple(view, 0, sent[i].length, isEthernet ? LINK_ETHERNET : LINK_RAW_IP);
            expected.push({ time: clock.now, reason, tuple });
          });
        }
        const found = all([memory]);
        for (const note of found) lists.add(note);
        const rows = found.map((note) => ({ time: note.time, reason: note.reason, tuple: tupleOf(note) }));
        // By reason first, then as they came.
        const order = (list: object[]) =>
          DROP_REASONS.flatMap(({ word }) => (list as { reason: string }[]).filter(({ reason }) => reason === word));
        assert.deepEqual(rows, order(expected));
        assert.deepEqual(all([memory], clock.now, clock.now + 1), lists.within(clock.now, clock.now + 1));
        assert.ok(found.every(({ thread, length }) => thread === 0 && length >= 0));
      }),
      { numRuns: 40 },
    );
  }
});

test('of each reason the last 1,024 stay, whatever other reasons do, and what is held says from when on nothing is missing', () => {
  const { rig, clock, memory } = benchOf(TUN, { capacity: 16 });
  const rare = packet().ipv4({ src: '192.0.2.9', dst: SERVICE4 }).icmp4({ type: 13 }).bytes();
  clock.now = 5_000;
  rig.one(rare);
  const lists = new NoteLists(NOTES_KEPT);
  for (let k = 0; k < 160; k++) {
    clock.now = 10_000 + 10 * k;
    const flood = Array.from({ length: 16 }, (_, i) =>
      packet()
        .ipv4({ src: '192.0.2.1', dst: SERVICE4 })
        .udp({ sport: 16 * k + i + 1, dport: 9 })
        .bytes(),
    );
    rig.run(flood);
    for (let i = 0; i < 16; i++) {
      lists.add({
        time: clock.now,
        reason: 'not-a-service',
        thread: 0,
        length: 28,
        sport: 16 * k + i + 1,
        service: -1,
        backend: -1,
      });
    }
  }
  const found = all([memory]).filter(({ reason }) => reason === 'not-a-service');
  assert.equal(found.length, NOTES_KEPT);
  assert.deepEqual(
    found.map(({ time, sport, length }) => [time, sport, length]),
    lists.lists.get('not-a-service')?.map(({ time, sport, length }) => [time, sport, length]),
  );
  const held = readDropNotes([memory], 0, 0, () => assert.fail('an empty window'));
  assert.deepEqual(held, [
    { reason: 'not-a-service', oldest: found[0].time, newest: clock.now, completeSince: found[0].time },
    { reason: 'icmp-not-steered', oldest: 5000, newest: 5000, completeSince: null },
  ]);
});

test('a packet of a service is noted with service and backend, though outer headers lie over its link header', () => {
  const { rig, memory } = benchOf(TAP);
  const frame = packet()
    .ethernet({ dst: '02:00:00:00:00:fe' })
    .ipv6({ src: '2001:db8:1::7', dst: SERVICE6 })
    .tcp({ sport: 40000, dport: 443 })
    .bytes();
  rig.load([frame]);
  rig.pipeline.process(rig.batch, 0);
  // As an egress does whose kernel has no route.
  rig.batch.verdict[0] = VERDICT_DROP;
  rig.batch.reason[0] = DROP_REASONS.findIndex(({ word }) => word === 'send-unreachable');
  rig.pipeline.account(rig.batch);
  const [note, ...others] = all([memory]);
  assert.deepEqual(others, []);
  assert.equal(note.reason, 'send-unreachable');
  assert.deepEqual(tupleOf(note), { source: '2001:db8:1::7', destination: SERVICE6, protocol: 'tcp', sport: 40000, dport: 443 });
  assert.equal(note.length, 60);
  assert.ok(note.service >= 0 && note.backend >= 0);
});

test('an answer of ours that is lost is noted as it would have left; nobody who serves: with the service', () => {
  const { rig, memory } = benchOf(TUN, {}, specOf({ backends: backends(1).map((one) => ({ ...one, state: 'down' })) }));
  const ping = packet().ipv4({ src: '192.0.2.7', dst: SERVICE4 }).icmp4({ type: 8 }).payload(8).bytes();
  const expired = packet().ipv4({ src: '192.0.2.9', dst: SERVICE4, ttl: 0 }).tcp({ sport: 1, dport: 443 }).bytes();
  rig.load([ping, expired, packet().ipv4({ src: '192.0.2.8', dst: SERVICE4 }).tcp({ sport: 1, dport: 443 }).bytes()]);
  rig.pipeline.process(rig.batch, 0);
  for (const i of [0, 1]) {
    assert.equal(rig.outcome(i).verdict, 'reply');
    rig.batch.verdict[i] = VERDICT_DROP;
    rig.batch.reason[i] = DROP_REASONS.findIndex(({ word }) => word === 'reply-failed');
  }
  rig.pipeline.account(rig.batch);
  const [none, reply, exceeded] = all([memory]);
  assert.deepEqual([exceeded.reason, exceeded.destination?.join('.'), exceeded.protocol], ['reply-failed', '192.0.2.9', 1]);
  assert.deepEqual([none.reason, none.service >= 0, none.backend], ['no-backend', true, -1]);
  assert.deepEqual(
    [reply.reason, tupleOf(reply)],
    ['reply-failed', { source: SERVICE4, destination: '192.0.2.7', protocol: 'icmp' }],
  );
});

test('a fragment that waited in vain is noted, though it is in no batch by then', () => {
  const hold = new FragmentHold({ timeout: 1 });
  const { rig, clock, memory } = benchOf(PACKET, { hold });
  const late = packet()
    .ethernet()
    .ipv4({ src: '192.0.2.7', dst: SERVICE4, offset: 1480, df: false, protocol: 6 })
    .payload(64)
    .bytes();
  assert.equal(rig.one(late, { now: 10 }).verdict, 'held');
  assert.deepEqual(all([memory]), []);
  clock.now = 12_500;
  rig.pipeline.release(rig.batch, 13);
  assert.deepEqual(
    all([memory]).map((note) => ({ time: note.time, reason: note.reason, length: note.length, tuple: tupleOf(note) })),
    [
      {
        time: 12_500,
        reason: 'fragment-timeout',
        length: 84,
        tuple: { source: '192.0.2.7', destination: SERVICE4, protocol: 'tcp' },
      },
    ],
  );
});

test('threads keep notes of their own, which are told apart; a successor goes on; cleared is empty', () => {
  const one = benchOf();
  const two = benchOf();
  const drop = packet().ipv4({ src: '192.0.2.7', dst: SERVICE4 }).tcp({ sport: 7, dport: 80 }).bytes();
  one.clock.now = 1000;
  one.rig.one(drop);
  two.clock.now = 2000;
  two.rig.one(drop);
  const successor = new Rig(specOf(), TUN, { dropNotes: new DropNotes(one.memory, two.clock) });
  two.clock.now = 3000;
  successor.one(drop);
  assert.deepEqual(
    all([one.memory, two.memory]).map(({ time, thread }) => [time, thread]),
    [
      [1000, 0],
      [3000, 0],
      [2000, 1],
    ],
  );
  clearDropNotes(one.memory);
  assert.deepEqual(all([one.memory]), []);
});

test('a note that is being written is left out, and so is what it overwrites; counts beyond 2^32 stay full', () => {
  const { rig, memory } = benchOf(TUN, { capacity: 16 });
  const words = new Int32Array(memory);
  const reason = DROP_REASONS.findIndex(({ word }) => word === 'not-a-service');
  const drop = (sport: number) => packet().ipv4({ src: '192.0.2.7', dst: SERVICE4 }).tcp({ sport, dport: 80 }).bytes();
  for (let k = 0; k < NOTES_KEPT; k += 16) rig.run(Array.from({ length: 16 }, (_, i) => drop(k + i + 1)));
  const ports = () => all([memory]).map(({ sport }) => sport);
  assert.equal(ports().length, NOTES_KEPT);
  words[reason * COUNT_WORDS + COUNT_BEGUN]++;
  assert.deepEqual([ports().length, ports()[0]], [NOTES_KEPT - 1, 2]);
  // Four thousand million drops later.
  for (const word of [COUNT_BEGUN, COUNT_DONE]) words[reason * COUNT_WORDS + word] = -2;
  rig.run([drop(5001), drop(5002), drop(5003)]);
  const last = ports();
  assert.deepEqual([last.length, last.slice(-3)], [NOTES_KEPT, [5001, 5002, 5003]]);
});
