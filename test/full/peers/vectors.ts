// The vectors of peers: files beside the repository that are read when they are there, and never part of it.

import { existsSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

const FOLDER = resolve(import.meta.dirname, '../../../../shared/peers');

/** What was looked at: how many vectors held, and each that did not with what is wrong. */
export interface Account {
  held: number;
  readonly wrong: string[];
  /** Vectors that are not looked at, by the reason. */
  readonly apart: Map<string, string[]>;
}

export function newAccount(): Account {
  return { held: 0, wrong: [], apart: new Map() };
}

export function setApart(account: Account, name: string, reason: string): void {
  const names = account.apart.get(reason);
  if (names === undefined) account.apart.set(reason, [name]);
  else names.push(name);
}

/** Counts `name` as held when `ours` and `theirs` are the same text. */
export function compare(account: Account, name: string, ours: unknown, theirs: unknown): void {
  const [a, b] = [ours, theirs].map((value) => (typeof value === 'string' ? value : JSON.stringify(value)));
  if (a === b) account.held++;
  else account.wrong.push(`${name}: ${a}, not ${b}`);
}

export interface PacketVector {
  readonly name: string;
  readonly in_hex: string;
  readonly out_hex?: string;
  readonly expected_action: string;
}

export interface KatranVectors {
  readonly header: {
    readonly packet_hash: {
      readonly vectors: readonly {
        readonly family: 'v4' | 'v6';
        readonly src: string;
        readonly sport: number;
        readonly dport_hashed: number;
        readonly hash_hex: string;
        readonly ring_slot: number;
        readonly real: string;
        readonly reals: string;
      }[];
    };
    readonly ring: {
      readonly per_real_hash: Readonly<Record<string, string>>;
      readonly first_20: Readonly<Record<string, readonly number[]>>;
      readonly fnv1a64_of_ring_as_le_int32: Readonly<Record<string, string>>;
    };
  };
  readonly vectors: readonly (PacketVector & { readonly set: string })[];
}

export type GlbField = 'src_addr' | 'dst_addr' | 'src_port' | 'dst_port';

export interface GlbTable {
  readonly name: string;
  readonly hash_key: string;
  readonly seed: string;
  readonly backends: readonly string[];
  readonly first_16_rows_primary_secondary_index: readonly (readonly number[])[];
  readonly rows_65520_to_65535: readonly (readonly number[])[];
  readonly primary_count_per_backend: readonly number[];
  readonly sha256_of_65536_rows_le_u32_primary_u32_secondary: string;
  readonly binds: readonly { readonly ip: string; readonly proto: string; readonly port: number }[];
}

export interface GlbVectors {
  readonly row_vectors: {
    readonly seed_hex: string;
    readonly hosts: readonly string[];
    readonly rows: readonly {
      readonly row_index: number;
      readonly expected_order: readonly string[];
    }[];
  };
  readonly tables: readonly GlbTable[];
  readonly route_vectors: readonly {
    readonly name: string;
    readonly table: string;
    readonly hash_fields: readonly GlbField[];
    readonly alt_hash_fields?: readonly GlbField[];
    readonly flow: { readonly src: string; readonly dst: string; readonly sport: number; readonly dport: number };
    readonly row_index: number;
    readonly siphash24_hex_u64: string;
    readonly expected_hops: readonly string[];
    readonly expected_outer_udp_sport: number;
    readonly expected_outer_udp_dport: number;
  }[];
  readonly other_expectations: readonly {
    readonly name: string;
    readonly table?: string;
    readonly flow?: { readonly src: string; readonly dst: string; readonly sport: number; readonly dport: number };
    readonly expected_outer_dst?: string;
    readonly expected_gue_hops?: readonly string[];
    readonly match_ports?: readonly number[];
    readonly no_match_ports?: readonly number[];
    readonly match?: readonly string[];
    readonly no_match?: readonly string[];
  }[];
  readonly packet_vectors: {
    readonly vectors: readonly (PacketVector & {
      readonly hash_fields: readonly GlbField[];
      readonly alt_hash_fields: readonly GlbField[] | null;
    })[];
  };
}

/** Null when the files are not there. */
export function peerVectors(): { readonly katran: KatranVectors; readonly glb: GlbVectors } | null {
  const path = (name: string) => join(FOLDER, name);
  if (!existsSync(path('katran-golden.json')) || !existsSync(path('glb-vectors.json'))) return null;
  const read = (name: string) => JSON.parse(readFileSync(path(name), 'utf8'));
  return { katran: read('katran-golden.json'), glb: read('glb-vectors.json') };
}

export function bytesOf(hex: string): Uint8Array {
  return Uint8Array.from(Buffer.from(hex, 'hex'));
}

export function hexOf(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}
