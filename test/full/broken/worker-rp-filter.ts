// A distribution's default on the worker: the kernel unwraps, and its reverse path filter throws away what came out of the tunnel device.

import type { BrokenLab } from './broken-lab.ts';
import { PORT } from './scene.ts';
import { fixOf } from './screen.ts';

const FINDING = 'tunnel-reverse-path';

export const workerRpFilter: BrokenLab = {
  cause: 'worker rp_filter',
  kernelWorker: true,
  at: 'kernel',
  command: ({ file }) => ['doctor', '--worker', '--config', file],
  finding: FINDING,
  names: [/\[tunnel-reverse-path\]/, /reverse path filter drops what comes out of tunl0/, /rp_filter is 1/],
  break: (scene) => scene.must('kernel', 'sysctl -qw net.ipv4.conf.all.rp_filter=1'),
  client: (scene) => scene.ask(PORT.kernel),
  symptom: /^silence: no connection/,
  async mend(scene, said) {
    const fix = fixOf(said, FINDING) ?? '';
    await scene.must('kernel', fix);
    return fix;
  },
};
