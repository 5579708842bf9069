// The director's link has Ethernet's 1,500 bytes, so a client's 1,500 do not fit with outer headers. The service answers with ICMP (`oversize: icmp`), and the client's
// firewall drops ICMP: small requests work, large uploads hang.

import type { BrokenLab } from './broken-lab.ts';
import { PORT } from './scene.ts';
import { fixOf } from './screen.ts';

const FINDING = 'path-mtu';

export const smallTunnelPath: BrokenLab = {
  cause: 'tunnel path MTU 1500 with a 1500-byte client',
  kernelWorker: false,
  at: 'director',
  command: ({ file }) => ['doctor', '--config', file],
  finding: FINDING,
  names: [/(error|warning) [^\n]*\[path-mtu\]/, /MTU of eth0 is 1500/, /needs 1532/, /oversize: icmp/],
  async break(scene) {
    await scene.configure({ oversize: 'icmp' });
    await scene.must('director', 'ip link set dev eth0 mtu 1500');
    await scene.must(
      'client',
      'nft add table ip broken; nft add chain ip broken in "{ type filter hook input priority 0; }"; nft add rule ip broken in icmp type destination-unreachable drop',
    );
  },
  client: (scene) => scene.askBoth(PORT.web),
  symptom: /^large: silence: connected, no answer/,
  async mend(scene, said) {
    const fix = fixOf(said, FINDING) ?? '';
    await scene.must('director', fix);
    return fix;
  },
  async restore(scene) {
    await scene.configure({});
    await scene.must('director', 'ip link set dev eth0 mtu 1600');
    await scene.must('client', 'nft delete table ip broken');
  },
};
