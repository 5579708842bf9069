// The director's kernel does not forward, so nothing gets to the director's device.

import type { BrokenLab } from './broken-lab.ts';
import { PORT } from './scene.ts';
import { fixOf } from './screen.ts';

const FINDING = 'ipv4-forwarding';

export const forwardingOff: BrokenLab = {
  cause: 'ip_forward off',
  kernelWorker: false,
  at: 'director',
  command: ({ file }) => ['doctor', '--config', file],
  finding: FINDING,
  names: [/\[ipv4-forwarding\]/, /net\.ipv4\.ip_forward/],
  break: (scene) => scene.must('director', 'sysctl -qw net.ipv4.ip_forward=0'),
  client: (scene) => scene.ask(PORT.web),
  symptom: /^silence: no connection/,
  async mend(scene, said) {
    const fix = fixOf(said, FINDING) ?? '';
    await scene.must('director', fix);
    return fix;
  },
};
