// What keepalived tells a kernel and what the import reads out of the same files: every service, every server, how each is reached.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatAddress } from '../../src/base/address.ts';
import { applyCommands, formatEndpoint, type IpvsRules } from '../../src/import/ipvs-rules.ts';
import { parseIpvsSave } from '../../src/import/ipvs-save.ts';
import { readKeepalived } from '../../src/import/keepalived.ts';
import { DISK } from '../../src/import/keepalived-files.ts';
import { Problems } from '../../src/import/place.ts';
import { needs } from '../needs.ts';
import { askKeepalived } from '../uml/keepalived-rules.ts';
import { CONFIG_ID, keepalivedFolder, keepalivedShapes } from './keepalived-shapes.ts';

/** Lines that compare: ranges address by address, defaults written out. Thresholds are not among them: ipvsadm-save keeps them to itself. */
function listed({ services }: IpvsRules): string[] {
  const lines: string[] = [];
  for (const { name, options, servers } of services) {
    for (const service of namesOf(name)) {
      const { scheduler, persistence, mask, onePacket, engine } = options;
      lines.push([service, scheduler, [...options.flags].sort().join(), persistence, mask, onePacket, engine].join(' '));
      for (const { address, port, forwarding, tunnel, weight } of servers) {
        lines.push([service, formatEndpoint(address, port), forwarding, JSON.stringify(tunnel), weight].join(' '));
      }
    }
  }
  return lines.sort();
}

function namesOf(name: IpvsRules['services'][number]['name']): string[] {
  if (name.kind === 'mark') return [`mark ${name.mark} ${name.family}`];
  const { address, protocol, port, length = address.length * 8 } = name;
  return Array.from({ length: 2 ** (address.length * 8 - length) }, (_, i) => {
    const one = address.slice();
    one[one.length - 1] += i;
    return `${protocol} ${formatAddress(one)} ${port}`;
  });
}

test(
  'the rules that keepalived gives a kernel are those that the import reads',
  needs('uml', 'keepalived', 'ipvsadm'),
  async () => {
    const shapes = keepalivedShapes();
    const names = shapes.map(({ name }) => `${name}.conf`);
    const problems = new Problems('kernel');
    const kernel = applyCommands(parseIpvsSave(await askKeepalived(keepalivedFolder, names, CONFIG_ID), problems), problems);
    const ours = shapes.flatMap(({ path, text }) => {
      const { services } = readKeepalived({ name: path, text }, DISK, CONFIG_ID, problems);
      return services;
    });
    assert.deepEqual(problems.list, []);
    assert.ok(kernel.services.length > 50);
    assert.deepEqual(listed({ services: ours, asides: [] }), listed(kernel));
  },
);
