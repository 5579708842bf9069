/**
 * Loop guards (docs/architecture.md): the kernel routes every service prefix to the director. A backend, a tunnel source or
 * an address of this host inside one would make the director's own packets, or the operator's, come back to it.
 */
import { formatPrefix, type Prefix } from '../../base/address.ts';
import { parseAnyAddress, parsePrefix, withoutHostBits } from '../address.ts';
import { listOf } from '../compile.ts';
import type { Draft } from '../draft.ts';
import { parseListen } from '../listen.ts';
import type { Path } from '../problem.ts';
import type { Report } from './index.ts';

export function checkLoops(draft: Draft, report: Report): void {
  const services = new PrefixIndex(draft);
  const check = (at: Path, text: string | undefined, what: string) => {
    if (text === undefined) return;
    const address = parseAnyAddress(text).value;
    const hit = address === null ? null : services.find(address);
    if (hit === null) return;
    report(at, 'GD_CONFIG_LOOP', `${text} lies inside ${formatPrefix(hit.prefix)} of service "${hit.name}": ${what}`);
  };
  const backend = 'encapsulated packets would come back to the director';
  const source = 'the tunnel source must be an address of this host that is not directed';
  for (const pool of draft.pools) {
    for (const { at, value } of pool.backends) check([...at, 'address'], value.address, backend);
    for (const family of ['ipv4', 'ipv6'] as const) {
      check([...pool.at, 'tunnel', 'source', family], pool.frame?.tunnel.source?.[family], source);
    }
  }
  for (const family of ['ipv4', 'ipv6'] as const) check(['tunnel', 'source', family], draft.tunnel?.source[family], source);
  const listen = draft.metrics?.listen ?? null;
  const host = listen === null ? undefined : parseListen(listen).value?.host;
  check(['metrics', 'listen'], host, 'requests for metrics would be directed to the backends');
}

/** Finds the service prefix around an address with one look-up for each prefix length in use. */
class PrefixIndex {
  readonly #byLength = new Map<string, Map<string, { prefix: Prefix; name: string }>>();

  constructor(draft: Draft) {
    for (const { value } of draft.services) {
      for (const text of listOf(value.address)) {
        const prefix = parsePrefix(text).value;
        if (prefix === null) continue;
        const length = `${prefix.bytes.length}/${prefix.length}`;
        const prefixes = this.#byLength.get(length) ?? new Map();
        this.#byLength.set(length, prefixes);
        prefixes.set(prefix.bytes.join(), { prefix, name: value.name });
      }
    }
  }

  find(address: Uint8Array): { prefix: Prefix; name: string } | null {
    for (const [length, prefixes] of this.#byLength) {
      const [size, bits] = length.split('/').map(Number);
      if (size !== address.length) continue;
      const hit = prefixes.get(withoutHostBits(address, bits).join());
      if (hit !== undefined) return hit;
    }
    return null;
  }
}
