// A source of metrics with as many of everything as one asks for, every optional sample there: what a scrape can grow to.

import { createBank } from '../../src/base/counters.ts';
import type { MetricSource } from '../../src/observe/metrics.ts';

export interface Size {
  readonly services: number;
  readonly pools: number;
  /** In all pools together. */
  readonly backends: number;
  /** Of these, with health checks. */
  readonly checked: number;
  /** In all backends together. */
  readonly checks: number;
  readonly threads: number;
  readonly files: number;
  readonly ingresses: number;
}

export const SMALL: Size = { services: 1, pools: 1, backends: 1, checked: 1, checks: 1, threads: 1, files: 1, ingresses: 1 };

const UNREACHABLE = { port: 1, protocol: 0, host: 0, net: 0, prohibited: 0 };
const RELOADS = { success: 1, refused: 0, failed: 0, 'rolled-back': 0 };

function many<T>(count: number, make: (n: number) => T): T[] {
  return Array.from({ length: count }, (_, n) => make(n));
}

export function richSource(size: Size): MetricSource {
  const backends = many(size.backends, (n) => ({ pool: `pool-${n % size.pools}`, name: `backend-${n}` }));
  const banks = many(size.threads, () => createBank());
  return {
    version: '1.2.3',
    flows: () => ({
      path: '/run/gue-director/flows',
      outcome: 'picked-up',
      pickedUp: { entries: 1 },
      bytes: 16,
      entries: 1,
      regions: 1,
      used: 1,
    }),
    banks: () => banks,
    names: () => ({
      services: many(size.services, (id) => ({ id, name: `service-${id}` })),
      pools: many(size.pools, (n) => ({ name: `pool-${n}`, digest: '0123456789abcdef', moved: 0.5 })),
      backends: backends.map((backend, id) => ({
        ...backend,
        id,
        state: 'active',
        slots: 1,
        weight: 1,
        effectiveWeight: 1,
        encapsulation: 'gue',
        overhead: 32,
      })),
    }),
    generation: () => 1,
    readiness: () => ({
      director: { ok: true },
      services: new Map(many(size.services, (n) => [`service-${n}`, { ok: true }])),
    }),
    takeoverFailures: () => 0,
    draining: () => false,
    discovery: () =>
      many(size.files, (n) => ({ file: `/etc/${n}.yaml`, seenAt: 1700000000, backends: 1, problem: null, failures: 0 })),
    reload: () => ({ successful: true, succeededAt: 1700000000, digest: '00ff', counts: RELOADS }),
    kernelDrops: () => many(size.ingresses, (n) => ({ driver: `tun:gd${n}`, packets: 0 })),
    pathMtus: () => backends.map(({ pool, name }) => ({ pool, backend: name, mtu: 1500, wanted: 1532 })),
    unreachable: () => backends.map(({ pool, name }) => ({ pool, backend: name, counts: UNREACHABLE })),
    health: () => ({
      pools: many(size.pools, (n) => ({ name: `pool-${n}`, isBelow: false })),
      backends: backends.slice(0, size.checked).map((backend, n) => ({
        ...backend,
        up: true,
        heldFor: 0,
        changes: { up: 1, down: 0 },
        checks: many(Math.floor((size.checks + size.checked - 1 - n) / size.checked), (check) => ({
          check: `http:${8080 + check}`,
          counts: { good: 1, bad: 0, failed: 0 },
          last: { milliseconds: 1 },
        })),
      })),
    }),
    threads: () => many(size.threads, (number) => ({ number, failures: 0, heartbeatAge: 0 })),
  };
}
