import { XdpEgress } from '../../src/io/xdp/egress.ts';
import { NextHops } from '../../src/io/xdp/next-hops.ts';
import { XdpPort } from '../../src/io/xdp/port.ts';
import { interfaceIndex } from '../../src/raw-socket/tun.ts';
import { type EgressHarness, egressContract } from './driver.ts';
import { Capture, FAR_MAC, FAR4, FAR6, NEAR_MAC, NEAR4, NEAR6, Wire } from './lab.ts';

const MTU = 1700;
const mac = (bytes: number[]) => {
  const view = new DataView(Uint8Array.from(bytes).buffer);
  return { high: view.getInt32(0), low: view.getUint16(4) };
};

/** Out of `va` through a port of its own: packets of another memory are copied into its frames. */
function openLab(): EgressHarness {
  const wire = new Wire(MTU);
  const capture = wire.far.inside(() => new Capture('vb'));
  const nextHops = new NextHops(new SharedArrayBuffer(NextHops.bytesFor(4)));
  nextHops.set(0, { destination: mac(FAR_MAC), source: mac(NEAR_MAC), vlan: null, mtu: MTU });
  const port = wire.near.inside(
    () => new XdpPort({ device: 'va', interfaceIndex: interfaceIndex('va'), queue: 0, transmitRing: 32 }),
  );
  const egress = new XdpEgress({ device: 'va', port, nextHops });
  return {
    egress,
    address: (family) => (family === 4 ? { source: NEAR4, destination: FAR4 } : { source: NEAR6, destination: FAR6 }),
    arrived: (count) => capture.take(count),
    mtu: MTU,
    kernelHeader: false,
    // The next hop is the backend's, not the address's: round.test.ts has one without.
    unreachable: null,
    close() {
      egress.close();
      port.close();
      capture.close();
      wire.close();
    },
  };
}

egressContract('xdp', { needs: ['root', 'namespaces', 'xdp'], open: openLab, sizes: [60, 61, 100, 576, 1500, MTU] });
