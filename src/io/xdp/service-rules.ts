/**
 * Which entries of the program's maps mean which services. An address finds the longest prefix that holds it and no other, so each prefix gets the
 * rules of every prefix around it too; prefixes with the same rules share one set of them. Port ranges become binary prefixes: a range
 * of 16-bit numbers needs 30 at most.
 */
import type { Prefix } from '../../base/address.ts';
import { prefixContains } from '../../base/address.ts';
import { PROTOCOL_ANY } from '../../base/any-protocol.ts';
import type { ServiceMatch } from '../packet/filter.ts';

/** Bits of a rule set's number, and of it with a protocol: the first that count of a key of `ports`. */
const RULE_SET_BITS = 32;
const PROTOCOL_BITS = 48;

/** One rule: protocol, and ports as a binary prefix of `bits` bits, 0 for all. */
export interface PortRule {
  readonly protocol: number;
  readonly port: number;
  readonly bits: number;
}

export interface PrefixRules {
  readonly prefix: Prefix;
  /** What its rules are, as text: equal for prefixes with equal rules. */
  readonly content: string;
  readonly rules: readonly PortRule[];
}

/** The binary prefixes that hold exactly the ports `from` to `to`. */
export function portPrefixes(from: number, to: number): { port: number; bits: number }[] {
  const found: { port: number; bits: number }[] = [];
  for (let port = from; port <= to; ) {
    // The largest block that begins here and does not end behind `to`.
    let size = port === 0 ? 65536 : port & -port;
    while (port + size - 1 > to) size /= 2;
    found.push({ port, bits: 16 - Math.log2(size) });
    port += size;
  }
  return found;
}

const keyOf = (prefix: Prefix) => `${prefix.bytes.join('.')}/${prefix.length}`;

/** Each distinct prefix with all rules that hold for it. Services in any order. */
export function rulesByPrefix(services: readonly ServiceMatch[]): PrefixRules[] {
  const prefixes = new Map<string, Prefix>();
  for (const { prefix } of services) prefixes.set(keyOf(prefix), prefix);
  const own = new Map<string, Map<string, PortRule>>();
  for (const { prefix, protocol, portFrom, portTo } of services) {
    const rules = own.get(keyOf(prefix)) ?? new Map<string, PortRule>();
    own.set(keyOf(prefix), rules);
    for (const { port, bits } of portPrefixes(portFrom, portTo))
      rules.set(`${protocol}:${port}/${bits}`, { protocol, port, bits });
  }
  const wide = [...prefixes.values()].filter((prefix) => prefix.length < prefix.bytes.length * 8);
  return [...prefixes].map(([key, prefix]) => {
    const rules = new Map(own.get(key));
    for (const outer of wide) {
      if (outer.length >= prefix.length || !prefixContains(outer, prefix.bytes)) continue;
      for (const [text, rule] of own.get(keyOf(outer)) ?? []) rules.set(text, rule);
    }
    const texts = [...rules.keys()].sort();
    return { prefix, content: texts.join(' '), rules: texts.map((text) => rules.get(text) as PortRule) };
  });
}

/** Key of `services4` or `services6`: | u32 bits | address |. */
export function addressKey(prefix: Prefix): Uint8Array {
  const key = new Uint8Array(4 + prefix.bytes.length);
  new DataView(key.buffer).setUint32(0, prefix.length, true);
  key.set(prefix.bytes, 4);
  return key;
}

/** Key of `ports`: | u32 bits | u32 rule set | u8 protocol, u8 0 | be16 port |. */
export function portKey(ruleSet: number, rule: PortRule): Uint8Array {
  const key = new Uint8Array(12);
  const view = new DataView(key.buffer);
  view.setUint32(0, rule.protocol === PROTOCOL_ANY ? RULE_SET_BITS : PROTOCOL_BITS + rule.bits, true);
  view.setUint32(4, ruleSet, true);
  view.setUint8(8, rule.protocol & 0xff);
  view.setUint16(10, rule.port);
  return key;
}
