/**
 * The two weights of a backend. In a snapshot those of a pool in which somebody starts slowly are scaled (control/layers.ts), so that shares of them are whole
 * numbers: true for the table, and nothing that an operator would know again.
 */
import { backendKey, configuredWeights, type Layers } from '../control/layers.ts';
import type { SnapshotNames } from '../pipeline/snapshot.ts';
import type { Spec } from '../pipeline/spec.ts';

/** As SnapshotNames, with weights for people. */
export interface WeighedNames extends SnapshotNames {
  readonly backends: readonly (SnapshotNames['backends'][number] & {
    /** What it counts for in new flows now, on the scale of `weight`: 0 while it takes none, a part while it starts slowly. */
    readonly effectiveWeight: number;
  })[];
}

/** `spec` and `layers`: what `names` was made of. A backend that is in force and no longer wanted keeps the weight that it has there. */
export function weighed(names: SnapshotNames, spec: Spec, layers: Pick<Layers, 'discovered' | 'health'>): WeighedNames {
  const configured = configuredWeights(spec, layers);
  return {
    ...names,
    backends: names.backends.map((backend) => {
      const key = backendKey(backend.pool, backend.name);
      const weight = configured.get(key) ?? backend.weight;
      const share = layers.health.get(key)?.share ?? 1;
      const effectiveWeight = backend.state === 'active' ? Number((weight * share).toFixed(4)) : 0;
      return { ...backend, weight, effectiveWeight };
    }),
  };
}
