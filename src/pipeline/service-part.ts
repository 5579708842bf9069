/**
 * What a snapshot says of the services: index, fragment rules, records. It is made of the services and of the numbers of their pools alone, so it stays
 * through every change of backends.
 */
import { fragmentRules } from './fragment-rules.ts';
import * as L from './layout.ts';
import { protocolBits, quicWord } from './protocol-words.ts';
import { buildIndex, type IndexParts } from './service-index.ts';
import type { MssClamp, ServiceSpec } from './spec.ts';

const AFFINITY = {
  '5-tuple': L.AFFINITY_TUPLE,
  '3-tuple': L.AFFINITY_ADDRESSES,
  'source-address': L.AFFINITY_SOURCE,
  ports: L.AFFINITY_PORTS,
  none: L.AFFINITY_NONE,
} as const;
const OVERSIZE = {
  segment: L.OVERSIZE_SEGMENT,
  'segment-and-tell': L.OVERSIZE_SEGMENT_AND_TELL,
  icmp: L.OVERSIZE_ICMP,
  'fragment-inner': L.OVERSIZE_FRAGMENT_INNER,
  'fragment-outer': L.OVERSIZE_FRAGMENT_OUTER,
  drop: L.OVERSIZE_DROP,
} as const;
const FRAGMENTS = { hold: L.FRAGMENTS_HOLD, 'by-address': L.FRAGMENTS_BY_ADDRESS, drop: L.FRAGMENTS_DROP } as const;

/** A service, the number of its pool, and its stable id. */
export interface NumberedService {
  readonly spec: ServiceSpec;
  readonly pool: number;
  readonly id: number;
}

export interface ServicePart {
  readonly index: IndexParts;
  readonly rules: Int32Array;
  /** SERVICE_WORDS for each. */
  readonly records: Int32Array;
  readonly count: number;
  /** USES_ bits. */
  readonly protocols: number;
  /** Services that lower the MSS of SYNs. */
  readonly clamps: number;
}

export function servicePart(services: readonly NumberedService[]): ServicePart {
  const index = buildIndex(
    services.map(({ spec: s }, service) => ({
      prefix: s.prefix,
      protocol: s.protocol,
      portFrom: s.portFrom,
      portTo: s.portTo,
      name: s.name,
      service,
    })),
  );
  const rules = fragmentRules(
    index,
    services.map(({ spec, pool }) => ({ ...spec, poolNumber: pool })),
  );
  const records = new Int32Array(services.length * L.SERVICE_WORDS);
  let clamps = 0;
  services.forEach(({ spec, pool, id }, i) => {
    const at = i * L.SERVICE_WORDS;
    records[at + L.S_POOL] = pool;
    records[at + L.S_AFFINITY] = AFFINITY[spec.affinity];
    records[at + L.S_ID] = id;
    records[at + L.S_OVERSIZE] = OVERSIZE[spec.oversize ?? 'segment'];
    records[at + L.S_ALL_PORTS] = hidesPort(spec) ? 1 : 0;
    records[at + L.S_MSS_CLAMP] = mssClampWord(spec.mssClamp ?? 'off');
    records[at + L.S_FRAGMENTS] = FRAGMENTS[spec.fragments ?? 'hold'];
    records[at + L.S_QUIC] = quicWord(spec.quic);
    if (records[at + L.S_MSS_CLAMP] !== 0) clamps++;
  });
  return { index, rules, records, count: services.length, protocols: protocolBits(services.map(({ spec }) => spec)), clamps };
}

/** Katran hashes port 0 for a VIP of all ports, and for what it finds by the prefix of an IPv6 VIP, whatever the port (balancer.bpf.c). */
function hidesPort({ portFrom, portTo, prefix }: ServiceSpec): boolean {
  return (portFrom === 0 && portTo === 65535) || (prefix.bytes.length === 16 && prefix.length < 128);
}

function mssClampWord(clamp: MssClamp): number {
  if (clamp === 'off') return 0;
  return clamp === 'auto' ? L.MSS_CLAMP_AUTO : clamp;
}
