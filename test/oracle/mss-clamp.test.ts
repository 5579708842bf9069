// The kernel as judge of the MSS clamp: nftables' `tcp option maxseg size set`, on packets that the host's kernel forwards from one TUN
// device to another, gives the same bytes as ours.
//
// Where nftables is another rule, the generator stays away from it: it reads on behind the end mark of the options (net/netfilter/
// nft_exthdr.c optlen), looks at the first MSS option only, and lowers it in a header that TCP-AO signs.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { after, test } from 'node:test';
import { clampMss } from '../../src/pipeline/mss-clamp.ts';
import { completePartial } from '../../src/wire/checksum.ts';
import { packet } from '../builder/packet.ts';
import { DESTINATION4, DESTINATION6, SOURCE4, SOURCE6 } from '../builder/super-packet.ts';
import { checkEncapsulation } from '../check/outer.ts';
import { Random } from '../full/random.ts';
import { run } from '../host/namespace.ts';
import { needs } from '../needs.ts';
import { PACKET, Rig, specOf } from '../pipeline/rig.ts';
import { clampSlowly } from '../reference/mss-clamp.ts';
import { EVERY_OFFLOAD, type Facts, KernelSegmenter } from './kernel.ts';

const parts = needs('root', 'namespaces', 'tun', 'nft');
const PACKETS = 3000;
const WHOLE: Facts = { flags: 0, gsoType: 0, headerLength: 0, gsoSize: 0, csumStart: 0, csumOffset: 0 };
const TTL = 64;

const kernel = parts.skip === undefined ? new KernelSegmenter('tun', EVERY_OFFLOAD, 10) : null;
after(() => kernel?.close());

/** Replaces the rule by which the kernel clamps what it forwards. */
function rule(size: string): void {
  const table = `table inet clamp
delete table inet clamp
table inet clamp {
  chain forward {
    type filter hook forward priority mangle
    tcp flags & (syn | rst) == syn tcp option maxseg size set ${size}
  }
}`;
  const done = kernel!.inside(() => spawnSync('nft', ['-f', '-'], { input: table, encoding: 'utf8' }));
  assert.equal(done.status, 0, done.stderr);
}

/** Options that can be read, at most one MSS among them, at any place; `odd` whether one may lie at an odd place. */
function randomOptions(random: Random, odd: boolean): Uint8Array {
  const others = [[1], [1, 1], [4, 2], [3, 3, 7], [8, 10, ...random.fill(new Uint8Array(8))], [254, 4, 9, 9]];
  const list = Array.from({ length: random.below(4) }, () => random.pick(others));
  const mss = random.chance(4) ? 1 + random.below(0xffff) : random.pick([1460, 1440, 1220, 536, 8960, 65495]);
  if (!random.chance(6)) list.splice(random.below(list.length + 1), 0, [2, 4, mss >> 8, mss & 255]);
  const bytes: number[] = [];
  for (const option of list) {
    if (!odd && option[0] === 2 && bytes.length % 2 === 1) bytes.push(1);
    bytes.push(...option);
  }
  const padding = random.below(2);
  while (bytes.length % 4 !== 0) bytes.push(padding);
  return Uint8Array.from(bytes.length > 40 ? [2, 4, mss >> 8, mss & 255] : bytes);
}

function randomSyn(random: Random, odd: boolean, partial: boolean): Uint8Array {
  const flags = random.pick([0x02, 0x02, 0x02, 0x12, 0xc2, 0x06, 0x10, 0x18, 0x04]);
  const tcp = { flags, seq: random.next(), window: random.below(65536), options: randomOptions(random, odd) };
  const ip =
    random.below(2) === 0
      ? packet().ipv4({ src: SOURCE4, dst: DESTINATION4, ttl: TTL, id: random.below(65536) })
      : packet().ipv6({ src: SOURCE6, dst: DESTINATION6, hopLimit: TTL });
  return ip
    .tcp(partial ? { ...tcp, checksum: 'partial' } : tcp)
    .payload(random.chance(3) ? random.below(40) : 0)
    .bytes();
}

const transportAt = (bytes: Uint8Array) => (bytes[0] >> 4 === 4 ? 20 : 40);

/** The clamp as the stage applies it, then one hop, as the kernel counts it. */
function ours(bytes: Uint8Array, most: number, partial: boolean): Uint8Array {
  const out = bytes.slice();
  const view = new DataView(out.buffer);
  const at = transportAt(out);
  if ((out[at + 13] & 6) === 2) clampMss(view, at, most, partial);
  if (partial) completePartial(view, at, 16, out.length);
  return hop(out);
}

function hop(bytes: Uint8Array): Uint8Array {
  if (bytes[0] >> 4 === 6) bytes[7]--;
  else {
    bytes[8]--;
    // One less in the upper half of a word: one more in the checksum's (RFC 1624), with end-around carry.
    const sum = bytes[10] * 256 + bytes[11] + 256;
    bytes.set([((sum + (sum >> 16)) >> 8) & 255, (sum + (sum >> 16)) & 255], 10);
  }
  return bytes;
}

function theirs(bytes: Uint8Array, partial: boolean): Uint8Array {
  const facts = partial ? { ...WHOLE, flags: 1, csumStart: transportAt(bytes), csumOffset: 16 } : WHOLE;
  const { refused, segments } = kernel!.segment(facts, bytes);
  assert.equal(refused, null);
  assert.equal(segments.length, 1, 'the kernel forwarded it');
  return segments[0];
}

for (const partial of [false, true]) {
  test(`the same bytes as nftables, checksums ${partial ? 'partial' : 'complete'}`, parts, () => {
    const random = new Random(partial ? 20 : 21);
    let lowered = 0;
    for (const most of [1400, 1220, 536]) {
      rule(String(most));
      for (let k = 0; k < PACKETS / 6; k++) {
        const bytes = randomSyn(random, false, partial);
        const expected = theirs(bytes, partial);
        const got = ours(bytes, most, partial);
        assert.deepEqual(
          Buffer.from(got),
          Buffer.from(expected),
          `packet ${k}, at most ${most}: ${Buffer.from(bytes).toString('hex')}`,
        );
        const { length } = bytes;
        if (Buffer.compare(got.subarray(20 + 20, length), hop(bytes).subarray(20 + 20, length)) !== 0) lowered++;
      }
    }
    assert.ok(lowered > PACKETS / 12, `${lowered} were lowered`);
  });
}

test('an MSS at an odd place: ours has a right checksum; the kernel differs in nothing else', parts, (t) => {
  const random = new Random(22);
  rule('1220');
  let differing = 0;
  for (let k = 0; k < 300; k++) {
    const bytes = randomSyn(random, true, false);
    const got = ours(bytes, 1220, false);
    const at = transportAt(bytes);
    const isSyn = (bytes[at + 13] & 6) === 2;
    assert.deepEqual(Buffer.from(got), Buffer.from(hop(isSyn ? clampSlowly(bytes, 1220) : bytes.slice())));
    const kernels = theirs(bytes, false);
    if (Buffer.compare(got, kernels) === 0) continue;
    differing++;
    kernels.set(got.subarray(at + 16, at + 18), at + 16);
    assert.deepEqual(Buffer.from(got), Buffer.from(kernels));
  }
  t.diagnostic(`the kernel’s checksum is wrong in ${differing} of 300`);
});

test('auto is `size set rt mtu` of a way whose MTU is the tunnel’s inner MTU', parts, () => {
  const random = new Random(23);
  rule('rt mtu');
  for (const [pathMtu, innerMtu] of [
    [1500, 1468],
    [1400, 1368],
    [9000, 8968],
  ]) {
    kernel!.inside(() => run(`ip link set out0 mtu ${innerMtu}`));
    const base = specOf({ mssClamp: 'auto' });
    const services = [DESTINATION4, DESTINATION6].map((bytes, n) => ({
      ...base.services[0],
      name: `s${n}`,
      prefix: { bytes, length: bytes.length * 8 },
      portFrom: 0,
      portTo: 65535,
    }));
    const rig = new Rig({ ...base, services }, { ...PACKET, link: 2 }, { pathMtu });
    for (let k = 0; k < 200; k++) {
      const bytes = randomSyn(random, false, false);
      const expected = theirs(bytes, false);
      const outcome = rig.one(bytes);
      assert.equal(outcome.verdict, 'forward', outcome.reason);
      checkEncapsulation(outcome.bytes!, expected, { ttlDecremented: false });
    }
  }
});
