// A router on the way throws away what is for a worker, and says nothing.

import type { BrokenLab } from './broken-lab.ts';
import { PORT } from './scene.ts';

export const backendBlackholed: BrokenLab = {
  cause: 'backend blackholed',
  kernelWorker: false,
  at: 'director',
  command: ({ file }) => ['doctor', '--config', file],
  finding: 'backend-blackholed',
  names: [
    /\[backend-blackholed\]/,
    /10\.80\.1\.1, the first router on the way to backend \w+\/worker-1 \(10\.80\.2\.21\), throws its packets away/,
  ],
  break: (scene) => scene.must('router', 'ip route add blackhole 10.80.2.21/32'),
  client: (scene) => scene.ask(PORT.web),
  symptom: /^silence: no connection/,
  async mend(scene) {
    await scene.must('router', 'ip route del blackhole 10.80.2.21/32');
    return 'ip route del blackhole 10.80.2.21/32 on that router';
  },
};
