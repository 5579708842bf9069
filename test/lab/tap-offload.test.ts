// Real TCP through the real daemon and the egress tap-offload: the kernel cuts inside the tunnel, and every byte arrives.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { DirectorChoices } from '../../src/demo/configuration.ts';
import type { Lab, LabOptions } from '../../src/demo/lab/topology.ts';
import { needs } from '../needs.ts';
import { counters, end, open, transferAll } from './transfers.ts';

/** The workers read datagrams, which a veth pair must not hand on uncut (docs/tap-offload.md). */
const prepare = (lab: Lab) => void lab.director.run('ethtool', ['-K', 'eth0', 'tx', 'off']);

const EGRESS = '{ driver: tap-offload, device: gdx0 }';
/** `smaller`: the segments do not fit the path. */
const CASES: readonly {
  readonly name: string;
  readonly choices: DirectorChoices;
  readonly lab?: LabOptions;
  readonly smaller?: true;
}[] = [
  { name: 'tun in', choices: {} },
  { name: 'packet in', choices: { ingress: '{ driver: packet, interface: eth0 }' } },
  {
    name: 'tap in, links of 1,500 bytes, families crossed, outer checksums',
    choices: { ingress: '{ driver: tap }', tunnel4: 6, tunnel6: 4, checksum: 'full' },
    lab: { insideMtu: 1500 },
    smaller: true,
  },
];

for (const { name, choices, lab = {}, smaller = false } of CASES) {
  test(
    `${name}: super-packets leave whole, and nothing is lost`,
    needs('namespaces', 'tun', 'tunnel-gso', 'ethtool'),
    async (t) => {
      const stage = await open(t, { ...choices, egress: EGRESS }, { ...lab, prepare });
      await transferAll(stage);
      const counted = await counters(stage);
      const of = (counter: string) => counted.get(`gue_director_${counter}`) ?? -1;
      const [whole, segments, cut] = ['offloaded_packets_total', 'offloaded_segments_total', 'segmented_packets_total'].map(of);
      assert.ok(whole > 20 && segments >= 2 * whole && cut < whole / 10, `${whole} whole, ${segments} segments, ${cut} cut here`);
      assert.equal(of('resegmented_packets_total') >= whole, smaller);
      for (const [counter, value] of counted) {
        if (/^gue_director_(dropped|send_errors)/.test(counter) && !/not-a-service|wrong-host/.test(counter))
          assert.equal(value, 0, counter);
      }
      await end(stage);
    },
  );
}
