import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ip, mac } from '../../test/builder/addresses.ts';
import { packet } from '../../test/builder/packet.ts';
import fc from '../../test/property.ts';
import { Arena, HEADROOM } from '../base/arena.ts';
import { Batch, type IngressFacts, LINK_ETHERNET } from '../base/batch.ts';
import { DROP_REASONS } from '../base/drop-reason.ts';
import { VERDICT_DROP, VERDICT_REPLY } from '../base/verdict.ts';
import * as arp from '../wire/arp.ts';
import * as ethernet from '../wire/ethernet.ts';
import * as icmpv6 from '../wire/icmpv6.ts';
import * as ipv6 from '../wire/ipv6.ts';
import * as ndp from '../wire/ndp.ts';
import { answerArp, answerSolicitation, isAddressedTo, NEIGHBOUR_ANSWERED, NEIGHBOUR_NOT_OURS } from './neighbour.ts';
import { Snapshot, SnapshotBuilder } from './snapshot.ts';

const OURS = '02:00:00:00:00:fe';
const CLIENT_MAC = '02:00:00:00:00:01';
const BROADCAST = 'ff:ff:ff:ff:ff:ff';
const CLIENT4 = '10.1.0.1';
const SERVICE4 = '192.0.2.7';
const CLIENT6 = 'fd00:1::1';
const SERVICE6 = '2001:db8::7';
/** Solicited-node group of SERVICE6 (RFC 4291 §2.7.1), and its MAC address. */
const GROUP6 = 'ff02::1:ff00:7';
const GROUP_MAC = '33:33:ff:00:00:07';

const TAP: IngressFacts = {
  link: LINK_ETHERNET,
  hopDone: false,
  canPass: false,
  headerVerified: false,
  linkAddress: { high: 0x02000000, low: 0xfe },
};

const words = new Snapshot(
  new SnapshotBuilder().build({
    services: [
      {
        name: 'a',
        prefix: { bytes: ip('192.0.2.0'), length: 24 },
        protocol: 6,
        portFrom: 80,
        portTo: 80,
        affinity: '5-tuple',
        pool: 'p',
      },
      {
        name: 'b',
        prefix: { bytes: ip('2001:db8::'), length: 64 },
        protocol: 17,
        portFrom: 1,
        portTo: 9,
        affinity: '5-tuple',
        pool: 'p',
      },
    ],
    pools: [
      {
        name: 'p',
        tableSize: 7,
        seed: 0,
        tunnel: { encapsulation: 'gue', port: 6080, source4: null, source6: null, checksum: 'none' },
        backends: [],
      },
    ],
  }),
).words;

/** A batch of one small slot with this frame in it, as the driver leaves it and classify has it when it asks us. */
function load(frame: Uint8Array, facts: IngressFacts = TAP, tags = 0): Batch {
  const batch = new Batch(Arena.inProcess(2, 320), facts);
  batch.arena.bytes.fill(0xee);
  batch.arena.bytes.set(frame, batch.frameAt[0]);
  batch.count = 1;
  batch.frameLength[0] = frame.length;
  batch.networkAt[0] = batch.frameAt[0] + 14 + tags * 4;
  if (frame[12 + tags * 4] === 0x86) {
    batch.family[0] = 6;
    batch.networkLength[0] = 40 + batch.arena.view.getUint16(batch.networkAt[0] + 4);
    batch.transportAt[0] = batch.networkAt[0] + 40;
  }
  return batch;
}

function request(fields: { operation?: number; sender?: string; target?: string; senderMac?: string } = {}): Uint8Array {
  const { operation = 1, sender = CLIENT4, target = SERVICE4, senderMac = CLIENT_MAC } = fields;
  return packet()
    .ethernet({ dst: BROADCAST, src: CLIENT_MAC })
    .arp({ operation, senderMac, sender, targetMac: '00:00:00:00:00:00', target })
    .bytes();
}

interface Solicitation {
  readonly source?: string;
  readonly destination?: string;
  readonly target?: string;
  readonly hopLimit?: number;
  readonly type?: number;
  readonly options?: readonly number[];
  readonly to?: string;
  readonly damage?: boolean;
}

const SOURCE_OPTION = [1, 1, 2, 0, 0, 0, 0, 0x33];

/** Built by hand: the sums come from wire/, whose own tests hold them against reference figures. */
function solicitation(fields: Solicitation = {}): Uint8Array {
  const { source = CLIENT6, destination = GROUP6, target = SERVICE6, options = SOURCE_OPTION } = fields;
  const length = 24 + options.length;
  const frame = Buffer.alloc(14 + 40 + length);
  frame.set(mac(fields.to ?? GROUP_MAC), 0);
  frame.set(mac(CLIENT_MAC), 6);
  frame.writeUInt16BE(0x86dd, 12);
  frame.writeUInt32BE(0x60000000, 14);
  frame.writeUInt16BE(length, 18);
  frame[20] = 58;
  frame[21] = fields.hopLimit ?? 255;
  frame.set(ip(source), 22);
  frame.set(ip(destination), 38);
  frame[54] = fields.type ?? 135;
  frame.set(ip(target), 62);
  frame.set(options, 78);
  const view = new DataView(frame.buffer, frame.byteOffset, frame.length);
  icmpv6.fillChecksum(view, 22, 54, frame.length);
  if (fields.damage) frame[56] ^= 1;
  return frame;
}

function reply(batch: Batch): { view: DataView; at: number; end: number } {
  assert.equal(batch.verdict[0], VERDICT_REPLY);
  assert.equal(batch.outAt[0], batch.frameAt[0]);
  return { view: batch.arena.view, at: batch.outAt[0], end: batch.outAt[0] + batch.outLength[0] };
}

/** Refused, and not a byte of the slot changed. */
function untouched(frame: Uint8Array, facts: IngressFacts, answer: (batch: Batch) => number): number {
  const batch = load(frame, facts);
  const before = Buffer.from(batch.arena.bytes);
  const result = answer(batch);
  assert.notEqual(result, NEIGHBOUR_ANSWERED);
  assert.equal(Buffer.compare(before, batch.arena.bytes), 0);
  assert.equal(batch.verdict[0], VERDICT_DROP);
  return result;
}

test('an ARP request for a service address becomes its reply, to whoever asked', () => {
  const batch = load(request());
  assert.equal(answerArp(batch, 0, words), NEIGHBOUR_ANSWERED);
  const { view, at, end } = reply(batch);
  assert.equal(end - at, 42);
  assert.deepEqual(ethernet.parse(view, at, end), { destination: CLIENT_MAC, source: OURS, type: 0x0806 });
  assert.deepEqual(arp.parse(view, at + 14, end), {
    operation: 2,
    senderMac: OURS,
    sender: SERVICE4,
    targetMac: CLIENT_MAC,
    target: CLIENT4,
  });
});

test('ARP: padding is not sent back, a VLAN tag is kept, every address of the prefix is answered for', () => {
  const padded = load(Buffer.concat([request({ target: '192.0.2.255' }), Buffer.alloc(18, 0xaa)]));
  assert.equal(answerArp(padded, 0, words), NEIGHBOUR_ANSWERED);
  assert.equal(padded.outLength[0], 42);
  const plain = request();
  const tagged = load(Buffer.concat([plain.subarray(0, 12), Buffer.from([0x81, 0, 0x20, 5]), plain.subarray(12)]), TAP, 1);
  assert.equal(answerArp(tagged, 0, words), NEIGHBOUR_ANSWERED);
  const { view, at, end } = reply(tagged);
  assert.equal(end - at, 46);
  assert.equal(view.getInt32(at + 12), 0x81002005 | 0);
  assert.equal(arp.parse(view, at + 18, end)?.sender, SERVICE4);
});

test('ARP from a host that has no address yet is answered, as Linux answers for its own', () => {
  const batch = load(request({ sender: '0.0.0.0' }));
  assert.equal(answerArp(batch, 0, words), NEIGHBOUR_ANSWERED);
  assert.equal(arp.parse(batch.arena.view, batch.outAt[0] + 14, batch.outAt[0] + 42)?.target, '0.0.0.0');
});

test('ARP that is no question to us is dropped for its reason, unchanged', () => {
  const broken = request();
  broken[14 + 4] = 8;
  const cases: [string, Uint8Array, IngressFacts][] = [
    ['not-ip', request({ operation: 2 }), TAP],
    ['not-ip', request({ operation: 3 }), TAP],
    ['not-ip', request({ target: '192.0.3.1' }), TAP],
    ['not-ip', request({ sender: SERVICE4 }), TAP],
    ['not-ip', request({ senderMac: BROADCAST }), TAP],
    ['not-ip', broken, TAP],
    ['truncated', request().subarray(0, 41), TAP],
    ['not-ip', request(), { ...TAP, linkAddress: undefined } as unknown as IngressFacts],
  ];
  for (const [word, frame, facts] of cases) {
    const reason = untouched(frame, facts, (batch) => answerArp(batch, 0, words));
    assert.equal(DROP_REASONS[reason].word, word);
  }
});

for (const [what, fields] of [
  ['to the solicited-node group', {}],
  ['to the address itself (reachability)', { destination: SERVICE6, to: OURS }],
] as const) {
  test(`a neighbour solicitation ${what} becomes a solicited, overriding advertisement`, () => {
    const batch = load(solicitation(fields));
    assert.equal(answerSolicitation(batch, 0, words), NEIGHBOUR_ANSWERED);
    const { view, at, end } = reply(batch);
    assert.equal(end - at, 14 + 40 + 32);
    assert.deepEqual(ethernet.parse(view, at, end), { destination: '02:00:00:00:00:33', source: OURS, type: 0x86dd });
    const header = ipv6.parse(view, at + 14, end);
    assert.equal(header?.source, SERVICE6);
    assert.equal(header?.destination, CLIENT6);
    assert.equal(ipv6.hopLimit(view, at + 14), 255);
    assert.equal(ipv6.payloadLength(view, at + 14), 32);
    assert.ok(icmpv6.verifyChecksum(view, at + 22, at + 54, end));
    assert.deepEqual(ndp.parse(view, at + 54, end), { type: 136, flags: 0x60000000, target: SERVICE6, linkLayer: OURS });
  });
}

test('without a source option the answer goes to the sender of the frame', () => {
  const batch = load(solicitation({ options: [] }));
  assert.equal(answerSolicitation(batch, 0, words), NEIGHBOUR_ANSWERED);
  const { view, at, end } = reply(batch);
  assert.equal(ethernet.parse(view, at, end)?.destination, CLIENT_MAC);
});

test('a sum that the sender left to its device is taken as right', () => {
  const batch = load(solicitation({ damage: true }));
  batch.virtioFlags[0] = 1;
  batch.csumStart[0] = 54;
  assert.equal(answerSolicitation(batch, 0, words), NEIGHBOUR_ANSWERED);
  assert.ok(icmpv6.verifyChecksum(batch.arena.view, batch.outAt[0] + 22, batch.outAt[0] + 54, batch.outAt[0] + 86));
});

test('what is no valid solicitation for a service address is not ours, unchanged', () => {
  const cases: Uint8Array[] = [
    solicitation({ source: '::' }),
    solicitation({ source: 'ff02::1' }),
    solicitation({ hopLimit: 254 }),
    solicitation({ damage: true }),
    solicitation({ type: 136 }),
    solicitation({ type: 128 }),
    solicitation({ target: '2001:db8:1::7' }),
    solicitation({ options: [1, 0, 2, 0, 0, 0, 0, 1] }),
    solicitation({ options: [1, 2, 2, 0, 0, 0, 0, 1] }),
    solicitation({ options: [1, 1, 3, 0, 0, 0, 0, 1] }),
  ];
  for (const frame of cases) {
    assert.equal(
      untouched(frame, TAP, (batch) => answerSolicitation(batch, 0, words)),
      NEIGHBOUR_NOT_OURS,
    );
  }
  const { linkAddress: _, ...packetFacts } = TAP;
  untouched(solicitation(), packetFacts, (batch) => answerSolicitation(batch, 0, words));
});

test('a frame is for us when it carries our address or a group’s', () => {
  for (const [to, expected] of [
    [OURS, true],
    [BROADCAST, true],
    [GROUP_MAC, true],
    [CLIENT_MAC, false],
    ['02:00:00:00:01:fe', false],
  ] as const) {
    const { arena, frameAt } = load(solicitation({ to }));
    assert.equal(isAddressedTo(arena.view, frameAt[0], TAP.linkAddress ?? { high: 0, low: 0 }), expected);
  }
});

test('damaged questions: no exception, never a byte outside the frame and its headroom, every answer well-formed', () => {
  const damage = fc.array(fc.tuple(fc.nat(95), fc.nat(255)), { maxLength: 3 });
  fc.assert(
    fc.property(fc.boolean(), damage, fc.nat(40), (isArp, changes, cut) => {
      const frame = Buffer.from(isArp ? request() : solicitation());
      for (const [at, value] of changes) if (at > 13 && at < frame.length) frame[at] = value;
      const batch = load(frame.subarray(0, isArp ? frame.length - cut : frame.length));
      const neighbourSlot = Buffer.from(batch.arena.bytes.subarray(batch.slotAt[1]));
      const whole = batch.networkLength[0] <= batch.frameLength[0] - 14;
      const answer = isArp ? answerArp(batch, 0, words) : whole ? answerSolicitation(batch, 0, words) : NEIGHBOUR_NOT_OURS;
      assert.equal(Buffer.compare(neighbourSlot, batch.arena.bytes.subarray(batch.slotAt[1])), 0);
      assert.ok(batch.arena.bytes.subarray(0, HEADROOM).every((byte) => byte === 0xee));
      if (answer !== NEIGHBOUR_ANSWERED) return;
      const { view, at, end } = reply(batch);
      if (isArp) assert.equal(arp.parse(view, at + 14, end)?.operation, 2);
      else assert.equal(ndp.parse(view, at + 54, end)?.linkLayer, OURS);
    }),
    { numRuns: 2000 },
  );
});
