// A filter asked the slow way: one packet as bytes, one expression, walked as it is written. Independent of src/trace/filter/compile.ts, headers.ts and the wire formats.

import type { Expression } from '../../src/trace/filter/expression.ts';

/** What became of a packet, in names. */
export interface Decision {
  readonly verdict: string;
  readonly reason: string;
  readonly service: string | null;
  /** Of the service. */
  readonly pool: string | null;
  /** POOL/NAME. */
  readonly backend: string | null;
}

interface Parsed {
  readonly family: 4 | 6;
  readonly source: number[];
  readonly destination: number[];
  readonly protocol: number | null;
  /** Offset; null for a later fragment and where it can not be found. */
  readonly transport: number | null;
}

const EXTENSIONS = [0, 43, 44, 51, 60, 135, 139, 140];

function parse(packet: Uint8Array): Parsed | null {
  if (packet.length < 20) return null;
  if (packet[0] >> 4 === 4) {
    const header = (packet[0] & 15) * 4;
    const offset = ((packet[6] & 0x1f) << 8) | packet[7];
    const hasTransport = header >= 20 && header <= packet.length && offset === 0;
    return {
      family: 4,
      source: [...packet.subarray(12, 16)],
      destination: [...packet.subarray(16, 20)],
      protocol: packet[9],
      transport: hasTransport ? header : null,
    };
  }
  if (packet[0] >> 4 !== 6 || packet.length < 40) return null;
  return { family: 6, source: [...packet.subarray(8, 24)], destination: [...packet.subarray(24, 40)], ...walk(packet) };
}

/** RFC 8200 §4: every extension header in turn, as far as src/wire/ipv6.ts promises to follow. */
function walk(packet: Uint8Array): { protocol: number | null; transport: number | null } {
  const lost = { protocol: null, transport: null };
  let next = packet[6];
  let at = 40;
  let headers = 0;
  let fragmentHeaders = 0;
  while (EXTENSIONS.includes(next)) {
    if (headers === 8 || (next === 0 && headers > 0)) return lost;
    if (next === 44 && fragmentHeaders > 0) return lost;
    if (at + 8 > packet.length) return lost;
    const kind = next;
    next = packet[at];
    if (kind === 44) {
      fragmentHeaders++;
      const offset = (packet[at + 2] << 8) | (packet[at + 3] & 0xf8);
      at += 8;
      if (offset !== 0) return { protocol: next, transport: null };
    } else at += kind === 51 ? (packet[at + 1] + 2) * 4 : (packet[at + 1] + 1) * 8;
    if (at > packet.length) return lost;
    headers++;
  }
  return { protocol: next, transport: at };
}

function has(address: readonly number[], words: readonly number[], masks: readonly number[]): boolean {
  return words.every((word, k) => {
    const bytes = address.slice(4 * k, 4 * k + 4);
    const own = ((bytes[0] << 24) | (bytes[1] << 16) | (bytes[2] << 8) | bytes[3]) & masks[k];
    return own === word;
  });
}

const TESTS: Readonly<Record<string, (a: number, b: number) => boolean>> = {
  '==': (a, b) => a === b,
  '!=': (a, b) => a !== b,
  '<': (a, b) => a < b,
  '>': (a, b) => a > b,
  '<=': (a, b) => a <= b,
  '>=': (a, b) => a >= b,
};

/** `packet`: from its IP header to the end of its frame; empty for a frame without one. */
export function filterMatches(expression: Expression, packet: Uint8Array, decision: Decision): boolean {
  const parsed = parse(packet);
  switch (expression.is) {
    case 'all':
      return true;
    case 'and':
      return expression.terms.every((term) => filterMatches(term, packet, decision));
    case 'or':
      return expression.terms.some((term) => filterMatches(term, packet, decision));
    case 'not':
      return !filterMatches(expression.term, packet, decision);
    case 'address': {
      if (parsed === null || parsed.family !== expression.family) return false;
      const { side, words, masks } = expression;
      const source = side !== 'dst' && has(parsed.source, words, masks);
      return source || (side !== 'src' && has(parsed.destination, words, masks));
    }
    case 'family':
      return parsed?.family === expression.family;
    case 'protocol':
      if (parsed === null || (expression.family !== 0 && parsed.family !== expression.family)) return false;
      return parsed.protocol === expression.number;
    case 'port': {
      if (parsed === null || parsed.transport === null || ![6, 17, 132].includes(parsed.protocol ?? -1)) return false;
      const at = parsed.transport;
      if (at + 4 > packet.length) return false;
      const within = (port: number) => port >= expression.from && port <= expression.to;
      const source = expression.side !== 'dst' && within((packet[at] << 8) | packet[at + 1]);
      return source || (expression.side !== 'src' && within((packet[at + 2] << 8) | packet[at + 3]));
    }
    case 'length':
      return packet.length >= expression.least && packet.length <= expression.most;
    case 'flags': {
      if (parsed === null || parsed.protocol !== 6 || parsed.transport === null) return false;
      if (parsed.transport + 13 >= packet.length) return false;
      return TESTS[expression.test](packet[parsed.transport + 13] & expression.mask, expression.value);
    }
    case 'verdict':
      return decision.verdict === expression.verdict;
    case 'drop':
      return decision.verdict === 'drop' && (expression.reason === null || decision.reason === expression.reason);
    case 'service':
      return decision.service === expression.name;
    case 'pool':
      return decision.pool === expression.name;
    case 'backend':
      if (decision.backend === null) return false;
      return expression.pool === null
        ? decision.backend.split('/')[1] === expression.name
        : decision.backend === `${expression.pool}/${expression.name}`;
  }
}
