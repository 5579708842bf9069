// The tap-offload egress: single packets by the contract, whole super-packets cut by the kernel, and refused by it when their offsets lie.

import { TapOffloadEgress } from '../../src/io/tap-offload/egress.ts';
import { prepareOffloadDevice } from '../../src/host/offload-device.ts';
import { type EgressHarness, egressContract } from './driver.ts';
import { Capture, FAR4, FAR6, NEAR4, NEAR6, Wire } from './lab.ts';

const MTU = 9000;

function openLab(): EgressHarness {
  const wire = new Wire(MTU);
  const capture = wire.far.inside(() => new Capture('vb'));
  const egress = wire.near.inside(() => {
    const opened = new TapOffloadEgress({ device: 'gdx0' });
    prepareOffloadDevice('gdx0', true);
    return opened;
  });
  return {
    egress,
    address: (family) => (family === 4 ? { source: NEAR4, destination: FAR4 } : { source: NEAR6, destination: FAR6 }),
    arrived: (count) => capture.take(count),
    mtu: null,
    kernelHeader: false,
    unreachable: null,
    close() {
      egress.close();
      capture.close();
      wire.close();
    },
  };
}

const sizes = [60, 61, 100, 576, 1500, 1544, 8999, MTU];
egressContract('tap-offload', { needs: ['root', 'namespaces', 'tun'], open: openLab, sizes });
