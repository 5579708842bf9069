/** A pool's scheme as words of a snapshot (layout.ts): its number and its block. */
import { katranPortsSeed, sipKey } from '../maglev-hash/index.ts';
import * as L from './layout.ts';
import type { GlbField, KatranHash, PoolSpec } from './spec.ts';

const KATRAN_FLAGS: Readonly<Record<KatranHash, number>> = {
  flow: 0,
  'no-source-port': L.KATRAN_NO_SOURCE_PORT,
  'destination-port-only': L.KATRAN_DESTINATION_PORT_ONLY,
  'both-ports': L.KATRAN_BOTH_PORTS,
};
const GLB_FIELDS: Readonly<Record<GlbField, number>> = {
  'source-address': L.GLB_SOURCE_ADDRESS,
  'destination-address': L.GLB_DESTINATION_ADDRESS,
  'source-port': L.GLB_SOURCE_PORT,
  'destination-port': L.GLB_DESTINATION_PORT,
};

export interface SchemeBlock {
  /** One of the SCHEME_ numbers. */
  readonly number: number;
  /** SCHEME_WORDS words. */
  readonly words: Int32Array;
}

/** `unavailable`: of the built table. */
export function schemeBlock(pool: PoolSpec, unavailable: readonly boolean[]): SchemeBlock {
  const words = new Int32Array(L.SCHEME_WORDS);
  const scheme = pool.scheme;
  if (scheme === undefined || scheme.name === 'maglev') return { number: L.SCHEME_MAGLEV, words };
  if (scheme.name === 'ipvs-mh') {
    // Where nobody takes new flows, the search through the whole table finds nobody: not for each packet.
    const searches = scheme.fallback && unavailable.includes(false);
    words[L.X_FLAGS] = (scheme.port ? L.IPVS_PORT : 0) | (searches ? L.IPVS_FALLBACK : 0);
    return { number: L.SCHEME_IPVS, words };
  }
  if (scheme.name === 'katran') {
    words[L.X_FLAGS] = KATRAN_FLAGS[scheme.hash];
    words[L.X_ADDRESS_SEED] = scheme.maxVips;
    words[L.X_PORTS_SEED] = katranPortsSeed(scheme.maxVips, pool.tableSize);
    return { number: L.SCHEME_KATRAN, words };
  }
  words[L.X_FLAGS] = fieldBits(scheme.fields);
  words.set(sipKey(scheme.hashKey), L.X_KEY);
  words[L.X_SECOND_FIELDS] = fieldBits(scheme.secondFields);
  return { number: L.SCHEME_GLB, words };
}

function fieldBits(fields: readonly GlbField[]): number {
  return fields.reduce((bits, field) => bits | GLB_FIELDS[field], 0);
}
