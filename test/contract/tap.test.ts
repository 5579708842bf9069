import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openIngress } from '../../src/io/open.ts';
import { TapIngress } from '../../src/io/tap/ingress.ts';
import { defaultLinkAddress, linkAddressOf } from '../../src/io/tap/link-address.ts';
import { setLinkUp, setMtu, setQueueLength } from '../../src/raw-socket/tun.ts';
import { Namespace, run } from '../host/namespace.ts';
import { needs } from '../needs.ts';
import { type IngressHarness, ingressContract } from './driver.ts';
import { FAR_MAC, Injector, Listener, NEAR_MAC } from './lab.ts';
import { ipPacket, udpBody } from './packets.ts';

const CLIENT = Uint8Array.from([10, 1, 0, 1]);
const SERVICE = Uint8Array.from([10, 9, 9, 9]);
/** The kernel's own limit for TAP: 65,535 less the Ethernet header. */
const TAP_MTU = 65521;

/** A TAP device with a client behind it: 10.1.0.1 is local, 10.9.9.9 is a neighbour on the device's link. */
function openLab(): IngressHarness & { space: Namespace; ingress: TapIngress } {
  const space = new Namespace();
  return space.inside(() => {
    const ingress = new TapIngress({ device: 'gdt0', linkAddress: Uint8Array.from(FAR_MAC) });
    setMtu('gdt0', TAP_MTU);
    setQueueLength('gdt0', 10000);
    run('sysctl -qw net.ipv6.conf.gdt0.disable_ipv6=1');
    run('ip link set gdt0 address 02:00:00:00:00:01');
    setLinkUp('gdt0');
    run('ip addr add 10.1.0.1/32 dev lo');
    run('ip route add 10.9.9.0/24 dev gdt0 src 10.1.0.1');
    run('ip neigh replace 10.9.9.9 lladdr 02:00:00:00:00:02 dev gdt0 nud permanent');
    const injector = new Injector();
    const listener = new Listener(CLIENT);
    return {
      space,
      ingress,
      deliver: (packets) => injector.deliver(packets),
      replyFrame(payload) {
        const packet = ipPacket({ family: 4, source: SERVICE, destination: CLIENT }, 17, udpBody(4001, 4000, payload, null));
        return Buffer.concat([Buffer.from([...NEAR_MAC, ...FAR_MAC, 8, 0]), packet]);
      },
      replies: () => listener.payloads(),
      // Shorter than an Ethernet header: the device refuses it.
      impossibleReply: Buffer.alloc(10, 0xff),
      close() {
        ingress.close();
        injector.close();
        listener.close();
        space.close();
      },
    };
  });
}

ingressContract('tap', {
  needs: ['root', 'namespaces', 'tun'],
  open: openLab,
  sizes: [20, 21, 28, 64, 1500, 9000, TAP_MTU - 1, TAP_MTU],
});

test('tap: says what its frames are and who answers for the link', needs('root', 'namespaces', 'tun'), () => {
  const lab = openLab();
  assert.equal(lab.ingress.name, 'tap:gdt0');
  assert.deepEqual(lab.ingress.facts.linkAddress, { high: 0x02000000, low: 2 });
  assert.equal(lab.ingress.facts.hopDone, false);
  lab.close();
  const space = new Namespace();
  const open = (bridge: string | null) => {
    const ingress = space.inside(() =>
      openIngress({ driver: 'tap', device: 'gdt0', bridge }, { thread: 0, threads: 1, services: [] }),
    );
    ingress.close();
    return ingress.facts;
  };
  assert.equal(open(null).hopDone, true, 'the kernel has routed');
  assert.equal(open('br0').hopDone, false);
  const own = Buffer.from(defaultLinkAddress('gdt0'));
  assert.deepEqual(open(null).linkAddress, { high: own.readInt32BE(0), low: own.readUInt16BE(4) });
  space.close();
});

test('tap: an address that no host can have is refused before a device is made', needs('root', 'namespaces', 'tun'), () => {
  const space = new Namespace();
  space.inside(() => {
    for (const bytes of [
      [1, 0, 0x5e, 0, 0, 1],
      [0, 0, 0, 0, 0, 0],
      [2, 0, 0, 0, 1],
    ]) {
      assert.throws(() => new TapIngress({ device: 'gdt0', linkAddress: Uint8Array.from(bytes) }), {
        code: 'GD_IO_LINK_ADDRESS',
        exitCode: 78,
      });
    }
    assert.doesNotMatch(run('ip link'), /gdt0/);
  });
  space.close();
});

test('tap: the default address is stable, local, no group, and differs by host and by device', () => {
  const address = defaultLinkAddress('gdt0');
  assert.deepEqual(defaultLinkAddress('gdt0'), address);
  assert.notDeepEqual(defaultLinkAddress('gdt1'), address);
  assert.notDeepEqual(linkAddressOf(['', 'a', 'gdt0']), linkAddressOf(['', 'b', 'gdt0']));
  for (let i = 0; i < 64; i++) assert.equal(linkAddressOf([`host-${i}`])[0] & 3, 2);
});
