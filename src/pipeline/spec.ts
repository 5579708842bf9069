/** The plain data that a snapshot is built from: what `config/` compiles a file to. No text to parse, no defaults to fill in. */
import type { Prefix } from '../base/address.ts';

export { PROTOCOL_ANY } from '../base/any-protocol.ts';

export type BackendState = 'active' | 'draining' | 'down';
/**
 * The outer checksum (docs/encapsulation.md). `auto`: UDP over IPv6 full; over IPv4 none, but for trains whose way out needs it; GRE none. `remcsum`:
 * full, and a packet that came with a partial checksum leaves with it, for the worker to complete (GUE remote checksum offload).
 */
export type ChecksumMode = 'auto' | 'none' | 'full' | 'remcsum';
/** How packets are wrapped: GUE variant 0, GUE variant 1, FOU (all over UDP), IP in IP, GRE. */
export type Encapsulation = 'gue' | 'gue-v1' | 'fou' | 'ipip' | 'gre';
/**
 * Which packets the table treats as one: the whole 5-tuple, source + destination address + protocol, the source address, protocol + ports
 * (SCTP), or none (UDP).
 */
export type Affinity = '5-tuple' | '3-tuple' | 'source-address' | 'ports' | 'none';

/** What becomes of a packet too big for its tunnel (docs/oversize.md). */
export type Oversize = 'segment' | 'segment-and-tell' | 'icmp' | 'fragment-inner' | 'fragment-outer' | 'drop';

/** How fragments find their backend (docs/fragments.md). */
export type Fragments = 'hold' | 'by-address' | 'drop';

/** Largest MSS that a SYN may announce, in bytes 1–65535; `auto`: what fits the tunnel of the chosen backend. */
export type MssClamp = 'off' | 'auto' | number;

/** How the outer UDP source port is made (pipeline/source-port.ts). The order is that of their numbers in a snapshot. */
export const SOURCE_PORT_RULES = ['default', 'ipvs', 'katran', 'glb'] as const;
export type SourcePortRule = (typeof SOURCE_PORT_RULES)[number];

/** What the outer headers say (docs/headers.md). */
export interface HeaderSpec {
  /** Outer TTL or hop limit, 1–255; `copy`: the inner packet's, after its one decrement. */
  readonly ttl: 'copy' | number;
  /** 0–63; `copy`: the inner packet's. */
  readonly dscp: 'copy' | number;
  /** `copy`: RFC 6040 §4.1, normal mode; `zero`: its compatibility mode; `rfc3168`: as `copy`, but CE becomes ECT(0), as Linux has it. */
  readonly ecn: 'copy' | 'zero' | 'rfc3168';
  /** Of outer IPv4 packets. */
  readonly df: 'set' | 'copy' | 'clear';
  /** Of outer IPv4 packets without DF. */
  readonly identification: 'fresh' | 'zero';
  /** Of outer IPv6 packets. `auto`: the flow's where no UDP source port tells flows apart. */
  readonly flowLabel: 'auto' | 'hash' | 'zero';
  readonly sourcePort: SourcePortRule;
}

export const DEFAULT_HEADERS: HeaderSpec = {
  ttl: 64,
  dscp: 'copy',
  ecn: 'copy',
  df: 'set',
  identification: 'fresh',
  flowLabel: 'auto',
  sourcePort: 'default',
};

export interface TunnelSpec {
  readonly encapsulation: Encapsulation;
  /** UDP destination port, 1–65535; without meaning where there is no UDP. */
  readonly port: number;
  /** `fou`: the port for inner IPv6 packets, `port` being the one for inner IPv4. Absent: one port for both. */
  readonly port6?: number;
  /** Outer source addresses; the family of the backend's address picks one. 4 and 16 bytes. */
  readonly source4: Uint8Array | null;
  readonly source6: Uint8Array | null;
  /** Bits of the source address, 1–32, that the flow fills in (they are 0 in it). Absent or 0: none. */
  readonly spread4?: number;
  readonly spread6?: number;
  /** Each backend's source is that of its own route (`BackendSpec.source`). Absent: false. */
  readonly byRoute4?: boolean;
  readonly byRoute6?: boolean;
  readonly checksum: ChecksumMode;
  /** Absent: DEFAULT_HEADERS. */
  readonly headers?: HeaderSpec;
  /** With scheme glb: how many further backends each packet's GUE header names, 0–3. Absent: the header has no private data of GLB. */
  readonly hops?: number;
}

export interface BackendSpec {
  readonly name: string;
  /** 4 or 16 bytes. */
  readonly address: Uint8Array;
  /** 0–65535; 0 takes no new flow. */
  readonly weight: number;
  readonly state: BackendState;
  /** This backend's own tunnel. Absent: the pool's. */
  readonly tunnel?: TunnelSpec;
  /** The outer source address of this backend, where its tunnel's are by route; of the same length as `address`. */
  readonly source?: Uint8Array;
  /** The numbers that name it in QUIC connection ids: 16 bytes each, the value right-aligned. */
  readonly serverIds?: readonly Uint8Array[];
  /** Seconds after which a drain makes it down. Absent: a drain has no end. For control; no packet asks. */
  readonly drainDeadline?: number;
}

/** Fields of a flow that GLB director hashes; none of them in a list means none. */
export type GlbField = 'source-address' | 'destination-address' | 'source-port' | 'destination-port';

/**
 * How the pool's table is built and asked: `maglev` is ours, the others are those of peers (docs/peer-tables.md). With `ipvs-mh` the order of
 * `backends` is that of the kernel's own list; with the others it has no meaning.
 */
export type SchemeSpec =
  | { readonly name: 'maglev' }
  | {
      readonly name: 'ipvs-mh';
      /** Flags mh-port and mh-fallback. */
      readonly port: boolean;
      readonly fallback: boolean;
      /** Port of every real server as IPVS has it, 0–65535. */
      readonly serverPort: number;
    }
  | {
      readonly name: 'katran';
      readonly ring: 'v1' | 'v2';
      /** The VIP's hash flags (docs/peer-tables.md). */
      readonly hash: KatranHash;
      /** MAX_VIPS as Katran was built. */
      readonly maxVips: number;
    }
  | {
      readonly name: 'glb';
      /** 16 bytes each: of the table, and of packets. */
      readonly seed: Uint8Array;
      readonly hashKey: Uint8Array;
      readonly fields: readonly GlbField[];
      /** Fields of the second hash, whose row's hops follow; empty for none. */
      readonly secondFields: readonly GlbField[];
    };

export type KatranHash = 'flow' | 'no-source-port' | 'destination-port-only' | 'both-ports';

export interface PoolSpec {
  readonly name: string;
  /** Absent: maglev. */
  readonly scheme?: SchemeSpec;
  /** A prime; with `ipvs-mh` one of IPVS's sizes, with `glb` 65,536. */
  readonly tableSize: number;
  /** Unsigned 32-bit; only with `maglev`. */
  readonly seed: number;
  readonly tunnel: TunnelSpec;
  readonly backends: readonly BackendSpec[];
}

/** How a QUIC connection id names its server (docs/quic.md). */
export type QuicSpec =
  | {
      readonly scheme: 'quic-lb';
      /** Config rotations whose ids are read, 0–6. */
      readonly rotations: readonly number[];
      /** Bytes, 1–15. */
      readonly serverIdLength: number;
    }
  | { readonly scheme: 'katran' };

export interface ServiceSpec {
  readonly name: string;
  readonly prefix: Prefix;
  /** IP protocol number, or PROTOCOL_ANY. */
  readonly protocol: number;
  /** Inclusive; "all" is 0–65535, and so is what has no ports. */
  readonly portFrom: number;
  readonly portTo: number;
  readonly affinity: Affinity;
  /** Absent: segment. */
  readonly oversize?: Oversize;
  /** Absent: off. */
  readonly mssClamp?: MssClamp;
  /** Absent: hold. */
  readonly fragments?: Fragments;
  /** Absent: connection ids are not looked at. Only UDP. */
  readonly quic?: QuicSpec;
  /** Name of a pool. */
  readonly pool: string;
}

/** What becomes of ICMP to service addresses (docs/icmp.md). */
export interface IcmpSpec {
  /** Pings: answered here, forwarded to a backend by their addresses, or dropped. */
  readonly echo: 'answer' | 'forward' | 'drop';
  /** Errors about flows: forwarded to the flow's backend, or dropped. */
  readonly errors: 'forward' | 'drop';
}

/** Everything the per-packet path is told. Order of the lists has no meaning. */
export interface Spec {
  readonly services: readonly ServiceSpec[];
  readonly pools: readonly PoolSpec[];
  /** Absent: pings are answered, errors forwarded. */
  readonly icmp?: IcmpSpec;
}
