import assert from 'node:assert/strict';
import { test } from 'node:test';
import { attribute } from '../raw-socket/netlink-message.ts';
import { NDA_DST, NDA_LLADDR, ndmsg, RTM_NEWNEIGH } from '../raw-socket/netlink-route.ts';
import { decodeNeighbour } from './neighbours.ts';

const [AF_BRIDGE, AF_INET] = [7, 2];
const NUD_PERMANENT = 0x80;
const ADDRESS = Uint8Array.of(10, 7, 0, 2);
const MAC = Uint8Array.of(2, 0, 0, 0, 0, 2);

function message(family: number) {
  const fixed = ndmsg(family, 5);
  fixed[8] = NUD_PERMANENT;
  const body = Buffer.concat([fixed, attribute(NDA_DST, ADDRESS), attribute(NDA_LLADDR, MAC)]);
  return decodeNeighbour({ type: RTM_NEWNEIGH, flags: 0, sequence: 0, body });
}

test('an entry of a VXLAN device’s bridge table is no neighbour, though it has an IP address (drivers/net/vxlan: vxlan_fdb_info)', () => {
  assert.equal(message(AF_BRIDGE), null);
  assert.deepEqual([...(message(AF_INET)?.linkAddress ?? [])], [...MAC]);
});
