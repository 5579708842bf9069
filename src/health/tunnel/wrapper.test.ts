// What leaves for a probe is what would leave for a client: held against the packet path of a forwarding thread, and read by the slow twin.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ip } from '../../../test/builder/addresses.ts';
import { packet } from '../../../test/builder/packet.ts';
import { Rig, SERVICE4, SERVICE6, SOURCE4, SOURCE6 } from '../../../test/pipeline/rig.ts';
import { KINDS, modesOf, specWith, tunnelOf } from '../../../test/pipeline/tunnels.ts';
import { decodeTunnel } from '../../../test/reference/tunnel.ts';
import { MemoryEgress } from '../../io/memory/egress.ts';
import { DEFAULT_HEADERS, type Spec, type TunnelSpec } from '../../pipeline/spec.ts';
import type { ProbeTarget } from '../probe.ts';
import { Wrapper } from './wrapper.ts';

function targetOf({ pools, services }: Spec, state: 'active' | 'down' = 'active'): ProbeTarget {
  const [pool] = pools;
  const [backend] = pool.backends;
  return { pool: pool.name, backend: { ...backend, state }, tunnel: backend.tunnel ?? pool.tunnel, services };
}

function wrapperWith(egress: MemoryEgress): Wrapper {
  return new Wrapper({ egress, sourcePortBase: egress.facts.sourcePortBase, sourcePortMask: egress.facts.sourcePortMask });
}

function syn(family: 4 | 6): Uint8Array {
  const head =
    family === 4
      ? packet().ipv4({ src: SOURCE4, dst: SERVICE4, ttl: 7 })
      : packet().ipv6({ src: SOURCE6, dst: SERVICE6, hopLimit: 7 });
  return head.tcp({ sport: 61430, dport: 443, flags: 'SYN' }).bytes();
}

const WAYS: TunnelSpec[] = KINDS.flatMap((kind) => modesOf(kind).map((mode) => tunnelOf(kind, mode)));
const headers = { ...DEFAULT_HEADERS, ttl: 99, dscp: 10, df: 'clear', flowLabel: 'zero', sourcePort: 'ipvs' } as const;
WAYS.push({ ...tunnelOf('gue', 'none'), headers }, { ...tunnelOf('gre', 'full'), headers });

for (const outer of [4, 6] as const) {
  test(`over IPv${outer}, every encapsulation and checksum mode: the bytes of traffic`, () => {
    for (const tunnel of WAYS) {
      for (const family of [4, 6] as const) {
        const spec = specWith(outer, tunnel);
        const egress = new MemoryEgress();
        const wrapper = wrapperWith(egress);
        const name = `${tunnel.encapsulation} ${tunnel.checksum} IPv${family}`;
        assert.equal(wrapper.send(targetOf(spec), spec.services[family === 4 ? 0 : 1], syn(family)), null, name);
        const traffic = new Rig(spec).one(syn(family)).bytes as Uint8Array;
        const [sent] = egress.packets;
        // Identifications of outer packets without DF count up, each sender its own.
        assert.deepEqual([...sent], [...traffic], name);
        const read = decodeTunnel(sent, { kind: tunnel.encapsulation });
        assert.deepEqual([...read.inner], [...syn(family)], name);
        wrapper.close();
      }
    }
  });
}

test('one backend is asked, whatever its state, and not the table', () => {
  const spec = specWith(4, tunnelOf('gue', 'none'));
  const egress = new MemoryEgress();
  const wrapper = wrapperWith(egress);
  const others = Array.from({ length: 20 }, (_, i) => ({
    ...spec.pools[0].backends[0],
    name: `b${i}`,
    address: ip(`10.0.1.${i}`),
  }));
  for (const backend of others) {
    const target = { ...targetOf(spec, 'down'), backend: { ...backend, state: 'down' as const } };
    assert.equal(wrapper.send(target, spec.services[0], syn(4)), null);
  }
  const to = egress.packets.map((bytes) => decodeTunnel(bytes).destination.join('.'));
  assert.deepEqual(
    to,
    others.map(({ address }) => address.join('.')),
  );
  // The same backend with another tunnel is not the one that was remembered.
  const moved = { ...targetOf(spec), tunnel: { ...spec.pools[0].tunnel, port: 7777 } };
  wrapper.send({ ...moved, backend: others[0] }, spec.services[0], syn(4));
  assert.equal(decodeTunnel(egress.packets[20]).destinationPort, 7777);
  wrapper.close();
});

test('GLB: the header names no other worker, so that none can answer', () => {
  const spec = specWith(4, { ...tunnelOf('gue', 'none'), hops: 2 });
  const egress = new MemoryEgress();
  const wrapper = wrapperWith(egress);
  assert.equal(wrapper.send(targetOf(spec), spec.services[0], syn(4)), null);
  const { privateData, inner } = decodeTunnel(egress.packets[0], { privateData: true });
  assert.deepEqual([...privateData], [0, 0, 0, 0]);
  assert.deepEqual([...inner], [...syn(4)]);
  wrapper.close();
});

test('what can not leave says why', () => {
  const spec = specWith(4, tunnelOf('gue', 'none'));
  const wrapper = wrapperWith(new MemoryEgress());
  const elsewhere = packet().ipv4({ src: SOURCE4, dst: '203.0.113.9' }).tcp({ sport: 61430, dport: 443, flags: 'SYN' }).bytes();
  assert.equal(wrapper.send(targetOf(spec), spec.services[0], elsewhere), 'not-a-service');
  wrapper.close();
});
