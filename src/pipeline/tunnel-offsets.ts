/**
 * What the guard (offsets.ts) knows of each encapsulation: how far the inner packet lies behind the outer transport header, and by which bytes
 * that can be told.
 *
 *                least   exactly
 *     gue        12      8 + 4 + what GUE's own length field says
 *     gue-v1      8      8
 *     fou         8      8
 *     ipip        0      0
 *     gre         4      4, or 8 when the header's flag says that it has a checksum
 */
import * as ethernet from '../wire/ethernet.ts';
import * as gre from '../wire/gre.ts';
import * as gue from '../wire/gue.ts';
import * as ipv4 from '../wire/ipv4.ts';
import * as ipv6 from '../wire/ipv6.ts';
import { KIND_FOU, KIND_GRE, KIND_GUE, KIND_GUE_V1, KIND_IPIP } from './tunnel-kind.ts';

// Module-local: an imported constant is loaded from its module at every use (src/wire/README.md, "Constants").
const GUE = KIND_GUE;
const GUE_V1 = KIND_GUE_V1;
const FOU = KIND_FOU;
const IPIP = KIND_IPIP;
const GRE = KIND_GRE;
const UDP = 8;
const GUE_LEAST = 12;
const GRE_LEAST = 4;
const GRE_CHECKSUM = 4;
const gueLength = gue.headerLength;
const PROTOCOL_AT = ipv4.PROTOCOL_AT;
const NEXT_HEADER_AT = ipv6.NEXT_HEADER_AT;
const PROTOCOL_UDP = ipv4.PROTOCOL_UDP;
const PROTOCOL_GRE = 47;
const INNER4 = gue.PROTOCOL_IPV4;
const INNER6 = gue.PROTOCOL_IPV6;
const TYPE4 = ethernet.ETHERTYPE_IPV4;
const TYPE6 = ethernet.ETHERTYPE_IPV6;
/** Larger than any packet: no distance is right. */
const NEVER = 1 << 20;

/** Bytes between the outer transport header and the tunnel header. */
export function transportLength(kind: number): number {
  return kind <= FOU ? UDP : 0;
}

/** The least distance from the outer transport header to the inner packet; an unknown kind has none. */
export function leastDistance(kind: number): number {
  if (kind === GUE) return GUE_LEAST;
  if (kind <= FOU) return UDP;
  return kind === GRE ? GRE_LEAST : kind === IPIP ? 0 : NEVER;
}

/** The one right distance, with the outer transport header at `transportAt`, whose bytes are read for kinds that have a length of their own. */
export function rightDistance(view: DataView, kind: number, transportAt: number): number {
  if (kind === GUE) return UDP + gueLength(view, transportAt + UDP);
  if (kind === GRE) return gre.hasChecksum(view, transportAt) ? GRE_LEAST + GRE_CHECKSUM : GRE_LEAST;
  return leastDistance(kind);
}

/** 0 when the bytes of an encapsulation other than GUE variant 0 agree with its columns: the outer protocol, the distance, GRE's flags and type. */
export function otherBytesWrong(
  view: DataView,
  kind: number,
  outerNetworkAt: number,
  outerFamily: number,
  tunnelAt: number,
  innerNetworkAt: number,
  family: number,
): number {
  const outer = view.getUint8(outerNetworkAt + (outerFamily === 4 ? PROTOCOL_AT : NEXT_HEADER_AT));
  const distance = innerNetworkAt - tunnelAt;
  if (kind === GUE_V1 || kind === FOU) return (outer ^ PROTOCOL_UDP) | distance;
  if (kind === IPIP) return (outer ^ (family === 4 ? INNER4 : INNER6)) | distance;
  if (kind !== GRE) return 1;
  const flags = gre.flags(view, tunnelAt);
  const right = (flags & gre.FLAG_CHECKSUM) === 0 ? GRE_LEAST : GRE_LEAST + GRE_CHECKSUM;
  return (
    (outer ^ PROTOCOL_GRE) |
    (flags & ~gre.FLAG_CHECKSUM) |
    (gre.protocolType(view, tunnelAt) ^ (family === 4 ? TYPE4 : TYPE6)) |
    (distance ^ right)
  );
}
