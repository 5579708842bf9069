// The decapsulation port of the worker is not open: its set-up did not run. It is seen from the director.

import type { BrokenLab } from './broken-lab.ts';
import { PORT } from './scene.ts';
import { fixOf } from './screen.ts';

const FINDING = 'tunnel-port-closed';

export const portClosed: BrokenLab = {
  cause: 'decapsulation port closed',
  kernelWorker: true,
  at: 'director',
  command: ({ file }) => ['doctor', '--config', file],
  finding: FINDING,
  names: [/\[tunnel-port-closed\]/, /kernel\/uml-31 .*nothing unwraps gue at UDP port 6080 there/],
  break: (scene) => scene.must('kernel', 'ip fou del port 6080 gue'),
  client: (scene) => scene.ask(PORT.kernel),
  symptom: /^silence: no connection/,
  async mend(scene, said) {
    const fix = fixOf(said, FINDING) ?? '';
    // It says itself where to type it.
    if (!/# on the worker/.test(fix)) throw new Error(`not for the worker: ${fix}`);
    await scene.must('kernel', fix);
    return fix;
  },
};
