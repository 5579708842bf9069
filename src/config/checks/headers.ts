/** Outer headers that somebody else would have to write: a way out whose kernel writes them, a source that is no address of this host. */
import { formatPrefix } from '../../base/address.ts';
import type { HeaderSpec } from '../../pipeline/spec.ts';
import { parseAnyAddress, parsePrefix, prefixesOverlap } from '../address.ts';
import { listOf } from '../compile.ts';
import type { Draft, DraftPool } from '../draft.ts';
import { compileHeaders, deciding } from '../headers.ts';
import type { Path } from '../problem.ts';
import { schemeName } from '../scheme.ts';
import { parseTunnelSource } from '../tunnel-source.ts';
import type { Report } from './index.ts';

const FAMILIES = ['ipv4', 'ipv6'] as const;

export function checkHeaders(draft: Draft, report: Report): void {
  const tell = once(report);
  for (const pool of draft.pools) {
    if (pool.frame === null || draft.tunnel === null) continue;
    for (const family of FAMILIES) checkSpread(pool, family, draft, tell);
    checkRule(pool, draft, tell);
    if (draft.egress?.driver === 'udp') checkSockets(pool, draft, tell);
  }
}

/** What several pools inherit from one key is wrong once. */
function once(report: Report): (at: Path, code: string, message: string) => void {
  const told = new Set<string>();
  return (at, code, message) => {
    const key = [...at, code].join('.');
    if (told.has(key)) return;
    told.add(key);
    report(at, code, message);
  };
}

type Tell = ReturnType<typeof once>;

/** The source of one family that holds for a pool's backends, and where it stands. */
function sourceOf(pool: DraftPool, family: 'ipv4' | 'ipv6', draft: Draft) {
  const own = pool.frame?.tunnel.source?.[family];
  const text = own ?? draft.tunnel?.source[family];
  const at = own === undefined ? ['tunnel', 'source', family] : [...pool.at, 'tunnel', 'source', family];
  return { at, text, value: text === undefined ? null : parseTunnelSource(text, family === 'ipv4' ? 4 : 6).value };
}

/** Nobody else may send from the prefix, and nothing for it may be taken for a client's. */
function checkSpread(pool: DraftPool, family: 'ipv4' | 'ipv6', draft: Draft, tell: Tell): void {
  const { at, text, value } = sourceOf(pool, family, draft);
  if (value?.kind !== 'prefix') return;
  for (const service of draft.services) {
    for (const written of listOf(service.value.address)) {
      const prefix = parsePrefix(written).value;
      if (prefix === null || prefix.bytes.length !== value.prefix.bytes.length || !prefixesOverlap(prefix, value.prefix))
        continue;
      const message = `${text} and ${formatPrefix(prefix)} of service "${service.value.name}" overlap: tunnel packets would come back to the director`;
      tell(at, 'GD_CONFIG_LOOP', message);
    }
  }
  for (const { value: backend } of draft.pools.flatMap(({ backends }) => backends)) {
    const address = parseAnyAddress(backend.address).value;
    if (address === null || !prefixesOverlap(value.prefix, { bytes: address, length: address.length * 8 })) continue;
    const message = `${text} contains backend "${backend.name}", ${backend.address}: it would get packets from its own address`;
    tell(at, 'GD_CONFIG_TUNNEL_SOURCE', message);
  }
  if (draft.egress?.driver !== 'udp') return;
  const message = `UDP sockets send from addresses of this host alone: set one, or "egress: { driver: auto }"`;
  tell(at, 'GD_CONFIG_EGRESS_HEADERS', message);
}

/** Where a part of the pool's header policy is decided. */
function placeOf(pool: DraftPool, draft: Draft, part: keyof HeaderSpec): Path {
  const found = deciding([pool.frame!.tunnel, draft.tunnel!], part);
  if (found === null) return [...pool.at, 'tunnel'];
  return found.place === 0 ? [...pool.at, 'tunnel', found.key] : ['tunnel', found.key];
}

/** GLB's rule is made from the hash that chose the row of its table. */
function checkRule(pool: DraftPool, draft: Draft, tell: Tell): void {
  const { sourcePort } = compileHeaders([pool.frame!.tunnel, draft.tunnel!]);
  if (sourcePort !== 'glb' || schemeName(pool.frame!.scheme) === 'glb') return;
  const message = `source-port glb is made from the hash of "scheme: { name: glb }", which pool "${pool.name}" does not have`;
  tell(placeOf(pool, draft, 'sourcePort'), 'GD_CONFIG_SCHEME_KEY', message);
}

/** The kernel writes the headers of what UDP sockets send: source ports are theirs, and DF is always set. */
function checkSockets(pool: DraftPool, draft: Draft, tell: Tell): void {
  const { df, sourcePort } = compileHeaders([pool.frame!.tunnel, draft.tunnel!]);
  if (sourcePort !== 'default') {
    const message = `UDP sockets have source ports of their own, so source-port ${sourcePort} needs "egress: { driver: auto }"`;
    tell(placeOf(pool, draft, 'sourcePort'), 'GD_CONFIG_EGRESS_HEADERS', message);
  }
  if (df !== 'set' && pool.backends.some(({ value }) => !value.address.includes(':'))) {
    const message = `UDP sockets set DF in every IPv4 packet, so df ${df} needs "egress: { driver: auto }"`;
    tell(placeOf(pool, draft, 'df'), 'GD_CONFIG_EGRESS_HEADERS', message);
  }
}
