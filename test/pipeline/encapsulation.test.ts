// Every encapsulation × outer family × inner family × checksum mode, held byte for byte against the slow twin (test/reference/tunnel-writer.ts): single
// packets of every kind, with right, wrong, absent and partial checksums.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { segmentBytes } from '../../src/base/segment-bytes.ts';
import { ip } from '../builder/addresses.ts';
import { packet } from '../builder/packet.ts';
import { DESTINATION4, DESTINATION6, randomShape, superPacket } from '../builder/super-packet.ts';
import { Random } from '../full/random.ts';
import fc from '../property.ts';
import { fillPartialChecksum, segmentSlowly, transportOf } from '../reference/segment.ts';
import { decodeTunnel } from '../reference/tunnel.ts';
import { afterHop, encodeTunnel, withPartialChecksum } from '../reference/tunnel-writer.ts';
import { PACKET, Rig, SERVICE4, SERVICE6, SOURCE4, SOURCE6, TUN } from './rig.ts';
import { fills, KINDS, modesOf, PORT, PORT6, SECOND, specWith, tunnelOf } from './tunnels.ts';

type Sum = 'right' | 'wrong' | 'none' | 'partial';

interface Sent {
  readonly family: 4 | 6;
  readonly protocol: 6 | 17;
  readonly sum: Sum;
  readonly payload: Uint8Array;
  readonly trafficClass: number;
  readonly ttl: number;
  readonly df: boolean;
  readonly sport: number;
  readonly options: number;
}

/** The packet as it arrives, its checksum finished; the same with the partial one; what classify is told about it. */
function build(sent: Sent) {
  const ends = sent.family === 4 ? { dst: SERVICE4 } : { dst: SERVICE6 };
  const head =
    sent.family === 4
      ? packet().ipv4({
          ...ends,
          tos: sent.trafficClass,
          ttl: sent.ttl,
          df: sent.df,
          options: new Uint8Array(sent.options * 4).fill(1),
        })
      : packet().ipv6({ ...ends, trafficClass: sent.trafficClass, hopLimit: sent.ttl });
  const sum = sent.sum === 'wrong' ? { checksum: 0x1234 } : sent.sum === 'none' ? { checksum: 'none' as const } : {};
  const ports = { sport: sent.sport, dport: 443 };
  const whole = (sent.protocol === 6 ? head.tcp({ ...ports, ...(sum as { checksum?: number }) }) : head.udp({ ...ports, ...sum }))
    .payload(sent.payload)
    .bytes();
  if (sent.sum !== 'partial') return { arrives: whole, finished: whole, partial: null, remote: null, virtio: {} };
  const { packet: partial, remoteChecksum } = withPartialChecksum(whole);
  const { start, offset } = remoteChecksum;
  // Who finishes a checksum writes ffff where the sum is 0, for TCP too (skb_checksum_help); one sent finished may say 0.
  const finished = whole.slice();
  if (finished[offset] === 0 && finished[offset + 1] === 0) finished.fill(0xff, offset, offset + 2);
  return {
    arrives: partial,
    finished,
    partial,
    remote: remoteChecksum,
    virtio: { flags: 1, csumStart: start, csumOffset: offset - start },
  };
}

const anySent: fc.Arbitrary<Sent> = fc
  .record({
    family: fc.constantFrom(4, 6),
    protocol: fc.constantFrom(6, 17),
    sum: fc.constantFrom('right', 'wrong', 'none', 'partial'),
    payload: fc.uint8Array({ minLength: 1, maxLength: 1500 }),
    trafficClass: fc.nat(255),
    ttl: fc.integer({ min: 2, max: 255 }),
    df: fc.boolean(),
    sport: fc.integer({ min: 1, max: 65535 }),
    options: fc.nat(10),
  })
  // TCP has no way to say that there is no checksum.
  .map((sent) => (sent.protocol === 6 && sent.sum === 'none' ? { ...sent, sum: 'wrong' } : sent) as Sent);

for (const encapsulation of KINDS) {
  for (const outer of [4, 6] as const) {
    for (const checksum of modesOf(encapsulation)) {
      test(`${encapsulation} over IPv${outer}, checksum ${checksum}: as the twin writes it, for any packet`, () => {
        const tunnel = tunnelOf(encapsulation, checksum);
        const rigs = [TUN, PACKET].map((facts) => new Rig(specWith(outer, tunnel, facts === PACKET), facts));
        fc.assert(
          fc.property(anySent, fc.boolean(), (sent, isEthernet) => {
            const { arrives, finished, partial, remote, virtio } = build(sent);
            const link = isEthernet
              ? [0x02, 0, 0, 0, 0, 1, 0x02, 0, 0, 0, 0, 2, ...(sent.family === 4 ? [8, 0] : [0x86, 0xdd])]
              : [];
            const facts = 'csumStart' in virtio ? { ...virtio, csumStart: virtio.csumStart! + link.length } : virtio;
            const frame = Uint8Array.from([...link, ...arrives]);
            const out = rigs[isEthernet ? 1 : 0].one(frame, { virtio: facts });
            assert.equal(out.verdict, 'forward', out.reason);
            const isRemote = checksum === 'remcsum' && partial !== null;
            const before = isRemote ? partial : finished;
            const inner = isEthernet ? afterHop(before) : before;
            const expected = encodeTunnel(inner, {
              kind: encapsulation,
              source: outer === 4 ? ip(SOURCE4) : ip(SOURCE6),
              destination: ip(SECOND[outer]),
              sourcePort: out.sourcePort,
              destinationPort: encapsulation === 'fou' && sent.family === 6 ? PORT6 : PORT,
              checksum: fills(outer, tunnel) ? 'full' : 'none',
              ...(isRemote ? { remoteChecksum: remote! } : {}),
            });
            assert.equal(Buffer.from(out.bytes!).toString('hex'), Buffer.from(expected).toString('hex'));
            // What the worker takes out, remote checksum filled in, is what came, whatever its checksum was.
            const read = decodeTunnel(out.bytes!, { kind: encapsulation, remoteChecksum: isRemote });
            const taken = isEthernet ? afterHop(finished) : finished;
            assert.equal(Buffer.from(read.inner).toString('hex'), Buffer.from(taken).toString('hex'));
          }),
          { numRuns: 60 },
        );
      });
    }
  }
}

for (const encapsulation of KINDS) {
  for (const outer of [4, 6] as const) {
    for (const checksum of modesOf(encapsulation)) {
      test(`trains, ${encapsulation} over IPv${outer}, checksum ${checksum}: each segment is the twin's`, () => {
        const random = new Random(KINDS.indexOf(encapsulation) * 100 + outer * 10 + checksum.length);
        const tunnel = tunnelOf(encapsulation, checksum);
        const base = specWith(outer, tunnel);
        const services = base.services.map((service) => ({
          ...service,
          prefix: service.prefix.bytes.length === 4 ? { bytes: DESTINATION4, length: 32 } : { bytes: DESTINATION6, length: 128 },
        }));
        const rig = new Rig({ ...base, services }, TUN, { records: 1100, capacity: 1 });
        let trains = 0;
        for (let n = 0; n < 30; n++) {
          const shape = randomShape(random, random.pick([4, 6] as const), random.pick([6, 17] as const));
          const whole = superPacket(shape);
          const { at, protocol } = transportOf(whole);
          const arrives = whole.slice();
          fillPartialChecksum(arrives);
          const gsoType = shape.protocol === 17 ? 5 : shape.family === 4 ? 1 : 4;
          const field = protocol === 6 ? 16 : 6;
          rig.load([arrives], [{ flags: 1, gsoType, gsoSize: shape.segmentSize, csumStart: at, csumOffset: field }]);
          rig.pipeline.process(rig.batch, 0);
          if (rig.outcome(0).verdict !== 'forward') continue;
          const wanted = segmentSlowly(whole, shape.segmentSize);
          assert.equal(rig.batch.segmentCount[0], wanted.length);
          const isRemote = checksum === 'remcsum';
          wanted.forEach((segment, k) => {
            const inner = segment.slice();
            if (isRemote) fillPartialChecksum(inner);
            const expected = encodeTunnel(inner, {
              kind: encapsulation,
              source: outer === 4 ? ip(SOURCE4) : ip(SOURCE6),
              destination: ip(SECOND[outer]),
              sourcePort: rig.batch.sourcePort[0],
              destinationPort: encapsulation === 'fou' && shape.family === 6 ? PORT6 : PORT,
              checksum: fills(outer, tunnel) ? 'full' : 'none',
              ...(isRemote ? { remoteChecksum: { start: at, offset: at + field } } : {}),
            });
            const got = segmentBytes(rig.batch, 0, k);
            assert.equal(
              Buffer.from(got).toString('hex'),
              Buffer.from(expected).toString('hex'),
              `segment ${k} of ${JSON.stringify(shape)}`,
            );
          });
          rig.pipeline.account(rig.batch);
          trains++;
        }
        assert.ok(trains > 10, `${trains} trains`);
      });
    }
  }
}
