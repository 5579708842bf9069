// A kernel booted with ipv6.disable=1 knows no AF_INET6. A seccomp filter makes this process's kernel one of those: it has a file, and
// so a process, of its own.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { dropReason } from '../../src/base/drop-reason.ts';
import { VERDICT_DROP, VERDICT_FORWARD } from '../../src/base/verdict.ts';
import { MemoryIngress } from '../../src/io/memory/ingress.ts';
import { createBatch } from '../../src/io/open.ts';
import { RawEgress } from '../../src/io/raw/egress.ts';
import { UdpEgress } from '../../src/io/udp/egress.ts';
import { addressOf, E, libc, must } from '../../src/raw-socket/library.ts';
import { AF_INET6, hasFamily } from '../../src/raw-socket/socket.ts';
import { Namespace } from '../host/namespace.ts';
import { needs } from '../needs.ts';
import { ipPacket, udpBody } from './packets.ts';

const prctl = libc<(option: number, a: number, b: number, c: number, d: number) => number>(
  'int prctl(int option, uintptr_t a, uintptr_t b, uintptr_t c, uintptr_t d)',
);
const PR_SET_SECCOMP = 22;
const PR_SET_NO_NEW_PRIVS = 38;
const SECCOMP_MODE_FILTER = 2;
const SOCKET_CALL = process.arch === 'arm64' ? 198 : 41;

/** socket(AF_INET6, …) fails with EAFNOSUPPORT from now on, in this thread and its children. struct sock_filter: u16, u8, u8, u32. */
function forgetIpv6(): void {
  const program = [
    [0x20, 0, 0, 0], // A = system call number (struct seccomp_data)
    [0x15, 0, 3, SOCKET_CALL],
    [0x20, 0, 0, 16], // A = first argument
    [0x15, 0, 1, AF_INET6],
    [0x06, 0, 0, 0x00050000 | E.EAFNOSUPPORT], // SECCOMP_RET_ERRNO
    [0x06, 0, 0, 0x7fff0000], // SECCOMP_RET_ALLOW
  ];
  const code = new DataView(new ArrayBuffer(program.length * 8));
  program.forEach(([operation, yes, no, k], i) => {
    code.setUint16(i * 8, operation, true);
    code.setUint8(i * 8 + 2, yes);
    code.setUint8(i * 8 + 3, no);
    code.setUint32(i * 8 + 4, k, true);
  });
  const bytes = new Uint8Array(code.buffer);
  const header = new BigUint64Array([BigInt(program.length), BigInt(addressOf(bytes))]);
  must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 'prctl(PR_SET_NO_NEW_PRIVS)');
  must(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, addressOf(header), 0, 0), 'prctl(PR_SET_SECCOMP)');
}

const LOOPBACK = { 4: Uint8Array.of(127, 0, 0, 1), 6: Uint8Array.from({ length: 16 }, (_, i) => (i === 15 ? 1 : 0)) };

test(
  'both egresses open on a kernel without IPv6; a packet for an IPv6 backend is dropped as unreachable',
  needs('root', 'namespaces'),
  (t) => {
    const host = new Namespace();
    t.after(() => host.close());
    forgetIpv6();
    assert.equal(hasFamily(AF_INET6), false);
    host.inside(() => {
      for (const open of [() => new RawEgress(), () => new UdpEgress()]) {
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
