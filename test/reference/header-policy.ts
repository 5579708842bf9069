// What the outer headers of a pool's packets must say, from the RFCs' own tables and one field at a time; the slow twin of
// src/pipeline/header-policy.ts and source-port.ts, sharing nothing with them. The writer of tunnel-writer.ts takes `outerFields` as it is.

import type { OuterFields } from './tunnel.ts';

/** As docs/headers.md names them; the same words as in a configuration. */
export interface Policy {
  readonly ttl: 'copy' | number;
  readonly dscp: 'copy' | number;
  readonly ecn: 'copy' | 'zero' | 'rfc3168';
  readonly df: 'set' | 'copy' | 'clear';
  readonly identification: 'fresh' | 'zero';
}

/** The default: what a pool without any of these keys sends. */
export const PLAIN: Policy = { ttl: 64, dscp: 'copy', ecn: 'copy', df: 'set', identification: 'fresh' };

// Inner ECN field → outer: Not-ECT 00, ECT(1) 01, ECT(0) 10, CE 11.
const ECN_TABLES: Readonly<Record<Policy['ecn'], readonly number[]>> = {
  // RFC 6040 §4.1 figure 3, normal mode.
  copy: [0b00, 0b01, 0b10, 0b11],
  // RFC 6040 §4.1 figure 3, compatibility mode.
  zero: [0b00, 0b00, 0b00, 0b00],
  // RFC 3168 §9.1.1, full-functionality option: "if the ECN codepoint of the inside header is CE, ECT(0)".
  rfc3168: [0b00, 0b01, 0b10, 0b10],
};

function innerFields(inner: Uint8Array): { ttl: number; trafficClass: number; dontFragment: boolean } {
  if (inner[0] >> 4 === 4) return { ttl: inner[8], trafficClass: inner[1], dontFragment: Math.floor(inner[6] / 64) % 2 === 1 };
  return { ttl: inner[7], trafficClass: (inner[0] % 16) * 16 + Math.floor(inner[1] / 16), dontFragment: false };
}

/**
 * The outer fields around `inner`, the packet as it lies in the tunnel (its hop taken). The identification is null where it is any number but
 * 0; the flow label is not looked at here.
 */
export function outerFields(
  policy: Policy,
  outerFamily: 4 | 6,
  inner: Uint8Array,
): Omit<OuterFields, 'flowLabel' | 'identification'> & { readonly identification: number | null } {
  const { ttl, trafficClass, dontFragment } = innerFields(inner);
  const dscp = policy.dscp === 'copy' ? Math.floor(trafficClass / 4) : policy.dscp;
  const fragmentable = outerFamily === 4 && (policy.df === 'clear' || (policy.df === 'copy' && !dontFragment));
  return {
    ttl: policy.ttl === 'copy' ? ttl : policy.ttl,
    trafficClass: dscp * 4 + ECN_TABLES[policy.ecn][trafficClass % 4],
    dontFragment: outerFamily === 4 && !fragmentable,
    identification: fragmentable && policy.identification === 'fresh' ? null : 0,
  };
}

/** Katran's source port by its description: bytes on the wire, the first one first. `address`: 4 or 16 bytes. */
export function katranPort(address: Uint8Array, port: number, outerFamily: 4 | 6): number {
  const upper = Math.floor(port / 256);
  const lower = port % 256;
  const at = address.length === 4 ? 2 : 12;
  const wire =
    outerFamily === 4
      ? [lower ^ address[address.length - 2], upper ^ address[address.length - 1]]
      : [upper ^ address[at], lower ^ address[at + 1]];
  return wire[0] * 256 + wire[1];
}
