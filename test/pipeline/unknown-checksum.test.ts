// Checksums that a local sender only began, where the ingress does not say so (AF_XDP).

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { counterAt } from '../../src/base/counters.ts';
import { packet } from '../builder/packet.ts';
import fc from '../property.ts';
import { naivePseudoSum, naiveSum } from '../reference/checksum.ts';
import { PACKET, Rig, SERVICE4, SERVICE6, specOf } from './rig.ts';

const FACTS = { ...PACKET, checksumsUnknown: true };
const COMPLETED = counterAt('completed_checksums_total');

/** True when the transport checksum of an IP packet is right. */
function verifies(bytes: Uint8Array): boolean {
  const six = bytes[0] >> 4 === 6;
  const header = six ? 40 : (bytes[0] & 15) * 4;
  const [from, size] = six ? [8, 16] : [12, 4];
  const length = bytes.length - header;
  const pseudo = naivePseudoSum(
    bytes.slice(from, from + size),
    bytes.slice(from + size, from + 2 * size),
    bytes[six ? 6 : 9],
    length,
  );
  return naiveSum(bytes, header, length, pseudo) === 0xffff;
}

const TUNNEL4 = 20 + 8 + 4;

test('a checksum that was only begun is completed, a right one and a missing one stay, a wrong one is nobody’s to put right', () => {
  fc.assert(
    fc.property(
      fc.constantFrom(4, 6),
      fc.constantFrom(6, 17),
      fc.constantFrom('whole', 'partial', 'wrong', 'none'),
      fc.uint8Array({ maxLength: 1400 }),
      (family, protocol, state, payload) => {
        const ip = packet().ethernet();
        const network = family === 4 ? ip.ipv4({ dst: SERVICE4 }) : ip.ipv6({ dst: SERVICE6 });
        const partial = state === 'partial' ? ({ checksum: 'partial' } as const) : {};
        const ports = { sport: 1234, dport: 443 };
        const udp = state === 'none' && family === 4 ? ({ checksum: 'none' } as const) : partial;
        const transport = protocol === 6 ? network.tcp({ ...ports, ...partial }) : network.udp({ ...ports, ...udp });
        const frame = transport.payload(payload).bytes();
        const at = 14 + (family === 4 ? 20 : 40) + (protocol === 6 ? 16 : 6);
        if (state === 'wrong') frame[at] ^= 0x15;
        const rig = new Rig(specOf({ protocol }), FACTS);
        const [{ verdict, bytes }] = rig.run([frame]);
        assert.equal(verdict, 'forward');
        const inner = (bytes as Uint8Array).slice(TUNNEL4);
        assert.equal(rig.bank[COMPLETED], state === 'partial' ? 1 : 0);
        if (state === 'whole' || state === 'partial') assert.ok(verifies(inner));
        else assert.deepEqual([...inner.slice(at - 14, at - 12)], [...frame.slice(at, at + 2)]);
      },
    ),
    { numRuns: 120 },
  );
});

test('a right checksum that happens to equal the pseudo-header’s sum stays as it is', () => {
  // Its transport then sums to zero without the field: the payload's last word is chosen so.
  const build = (word: number) =>
    packet()
      .ethernet()
      .ipv4({ dst: SERVICE4 })
      .udp({ sport: 1234, dport: 443 })
      .payload(Uint8Array.of(1, 2, 3, 4, word >> 8, word & 255))
      .bytes();
  const field = (frame: Uint8Array) => (frame[40] << 8) | frame[41];
  const pseudo = naivePseudoSum(build(0).slice(26, 30), build(0).slice(30, 34), 17, 14);
  // The checksum is the complement of pseudo-header plus the rest: find the rest for which that is the pseudo-header's own sum.
  let word = 0;
  while (word < 0x10000 && field(build(word)) !== pseudo) word++;
  assert.ok(word < 0x10000);
  const rig = new Rig(specOf({ protocol: 17 }), FACTS);
  const [{ bytes }] = rig.run([build(word)]);
  assert.equal(rig.bank[COMPLETED], 0);
  assert.ok(verifies((bytes as Uint8Array).slice(TUNNEL4)));
});
