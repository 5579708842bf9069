import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseAnyAddress } from '../../src/config/address.ts';
import { flowPacket } from '../../src/explain/flow-packet.ts';
import { transportChecksum } from '../../src/wire/transport-checksum.ts';

const ip = (text: string) => parseAnyAddress(text).value as Uint8Array;
const PAIRS = [
  ['192.0.2.7', '198.51.100.1'],
  ['2001:db8::7', '2001:db8:1::1'],
] as const;

function verdict(packet: Uint8Array): ReturnType<typeof transportChecksum> {
  return transportChecksum(new DataView(packet.buffer), 0, packet.length);
}

test('a checksum is right until any byte that it covers is another', () => {
  for (const [source, destination] of PAIRS) {
    for (const protocol of [6, 17]) {
      const flow = {
        source: ip(source),
        destination: ip(destination),
        protocol,
        sourcePort: 4000,
        destinationPort: 443,
        tcpFlags: 16,
      };
      const packet = flowPacket({ ...flow, length: 201 });
      assert.equal(verdict(packet), 'right');
      const network = source.includes(':') ? 40 : 20;
      for (const at of [network - 1, network, network + 7, 200]) {
        const damaged = packet.slice();
        damaged[at] ^= 0x10;
        assert.equal(verdict(damaged), 'wrong', `${protocol} ${source} byte ${at}`);
      }
    }
  }
});

test('nothing is said of what can not be verified', () => {
  const flow = {
    source: ip('192.0.2.7'),
    destination: ip('198.51.100.1'),
    sourcePort: 4000,
    destinationPort: 443,
    tcpFlags: 16,
    length: 200,
  };
  const udp = flowPacket({ ...flow, protocol: 17 });
  udp.fill(0, 26, 28);
  assert.equal(verdict(udp), null, 'UDP without a checksum');
  const fragment = flowPacket({ ...flow, protocol: 6 });
  fragment[6] |= 0x20;
  assert.equal(verdict(fragment), null, 'a fragment');
  assert.equal(verdict(flowPacket({ ...flow, protocol: 6 }).slice(0, 120)), null, 'a packet that is cut');
  assert.equal(verdict(flowPacket({ ...flow, protocol: 132 })), null, 'another protocol');
  assert.equal(verdict(new Uint8Array(0)), null);
});
