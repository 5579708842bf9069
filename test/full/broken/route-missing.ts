// The director has lost its way to the workers: its default route is gone.

import type { BrokenLab } from './broken-lab.ts';
import { PORT } from './scene.ts';

export const routeMissing: BrokenLab = {
  cause: 'route missing on the director',
  kernelWorker: false,
  at: 'director',
  command: ({ file }) => ['doctor', '--config', file],
  finding: 'backend-unreachable',
  names: [/\[backend-unreachable\]/, /there is no way to backend web\/worker-1 \(10\.80\.2\.21\)[^\n]*: no route/],
  break: (scene) => scene.must('director', 'ip route del default'),
  client: (scene) => scene.ask(PORT.web),
  symptom: /^silence: no connection/,
  async mend(scene) {
    await scene.must('director', 'ip route add default via 10.80.1.1');
    return 'ip route add default via 10.80.1.1';
  },
};
