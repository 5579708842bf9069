// The MSS clamp through the whole path: which packets it changes, which it leaves alone, and that it is counted.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { VIRTIO_NEEDS_CSUM } from '../../src/base/batch.ts';
import { counterAt } from '../../src/base/counters.ts';
import type { MssClamp } from '../../src/pipeline/spec.ts';
import { packet, type TcpFields } from '../builder/packet.ts';
import { checkEncapsulation } from '../check/outer.ts';
import { clampSlowly } from '../reference/mss-clamp.ts';
import { Rig, SERVICE4, SERVICE6, specOf } from './rig.ts';

const CLAMPED = counterAt('mss_clamped_packets_total');
const MSS_1460 = Uint8Array.of(2, 4, 0x05, 0xb4);

function syn(family: 4 | 6, fields: TcpFields = {}): Uint8Array {
  const tcp = { sport: 5555, dport: 443, flags: 'SYN', options: MSS_1460, ...fields };
  return (family === 4 ? packet().ipv4({ dst: SERVICE4 }) : packet().ipv6({ dst: SERVICE6 })).tcp(tcp).bytes();
}

function rigOf(mssClamp: MssClamp | undefined, pathMtu?: number, outer: 4 | 6 = 4): Rig {
  const spec = specOf({ outer, ...(mssClamp === undefined ? {} : { mssClamp }) });
  return new Rig(spec, undefined, pathMtu === undefined ? {} : { pathMtu });
}

/** What leaves for `input` is `expected` in a tunnel, and the counter says whether it was changed. */
function expectInner(rig: Rig, input: Uint8Array, expected: Uint8Array): void {
  const before = rig.bank[CLAMPED];
  const { bytes, reason } = rig.one(input);
  assert.ok(bytes !== null, reason);
  checkEncapsulation(bytes, expected, { ttlDecremented: false });
  assert.equal(rig.bank[CLAMPED] - before, Buffer.compare(input, expected) === 0 ? 0 : 1);
}

test('a number is the most for both families', () => {
  const rig = rigOf(1200);
  for (const family of [4, 6] as const) {
    expectInner(rig, syn(family), clampSlowly(syn(family), 1200));
    // A connection opened from both sides: the SYN with ACK announces, too.
    expectInner(rig, syn(family, { flags: 'SYN,ACK' }), clampSlowly(syn(family, { flags: 'SYN,ACK' }), 1200));
  }
});

test('auto is what fits the tunnel: its inner MTU less 40 or 60', () => {
  for (const [outer, overhead] of [
    [4, 32],
    [6, 52],
  ] as const) {
    for (const pathMtu of [1500, 1400, 1300, 600]) {
      const rig = rigOf('auto', pathMtu, outer);
      expectInner(rig, syn(4), clampSlowly(syn(4), pathMtu - overhead - 40));
      expectInner(rig, syn(6), clampSlowly(syn(6), pathMtu - overhead - 60));
    }
  }
});

test('left alone: off, unknown path, packets without SYN or with RST, SYNs that say less or nothing', () => {
  for (const rig of [rigOf(undefined), rigOf('off', 1000), rigOf('auto'), rigOf('auto', 0), rigOf('auto', 9000)]) {
    expectInner(rig, syn(4), syn(4));
    expectInner(rig, syn(6), syn(6));
  }
  const rig = rigOf(1200);
  for (const fields of [
    { flags: 'ACK' },
    { flags: 'SYN,RST' },
    { options: Uint8Array.of(2, 4, 0x04, 0xaf) },
    { options: new Uint8Array(0) },
    { options: Uint8Array.of(2, 3, 0x05, 0) },
  ]) {
    expectInner(rig, syn(4, fields), syn(4, fields));
  }
});

test('a checksum that the sender left to its device is completed over the lowered value', () => {
  const rig = rigOf(1200);
  const partial = syn(4, { checksum: 'partial' });
  const { bytes } = rig.one(partial, { virtio: { flags: VIRTIO_NEEDS_CSUM, csumStart: 20, csumOffset: 16 } });
  checkEncapsulation(bytes!, clampSlowly(syn(4), 1200), { ttlDecremented: false });
});
