// Specs with one backend behind any encapsulation.

import { type ChecksumMode, DEFAULT_HEADERS, type Encapsulation, type Spec, type TunnelSpec } from '../../src/pipeline/spec.ts';
import { ip } from '../builder/addresses.ts';
import { SOURCE4, SOURCE6, specOf } from './rig.ts';

export const KINDS = ['gue', 'gue-v1', 'fou', 'ipip', 'gre'] as const;
export const PORT = 5555;
export const PORT6 = 5556;
export const SECOND = { 4: '10.0.0.1', 6: 'fd00::1' } as const;

export function modesOf(kind: Encapsulation): ChecksumMode[] {
  if (kind === 'ipip') return ['auto', 'none'];
  return kind === 'gue' ? ['auto', 'none', 'full', 'remcsum'] : ['auto', 'none', 'full'];
}

export function tunnelOf(encapsulation: Encapsulation, checksum: ChecksumMode): TunnelSpec {
  const port6 = encapsulation === 'fou' ? { port6: PORT6 } : {};
  // Flow labels are the header policy's (headers.test.ts).
  const headers = { ...DEFAULT_HEADERS, flowLabel: 'zero' as const };
  return { encapsulation, port: PORT, ...port6, source4: ip(SOURCE4), source6: ip(SOURCE6), checksum, headers };
}

/** One backend, TCP and UDP of any port; `own`: the tunnel is the backend's and not the pool's. */
export function specWith(outer: 4 | 6, tunnel: TunnelSpec, own = false): Spec {
  const spec = specOf({ ports: [0, 65535] });
  const backend = { name: 'w', address: ip(SECOND[outer]), weight: 1, state: 'active' as const };
  const plain = tunnelOf('gue', 'none');
  const pool = own ? { tunnel: plain, backends: [{ ...backend, tunnel }] } : { tunnel, backends: [backend] };
  return {
    services: [...spec.services, ...spec.services.map((service) => ({ ...service, name: `${service.name}u`, protocol: 17 }))],
    pools: [{ ...spec.pools[0], ...pool }],
  };
}

export function fills(outer: 4 | 6, { encapsulation, checksum }: TunnelSpec): boolean {
  if (encapsulation === 'ipip') return false;
  if (checksum === 'full' || checksum === 'remcsum') return true;
  return checksum === 'auto' && outer === 6 && encapsulation !== 'gre';
}
