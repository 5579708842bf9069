// Header policies of a running director, seen on the wire: sources by route that follow their routes, and all that no UDP socket would write.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { formatAddress } from '../../src/base/address.ts';
import { Capture } from '../../src/demo/lab/capture.ts';
import type { Lab } from '../../src/demo/lab/topology.ts';
import { needs } from '../needs.ts';
import { decodeTunnel, type Tunnel } from '../reference/tunnel.ts';
import {
  buildLab,
  configuration,
  eventually,
  METRICS_PORT,
  RunningDirector,
  readPackets,
  sendDatagrams,
  TUNNEL_PORT,
} from './running-director.ts';

/** What leaves while `during` sends. */
async function tunnelsOf(t: TestContext, lab: Lab, during: () => Promise<void>): Promise<Tunnel[]> {
  const folder = mkdtempSync(join(tmpdir(), 'gue-director-headers-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const file = join(folder, 'out.pcap');
  const capture = await Capture.start(lab.director, 'eth0', file, `udp and dst port ${TUNNEL_PORT}`);
  await during();
  await capture.stop();
  return readPackets(file).map((bytes) => decodeTunnel(bytes));
}

const sourcesOf = (tunnels: readonly Tunnel[], family: 4 | 6) =>
  [...new Set(tunnels.filter(({ outerFamily }) => outerFamily === family).map(({ source }) => formatAddress(source)))].sort();

test(
  'by-route: the source is the route’s, and follows it without a restart',
  needs('namespaces', 'tun', 'tcpdump'),
  async (t) => {
    const lab = buildLab(t, 1);
    const yaml = configuration(lab).replace(/source: \{[^}]*\}/, 'source: { ipv4: by-route, ipv6: by-route }');
    const director = await RunningDirector.start(t, lab, yaml);
    let forwarded = 0;
    const round = () =>
      tunnelsOf(t, lab, async () => {
        sendDatagrams(lab, lab.vip4, 53, 5, 1);
        sendDatagrams(lab, lab.vip6, 53, 5, 1);
        forwarded += 10;
        await eventually(() => director.metric('forwarded_packets_total') === forwarded, 'the datagrams are forwarded');
      });
    const before = await round();
    assert.deepEqual(sourcesOf(before, 4), [lab.director.address4]);
    assert.deepEqual(sourcesOf(before, 6), [lab.director.address6]);
    const [worker] = lab.workers;
    const generation = director.metric('snapshot_generation');
    lab.director.ip(
      'addr add 10.80.1.200/32 dev eth0',
      'addr add fd80:0:0:1::200/128 dev eth0 nodad',
      `route add ${worker.address4}/32 dev eth0 src 10.80.1.200`,
      `route add ${worker.address6}/128 dev eth0 src fd80:0:0:1::200`,
    );
    await director.event('tunnel-source', 2);
    assert.ok(director.metric('snapshot_generation') > generation);
    const after = await round();
    assert.deepEqual(sourcesOf(after, 4), ['10.80.1.200']);
    assert.deepEqual(sourcesOf(after, 6), ['fd80:0:0:1::200']);
    // Without a way there is nothing to be learnt: the sources stay.
    lab.director.ip(`route replace unreachable ${worker.address4}/32`);
    await new Promise((done) => setTimeout(done, 3500));
    assert.equal(director.entries('tunnel-source').filter(({ level }) => Number(level) > 40).length, 0);
    assert.equal(await director.actor.stop(), 0);
  },
);

test(
  'a spread source, a peer’s ports, no DF, a copied TTL: each packet on the wire is what the policy says',
  needs('namespaces', 'tun', 'tcpdump'),
  async (t) => {
    const lab = buildLab(t, 1, { offloads: 'none' });
    const yaml = `services:
  - { name: web, address: "${lab.vip4}", protocol: udp, port: 53, pool: w }
  - { name: six, address: "${lab.vip6}", protocol: udp, port: 53, pool: w }
pools:
  w:
    table-size: 251
    tunnel: { headers: katran, identification: fresh, ttl: copy, source: { ipv4: 172.20.0.0/16 }, checksum: full }
    backends: [{ name: w, address: ${lab.workers[0].address4} }]
tunnel: { port: ${TUNNEL_PORT}, source: { ipv4: "${lab.director.address4}" } }
ingress: { driver: tun, device: gd0 }
egress: { driver: auto }
flows: { entries: 4096 }
metrics: { listen: "127.0.0.1:${METRICS_PORT}" }
log: { level: info, format: json }
`;
    const director = await RunningDirector.start(t, lab, yaml);
    const tunnels = await tunnelsOf(t, lab, async () => {
      sendDatagrams(lab, lab.vip4, 53, 40, 1);
      sendDatagrams(lab, lab.vip6, 53, 20, 1);
      await eventually(() => director.metric('forwarded_packets_total') === 60, 'the datagrams are forwarded');
    });
    assert.equal(tunnels.length, 60);
    for (const { source, outer, inner } of tunnels) {
      assert.deepEqual([...source.subarray(0, 2)], [172, 20]);
      assert.ok(!outer.dontFragment && outer.identification !== 0);
      assert.equal(outer.ttl, inner[inner[0] >> 4 === 4 ? 8 : 7]);
    }
    assert.equal(new Set(tunnels.map(({ outer }) => outer.identification)).size, 60);
    assert.ok(sourcesOf(tunnels, 4).length > 50, `${sourcesOf(tunnels, 4).length} sources of 60 flows`);
    assert.equal(await director.actor.stop(), 0);
  },
);
