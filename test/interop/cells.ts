// The cells of the matrix: every encapsulation, outer and inner family, and checksum, each with a virtual IP of its own, so that one
// director and one worker serve them all at once.

import type { TunnelKind } from '../reference/tunnel.ts';

export type Checksum = 'none' | 'full' | 'remcsum';
export type Family = 4 | 6;

export interface Cell {
  readonly kind: TunnelKind;
  readonly checksum: Checksum;
  readonly outer: Family;
  readonly inner: Family;
  /** The virtual IP whose packets go this way. */
  readonly vip: string;
  /** Name of the pool: cells that differ in the inner family alone share one. */
  readonly pool: string;
}

/** How people call them, and what stands for each in the table. */
export const KINDS: Readonly<Record<TunnelKind, string>> = {
  gue: 'GUE variant 0',
  'gue-v1': 'GUE variant 1',
  fou: 'FOU',
  ipip: 'IP in IP',
  gre: 'GRE',
};

/** Why a checksum mode does not exist for an encapsulation; null where it does. */
export function whyNot(kind: TunnelKind, checksum: Checksum): string | null {
  if (checksum === 'none') return null;
  if (kind === 'ipip') return 'IP in IP has no header with a place for a checksum';
  if (checksum === 'full') return null;
  if (kind === 'gue') return null;
  if (kind === 'gre') return 'GRE (RFC 2784) has no field for a remote checksum';
  return `${KINDS[kind]} has no header, and so no place for the private flag and its field`;
}

const CHECKSUMS: readonly Checksum[] = ['none', 'full', 'remcsum'];
const FAMILIES: readonly Family[] = [4, 6];
const FIRST_HOST = 10;

function allCells(): Cell[] {
  const cells: Cell[] = [];
  for (const kind of Object.keys(KINDS) as TunnelKind[]) {
    for (const checksum of CHECKSUMS) {
      if (whyNot(kind, checksum) !== null) continue;
      for (const outer of FAMILIES) {
        for (const inner of FAMILIES) {
          const host = FIRST_HOST + cells.length;
          const vip = inner === 4 ? `10.80.9.${host}` : `fd80:0:0:9::${host}`;
          cells.push({ kind, checksum, outer, inner, vip, pool: `${kind}-${checksum}-${outer}` });
        }
      }
    }
  }
  return cells;
}

export const CELLS: readonly Cell[] = allCells();

/** `GUE variant 0, remcsum, IPv6 in IPv4`. */
export function nameOf(cell: Cell): string {
  return `${KINDS[cell.kind]}, ${cell.checksum}, IPv${cell.inner} in IPv${cell.outer}`;
}

export const GUE_PORT = 6080;
/** A FOU port takes one inner protocol. */
export const FOU_PORT: Readonly<Record<Family, number>> = { 4: 6084, 6: 6086 };
/** The UDP service of every virtual IP: it sends back what it gets. */
export const ECHO_PORT = 7;
export const WEB_PORT = 80;
