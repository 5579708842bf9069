// A client whose TCP checksums are wrong: a network card's offload does that. The director passes them on as they are, the worker's kernel throws them away in silence.

import type { BrokenLab } from './broken-lab.ts';
import { PORT } from './scene.ts';

export const damagedAtSource: BrokenLab = {
  cause: 'corrupted checksum at source',
  kernelWorker: false,
  at: 'director',
  command: ({ file }) => ['doctor', '--config', file],
  finding: 'checksums-wrong',
  names: [/\[checksums-wrong\]/, /wrong TCP checksum/, /10\.80\.0\.2/],
  async break(scene) {
    // Bits 128 to 143 of the TCP header, which nft then does not know to be the checksum.
    await scene.must(
      'client',
      `nft add table ip broken; nft add chain ip broken out "{ type filter hook output priority 0; }"; nft add rule ip broken out tcp dport ${PORT.web} @th,128,16 set 0xbad1`,
    );
    // A client tries again, and again.
    scene.keepAsking(PORT.web);
  },
  client: (scene) => scene.ask(PORT.web),
  symptom: /^silence: no connection/,
  async mend(scene) {
    scene.quiet();
    await scene.must('client', 'nft delete table ip broken');
    return "the client's network card mended";
  },
};
