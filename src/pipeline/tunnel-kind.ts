/**
 * The encapsulations: what lies between the outer IP header and the inner packet, and how many bytes that is.
 *
 *                outer transport     tunnel          inner network
 *     gue        | UDP 8           | GUE 4 (+ extra) | inner        variant 0
 *     gue-v1     | UDP 8           |                 | inner        variant 1: no header of its own
 *     fou        | UDP 8           |                 | inner        the port says which family
 *     ipip       |                 |                 | inner        the outer protocol says which family: 4 or 41
 *     gre        |                 | GRE 4 or 8      | inner        8 with a checksum
 *
 * Where there is no UDP the outer transport header is the tunnel's own; where there is no tunnel header either, the inner packet.
 */
import { extraLength } from '../wire/glb.ts';
import type { Encapsulation, TunnelSpec } from './spec.ts';

export const KIND_GUE = 0;
export const KIND_GUE_V1 = 1;
export const KIND_FOU = 2;
export const KIND_IPIP = 3;
export const KIND_GRE = 4;

/** The numbers are those of the column `encapsulation` (base/batch.ts) and of the backend record. */
export const KINDS: Readonly<Record<Encapsulation, number>> = {
  gue: KIND_GUE,
  'gue-v1': KIND_GUE_V1,
  fou: KIND_FOU,
  ipip: KIND_IPIP,
  gre: KIND_GRE,
};

const OUTER_LENGTH = { 4: 20, 16: 40 } as const;
const UDP = 8;
const GUE = 4;
const GRE = 4;
const GRE_CHECKSUM = 4;

/** What remote checksum offload adds to a GUE header: four bytes of private flags, and start and offset (include/net/gue.h). */
export const REMOTE_CHECKSUM_LENGTH = 8;

/** Encapsulations that have a UDP header. */
export function hasUdp(encapsulation: Encapsulation): boolean {
  return encapsulation === 'gue' || encapsulation === 'gue-v1' || encapsulation === 'fou';
}

/** IP protocol numbers of a tunnel's outer packets: one, or for `ipip` one for each inner family. */
export function outerProtocols(encapsulation: Encapsulation): readonly number[] {
  if (encapsulation === 'ipip') return [4, 41];
  return encapsulation === 'gre' ? [47] : [17];
}

/** UDP destination ports of a tunnel; none where there is no UDP. */
export function outerPorts(tunnel: TunnelSpec): readonly number[] {
  if (!hasUdp(tunnel.encapsulation)) return [];
  const { port, port6 = port } = tunnel;
  return port === port6 ? [port] : [port, port6];
}

/** Bytes between the outer IP header and the inner packet, without what single packets add (tunnel-extra.ts). */
export function tunnelLength(tunnel: TunnelSpec): number {
  switch (tunnel.encapsulation) {
    case 'gue':
      return UDP + GUE;
    case 'gue-v1':
    case 'fou':
      return UDP;
    case 'gre':
      return tunnel.checksum === 'full' ? GRE + GRE_CHECKSUM : GRE;
    case 'ipip':
      return 0;
  }
}

/** Bytes in front of the inner packet toward a backend whose address has `addressLength` bytes: 4 or 16. Without what single packets add. */
export function overheadOf(tunnel: TunnelSpec, addressLength: number): number {
  return OUTER_LENGTH[addressLength as 4 | 16] + tunnelLength(tunnel);
}

/** As `overheadOf`, with the most that a single packet adds: what fits behind it fits always. */
export function mostOverheadOf(tunnel: TunnelSpec, addressLength: number): number {
  return overheadOf(tunnel, addressLength) + mostExtraOf(tunnel);
}

/** The most that a single packet adds to its tunnel header. */
export function mostExtraOf(tunnel: TunnelSpec): number {
  const hops = tunnel.hops === undefined ? 0 : extraLength(tunnel.hops);
  return tunnel.checksum === 'remcsum' ? REMOTE_CHECKSUM_LENGTH + hops : hops;
}
