/** The outer source address as people write it: an address, a prefix that flows are spread over, or the word `by-route`. */
import type { Prefix } from '../base/address.ts';
import { parseHostAddress, parsePrefix, type Refusal } from './address.ts';

export const BY_ROUTE = 'by-route';

export type TunnelSource =
  | { readonly kind: 'address'; readonly address: Uint8Array }
  | { readonly kind: 'prefix'; readonly prefix: Prefix }
  | { readonly kind: 'by-route' };

type Parsed = { readonly value: TunnelSource; readonly refusal: null } | { readonly value: null; readonly refusal: Refusal };

/** `family`: the key it stands under. A prefix of one address is that address. */
export function parseTunnelSource(text: string, family: 4 | 6): Parsed {
  if (text === BY_ROUTE) return { value: { kind: 'by-route' }, refusal: null };
  const bits = family === 4 ? 32 : 128;
  const parsed = text.includes('/') ? parsePrefix(text) : parseHostAddress(text);
  if (parsed.refusal !== null) {
    const mistyped = parsed.refusal.code === 'GD_CONFIG_ADDRESS' && /^[a-z-]+$/.test(text);
    if (parsed.refusal.code === 'GD_CONFIG_PREFIX_ALL') {
      const message = `${text} is every address there is; name the one that this host sends from, or write "${BY_ROUTE}"`;
      return refuse('GD_CONFIG_TUNNEL_SOURCE', message);
    }
    return mistyped
      ? refuse('GD_CONFIG_TUNNEL_SOURCE', `"${text}" is neither an address, nor a prefix, nor "${BY_ROUTE}"`)
      : { value: null, refusal: parsed.refusal };
  }
  const bytes = parsed.value instanceof Uint8Array ? parsed.value : parsed.value.bytes;
  if (bytes.length * 8 !== bits) {
    return refuse('GD_CONFIG_TUNNEL_SOURCE', `"${text}" is not an IPv${family} address`);
  }
  if (parsed.value instanceof Uint8Array || parsed.value.length === bits) {
    return { value: { kind: 'address', address: bytes }, refusal: null };
  }
  return { value: { kind: 'prefix', prefix: parsed.value }, refusal: null };
}

function refuse(code: string, message: string): Parsed {
  return { value: null, refusal: { code, message } };
}

/** Bits of the source address that flows fill in: what is behind the prefix, but no more than the last 32. */
export function spreadOf(prefix: Prefix): number {
  return Math.min(32, prefix.bytes.length * 8 - prefix.length);
}
