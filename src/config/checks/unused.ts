/** Keys of a tunnel that change nothing, because of what stands beside them: whoever wrote one expects something of it. */
import type { Draft, DraftPool } from '../draft.ts';
import { compileHeaders, type HeaderSection } from '../headers.ts';
import type { Path } from '../problem.ts';
import { tunnelsOf, WITHOUT_UDP } from './encapsulations.ts';
import type { Report } from './index.ts';

/** What `tunnel.port` is when nobody has written it. */
const DEFAULT_PORT = 6080;

/** A key, when it is without effect for a pool, and what to say. */
interface Unused {
  readonly key: 'identification' | 'source-port' | 'port';
  readonly code: string;
  readonly message: string;
  hasNoEffect(pool: DraftPool, draft: Draft): boolean;
}

const UNUSED: readonly Unused[] = [
  {
    key: 'identification',
    code: 'GD_CONFIG_HEADERS_UNUSED',
    message: 'without effect: packets with DF always have identification 0; set df to copy or clear, or remove this key',
    hasNoEffect: (pool, draft) => compileHeaders([pool.frame!.tunnel, draft.tunnel!]).df === 'set',
  },
  {
    key: 'source-port',
    code: 'GD_CONFIG_HEADERS_UNUSED',
    message: 'without effect: ipip and gre have no UDP source port; remove this key',
    hasNoEffect: isWithoutUdp,
  },
  {
    key: 'port',
    code: 'GD_CONFIG_PORT_UNUSED',
    message: 'without effect: ipip and gre have no UDP port; remove this key',
    hasNoEffect: isWithoutUdp,
  },
];

export function checkUnused(draft: Draft, report: Report): void {
  const { tunnel } = draft;
  if (tunnel === null) return;
  for (const { key, code, message, hasNoEffect } of UNUSED) {
    const warn = (at: Path) => report([...at, 'tunnel', key], code, message, 'warning');
    for (const pool of draft.pools) {
      const own = pool.frame?.tunnel;
      // Beside the encapsulation itself checkEncapsulations has said it.
      if (own?.[key] === undefined || !pool.complete || (key === 'port' && WITHOUT_UDP.has(own.encapsulation ?? ''))) continue;
      if (hasNoEffect(pool, draft)) warn(pool.at);
    }
    // A pool that could not be read may be the one that has use for it.
    if (!draft.poolsKnown || !draft.pools.every(({ frame, complete }) => frame !== null && complete)) continue;
    const isWritten = key === 'port' ? tunnel.port !== DEFAULT_PORT : (tunnel as HeaderSection)[key] !== undefined;
    if (isWritten && draft.pools.length > 0 && draft.pools.every((pool) => hasNoEffect(pool, draft))) warn([]);
  }
}

function isWithoutUdp(pool: DraftPool, draft: Draft): boolean {
  return tunnelsOf(pool, draft).every(({ tunnel }) => WITHOUT_UDP.has(tunnel.encapsulation));
}
