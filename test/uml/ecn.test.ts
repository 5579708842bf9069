// What a real worker's kernel makes of our ECN field: packets as the director sends them, marked by a router on the way where it may (RFC 3168 §5), are
// unwrapped, and the traffic class that the worker then sees comes back in its "port unreachable".
//
//     director ── outer ECN by policy ──► router marks CE, if ECT ──► worker's kernel: inner ECN (RFC 6040 §4.2)
//
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { join } from 'node:path';
import { test } from 'node:test';
import { Lab } from '../../src/demo/lab/topology.ts';
import { DEFAULT_HEADERS, type HeaderSpec, type Spec } from '../../src/pipeline/spec.ts';
import { ip } from '../builder/addresses.ts';
import { packet } from '../builder/packet.ts';
import { needs } from '../needs.ts';
import { Rig, TUN } from '../pipeline/rig.ts';
import { naiveChecksum } from '../reference/checksum.ts';
import { Guest } from './guest.ts';

const SCRIPT = join(import.meta.dirname, 'ecn.py');
const CE = 3;

/** Policies that a worker must be able to read; the others of their fields are not looked at by a receiver. */
const POLICIES: readonly HeaderSpec[] = [
  DEFAULT_HEADERS,
  { ...DEFAULT_HEADERS, ecn: 'zero', dscp: 46, ttl: 'copy' },
  { ...DEFAULT_HEADERS, ecn: 'rfc3168', df: 'clear', flowLabel: 'hash', sourcePort: 'ipvs' },
];

function specOf(lab: Lab, worker: string, headers: HeaderSpec): Spec {
  const outer = worker.includes(':') ? 6 : 4;
  const service = { protocol: 17, portFrom: 9, portTo: 9, affinity: '5-tuple' as const, pool: 'p' };
  const tunnel = {
    encapsulation: 'gue' as const,
    port: 6080,
    source4: outer === 4 ? ip(lab.director.address4) : null,
    source6: outer === 6 ? ip(lab.director.address6) : null,
    checksum: 'full' as const,
    headers,
  };
  return {
    services: [
      { ...service, name: 's4', prefix: { bytes: ip(lab.vip4), length: 32 } },
      { ...service, name: 's6', prefix: { bytes: ip(lab.vip6), length: 128 } },
    ],
    pools: [
      {
        name: 'p',
        tableSize: 251,
        seed: 0,
        tunnel,
        backends: [{ name: 'w', address: ip(worker), weight: 1, state: 'active' }],
      },
    ],
  };
}

/** A router whose queue is long: what is ECN-capable is marked. */
function marked(outer: Uint8Array): Uint8Array {
  const bytes = outer.slice();
  if (bytes[0] >> 4 === 6) {
    if (((bytes[1] >> 4) & CE) !== 0) bytes[1] |= CE << 4;
    return bytes;
  }
  if ((bytes[1] & CE) === 0) return bytes;
  bytes[1] |= CE;
  bytes.set([0, 0], 10);
  const sum = naiveChecksum(bytes, 0, 20);
  bytes.set([sum >> 8, sum & 255], 10);
  return bytes;
}

test(
  'marks from the way reach the inner packet, and those from before stay',
  needs('root', 'namespaces', 'tun', 'uml', 'python3'),
  async (t) => {
    const lab = Lab.create({ workers: 0 });
    t.after(() => lab.close());
    // The last two are for all messages together: a bucket of 50, of which a neighbour's unreachable may have had one.
    const unlimited = [
      'echo 0 > /proc/sys/net/ipv4/icmp_ratelimit',
      'echo 0 > /proc/sys/net/ipv6/icmp/ratelimit',
      'echo 1000 > /proc/sys/net/ipv4/icmp_msgs_burst',
      'echo 100000 > /proc/sys/net/ipv4/icmp_msgs_per_sec',
    ];
    const guest = await Guest.boot(lab, { vips: [lab.vip4, lab.vip6], extra: unlimited });
    t.after(() => guest.stop());

    const wire: string[] = [];
    const expected: string[] = [];
    for (const worker of [guest.address4, guest.address6]) {
      for (const headers of POLICIES) {
        const rig = new Rig(specOf(lab, worker, headers), TUN);
        for (const inner of [4, 6] as const) {
          for (let ecn = 0; ecn < 4; ecn++) {
            const sport = 20_000 + wire.length;
            const trafficClass = (10 << 2) | ecn;
            const layers =
              inner === 4
                ? packet().ipv4({ src: lab.client.address4, dst: lab.vip4, tos: trafficClass })
                : packet().ipv6({ src: lab.client.address6, dst: lab.vip6, trafficClass });
            const { bytes } = rig.one(layers.udp({ sport, dport: 9 }).payload(20).bytes());
            assert.ok(bytes !== null);
            wire.push(Buffer.from(marked(bytes)).toString('hex'));
            // RFC 6040 §4.2: CE outside is CE inside where the sender of the inner packet can be told.
            const isTold = ecn !== 0 && headers.ecn !== 'zero';
            expected.push(`${sport} ${isTold ? trafficClass | CE : trafficClass}`);
          }
        }
      }
    }

    const collector = lab.client.spawn('python3', [SCRIPT, 'collect', String(wire.length)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    t.after(() => collector.kill());
    let said = '';
    collector.stdout?.on('data', (chunk) => {
      said += String(chunk);
    });
    const ended = once(collector, 'close');
    while (!said.includes('ready')) await new Promise((done) => setTimeout(done, 20));
    lab.director.run('python3', [SCRIPT, 'send'], wire.join('\n'));
    await ended;
    assert.deepEqual(said.trim().split('\n').slice(1).sort(), expected.sort());
  },
);
