// A slip of the pen: the director sends to 6081, the worker unwraps 6080.

import type { BrokenLab } from './broken-lab.ts';
import { PORT } from './scene.ts';
import { fixOf } from './screen.ts';

const FINDING = 'fou-port-missing';

export const wrongGuePort: BrokenLab = {
  cause: 'wrong GUE port',
  kernelWorker: true,
  at: 'kernel',
  command: ({ file }) => ['doctor', '--worker', '--config', file],
  finding: FINDING,
  names: [/\[fou-port-missing\]/, /nothing unwraps UDP port 6081 .* the kernel unwraps 6080 \(gue\)/],
  break: (scene) => scene.configure({ kernelPort: 6081 }),
  client: (scene) => scene.ask(PORT.kernel),
  symptom: /^silence: no connection/,
  async mend(scene, said) {
    const fix = fixOf(said, FINDING) ?? '';
    await scene.must('kernel', fix);
    return fix;
  },
  async restore(scene) {
    await scene.configure({});
    await scene.must('kernel', 'ip fou del port 6081');
  },
};
