// What the kernel refused as too big because the way out has just become smaller goes through the path again: it leaves as if the smaller
// size had been known from the start, or is dropped; nothing leaves twice, nothing is counted twice.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { counterAt, DROPS_AT, SERVICES_AT } from '../../src/base/counters.ts';
import { dropReason } from '../../src/base/drop-reason.ts';
import { segmentBytes } from '../../src/base/segment-bytes.ts';
import { VERDICT_DROP, VERDICT_FORWARD, VERDICT_REPLY, VERDICTS } from '../../src/base/verdict.ts';
import { packet } from '../builder/packet.ts';
import { decodeOuter } from '../check/outer.ts';
import { PACKET, Rig, SERVICE4, SERVICE6, specOf, TUN, type Virtio } from './rig.ts';

const BEFORE = 1600;
const AFTER = 1500;
const SEND_TOO_BIG = dropReason('send-too-big');
const MAC = packet().ethernet().ipv4({ dst: SERVICE4 }).tcp({ dport: 443 }).bytes().slice(0, 14);

interface Case {
  readonly name: string;
  readonly protocol: 6 | 17;
  readonly bytes: Uint8Array;
  readonly gsoType?: number;
  /** What becomes of it without and with a link header, which the first pass has written over. */
  readonly wanted: readonly ['forward' | 'reply', 'forward' | 'drop'];
}

const tcp4 = (payload: number) => packet().ipv4({ dst: SERVICE4, df: true }).tcp({ dport: 443 }).payload(payload).bytes();
const tcp6 = (payload: number) => packet().ipv6({ dst: SERVICE6 }).tcp({ dport: 443 }).payload(payload).bytes();
const udp4 = (payload: number, df: boolean) => packet().ipv4({ dst: SERVICE4, df }).udp({ dport: 443 }).payload(payload).bytes();
const udp6 = (payload: number) => packet().ipv6({ dst: SERVICE6 }).udp({ dport: 443 }).payload(payload).bytes();

const CASES: readonly Case[] = [
  { name: 'TCP', protocol: 6, bytes: tcp4(1460), wanted: ['forward', 'forward'] },
  { name: 'TCP over IPv6', protocol: 6, bytes: tcp6(1440), wanted: ['forward', 'forward'] },
  { name: 'a super-packet', protocol: 6, bytes: tcp4(14_600), gsoType: 1, wanted: ['forward', 'forward'] },
  { name: 'UDP that may be fragmented', protocol: 17, bytes: udp4(1472, false), wanted: ['forward', 'forward'] },
  { name: 'UDP that may not', protocol: 17, bytes: udp4(1472, true), wanted: ['reply', 'drop'] },
  { name: 'UDP over IPv6', protocol: 17, bytes: udp6(1452), wanted: ['reply', 'drop'] },
];

for (const [link, facts] of [
  ['raw IP', TUN],
  ['Ethernet', PACKET],
] as const) {
  for (const { name, protocol, bytes, gsoType, wanted } of CASES) {
    test(`${name}, ${link}: refused, and again`, () => {
      const family = bytes[0] >> 4;
      const type = Uint8Array.of(...MAC.subarray(0, 12), ...(family === 4 ? [0x08, 0] : [0x86, 0xdd]));
      const framed = (ip: Uint8Array) => (facts === PACKET ? Buffer.concat([type, ip]) : ip);
      const small = (family === 4 ? packet().ipv4({ dst: SERVICE4 }) : packet().ipv6({ dst: SERVICE6 }))
        [protocol === 6 ? 'tcp' : 'udp']({ dport: 443 })
        .payload(10)
        .bytes();
      const virtio: Virtio = gsoType === undefined ? {} : { gsoType, gsoSize: 1460 };
      const options = { records: 64, capacity: 3 };
      const spec = specOf({ protocol, checksum: 'full' });
      const fresh = new Rig(spec, facts, { ...options, pathMtu: AFTER });
      fresh.load([framed(small), framed(bytes), framed(small)], [{}, virtio, {}]);
      fresh.pipeline.process(fresh.batch, 0);

      const rig = new Rig(spec, facts, { ...options, pathMtu: BEFORE });
      const { batch, pipeline } = rig;
      rig.load([framed(small), framed(bytes), framed(small)], [{}, virtio, {}]);
      pipeline.process(batch, 0);
      assert.deepEqual([...batch.verdict], [VERDICT_FORWARD, VERDICT_FORWARD, VERDICT_FORWARD]);
      // As the egress leaves it.
      batch.verdict[1] = VERDICT_DROP;
      batch.reason[1] = SEND_TOO_BIG;
      rig.pathMtu.fill(AFTER);
      assert.equal(
        pipeline.setApart(batch, 0, () => true),
        1,
      );
      pipeline.account(batch);
      pipeline.again(batch, 0);
      const verdict = VERDICTS[batch.verdict[1]];
      assert.equal(verdict, wanted[facts === PACKET ? 1 : 0]);
      const leaves = [0, 2].some((i) => batch.verdict[i] === VERDICT_FORWARD || batch.verdict[i] === VERDICT_REPLY);
      assert.equal(leaves, false, 'its neighbours have left already');
      assert.equal(batch.answers, 0);
      if (verdict !== 'drop') {
        const parts = (of: Rig) => Array.from({ length: of.batch.segmentCount[1] }, (_, k) => segmentBytes(of.batch, 1, k));
        assert.deepEqual(parts(rig), parts(fresh));
        if (verdict === 'forward') {
          for (const part of parts(rig)) {
            assert.ok(part.length <= AFTER);
            assert.deepEqual(decodeOuter(part).complaints, []);
          }
        }
      }
      pipeline.account(batch);
      const services = [0, 1].map((n) => rig.bank[SERVICES_AT + 2 * n]);
      assert.equal(rig.bank[counterAt('received_packets_total')], 3);
      assert.equal(services[0] + services[1], 3);
      assert.equal(rig.bank[counterAt('forwarded_packets_total')], verdict === 'forward' ? 3 : 2);
      assert.equal(rig.bank[counterAt('replied_packets_total')], verdict === 'reply' ? 1 : 0);
      assert.equal(rig.bank[DROPS_AT + dropReason('too-big')], verdict === 'drop' ? 1 : 0);
      assert.equal(rig.bank[DROPS_AT + SEND_TOO_BIG], 0);

      // The next batch answers again.
      rig.load([framed(bytes)], [virtio]);
      pipeline.process(batch, 0);
      assert.equal(VERDICTS[batch.verdict[0]], wanted[0]);
    });
  }
}
