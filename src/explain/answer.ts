/** The answer to a question about a packet: its trail, and if asked the trail that it would have without one backend. */
import { CodedError, EXIT } from '../base/errors.ts';
import type { SnapshotBuilder, SnapshotParts } from '../pipeline/snapshot.ts';
import type { PoolSpec, Spec } from '../pipeline/spec.ts';
import { Explainer, type ExplainerOptions } from './explainer.ts';
import type { AskedFrame } from './question.ts';
import type { Trail } from './trail.ts';

export interface Answer extends Trail {
  /** Only when it was asked for. */
  readonly without?: {
    /** POOL/NAME. */
    readonly backend: string;
    readonly trail: Trail;
    /** Whether the packet would go to another backend, or to none. */
    readonly moves: boolean;
  };
}

export interface AnswerOptions extends Omit<ExplainerOptions, 'parts'> {
  /** Builds the snapshot of what would be; it goes on where the one of `parts` was built, so that ids and the table before are what they would be. */
  readonly builder: SnapshotBuilder;
  readonly parts: SnapshotParts;
}

/** Throws GD_EXPLAIN_BACKEND (exit code 2) when `without`, POOL/NAME, is no backend. */
export function answer(asked: AskedFrame, now: number, options: AnswerOptions, without: string | null = null): Answer {
  const ingress = { ...options.ingress, link: asked.link };
  const trail = new Explainer({ ...options, ingress }).explain(asked.frame, now);
  if (without === null) return trail;
  const spec = specWithout(options.spec, without);
  const told = spec.pools[0].name === trail.service.matched?.pool ? thereAsWell() : trail;
  const goesTo = ({ verdict, choice }: Trail) => (verdict === 'forward' ? `${choice?.pool}/${choice?.backend}` : verdict);
  /** The one pool that changes, and its services, are all that the packet can meet; other tables, some milliseconds each, need not be built. */
  function thereAsWell(): Trail {
    const parts = options.builder.build(spec, now);
    const changed = new Explainer({ ...options, spec, parts, ingress }).explain(asked.frame, now);
    return { ...changed, service: trail.service };
  }
  return { ...trail, without: { backend: without, trail: told, moves: goesTo(trail) !== goesTo(told) } };
}

/** The pool of `backend` without it, and the services of that pool. */
function specWithout(spec: Spec, backend: string): Spec {
  const named = (pool: PoolSpec) => pool.backends.find(({ name }) => `${pool.name}/${name}` === backend);
  const pool = spec.pools.find((one) => named(one) !== undefined);
  if (pool === undefined) {
    const all = spec.pools.flatMap((pool) => pool.backends.map(({ name }) => `${pool.name}/${name}`));
    const list = all.length <= 8 ? all.join(', ') : `${all.slice(0, 8).join(', ')} and ${all.length - 8} more`;
    throw new CodedError('GD_EXPLAIN_BACKEND', `there is no backend ${backend}`, {
      exitCode: EXIT.USAGE,
      hint: `backends are written POOL/NAME: ${list}`,
    });
  }
  const gone = named(pool);
  return {
    ...spec,
    services: spec.services.filter((service) => service.pool === pool.name),
    pools: [{ ...pool, backends: pool.backends.filter((one) => one !== gone) }],
  };
}
