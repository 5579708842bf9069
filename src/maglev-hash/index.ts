/**
 * Maglev hashing as a library: `import { buildTable, hashTuple4, slotOf } from 'gue-director/maglev-hash'`.
 *
 *     const members = [
 *       { identity: Uint8Array.of(192, 0, 2, 11), weight: 1 },
 *       { identity: Uint8Array.of(192, 0, 2, 12), weight: 2 },
 *     ];
 *     const table = buildTable(members, 65537, 1);
 *     const hash = hashTuple4(source, destination, ports, 6);
 *     const member = members[table[slotOf(hash, 1, table.length)]];
 *
 * Pure TypeScript over typed arrays: imports nothing from Node and runs anywhere. What each function promises stands at its
 * own definition; the scheme itself, so that others can reproduce it, in docs/maglev-hash.md.
 */
export { digestTable } from './digest.ts';
export type { Disruption } from './disruption.ts';
export { disruption } from './disruption.ts';
export { hashAddresses4, hashAddresses6, hashSource4, hashSource6, hashTuple4, hashTuple6, slotOf } from './flow-hash.ts';
export type { GlbFields } from './glb/packet-hash.ts';
export { GLB_DEFAULT_FIELDS, GlbHash, glbSourcePort } from './glb/packet-hash.ts';
export type { GlbMember, GlbRows } from './glb/rows.ts';
export { buildGlbRows, GLB_MAX_BACKENDS, GLB_ROWS } from './glb/rows.ts';
export type { Fingerprints } from './half-siphash.ts';
export { fingerprints } from './half-siphash.ts';
export { hashIdentity } from './hash.ts';
export { foldAddress6, IPVS_OFFSET_KEY, ipvsHash } from './ipvs/hash.ts';
export type { IpvsMember } from './ipvs/table.ts';
export { buildIpvsTable, chooseIpvs, IPVS_TABLE_SIZES, ipvsAddress } from './ipvs/table.ts';
export { katranIdentity } from './katran/identity.ts';
export { KATRAN_MAX_VIPS, katranHash4, katranHash6, katranPortsSeed, katranSlot } from './katran/packet-hash.ts';
export type { KatranMember } from './katran/ring.ts';
export { buildKatranRing, KATRAN_RING_SIZE } from './katran/ring.ts';
export type { Member } from './permutation.ts';
export { EMPTY_SLOT, MAX_MEMBERS, MAX_WEIGHT } from './permutation.ts';
export { isPrime, nextPrime } from './prime.ts';
export { sipHash, sipKey } from './siphash.ts';
export type { ShareStatistics, TableShares } from './statistics.ts';
export { shareStatistics, tableShares } from './statistics.ts';
export { buildTable, checkTableSize, MAX_TABLE_SIZE } from './table.ts';
export type { FlowLanes, LaneMemory } from './vector-fingerprints.ts';
export { flowLanes, LANES_BYTES, TAIL4, TAIL6 } from './vector-fingerprints.ts';
