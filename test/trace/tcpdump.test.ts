// The words that are tcpdump's, against tcpdump: random packets in a capture, random filters, and which of the packets each of the two takes. IPv6 extension headers are left out, which
// tcpdump does not follow (docs/trace.md says where the two differ).

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { Arena, SMALL_STRIDE } from '../../src/base/arena.ts';
import { Batch } from '../../src/base/batch.ts';
import { clearFrame, placeFrame } from '../../src/io/frame.ts';
import { compileFilter } from '../../src/trace/filter/compile.ts';
import { parseFilter } from '../../src/trace/filter/parse.ts';
import { packet } from '../builder/packet.ts';
import { Random } from '../full/random.ts';
import { needs } from '../needs.ts';
import { TUN } from '../pipeline/rig.ts';
import { writeCapture } from '../reference/capture-file.ts';
import { type Pool, randomFilter } from './filters.ts';

const POOL: Pool = {
  hosts: ['192.0.2.1', '192.0.2.7', '198.51.100.1', '2001:db8::1', '2001:db8::7', '2001:db8:1::9'],
  nets: ['192.0.2.0/29', '192.0.2.0/24', '198.51.0.0/16', '0.0.0.0/0', '2001:db8::/64', '2001:db8::/32', '::/0'],
  ports: [53, 80, 443, 8080, 40_000],
  services: [],
  pools: [],
  backends: [],
};
const PACKETS = 300;
const FILTERS = 120;
const NAMES = { services: [], pools: [], backends: [] };

function randomPacket(random: Random): Uint8Array {
  const isSix = random.chance(3);
  const hosts = POOL.hosts.filter((host) => host.includes(':') === isSix);
  const [src, dst] = [random.pick(hosts), random.pick(hosts)];
  const [sport, dport] = [random.pick(POOL.ports), random.pick(POOL.ports)];
  const base = isSix
    ? packet().ipv6({ src, dst })
    : packet().ipv4({
        src,
        dst,
        ...(random.chance(6) ? { more: random.chance(2), offset: random.pick([0, 8, 64]) } : {}),
      });
  const payload = new Uint8Array(random.below(1440));
  switch (random.below(4)) {
    case 0:
      return base.udp({ sport, dport }).payload(payload).bytes();
    case 1:
      return (isSix ? base.icmp6({ type: 128 }) : base.icmp4({ type: 8 })).payload(payload).bytes();
    default:
      return base
        .tcp({ sport, dport, flags: random.pick([2, 16, 18, 24, 17, 4, 20]) })
        .payload(payload)
        .bytes();
  }
}

/** Numbers of the packets that tcpdump takes, by their time stamps. */
function takenByTcpdump(file: string, filter: string): number[] {
  const { status, stdout: out, stderr } = spawnSync('tcpdump', ['-r', file, '-w', '-', filter], { maxBuffer: 1 << 26 });
  if (status !== 0) {
    // What it finds out without looking at a packet.
    assert.match(String(stderr), /expression rejects all packets/, filter);
    return [];
  }
  const taken: number[] = [];
  for (let at = 24; at < out.length; at += 16 + out.readUInt32LE(at + 8))
    taken.push(out.readUInt32LE(at) * 1000 + out.readUInt32LE(at + 4) / 1000);
  return taken;
}

test('every filter of tcpdump takes the packets that tcpdump takes', needs('tcpdump'), (t) => {
  const random = new Random(4711);
  const packets = Array.from({ length: PACKETS }, () => randomPacket(random));
  const folder = mkdtempSync(join(tmpdir(), 'gue-director-trace-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const file = join(folder, 'packets.pcap');
  // Behind an Ethernet header, which tcpdump counts as the packet's: `less` and `greater` are asked for with 14 more.
  writeCapture(file, packets);
  const batch = new Batch(Arena.inProcess(PACKETS, SMALL_STRIDE), TUN);
  packets.forEach((bytes, i) => {
    clearFrame(batch, i);
    placeFrame(batch, i, bytes);
  });
  batch.count = PACKETS;
  const [selected, parts] = [new Int32Array(PACKETS), new Int32Array(PACKETS)];
  let some = 0;
  for (let k = 0; k < FILTERS; k++) {
    const filter = randomFilter(random, POOL, false);
    const theirs = takenByTcpdump(
      file,
      filter.replace(/\b(less|greater) (\d+)/g, (_, word: string, bytes: string) => `${word} ${Number(bytes) + 14}`),
    );
    const compiled = compileFilter(parseFilter(filter), batch, NAMES);
    const ours = compiled.selects ? [...selected.subarray(0, compiled.select(selected, parts))] : packets.map((_, i) => i);
    assert.deepEqual(ours, theirs, filter);
    if (theirs.length > 0 && theirs.length < PACKETS) some++;
  }
  assert.ok(some > FILTERS / 4, `only ${some} filters took some packets and left others`);
});
