/** The tunnels of IPVS and ours. */
import type { ServerOptions } from './ipvs-save.ts';

export interface PlannedTunnel {
  readonly encapsulation: 'gue' | 'ipip' | 'gre';
  /** UDP port; null where there is no UDP. */
  readonly port: number | null;
  readonly checksum: 'auto' | 'none' | 'full' | 'remcsum';
}

/** For servers that had no tunnel under IPVS. */
export const DEFAULT_TUNNEL: PlannedTunnel = { encapsulation: 'gue', port: 6080, checksum: 'auto' };

/** Null for a server that has none. */
export function tunnelOf({ tunnel }: ServerOptions): PlannedTunnel | null {
  if (tunnel === null) return null;
  const { type, port, checksum } = tunnel;
  if (type === 'gue') return { encapsulation: type, port, checksum };
  return { encapsulation: type, port: null, checksum: type === 'gre' && checksum === 'full' ? 'full' : 'auto' };
}

export function sameTunnel(a: PlannedTunnel, b: PlannedTunnel): boolean {
  return a.encapsulation === b.encapsulation && a.port === b.port && a.checksum === b.checksum;
}

/** The one that most have, the first of equals; DEFAULT_TUNNEL of none. */
export function commonest(tunnels: readonly PlannedTunnel[]): PlannedTunnel {
  let best = DEFAULT_TUNNEL;
  let most = 0;
  const counts = new Map<string, number>();
  for (const tunnel of tunnels) counts.set(tunnelText(tunnel), (counts.get(tunnelText(tunnel)) ?? 0) + 1);
  for (const tunnel of tunnels) {
    const count = counts.get(tunnelText(tunnel))!;
    if (count <= most) continue;
    best = tunnel;
    most = count;
  }
  return best;
}

/** `GUE on port 6080`, `IPIP`: what a worker must unwrap. */
export function tunnelText({ encapsulation, port, checksum }: PlannedTunnel): string {
  const kind = encapsulation.toUpperCase();
  const sum = checksum === 'auto' ? '' : `, checksum ${checksum}`;
  return port === null ? `${kind}${sum}` : `${kind} on port ${port}${sum}`;
}
