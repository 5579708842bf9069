// Real TCP through the real daemon in a lab, with every way in and out, every mix of families, with and without offloads; small-links.test.ts has
// the ways on which packets must be cut. The workers unwrap in user space; test/uml does the same against a kernel.

import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { Capture } from '../../src/demo/lab/capture.ts';
import { Lab } from '../../src/demo/lab/topology.ts';
import { has, needs } from '../needs.ts';
import { end, open, transferAll } from './transfers.ts';

/** A capture's file header, and no packet. */
const EMPTY_CAPTURE = 24;
/** What must not reach the client, least of all with a driver that gets only a copy: RST, and ICMP errors and redirects. */
const COMPLAINTS =
  '(tcp[tcpflags] & tcp-rst != 0) or (ip6 and ip6[6] = 6 and ip6[53] & 4 != 0) or ' +
  '(icmp[0] != 0 and icmp[0] != 8) or (icmp6 and (ip6[40] < 128 or ip6[40] = 137))';

/**
 * The director's link becomes a port of a bridge of its own, the VIPs become neighbours on that link instead of routes to the director,
 * and the director's host routes nothing. The workers must not answer for the VIPs (docs/workers.md).
 */
function bridge({ router, director, workers, vip4, vip6 }: Lab): void {
  const addresses = [`${director.address4}/24 dev`, `${director.address6}/64 dev`];
  const defaults = [router.address4, router.address6].map((address) => `default via ${address} dev`);
  director.ip(
    'link add br0 mtu 1600 type bridge mcast_snooping 0 forward_delay 0',
    ...defaults.map((route) => `route del ${route} eth0`),
    ...addresses.map((address) => `addr del ${address} eth0`),
    'link set eth0 master br0',
    'link set br0 up',
    ...addresses.map((address) => `addr add ${address} br0`),
    ...defaults.map((route) => `route add ${route} br0`),
  );
  director.sysctl({ 'net.ipv4.ip_forward': 0, 'net.ipv6.conf.all.forwarding': 0 });
  router.ip(`route replace ${vip4}/32 dev lan0`, `route replace ${vip6}/128 dev lan0`);
  for (const worker of workers) worker.sysctl({ 'net.ipv4.conf.all.arp_ignore': 1, 'net.ipv4.conf.all.arp_announce': 2 });
}

const ingresses = {
  tun: { yaml: '{ driver: tun, device: gd0 }', prepare: undefined },
  tap: { yaml: '{ driver: tap, device: gdt0 }', prepare: undefined },
  'tap on a bridge': { yaml: '{ driver: tap, device: gdt0, bridge: br0 }', prepare: bridge },
  packet: { yaml: '{ driver: packet, interface: eth0 }', prepare: undefined },
  'packet, ring of blocks': { yaml: '{ driver: packet, interface: eth0, ring: blocks }', prepare: undefined },
  xdp: { yaml: '{ driver: xdp, interface: eth0 }', prepare: undefined },
} as const;
const egresses = {
  raw: '{ driver: raw }',
  udp: '{ driver: udp }',
  packet: '{ driver: packet, interface: eth0 }',
  xdp: '{ driver: xdp, interface: eth0 }',
};

/** Ways in and out meet in the batch alone: each way in with one way out, and the usual one with both. */
const ways = [
  ['tun', 'raw'],
  ['tun', 'udp'],
  ['tap', 'udp'],
  ['tap on a bridge', 'raw'],
  ['packet', 'raw'],
  ['packet, ring of blocks', 'packet'],
  ['xdp', 'xdp'],
] as const;

for (const [way, out] of ways) {
  const { yaml: ingress, prepare } = ingresses[way];
  const egress = egresses[out];
  test(
    `${way} in, ${out} out: both families, both ways`,
    needs('namespaces', 'tun', ...([way, out].includes('xdp') ? ['xdp' as const] : [])),
    async (t) => {
      const stage = await open(t, { ingress, egress }, { offloads: 'all', prepare });
      const file = join(stage.folder, 'client.pcap');
      const capture = has('tcpdump') ? await Capture.start(stage.lab.client, 'eth0', file, COMPLAINTS) : null;
      await transferAll(stage);
      await capture?.stop();
      if (capture !== null) assert.equal(readFileSync(file).length, EMPTY_CAPTURE, `complaints reached the client: ${file}`);
      await end(stage);
    },
  );
}

test('IPv4 through IPv6 tunnels, IPv6 through IPv4 tunnels', needs('namespaces', 'tun'), async (t) => {
  const stage = await open(t, { tunnel4: 6, tunnel6: 4 });
  await transferAll(stage);
  await end(stage);
});

test('outer checksums off, over IPv6 too', needs('namespaces', 'tun'), async (t) => {
  const stage = await open(t, { checksum: 'none' });
  await transferAll(stage);
  await end(stage);
});

test('outer checksums filled, links without offloads', needs('namespaces', 'tun', 'ethtool'), async (t) => {
  const stage = await open(t, { checksum: 'full' }, { offloads: 'none' });
  await transferAll(stage);
  await end(stage);
});

test(
  'the packet of the incident goes through: 1,512 bytes, 1,544 in the tunnel, on links of 1,600',
  needs('namespaces', 'tun', 'tcpdump'),
  async (t) => {
    // A train that `auto` sends is cut behind the capture.
    const stage = await open(t, { egress: '{ driver: raw }' }, { clientMtu: 1512, insideMtu: 1600 });
    const file = join(stage.folder, 'tunnel.pcap');
    const capture = await Capture.start(stage.lab.director, 'eth0', file, 'udp dst port 6080 and ip[2:2] = 1544');
    await transferAll(stage);
    await capture.stop();
    assert.ok(readFileSync(file).length > 100 * 1544, 'most segments of the upload have this size');
    await end(stage);
  },
);

test('a complaint would be seen', needs('namespaces', 'tcpdump'), async (t) => {
  const lab = Lab.create({ workers: 0 });
  t.after(() => lab.close());
  for (const address of [lab.router.address4, lab.router.address6]) {
    const file = join(mkdtempSync(join(tmpdir(), 'gue-director-complaint-')), 'client.pcap');
    t.after(() => rmSync(dirname(file), { recursive: true, force: true }));
    const capture = await Capture.start(lab.client, 'eth0', file, COMPLAINTS);
    const script = `require('node:net').connect(81, '${address}').on('error', () => {})`;
    lab.client.run(process.execPath, ['-e', script]);
    await capture.stop();
    assert.ok(readFileSync(file).length > EMPTY_CAPTURE, `a refused connection to ${address}`);
  }
});
