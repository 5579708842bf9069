/**
 * How a tunnel packet shows which flow it belongs to, so that ECMP and RSS on the way spread flows: its outer UDP source port, and, in pools
 * that spread it, its outer source address. All packets of a flow have the same (docs/headers.md says what each rule is for).
 *
 *     default   base + the flow hash, folded to the ports of the egress driver
 *     ipvs      Linux' udp_flow_src_port: 32768 to 60998, from the flow hash
 *     katran    of the client's port and its address: any port, 0 and well-known ones too
 *     glb       0x8000 | 15 bits of GLB's own hash and the client's port
 */
import type { Batch } from '../base/batch.ts';
import { glbSourcePort } from '../maglev-hash/index.ts';
import { clientAddressAt, clientPort, packetMark } from './client.ts';
import type { SourcePortRule } from './spec.ts';

/** net.ipv4.ip_local_port_range as Linux sets it: of this range the last port is never taken. */
const IPVS_FIRST = 32768;
const IPVS_PORTS = 60999 - 32768;

/** The ports that packets of a rule can come from: what may be believed to be ours. null: those of the egress driver. */
export const RULE_PORTS: Readonly<Record<SourcePortRule, { readonly base: number; readonly count: number } | null>> = {
  default: null,
  ipvs: { base: IPVS_FIRST, count: IPVS_PORTS },
  katran: { base: 0, count: 65536 },
  glb: { base: 0x8000, count: 0x8000 },
};

/**
 * Outer UDP source port: the flow keeps its port, flows spread over all ports, so that ECMP and RSS on the way spread flows.
 * The high half is folded in because the table's slot is taken from the hash as a whole.
 */
export function sourcePortOf(flowHash: number, base: number, mask: number): number {
  return base + ((flowHash ^ (flowHash >>> 16)) & mask);
}

/**
 * As Linux makes the source port of a tunnel packet (include/net/udp.h udp_flow_src_port), which IPVS sends GUE with. Linux takes its own flow
 * hash, with a key that is random since boot: of its port only the range can be had again.
 */
export function ipvsSourcePort(flowHash: number): number {
  const hash = (flowHash ^ (flowHash << 16)) >>> 0;
  return IPVS_FIRST + Math.floor((hash * IPVS_PORTS) / 0x1_0000_0000);
}

/** The two bytes of a port in the other order: Katran reads what lies in network order as little-endian. */
function swapped(port: number): number {
  return ((port & 0xff) << 8) | (port >> 8);
}

/**
 * Katran's source port of a GUE packet. `address`: the client's IPv4 address, or the last four bytes of its IPv6 address, of which Katran takes the
 * upper two. Over IPv4 the port's bytes are swapped, over IPv6 they are not.
 */
export function katranSourcePort(address: number, port: number, clientFamily: 4 | 6, outerFamily: 4 | 6): number {
  if (outerFamily === 4) return (swapped(port) ^ address) & 0xffff;
  return (port ^ (clientFamily === 4 ? address : address >>> 16)) & 0xffff;
}

/**
 * The 32 bits that Katran puts into the source address of an IPIP packet: over IPv4 16 of them count (172.16.0.0/16), over IPv6 all
 * (100::/96). `address`: the client's IPv4 address, or the last four bytes of its IPv6 address.
 */
export function katranSourceBits(address: number, port: number, outerFamily: 4 | 6): number {
  return outerFamily === 4 ? (swapped(port) ^ address) & 0xffff : address ^ (port << 16);
}

/**
 * 32 bits of a flow for its source address, others than the default source port is made of: who hashes addresses and ports gains by both
 * (murmur3's finaliser).
 */
export function sourceBitsOf(flowHash: number): number {
  let bits = Math.imul(flowHash ^ (flowHash >>> 16), 0x85ebca6b);
  bits = Math.imul(bits ^ (bits >>> 13), 0xc2b2ae35);
  return bits ^ (bits >>> 16);
}

/** The client's IPv4 address, or the last four bytes of its IPv6 address, as int32. */
export function clientWord(batch: Batch, i: number): number {
  const at = clientAddressAt(batch, i);
  return batch.arena.view.getInt32(batch.family[i] === 4 ? at : at + 12);
}

/** Katran's source port of packet `i` of a batch. `hidden`: the client's address counts as 0. */
export function katranPortOf(batch: Batch, i: number, outerFamily: 4 | 6, hidden: boolean): number {
  return katranSourcePort(hidden ? 0 : clientWord(batch, i), clientPort(batch, i), batch.family[i] === 4 ? 4 : 6, outerFamily);
}

/** Katran's source address bits of packet `i` of a batch; `hidden` as above. */
export function katranBitsOf(batch: Batch, i: number, outerFamily: 4 | 6, hidden: boolean): number {
  return katranSourceBits(hidden ? 0 : clientWord(batch, i), clientPort(batch, i), outerFamily);
}

/** GLB's source port of packet `i` of a batch, whose pool's scheme is glb: of the hash that chose its row, and what GLB takes for the client's port. */
export function glbPortOf(batch: Batch, i: number): number {
  const port = clientPort(batch, i);
  return glbSourcePort(batch.rowHash[i], port === 0 ? packetMark(batch, i) : port);
}
