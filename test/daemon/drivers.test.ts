// The daemon with each way in and each way out that touches the kernel; `tun` in and `raw` out are in run.test.ts.

import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { formatAddress } from '../../src/base/address.ts';
import { Capture } from '../../src/demo/lab/capture.ts';
import { needs } from '../needs.ts';
import { decodeTunnel } from '../reference/tunnel.ts';
import {
  buildLab,
  configuration,
  eventually,
  RunningDirector,
  readPackets,
  sendDatagrams,
  TUNNEL_PORT,
} from './running-director.ts';

const CASES = [
  { ingress: '{ driver: packet, interface: eth0 }', egress: '{ driver: raw }', threads: 1 },
  { ingress: '{ driver: packet, interface: eth0, ring: blocks }', egress: '{ driver: packet, interface: eth0 }', threads: 2 },
  { ingress: '{ driver: xdp, interface: eth0 }', egress: '{ driver: auto }', threads: 1 },
  { ingress: '{ driver: tun, device: gd0 }', egress: '{ driver: udp }', threads: 2 },
  { ingress: '{ driver: tun, device: gd0 }', egress: '{ driver: auto }', threads: 2 },
  { ingress: '{ driver: tap, mac: "02:00:5e:10:00:01" }', egress: '{ driver: raw }', threads: 1 },
  { ingress: '{ driver: tap }', egress: '{ driver: udp }', threads: 2 },
  { ingress: '{ driver: tun, device: gd0 }', egress: '{ driver: tap-offload }', threads: 2 },
];

for (const [index, options] of CASES.entries()) {
  const name = `ingress ${options.ingress}, egress ${options.egress}, threads ${options.threads}`;
  test(
    `${name}: every packet arrives once, a fault is recovered from, nothing stays`,
    needs(
      'namespaces',
      'tun',
      'tcpdump',
      'ethtool',
      ...(options.egress.includes('offload') ? ['tunnel-gso' as const] : []),
      ...(options.ingress.includes('xdp') ? ['xdp' as const] : []),
    ),
    async (t) => {
      const lab = buildLab(t, 1, { offloads: 'none' });
      const director = await RunningDirector.start(t, lab, configuration(lab, options));
      const file = join(tmpdir(), `gue-director-drivers-${process.pid}-${index}.pcap`);
      t.after(() => {
        for (const path of [file, `${file}.client`]) rmSync(path, { force: true });
      });
      const capture = await Capture.start(lab.workers[0], 'eth0', file, `udp and dst port ${TUNNEL_PORT}`);
      const atClient = await Capture.start(
        lab.client,
        'eth0',
        `${file}.client`,
        'src net 10.80.1.0/24 or src net fd80:0:0:1::/64',
      );
      sendDatagrams(lab, lab.vip4, 53, 20, 3);
      sendDatagrams(lab, lab.vip6, 53, 20, 3, 1300);
      await eventually(() => director.metric('forwarded_packets_total') === 120, 'all packets are forwarded');

      director.actor.child.kill('SIGUSR2');
      await director.event('thread-restarted');
      sendDatagrams(lab, lab.vip4, 53, 20, 3);
      await eventually(() => director.metric('forwarded_packets_total') === 180, 'and again after a fault');
      await capture.stop();
      await atClient.stop();

      const tunnels = readPackets(file).map((packet) => decodeTunnel(packet));
      assert.equal(tunnels.length, 180);
      assert.equal(tunnels.filter((tunnel) => tunnel.innerFamily === 6).length, 60);
      for (const tunnel of tunnels) {
        const { inner, innerFamily, outerFamily } = tunnel;
        assert.equal(formatAddress(tunnel.source), outerFamily === 4 ? lab.director.address4 : lab.director.address6);
        // 64 on its way out of the client, one hop at the router, one at the director, whichever driver does the second.
        assert.equal(innerFamily === 4 ? inner[8] : inner[7], 62);
      }
      assert.deepEqual(readPackets(`${file}.client`), [], 'the director’s host says nothing to the client');
      assert.equal(await director.actor.stop(), 0);
      assert.deepEqual(lab.leftovers(), []);
    },
  );
}
