import { AutoEgress } from '../../src/io/auto/egress.ts';
import type { Egress } from '../../src/io/driver.ts';
import { RawEgress } from '../../src/io/raw/egress.ts';
import { UdpEgress } from '../../src/io/udp/egress.ts';
import { type EgressHarness, egressContract } from './driver.ts';
import { Capture, FAR4, FAR6, NEAR4, NEAR6, Wire } from './lab.ts';

const MTU = 9000;

function openLab(open: () => Egress, kernelHeader: boolean): EgressHarness {
  const wire = new Wire(MTU);
  const capture = wire.far.inside(() => new Capture('vb'));
  const egress = wire.near.inside(open);
  return {
    egress,
    address: (family) => (family === 4 ? { source: NEAR4, destination: FAR4 } : { source: NEAR6, destination: FAR6 }),
    arrived: (count) => capture.take(count),
    mtu: MTU,
    kernelHeader,
    unreachable: Uint8Array.from([10, 77, 0, 1]),
    close() {
      egress.close();
      capture.close();
      wire.close();
    },
  };
}

const sizes = [60, 61, 100, 576, 1500, 1544, 8999, MTU];
egressContract('raw', { needs: ['root', 'namespaces'], open: () => openLab(() => new RawEgress(), false), sizes });
egressContract('auto', { needs: ['root', 'namespaces'], open: () => openLab(() => new AutoEgress(), false), sizes });
egressContract('udp', { needs: ['root', 'namespaces'], open: () => openLab(() => new UdpEgress(), true), sizes });
