/** The keys about outer headers: profiles, and how a pool's own words and the defaults come together. docs/headers.md says what each is for. */
import { DEFAULT_HEADERS, type HeaderSpec } from '../pipeline/spec.ts';

/** Whose outer headers a profile writes: values of all the other keys. */
export const PROFILES = {
  default: DEFAULT_HEADERS,
  // net/netfilter/ipvs/ip_vs_xmit.c: ip_vs_prepare_tunneled_skb, ip_vs_tunnel_xmit; sysctl pmtu_disc at its default, 1.
  ipvs: {
    ttl: 'copy',
    dscp: 'copy',
    ecn: 'rfc3168',
    df: 'copy',
    identification: 'fresh',
    flowLabel: 'zero',
    sourcePort: 'ipvs',
  },
  // Katran's pckt_encap.h: the whole TOS byte, no DF, identification 0, TTL 64.
  katran: {
    ttl: 64,
    dscp: 'copy',
    ecn: 'copy',
    df: 'clear',
    identification: 'zero',
    flowLabel: 'zero',
    sourcePort: 'katran',
  },
  // glb-director's glb_encap.c: TOS 0, DF, identification 0, TTL 64.
  glb: {
    ttl: 64,
    dscp: 0,
    ecn: 'zero',
    df: 'set',
    identification: 'zero',
    flowLabel: 'zero',
    sourcePort: 'glb',
  },
} as const satisfies Record<string, HeaderSpec>;

export type Profile = keyof typeof PROFILES;
export const PROFILE_NAMES = Object.keys(PROFILES) as readonly Profile[];

/** The keys as they stand in a file; what is absent is not said. */
export interface HeaderSection {
  readonly headers?: Profile | undefined;
  readonly ttl?: HeaderSpec['ttl'] | undefined;
  readonly dscp?: HeaderSpec['dscp'] | undefined;
  readonly ecn?: HeaderSpec['ecn'] | undefined;
  readonly df?: HeaderSpec['df'] | undefined;
  readonly identification?: HeaderSpec['identification'] | undefined;
  readonly 'flow-label'?: HeaderSpec['flowLabel'] | undefined;
  readonly 'source-port'?: HeaderSpec['sourcePort'] | undefined;
}

/** The file's word for each part of a HeaderSpec. */
export const HEADER_KEYS = {
  ttl: 'ttl',
  dscp: 'dscp',
  ecn: 'ecn',
  df: 'df',
  identification: 'identification',
  flowLabel: 'flow-label',
  sourcePort: 'source-port',
} as const satisfies Record<keyof HeaderSpec, keyof HeaderSection>;

/**
 * Sections from the most particular to the most general. The first that says anything about a part decides: by the key itself, else by its
 * profile. So the profile of a pool overrules single keys of the defaults.
 */
export function compileHeaders(sections: readonly HeaderSection[]): HeaderSpec {
  return {
    ttl: decide(sections, 'ttl'),
    dscp: decide(sections, 'dscp'),
    ecn: decide(sections, 'ecn'),
    df: decide(sections, 'df'),
    identification: decide(sections, 'identification'),
    flowLabel: decide(sections, 'flowLabel'),
    sourcePort: decide(sections, 'sourcePort'),
  };
}

function decide<Part extends keyof HeaderSpec>(sections: readonly HeaderSection[], part: Part): HeaderSpec[Part] {
  const found = deciding(sections, part);
  if (found === null) return DEFAULT_HEADERS[part];
  const own = found.section[HEADER_KEYS[part]] as HeaderSpec[Part] | undefined;
  return own ?? PROFILES[found.section.headers as Profile][part];
}

/** Which section decides about a part, by its place in the list, and by which of its keys; null: none says anything. */
export function deciding(
  sections: readonly HeaderSection[],
  part: keyof HeaderSpec,
): { readonly section: HeaderSection; readonly place: number; readonly key: keyof HeaderSection } | null {
  for (const [place, section] of sections.entries()) {
    if (section[HEADER_KEYS[part]] !== undefined) return { section, place, key: HEADER_KEYS[part] };
    if (section.headers !== undefined) return { section, place, key: 'headers' };
  }
  return null;
}
