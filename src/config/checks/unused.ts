/** Keys of a tunnel that change nothing, because of what stands beside them: whoever wrote one expects something of it. */
import { DEFAULT_HEADERS } from '../../pipeline/spec.ts';
import type { Draft, DraftPool } from '../draft.ts';
import { compileHeaders, type HeaderSection } from '../headers.ts';
import type { Path } from '../problem.ts';
import { tunnelsOf, WITHOUT_UDP } from './encapsulations.ts';
import type { Report } from './index.ts';

/** A key, when it is without effect for a pool, and what to say. */
interface Unused {
  readonly key: 'identification' | 'source-port' | 'port';
  /** What holds anyway: whoever writes it expects nothing. */
  readonly usual: string | number;
  readonly code: string;
  readonly message: string;
  hasNoEffect(pool: DraftPool, draft: Draft): boolean;
}

const UNUSED: readonly Unused[] = [
  {
    key: 'identification',
    usual: DEFAULT_HEADERS.identification,
    code: 'GD_CONFIG_HEADERS_UNUSED',
    message: 'without effect: packets with DF always have identification 0; set df to copy or clear, or remove this key',
    hasNoEffect: (pool, draft) => compileHeaders([pool.frame!.tunnel, draft.tunnel!]).df === 'set',
  },
  {
    key: 'source-port',
    usual: DEFAULT_HEADERS.sourcePort,
    code: 'GD_CONFIG_HEADERS_UNUSED',
    message: 'without effect: ipip and gre have no UDP source port; remove this key',
    hasNoEffect: isWithoutUdp,
  },
  {
    key: 'port',
    usual: 6080,
    code: 'GD_CONFIG_PORT_UNUSED',
    message: 'without effect: ipip and gre have no UDP port; remove this key',
    hasNoEffect: isWithoutUdp,
  },
];

export function checkUnused(draft: Draft, report: Report): void {
  const { tunnel } = draft;
  if (tunnel === null) return;
  for (const { key, usual, code, message, hasNoEffect } of UNUSED) {
    const isWritten = (value: string | number | undefined) => value !== undefined && value !== usual;
    const warn = (at: Path) => report([...at, 'tunnel', key], code, message, 'warning');
    for (const pool of draft.pools) {
      const own = pool.frame?.tunnel;
      // Beside the encapsulation itself checkEncapsulations has said it.
      const isSaid = key === 'port' && WITHOUT_UDP.has(own?.encapsulation ?? '');
      if (!isWritten(own?.[key]) || !pool.complete || isSaid) continue;
      if (hasNoEffect(pool, draft)) warn(pool.at);
    }
    // A pool that could not be read may be the one that has use for it.
    if (!draft.poolsKnown || !draft.pools.every(({ frame, complete }) => frame !== null && complete)) continue;
    const { [key]: general }: HeaderSection & { port: number } = tunnel;
    if (isWritten(general) && draft.pools.length > 0 && draft.pools.every((pool) => hasNoEffect(pool, draft))) warn([]);
  }
}

function isWithoutUdp(pool: DraftPool, draft: Draft): boolean {
  return tunnelsOf(pool, draft).every(({ tunnel }) => WITHOUT_UDP.has(tunnel.encapsulation));
}
