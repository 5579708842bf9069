/** Addresses and prefixes as people write them → bytes; every way to be wrong has its own sentence and code. */
import { Address4, Address6 } from 'ip-address';
import { formatAddress, formatPrefix, type Prefix, prefixContains } from '../base/address.ts';

/** Why a text is not acceptable. */
export interface Refusal {
  readonly code: string;
  readonly message: string;
}

type Parsed<T> = { readonly value: T; readonly refusal: null } | { readonly value: null; readonly refusal: Refusal };

function refuse(code: string, message: string): { value: null; refusal: Refusal } {
  return { value: null, refusal: { code, message } };
}

/** Ranges that name no host a packet can be steered to or from; both families. */
const FORBIDDEN: readonly (readonly [Prefix, string])[] = [
  [prefixOf('0.0.0.0', 8), 'the unspecified network (RFC 1122 §3.2.1.3)'],
  [prefixOf('127.0.0.0', 8), 'loopback'],
  [prefixOf('224.0.0.0', 4), 'multicast'],
  [prefixOf('255.255.255.255', 32), 'the limited broadcast address'],
  [prefixOf('::', 128), 'the unspecified address'],
  [prefixOf('::1', 128), 'loopback'],
  [prefixOf('fe80::', 10), 'link-local: it means nothing without an interface'],
  [prefixOf('ff00::', 8), 'multicast'],
];

function prefixOf(address: string, length: number): Prefix {
  return { bytes: bytesOf(address), length };
}

/** Bytes of an address known to be well-formed. */
function bytesOf(text: string): Uint8Array {
  const bytes = text.includes(':') ? new Address6(text).toUnsignedByteArray() : new Address4(text).toArray();
  return Uint8Array.from(bytes);
}

/** An address without prefix length → 4 or 16 bytes, network byte order. Any address of the two families, forbidden ranges too. */
export function parseAnyAddress(text: string): Parsed<Uint8Array> {
  if (text.includes('%')) return refuse('GD_CONFIG_ADDRESS', `"${text}" has a zone; an address here stands alone`);
  if (/^\[.*\]$/.test(text)) return refuse('GD_CONFIG_ADDRESS', `"${text}": write the address without brackets`);
  if (!/^[0-9a-fA-F.:]+$/.test(text)) {
    const hint = /^[a-zA-Z0-9-]+(\.[a-zA-Z0-9-]+)*$/.test(text) ? '; names are not resolved, write the address' : '';
    return refuse('GD_CONFIG_ADDRESS', `"${text}" is not an IPv4 or IPv6 address${hint}`);
  }
  let bytes: Uint8Array;
  try {
    bytes = bytesOf(text);
  } catch (error) {
    const why = (error as Error).message.replace(/\.$/, '');
    const detail = why.startsWith('Invalid') ? '' : `: ${why}`;
    return refuse('GD_CONFIG_ADDRESS', `"${text}" is not an ${text.includes(':') ? 'IPv6' : 'IPv4'} address${detail}`);
  }
  if (bytes.length === 16 && prefixContains(prefixOf('::ffff:0:0', 96), bytes)) {
    const plain = formatAddress(bytes.subarray(12));
    return refuse('GD_CONFIG_ADDRESS_MAPPED', `"${text}" is an IPv4-mapped IPv6 address; write "${plain}"`);
  }
  return { value: bytes, refusal: null };
}

/** Of addresses that were read lately: a thousand pools may name the same workers. */
const HOSTS_KEPT = 4096;
const hosts = new Map<string, Parsed<Uint8Array>>();

/** As readHostAddress; the bytes of one text are one object, which nobody writes. */
export function parseHostAddress(text: string): Parsed<Uint8Array> {
  const known = hosts.get(text);
  if (known !== undefined) return known;
  if (hosts.size >= HOSTS_KEPT) hosts.clear();
  const parsed = readHostAddress(text);
  hosts.set(text, parsed);
  return parsed;
}

/** The address of a host that packets go to or come from: no loopback, multicast, link-local or unspecified address. */
function readHostAddress(text: string): Parsed<Uint8Array> {
  if (text.includes('/')) return refuse('GD_CONFIG_ADDRESS', `"${text}" is a prefix; write one address`);
  const parsed = parseAnyAddress(text);
  if (parsed.value === null) return parsed;
  for (const [range, kind] of FORBIDDEN) {
    if (prefixContains(range, parsed.value)) return refuse('GD_CONFIG_ADDRESS_KIND', `${text} is ${kind}`);
  }
  return parsed;
}

/** A service's address (a prefix of 32 or 128 bits) or prefix. All host bits zero, not 0/0, no forbidden range inside or around. */
export function parsePrefix(text: string): Parsed<Prefix> {
  const slash = text.indexOf('/');
  const parsed = parseAnyAddress(slash < 0 ? text : text.slice(0, slash));
  if (parsed.value === null) return parsed;
  const bits = parsed.value.length * 8;
  const written = slash < 0 ? String(bits) : text.slice(slash + 1);
  if (!/^(0|[1-9][0-9]{0,2})$/.test(written) || Number(written) > bits) {
    return refuse('GD_CONFIG_PREFIX', `"${text}": the prefix length must be a number from 1 to ${bits}`);
  }
  const length = Number(written);
  if (length === 0) return refuse('GD_CONFIG_PREFIX_ALL', `${text} is every address there is; a service must be a part of them`);
  const prefix = { bytes: withoutHostBits(parsed.value, length), length };
  if (!prefixContains({ bytes: parsed.value, length: bits }, prefix.bytes)) {
    return refuse(
      'GD_CONFIG_PREFIX_HOST_BITS',
      `${text} has bits behind its prefix length; did you mean ${formatPrefix(prefix)}?`,
    );
  }
  for (const [range, kind] of FORBIDDEN) {
    if (prefixesOverlap(range, prefix)) {
      const relation = length >= range.length ? 'is' : `contains ${formatPrefix(range)}:`;
      return refuse('GD_CONFIG_ADDRESS_KIND', `${text} ${relation} ${kind}`);
    }
  }
  return { value: prefix, refusal: null };
}

/** True when one contains the other: prefixes can not overlap in any other way. */
export function prefixesOverlap(a: Prefix, b: Prefix): boolean {
  return a.length <= b.length ? prefixContains(a, b.bytes) : prefixContains(b, a.bytes);
}

/** The address with all bits behind `length` set to zero, as new bytes. */
export function withoutHostBits(address: Uint8Array, length: number): Uint8Array {
  return address.map((byte, i) => byte & (0xff00 >> Math.min(8, Math.max(0, length - i * 8))));
}
