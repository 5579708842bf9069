/**
 * The choice of a backend as a peer's director makes it (docs/peer-tables.md): the packet's slot by the peer's own packet hash, the slot's
 * owner by the peer's own table. Per packet; no allocation.
 */
import { EMPTY_SLOT, foldAddress6, IPVS_OFFSET_KEY, ipvsHash, katranHash4, katranHash6, sipHash } from '../maglev-hash/index.ts';
import type { FlowTuple } from './flow-tuple.ts';
import {
  GLB_DESTINATION_ADDRESS,
  GLB_DESTINATION_PORT,
  GLB_SOURCE_ADDRESS,
  GLB_SOURCE_PORT,
  IPVS_FALLBACK,
  IPVS_PORT,
  KATRAN_BOTH_PORTS,
  KATRAN_DESTINATION_PORT_ONLY,
  KATRAN_NO_SOURCE_PORT,
  MEMBER_ID,
  MEMBER_UNAVAILABLE,
  SCHEME_IPVS,
  SCHEME_KATRAN,
  X_ADDRESS_SEED,
  X_FLAGS,
  X_KEY,
  X_PORTS_SEED,
  X_SECOND_FIELDS,
} from './layout.ts';

/** Two addresses of 16 bytes, two ports, and the rest of SipHash's last block. */
const GLB_LONGEST = 48;
const glbMessage = new Int32Array(new ArrayBuffer(GLB_LONGEST));
const glbBytes = new Uint8Array(glbMessage.buffer);
const glbKey = new Int32Array(new ArrayBuffer(16));
const glbOut = new Int32Array(new ArrayBuffer(8));
const GLB_ROW_MASK = 0xffff;
const EMPTY = EMPTY_SLOT;
/** Stands for the source address where Katran leaves it out. */
const noAddress = new DataView(new ArrayBuffer(16));

function swapBytes(word: number): number {
  return ((word & 0xff) << 24) | ((word & 0xff00) << 8) | ((word >>> 8) & 0xff00) | (word >>> 24);
}

/**
 * Backend id of `flow` by a table of one of the peers' schemes, −1 when it has no server for it. `scheme`, `blockAt`, `size`, `membersAt`: the
 * pool's words for the current or the previous table. With glb the flow's row hashes are left in `flow`.
 */
export function peerBackend(
  words: Int32Array,
  table: Uint16Array,
  scheme: number,
  blockAt: number,
  size: number,
  membersAt: number,
  flow: FlowTuple,
): number {
  if (scheme === SCHEME_IPVS) return ipvsBackend(words, table, words[blockAt + X_FLAGS], size, membersAt, flow);
  if (scheme === SCHEME_KATRAN) {
    const slot = (katranHash(words, blockAt, flow) >>> 0) % size;
    return words[membersAt + table[slot]];
  }
  return glbBackend(words, table, blockAt, membersAt, flow);
}

/** ip_vs_mh_get() and ip_vs_mh_get_fallback() of net/netfilter/ipvs/ip_vs_mh.c; only available servers take new flows. */
function ipvsBackend(
  words: Int32Array,
  table: Uint16Array,
  flags: number,
  size: number,
  membersAt: number,
  flow: FlowTuple,
): number {
  const { view, sourceAt } = flow;
  const address = flow.family === 4 ? view.getInt32(sourceAt) : foldAddress6(view, sourceAt);
  const port = (flags & IPVS_PORT) === 0 ? 0 : flow.ports >>> 16;
  const slot = (ipvsHash(address, port, 0, IPVS_OFFSET_KEY) >>> 0) % size;
  const member = words[membersAt + table[slot]];
  if ((member & MEMBER_UNAVAILABLE) === 0) return member;
  if ((flags & IPVS_FALLBACK) === 0) return -1;
  for (let offset = 0; offset < size; offset++) {
    const other = (ipvsHash(address, port, (offset + slot) % size, IPVS_OFFSET_KEY) >>> 0) % size;
    const id = words[membersAt + table[other]];
    if ((id & MEMBER_UNAVAILABLE) === 0) return id & MEMBER_ID;
  }
  return -1;
}

/** get_packet_hash() of Katran's balancer.bpf.c, and what the VIP's flags make of the flow before. */
function katranHash(words: Int32Array, blockAt: number, flow: FlowTuple): number {
  const flags = words[blockAt + X_FLAGS];
  const keepsDestination = (flags & (KATRAN_BOTH_PORTS | KATRAN_DESTINATION_PORT_ONLY)) !== 0;
  let ports = flow.ports;
  if (flow.allPorts !== 0 && !keepsDestination) ports &= 0xffff0000;
  if ((flags & KATRAN_NO_SOURCE_PORT) !== 0) ports &= 0xffff;
  let { view, sourceAt } = flow;
  if ((flags & KATRAN_DESTINATION_PORT_ONLY) !== 0) {
    ports = (ports << 16) | (ports & 0xffff);
    view = noAddress;
    sourceAt = 0;
  }
  const wire = swapBytes(ports);
  const portsSeed = words[blockAt + X_PORTS_SEED];
  if (flow.family === 4) return katranHash4(view.getInt32(sourceAt, true), wire, portsSeed);
  return katranHash6(view, sourceAt, wire, words[blockAt + X_ADDRESS_SEED], portsSeed);
}

/** The primary of the flow's row (glb_encap.c of GLB director). The row hashes are left in `flow`; the second is 0 where there is none. */
function glbBackend(words: Int32Array, table: Uint16Array, blockAt: number, membersAt: number, flow: FlowTuple): number {
  hashRows(words, blockAt, flow);
  return memberAt(words, table, membersAt, flow.rowHash & GLB_ROW_MASK);
}

/** The row hashes of a flow into `flow`. */
export function hashRows(words: Int32Array, blockAt: number, flow: FlowTuple): void {
  for (let k = 0; k < 4; k++) glbKey[k] = words[blockAt + X_KEY + k];
  flow.rowHash = glbHash(words[blockAt + X_FLAGS], flow);
  const second = words[blockAt + X_SECOND_FIELDS];
  flow.secondRowHash = second === 0 ? 0 : glbHash(second, flow);
}

/**
 * What GLB's directors name beside the primary, as backend ids from `hops[at]` on: the row's secondary; with a second hash primary and secondary of its
 * row; −1 where there is none. `rows`: of the table, whose second half has the secondaries.
 */
export function findHops(
  words: Int32Array,
  table: Uint16Array,
  blockAt: number,
  rows: number,
  membersAt: number,
  rowHash: number,
  secondRowHash: number,
  hops: Int32Array,
  at: number,
): void {
  hops[at] = memberAt(words, table, membersAt, rows + (rowHash & GLB_ROW_MASK));
  const hasSecond = words[blockAt + X_SECOND_FIELDS] !== 0;
  const row = secondRowHash & GLB_ROW_MASK;
  hops[at + 1] = hasSecond ? memberAt(words, table, membersAt, row) : -1;
  hops[at + 2] = hasSecond ? memberAt(words, table, membersAt, rows + row) : -1;
}

/** A row of a backend that is alone has no secondary. */
function memberAt(words: Int32Array, table: Uint16Array, membersAt: number, at: number): number {
  const member = table[at];
  return member === EMPTY ? -1 : words[membersAt + member];
}

function glbHash(fields: number, flow: FlowTuple): number {
  const { view, ports } = flow;
  const bytes = flow.family === 4 ? 4 : 16;
  glbMessage.fill(0);
  let length = 0;
  if ((fields & GLB_SOURCE_ADDRESS) !== 0) {
    for (let k = 0; k < bytes; k++) glbBytes[length + k] = view.getUint8(flow.sourceAt + k);
    length += bytes;
  }
  if ((fields & GLB_DESTINATION_ADDRESS) !== 0) {
    for (let k = 0; k < bytes; k++) glbBytes[length + k] = view.getUint8(flow.destinationAt + k);
    length += bytes;
  }
  if ((fields & GLB_SOURCE_PORT) !== 0) {
    glbBytes[length] = ports >>> 24;
    glbBytes[length + 1] = ports >>> 16;
    length += 2;
  }
  if ((fields & GLB_DESTINATION_PORT) !== 0) {
    glbBytes[length] = ports >>> 8;
    glbBytes[length + 1] = ports;
    length += 2;
  }
  sipHash(glbKey, glbMessage, length, 2, 4, glbOut);
  return glbOut[0];
}
