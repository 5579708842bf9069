// Somebody added a service on one port of a range that another service has. Its pool's worker serves nothing there.

import { VIP4 } from '../../../src/demo/lab/topology.ts';
import type { BrokenLab } from './broken-lab.ts';
import { PORT } from './scene.ts';

export const shadowedService: BrokenLab = {
  cause: 'service shadowed by another',
  kernelWorker: false,
  at: 'director',
  command: ({ lab, file }) => ['explain', '--config', file, 'tcp', `${lab.client.address4}:40001`, `${VIP4}:${PORT.wide}`],
  finding: 'service … would take it too',
  names: [
    /would take it too; the narrower one goes before/,
    /forwarded to canary\/worker-2/,
    /service +canary: .* port 9090, pool canary\s+wide \(.* ports 9000-9099\) would take it too/,
  ],
  break: (scene) =>
    scene.configure({
      services: [`  - { name: canary, address: ${VIP4}, protocol: tcp, port: ${PORT.wide}, pool: canary }`],
      pools: [`  canary: { table-size: 907, backends: [{ name: worker-2, address: ${scene.lab.workers[1].address4} }] }`],
    }),
  client: (scene) => scene.ask(PORT.wide),
  symptom: /^ECONNREFUSED/,
  async mend(scene) {
    await scene.configure({});
    return 'the service canary removed from the configuration, gue-director reload';
  },
};
