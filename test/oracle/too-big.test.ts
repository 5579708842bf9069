// Answers to packets that are too big, and IPv4 fragments, ours and the kernel's for the same packet and MTU, byte for byte (too-big.ts
// compares). What differs is listed in the last test.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { fragment4, fragmentPayload } from '../../src/pipeline/fragment4.ts';
import { type PacketBuilder, packet } from '../builder/packet.ts';
import { needs } from '../needs.ts';
import { naiveChecksum } from '../reference/checksum.ts';
import { KernelRouter } from './router.ts';
import { CLIENT4, CLIENT6, compare, ipOptions, MTUS, ours, setWord, tooBig } from './too-big.ts';

const parts = needs('root', 'namespaces', 'tun');
const FRESH = 0x4321;

let router: KernelRouter;

before(() => {
  if (parts.skip === undefined) router = new KernelRouter(MTUS);
});
after(() => {
  if (parts.skip === undefined) router.close();
});

/** The same random numbers in every run. */
function numbers(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    return (state >>> 8) % below;
  };
}

test(`scaled: ${tooBig.claim}`, parts, async () => {
  const { passed, figures } = await tooBig.run('scaled');
  assert.ok(passed, JSON.stringify(figures, null, 2));
});

test('every size around the MTU, every TOS', parts, () => {
  for (const mtu of [552, 1280, 1468])
    for (let payload = mtu - 32; payload < mtu - 24; payload++) {
      const bytes = packet()
        .ipv4({ src: CLIENT4, dst: router.destination4(mtu) })
        .udp()
        .payload(payload)
        .bytes();
      assert.equal(compare(router, bytes, mtu), bytes.length > mtu);
    }
  for (const mtu of [1280, 1281, 1448])
    for (let payload = mtu - 52; payload < mtu - 44; payload++) {
      const bytes = packet()
        .ipv6({ src: CLIENT6, dst: router.destination6(mtu) })
        .udp()
        .payload(payload)
        .bytes();
      assert.equal(compare(router, bytes, mtu), bytes.length > mtu);
    }
  for (let tos = 0; tos < 256; tos++) {
    assert.ok(
      compare(
        router,
        packet()
          .ipv4({ tos, src: CLIENT4, dst: router.destination4(1400) })
          .tcp()
          .payload(1400)
          .bytes(),
        1400,
      ),
    );
    const six = packet().ipv6({ trafficClass: tos, src: CLIENT6, dst: router.destination6(1400) });
    assert.ok(compare(router, six.tcp().payload(1400).bytes(), 1400));
  }
});

test('super-packets are quoted merged, their checksum partial', parts, () => {
  for (const [payload, gsoSize] of [
    [5000, 1460],
    [65_000, 1460],
    [2000, 1401],
  ]) {
    const tcp = { checksum: 'partial' as const };
    const four = packet()
      .ipv4({ src: CLIENT4, dst: router.destination4(1400) })
      .tcp(tcp)
      .payload(payload)
      .bytes();
    const start = { flags: 1, gsoSize, csumOffset: 16 };
    assert.ok(compare(router, four, 1400, { ...start, gsoType: 1, headerLength: 40, csumStart: 20 }));
    const six = packet()
      .ipv6({ src: CLIENT6, dst: router.destination6(1400) })
      .tcp(tcp)
      .payload(payload)
      .bytes();
    assert.ok(compare(router, six, 1400, { ...start, gsoType: 4, headerLength: 60, csumStart: 40 }));
  }
});

test('who is not answered: every ICMP type, fragments, sources that are no host', parts, () => {
  const v4 = (fields: Parameters<PacketBuilder['ipv4']>[0]) =>
    packet().ipv4({ src: CLIENT4, dst: router.destination4(1400), ...fields });
  const v6 = (src = CLIENT6) => packet().ipv6({ src, dst: router.destination6(1400) });
  const answered: number[][] = [[], []];
  for (let type = 0; type < 256; type++) {
    if (compare(router, v4({}).icmp4({ type }).payload(1400).bytes(), 1400)) answered[0].push(type);
    if (compare(router, v6().extension('destination').icmp6({ type }).payload(1400).bytes(), 1400)) answered[1].push(type);
  }
  assert.deepEqual(answered[0], [0, 8, 13, 14, 15, 16, 17, 18]);
  assert.deepEqual(
    answered[1],
    Array.from({ length: 128 }, (_, k) => 128 + k),
  );
  assert.ok(compare(router, v4({ more: true }).udp().payload(1464).bytes(), 1400), 'a first fragment');
  assert.ok(!compare(router, v4({ offset: 1480 }).udp().payload(1464).bytes(), 1400), 'a later fragment');
  assert.ok(!compare(router, v4({ df: false }).udp().payload(1464).bytes(), 1400), 'without DF');
  for (const src of ['0.0.0.0', '127.0.0.1', '127.9.9.9', '224.0.0.1', '239.255.0.1', '255.255.255.255'])
    assert.ok(!compare(router, v4({ src }).udp().payload(1464).bytes(), 1400), src);
  for (const src of ['0.0.0.1', '1.0.0.1', '192.0.2.1', '223.255.255.255', '240.0.0.1', '255.255.255.254'])
    assert.ok(compare(router, v4({ src }).udp().payload(1464).bytes(), 1400), src);
  for (const src of ['::', '::1', 'ff02::1', 'ff0e::1'])
    assert.ok(!compare(router, v6(src).udp().payload(1464).bytes(), 1400), src);
  for (const src of ['::2', '2001:db8::1', 'fec0::1', 'fd00::1'])
    assert.ok(compare(router, v6(src).udp().payload(1464).bytes(), 1400), src);
});

test('without DF: the fragments are the kernel’s', parts, () => {
  const random = numbers(17);
  const area = new Uint8Array(1400 * 64);
  const areaView = new DataView(area.buffer);
  let cut = 0;
  for (let i = 0; i < 1500; i++) {
    const mtu = MTUS[random(MTUS.length)];
    const size = [mtu + random(3000), mtu - 60 + random(120), random(9500)][random(3)];
    const options = random(3) === 0 ? ipOptions[random(ipOptions.length)] : new Uint8Array(0);
    const place = [{}, {}, {}, { more: true }, { offset: 1480 }, { offset: 1480, more: true }][random(6)];
    // The kernel keeps an identification of 0, which we replace.
    const fields = { tos: random(256), id: 1 + random(65_535), ttl: 2 + random(254), df: false, options, ...place };
    const bytes = packet()
      .ipv4({ ...fields, src: CLIENT4, dst: router.destination4(mtu) })
      .udp()
      .payload(Math.max(0, size))
      .bytes();
    const { answers, forwarded } = router.route(bytes);
    assert.deepEqual(answers, []);
    // What a router has done when it fragments: the TTL.
    bytes[8]--;
    setWord(bytes, 10, 0);
    const header = (bytes[0] & 15) * 4;
    setWord(bytes, 10, naiveChecksum(bytes, 0, header));
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    const count = fragment4(view, 0, bytes.length, mtu, FRESH, areaView, 0, 64, 0);
    assert.equal(count, forwarded.length, `${bytes.length} bytes through ${mtu}`);
    if (count > 1) cut++;
    const payload = fragmentPayload(header, mtu);
    for (let k = 0; k < count; k++) {
      const from = header + k * payload;
      const to = k === count - 1 ? bytes.length : from + payload;
      const fragment = Uint8Array.from([...area.subarray(k * 64, k * 64 + header), ...bytes.subarray(from, to)]);
      assert.deepEqual(fragment, forwarded[k], `fragment ${k} of ${bytes.length} bytes through ${mtu}`);
    }
  }
  assert.ok(cut > 500, `only ${cut} were fragmented`);
});

test('the list of differences holds', parts, () => {
  const answers = (bytes: Uint8Array) => router.route(bytes).answers;
  const v4 = { src: CLIENT4, dst: router.destination4(1400) };
  const dst6 = router.destination6(1400);

  // The kernel repeats record route and time stamp in its answer's own header; we quote them only.
  const recordRoute = packet()
    .ipv4({ ...v4, options: Uint8Array.of(7, 7, 4, 0, 0, 0, 0, 0) })
    .udp()
    .payload(1464)
    .bytes();
  assert.equal(answers(recordRoute)[0][0], 0x47);
  assert.equal((ours(recordRoute, 1400) as Uint8Array)[0], 0x45);

  // It drops source-routed packets, whatever their size.
  const sourceRoute = packet()
    .ipv4({ ...v4, options: Uint8Array.of(131, 7, 4, 10, 9, 1, 1, 0) })
    .udp()
    .payload(1464)
    .bytes();
  assert.deepEqual(answers(sourceRoute), []);
  assert.notEqual(ours(sourceRoute, 1400), null);

  // It answers later fragments of IPv6.
  const later = packet().ipv6({ src: CLIENT6, dst: dst6 }).fragment({ offset: 1232 }).udp().payload(1464).bytes();
  assert.equal(answers(later).length, 1);
  assert.equal(ours(later, 1400), null);

  // It answers a link-local source with another error: beyond scope of source address (type 1 code 2).
  const local = packet().ipv6({ src: 'fe80::5', dst: dst6 }).udp().payload(1464).bytes();
  assert.deepEqual([...answers(local)[0].subarray(40, 42)], [1, 2]);
  assert.equal(ours(local, 1400), null);

  // A fresh identification for fragments of a datagram that has none.
  const zero = packet()
    .ipv4({ ...v4, df: false, id: 0 })
    .udp()
    .payload(1464)
    .bytes();
  assert.deepEqual(
    router.route(zero).forwarded.map((fragment) => fragment[4] * 256 + fragment[5]),
    [0, 0],
  );
});
