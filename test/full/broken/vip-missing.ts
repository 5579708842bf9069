// Somebody rebooted the worker, and the virtual IP was not in its network configuration.

import { VIP4 } from '../../../src/demo/lab/topology.ts';
import type { BrokenLab } from './broken-lab.ts';
import { PORT } from './scene.ts';
import { fixOf } from './screen.ts';

const FINDING = 'vip-missing';

export const vipMissing: BrokenLab = {
  cause: 'VIP missing',
  kernelWorker: true,
  at: 'kernel',
  command: ({ file }) => ['doctor', '--worker', '--config', file],
  finding: FINDING,
  names: [/\[vip-missing\]/, new RegExp(`the virtual IP ${VIP4} is no address of this host`)],
  break: (scene) => scene.must('kernel', `ip addr del ${VIP4}/32 dev lo`),
  client: (scene) => scene.ask(PORT.kernel),
  symptom: /^silence: no connection|ETIMEDOUT|EHOSTUNREACH|ENETUNREACH/,
  async mend(scene, said) {
    const fix = fixOf(said, FINDING) ?? '';
    await scene.must('kernel', fix);
    return fix;
  },
};
