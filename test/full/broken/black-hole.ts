// A link on the way to the worker has a smaller MTU than its neighbours believe, and nobody says so.

import type { BrokenLab } from './broken-lab.ts';
import { PORT } from './scene.ts';
import { fixOf } from './screen.ts';

const FINDING = 'path-black-hole';

export const blackHole: BrokenLab = {
  cause: 'PMTU black hole',
  kernelWorker: false,
  at: 'director',
  command: ({ file }) => ['doctor', '--config', file],
  finding: FINDING,
  names: [
    /\[path-black-hole\]/,
    /packets of 1532 bytes to backend \w+\/worker-1 \(10\.80\.2\.21\) vanish without a word, those of 1400 arrive/,
  ],
  // A veth drops in silence what is larger than its own MTU.
  break: (scene) => scene.must('worker-1', 'ip link set dev eth0 mtu 1400'),
  client: (scene) => scene.askBoth(PORT.web),
  symptom: /^large: silence: connected, no answer/,
  async mend(scene, said) {
    const fix = fixOf(said, FINDING) ?? '';
    await scene.must('director', fix);
    return fix;
  },
  async restore(scene) {
    await scene.must('worker-1', 'ip link set dev eth0 mtu 1600');
    await scene.must('director', 'ip route del 10.80.2.21/32');
  },
};
