// A stopped or copying director's host keeps silent about services' packets: no RST, no ICMP, no bounce back to the router.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Ownership } from '../../src/host/ownership.ts';
import { closeDescriptor, readDescriptor } from '../../src/raw-socket/file.ts';
import { pin } from '../../src/raw-socket/memory.ts';
import { AF_PACKET, openSocket, SOCK_RAW, setOption } from '../../src/raw-socket/socket.ts';
import { openTunQueue } from '../../src/raw-socket/tun.ts';
import { needs } from '../needs.ts';
import { Namespace, run, setSysctl } from './namespace.ts';
import { service, wanted } from './wanted.ts';

const ETH_P_ALL = 0x0300;
const SOL_PACKET = 263;
const PACKET_IGNORE_OUTGOING = 23;

/** What arrives in the current namespace, in words, neighbour discovery left out. */
function openCapture(): { read(): string[]; close(): void } {
  const descriptor = openSocket(AF_PACKET, SOCK_RAW | 0x800, ETH_P_ALL, 'capture');
  setOption(descriptor, SOL_PACKET, PACKET_IGNORE_OUTGOING, 1, 'PACKET_IGNORE_OUTGOING');
  const memory = pin(2048);
  const describe = (frame: Uint8Array): string => {
    const type = (frame[12] << 8) | frame[13];
    if (type === 0x0800 && frame[23] === 1) return `ICMP type ${frame[34]} code ${frame[35]}`;
    if (type === 0x0800) return `IPv4 protocol ${frame[23]} TTL ${frame[22]}`;
    if (type !== 0x86dd) return '';
    if (frame[20] === 0) return ''; // Hop-by-hop options: multicast listener reports.
    if (frame[20] !== 58) return `IPv6 protocol ${frame[20]} hop limit ${frame[21]}`;
    return frame[54] >= 133 && frame[54] <= 136 ? '' : `ICMPv6 type ${frame[54]} code ${frame[55]}`;
  };
  return {
    read: () => {
      const seen: string[] = [];
      for (;;) {
        const length = readDescriptor(descriptor, memory.address, 2048);
        if (length <= 0) return seen.filter((text) => text !== '');
        seen.push(describe(memory.bytes.subarray(0, length)));
      }
    },
    close: () => closeDescriptor(descriptor),
  };
}

/** A SYN, a UDP datagram and nothing more, to both services: long enough for a busy machine, too short for a second SYN. */
function knock(): void {
  for (const address of ['203.0.113.5', '2001:db8:1::5']) {
    spawnSync('bash', ['-c', `echo x > /dev/udp/${address}/80`]);
    spawnSync('timeout', ['0.8', 'bash', '-c', `< /dev/tcp/${address}/80`]);
  }
}

test(
  'service packets vanish in silence, with packet ingress and after a crash with tun',
  needs('root', 'namespaces', 'tun', 'nft'),
  async (t) => {
    const [client, host] = [new Namespace(), new Namespace()];
    client.connect('c0', host, 'h0');
    client.inside(() => {
      run('ip addr add 10.7.0.1/24 dev c0');
      run('ip addr add fd07::1/64 dev c0 nodad');
      run('ip route add 203.0.113.0/24 via 10.7.0.2');
      run('ip route add 2001:db8:1::/48 via fd07::2');
    });
    host.inside(() => {
      run('ip addr add 10.7.0.2/24 dev h0');
      run('ip addr add fd07::2/64 dev h0 nodad');
      // A router behind the client's side: where packets would be bounced to.
      run('ip route add default via 10.7.0.1');
      run('ip route add default via fd07::1');
      setSysctl('net/ipv4/ip_forward', 1);
      setSysctl('net/ipv6/conf/all/forwarding', 1);
    });
    const capture = client.inside(openCapture);
    t.after(() => {
      capture.close();
      client.close();
      host.close();
    });
    const hear = async () => {
      client.inside(knock);
      await sleep(100);
      return capture.read();
    };

    // Control: without us the kernel bounces and redirects.
    const loud = (await hear()).join('\n');
    assert.match(loud, /IPv4 protocol 6 TTL 63/);
    assert.match(loud, /IPv6 protocol 17 hop limit 63/);
    assert.match(loud, /ICMP type 5/);

    const ownership = new Ownership();
    const services = [service('203.0.113.0/24'), service('2001:db8:1::/48')];
    host.inside(() => ownership.acquire(wanted({ ingress: { driver: 'packet', interface: 'h0' }, services })));
    assert.deepEqual(await hear(), []);
    host.inside(() => assert.deepEqual(ownership.release(), []));

    // With tun: while the device lives the packets go into it, and when it vanishes without a release they still go nowhere.
    const queue = host.inside(() => openTunQueue('gd0'));
    host.inside(() => ownership.acquire(wanted({ services })));
    assert.deepEqual(await hear(), []);
    const memory = pin(2048);
    const first = readDescriptor(queue, memory.address, 2048);
    assert.ok(first > 12, 'the service packet came out of the TUN device');
    closeDescriptor(queue);
    assert.deepEqual(await hear(), []);
    host.inside(() => assert.deepEqual(ownership.release(), []));
    assert.match((await hear()).join('\n'), /IPv4 protocol 6/);
  },
);
