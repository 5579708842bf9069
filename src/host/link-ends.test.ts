// What the kernel says of a VLAN interface (net/8021q/vlan_netlink.c: vlan_fill_info), byte for byte; not every test machine's kernel has one.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { attribute, nested } from '../raw-socket/netlink-message.ts';
import {
  IFLA_ADDRESS,
  IFLA_IFNAME,
  IFLA_INFO_DATA,
  IFLA_INFO_KIND,
  IFLA_LINK,
  IFLA_LINK_NETNSID,
  IFLA_LINKINFO,
  IFLA_MTU,
  IFLA_VLAN_ID,
  IFLA_VLAN_PROTOCOL,
  ifinfomsg,
  RTM_NEWLINK,
} from '../raw-socket/netlink-route.ts';
import { decodeLinkEnd, tagOver } from './link-ends.ts';

const MAC = Uint8Array.of(2, 0, 0, 0, 0, 5);
const VLAN_FLAGS = 2;

function link(index: number, name: string, ...more: Uint8Array[]) {
  const attributes = [attribute(IFLA_IFNAME, name), attribute(IFLA_ADDRESS, MAC), attribute(IFLA_MTU, 1500), ...more];
  const body = Buffer.concat([ifinfomsg(index), ...attributes]);
  return decodeLinkEnd({ type: RTM_NEWLINK, flags: 0, sequence: 0, body });
}

function vlan(index: number, name: string, below: number, number: number, ...more: Uint8Array[]) {
  const protocol = more.length > 0 && more[0].length === 2 ? (more.shift() as Uint8Array) : Uint8Array.of(0x81, 0);
  const data = nested(
    IFLA_INFO_DATA,
    attribute(IFLA_VLAN_PROTOCOL, protocol),
    attribute(IFLA_VLAN_ID, new Uint8Array(Uint16Array.of(number).buffer)),
    attribute(VLAN_FLAGS, Uint8Array.of(1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff)),
  );
  const information = nested(IFLA_LINKINFO, attribute(IFLA_INFO_KIND, 'vlan'), data);
  return link(index, name, attribute(IFLA_LINK, below), information, ...more);
}

test('frames for a VLAN interface leave by the one below it with its tag, others not at all', () => {
  const eth0 = link(2, 'eth0');
  const tagged = vlan(7, 'eth0.100', 2, 100);
  const other = vlan(8, 'eth1.100', 3, 100);
  const twice = vlan(9, 'eth0.100.5', 7, 5);
  const service = vlan(10, 'eth0.200', 2, 200, Uint8Array.of(0x88, 0xa8));
  const foreign = vlan(11, 'far', 2, 300, attribute(IFLA_LINK_NETNSID, 0));
  // A veth names its other end in IFLA_LINK.
  const veth = link(12, 'veth0', attribute(IFLA_LINK, 2), nested(IFLA_LINKINFO, attribute(IFLA_INFO_KIND, 'veth')));
  const ends = [eth0, link(3, 'eth1'), tagged, other, twice, service, foreign, veth];
  assert.deepEqual(tagged.vlan, { below: 2, number: 100 });
  assert.deepEqual([...tagged.address], [...MAC]);
  assert.deepEqual(
    ends.map((end) => tagOver(end, 'eth0', ends)),
    [0, null, 100, null, null, null, null, null],
  );
});
