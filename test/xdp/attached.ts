// Attaches to `vb` of the namespace it was started in, says so, and stays until it is killed.

import { XdpIngress } from '../../src/io/xdp/ingress.ts';

new XdpIngress({
  device: 'vb',
  services: [{ prefix: { bytes: Uint8Array.of(10, 9, 9, 9), length: 32 }, protocol: 17, portFrom: 53, portTo: 53 }],
});
process.stdout.write('attached\n');
process.stdin.resume();
