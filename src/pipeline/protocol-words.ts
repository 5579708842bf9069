/** The words of a snapshot that tell of services beside TCP and UDP by flow: protocols, affinities, QUIC connection ids. */
import * as ipv6 from '../wire/ipv6.ts';
import * as L from './layout.ts';
import type { PoolRecord } from './pool-record.ts';
import { buildServerIds } from './server-ids.ts';
import { PROTOCOL_ANY, type QuicSpec, type ServiceSpec } from './spec.ts';

/** USES_ bits of H_PROTOCOLS. */
export function protocolBits(services: readonly ServiceSpec[]): number {
  let bits = 0;
  for (const { protocol, affinity, quic } of services) {
    if (protocol === PROTOCOL_ANY) bits |= L.USES_ANY;
    if (protocol === ipv6.NEXT_AUTHENTICATION) bits |= L.USES_AH;
    if (affinity === 'ports') bits |= L.USES_PORTS;
    if (affinity === 'none' || quic !== undefined) bits |= L.USES_APPOINTMENT;
  }
  return bits;
}

/** S_QUIC of a service. */
export function quicWord(quic: QuicSpec | undefined): number {
  if (quic === undefined) return 0;
  if (quic.scheme === 'katran') return L.QUIC_KATRAN;
  const rotations = quic.rotations.reduce((bits, rotation) => bits | (1 << rotation), 0);
  return L.QUIC_LB | (quic.serverIdLength << L.QUIC_LENGTH_SHIFT) | (rotations << L.QUIC_ROTATION_SHIFT);
}

/** The table of the server ids of all backends; `pools` by number. */
export function serverIdTable(pools: readonly Pick<PoolRecord, 'spec' | 'numbers' | 'hasServerIds'>[]) {
  const servers = pools.flatMap(({ spec, numbers, hasServerIds }, pool) =>
    hasServerIds
      ? spec.backends.flatMap(({ serverIds = [] }, i) =>
          serverIds.map((serverId) => ({ pool, serverId, backend: numbers.ids[i] })),
        )
      : [],
  );
  return buildServerIds(servers);
}
