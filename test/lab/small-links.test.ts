// Real TCP through the real daemon where the links carry 1,500 bytes, so that every full packet of a client is too big for its tunnel.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { needs } from '../needs.ts';
import { counters, end, open, transferAll } from './transfers.ts';

const ingresses = {
  tun: '{ driver: tun, device: gd0 }',
  tap: '{ driver: tap, device: gdt0 }',
  packet: '{ driver: packet, interface: eth0 }',
} as const;
/** tun and tap differ in the link header alone; packet sees what a card without offloads makes. */
const ways = [
  ['tun', 'all'],
  ['tun', 'none'],
  ['tap', 'all'],
  ['packet', 'all'],
  ['packet', 'none'],
] as const;

for (const [way, offloads] of ways) {
  const parts = offloads === 'all' ? needs('namespaces', 'tun') : needs('namespaces', 'tun', 'ethtool');
  test(
    `links of 1,500 bytes everywhere, ${way} in, offloads ${offloads}: large packets are cut, none is lost`,
    parts,
    async (t) => {
      const stage = await open(t, { ingress: ingresses[way] }, { insideMtu: 1500, offloads });
      await transferAll(stage);
      const counted = await counters(stage);
      const cut = counted.get('gue_director_resegmented_packets_total') ?? 0;
      assert.ok(cut > (offloads === 'all' ? 20 : 2000), `${cut} packets were cut`);
      for (const reason of [
        'too-big',
        'too-big-rate',
        'send-too-big',
        'super-packet',
        'super-packet-checksum',
        'tunnel-length',
      ]) {
        assert.equal(counted.get(`gue_director_dropped_packets_total{reason="${reason}"}`), 0, reason);
      }
      assert.equal(counted.get(`gue_director_path_mtu_bytes{pool="web-6",backend="${stage.lab.workers[0].role}"}`), 1500);
      const wanted = [...counted].filter(([name]) => name.startsWith('gue_director_wanted_link_mtu_bytes'));
      assert.ok(wanted.length > 0);
      // A client's packet of 1,500 bytes with the headers of an IPv4 or an IPv6 tunnel; on a link without offloads the largest with less is rare.
      for (const [name, bytes] of wanted) assert.equal(bytes, name.includes('web-6') ? 1552 : 1532, name);
      await end(stage);
    },
  );
}

test(
  'links of 1,500 bytes everywhere, oversize icmp: the clients learn the size that fits',
  needs('namespaces', 'tun'),
  async (t) => {
    const stage = await open(t, { oversize: 'icmp' }, { insideMtu: 1500 });
    await transferAll(stage);
    const counted = await counters(stage);
    const answers = counted.get('gue_director_too_big_answers_total') ?? 0;
    assert.ok(answers >= 2 && answers < 100, `${answers} answers`);
    assert.equal(counted.get('gue_director_resegmented_packets_total'), 0);
    assert.equal(counted.get('gue_director_dropped_packets_total{reason="send-too-big"}'), 0);
    await end(stage);
  },
);
