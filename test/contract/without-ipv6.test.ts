// A kernel booted with ipv6.disable=1 knows no AF_INET6. A seccomp filter makes this process's kernel one of those: it has a file, and
// so a process, of its own.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { dropReason } from '../../src/base/drop-reason.ts';
import { VERDICT_DROP, VERDICT_FORWARD } from '../../src/base/verdict.ts';
import { AutoEgress } from '../../src/io/auto/egress.ts';
import { MemoryIngress } from '../../src/io/memory/ingress.ts';
import { createBatch } from '../../src/io/open.ts';
import { RawEgress } from '../../src/io/raw/egress.ts';
import { UdpEgress } from '../../src/io/udp/egress.ts';
import { E } from '../../src/raw-socket/library.ts';
import { AF_INET6, hasFamily } from '../../src/raw-socket/socket.ts';
import { Namespace } from '../host/namespace.ts';
import { needs } from '../needs.ts';
import { ipPacket, udpBody } from './packets.ts';
import { refuseCall } from './refuse-call.ts';

const LOOPBACK = { 4: Uint8Array.of(127, 0, 0, 1), 6: Uint8Array.from({ length: 16 }, (_, i) => (i === 15 ? 1 : 0)) };

test(
  'all egresses open on a kernel without IPv6; a packet for an IPv6 backend is dropped as unreachable',
  needs('root', 'namespaces'),
  (t) => {
    const host = new Namespace();
    t.after(() => host.close());
    refuseCall('socket', 0, AF_INET6, E.EAFNOSUPPORT);
    assert.equal(hasFamily(AF_INET6), false);
    host.inside(() => {
      for (const open of [() => new RawEgress(), () => new UdpEgress(), () => new AutoEgress()]) {
        const egress = open();
        const { batch, release } = createBatch(new MemoryIngress({ frames: [] }), 4);
        const families = [4, 6, 4] as const;
        batch.count = families.length;
        families.forEach((family, i) => {
          const body = udpBody(egress.facts.sourcePortBase, 6080, Buffer.alloc(40), null);
          const packet = ipPacket({ family, source: LOOPBACK[family], destination: LOOPBACK[family] }, 17, body);
          const at = batch.frameAt[i];
          batch.arena.bytes.set(packet, at);
          batch.verdict[i] = VERDICT_FORWARD;
          batch.outerFamily[i] = family;
          batch.outAt[i] = at;
          batch.outLength[i] = packet.length;
          batch.outerTransportAt[i] = at + packet.length - body.length;
          batch.tunnelAt[i] = batch.outerTransportAt[i] + 8;
          batch.sourcePort[i] = egress.facts.sourcePortBase;
        });
        egress.send(batch);
        assert.deepEqual([...batch.verdict.subarray(0, 3)], [VERDICT_FORWARD, VERDICT_DROP, VERDICT_FORWARD], egress.name);
        assert.equal(batch.reason[1], dropReason('send-unreachable'));
        assert.equal(egress.lastErrno, E.EAFNOSUPPORT);
        egress.close();
        release();
      }
    });
  },
);
