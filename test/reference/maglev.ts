/**
 * The naive twin of src/maglev-hash: the same results by the plainest means (BigInt arithmetic, lists, walking every step),
 * written from docs/maglev-hash.md and sharing no code with what it checks.
 */

export interface ReferenceMember {
  readonly identity: Uint8Array;
  readonly weight: number;
}

const MASK = 0xffffffffn;
const u32 = (x: number): bigint => BigInt(x) & MASK;
const int32 = (x: bigint): number => Number(BigInt.asIntN(32, x));
const rotate = (x: bigint, bits: bigint): bigint => ((x << bits) | (x >> (32n - bits))) & MASK;
const times = (x: bigint, y: bigint): bigint => (x * y) & MASK;

function mix32(x: bigint): bigint {
  let y = times(x ^ (x >> 16n), 0x7feb352dn);
  y = times(y ^ (y >> 15n), 0x846ca68bn);
  return y ^ (y >> 16n);
}

function absorb(state: bigint, word: bigint): bigint {
  const x = times(state ^ word, 0xac4c1b51n);
  return x ^ (x >> 15n);
}

/** Both lanes of the identity hash, unsigned. */
export function referenceIdentityHash(identity: Uint8Array, seed: number): [bigint, bigint] {
  let a = u32(seed) ^ 0x243f6a88n;
  let b = times(u32(seed), 0x9e3779b1n) ^ 0x85a308d3n;
  const round = () => {
    a = times(a, 0x85ebca6bn);
    a ^= a >> 15n;
    b = times((b + a) & MASK, 0xc2b2ae35n);
    b ^= b >> 13n;
    a = (a + rotate(b, 9n)) & MASK;
  };
  const padded = [...identity];
  while (padded.length % 4 !== 0) padded.push(0);
  for (let i = 0; i < padded.length; i += 4) {
    a ^= BigInt(padded[i] + padded[i + 1] * 2 ** 8 + padded[i + 2] * 2 ** 16 + padded[i + 3] * 2 ** 24);
    round();
  }
  a ^= BigInt(identity.length);
  round();
  round();
  round();
  return [a, b];
}

const byBytes = (x: Uint8Array, y: Uint8Array): number => Buffer.compare(x, y);

/** The table: slot → index in `members`, 0xffff everywhere when nobody has weight. */
export function referenceTable(members: readonly ReferenceMember[], size: number, seed: number): number[] {
  const entries = members
    .map(({ identity, weight }, index) => {
      const hash = referenceIdentityHash(identity, seed);
      const offset = Number((mix32(hash[0] ^ 0x13198a2en) * BigInt(size)) >> 32n);
      const skip = 1 + Number((mix32(hash[1] ^ 0x03707344n) * BigInt(size - 1)) >> 32n);
      return { index, identity, weight, sort: (hash[0] << 32n) | hash[1], offset, skip, tried: 0 };
    })
    .filter(({ weight }) => weight > 0);
  if (entries.length === 0) return new Array(size).fill(0xffff);
  // All claims that could be needed, as exact fractions (2k − 1) / weight, in the order they are made.
  const sum = entries.reduce((total, { weight }) => total + weight, 0);
  const claims = entries.flatMap((entry) =>
    Array.from({ length: Math.ceil((entry.weight * (size + entries.length)) / sum) + 1 }, (_, k) => ({ entry, odd: 2 * k + 1 })),
  );
  claims.sort(
    (x, y) =>
      x.odd * y.entry.weight - y.odd * x.entry.weight ||
      y.entry.weight - x.entry.weight ||
      (x.entry.sort < y.entry.sort ? -1 : x.entry.sort > y.entry.sort ? 1 : byBytes(x.entry.identity, y.entry.identity)),
  );
  const table: number[] = new Array(size).fill(-1);
  for (const { entry } of claims.slice(0, size)) {
    let slot = -1;
    do slot = (entry.offset + entry.tried++ * entry.skip) % size;
    while (table[slot] >= 0);
    table[slot] = entry.index;
  }
  return table;
}

/** The digest: 16 hexadecimal digits. */
export function referenceDigest(table: ArrayLike<number>, members: readonly ReferenceMember[]): string {
  let a = BigInt(table.length);
  let b = ~a & MASK;
  for (let slot = 0; slot < table.length; slot++) {
    const [first, second] = table[slot] === 0xffff ? [0n, 0n] : referenceIdentityHash(members[table[slot]].identity, 0);
    a = absorb(a, first);
    b = (absorb(b, second) + a) & MASK;
  }
  const high = mix32(a);
  return ((high << 32n) | mix32((b + high) & MASK)).toString(16).padStart(16, '0');
}

const START = 0xa4093822n;

/** Flow hash of an IPv4 5-tuple. */
export function referenceTuple4(source: number, destination: number, ports: number, protocol: number): number {
  let h = START ^ times(u32(protocol), 0x082efa99n);
  for (const word of [source, destination, ports]) h = absorb(h, u32(word));
  return int32(mix32(h));
}

/** Flow hash of an IPv6 5-tuple; addresses as four big-endian words each. */
export function referenceTuple6(source: number[], destination: number[], ports: number, protocol: number): number {
  let s = START ^ times(u32(protocol), 0x082efa99n);
  let d = 0x299f31d0n;
  for (const word of source) s = absorb(s, u32(word));
  for (const word of destination) d = absorb(d, u32(word));
  return int32(mix32(absorb(absorb(s, times(d, 0x7feb352dn)), u32(ports))));
}

/** Flow hash of an IPv6 source address. */
export function referenceSource6(source: number[]): number {
  let s = START;
  for (const word of source) s = absorb(s, u32(word));
  return int32(mix32(s));
}

/** Slot of a flow hash. */
export function referenceSlot(hash: number, seed: number, size: number): number {
  return Number((mix32(u32(hash) ^ u32(seed)) * BigInt(size)) >> 32n);
}

/** HalfSipHash-c-d over bytes: the output words (one for 32 bits, two for 64), after the published description; `rest` adds the other half of the final state. */
export function referenceHalfSipHash(
  key: readonly [number, number],
  message: Uint8Array,
  rounds: { c: number; d: number; words: 1 | 2; rest?: boolean },
): number[] {
  const [k0, k1] = key.map(u32);
  const v = [k0, k1, 0x6c796765n ^ k0, 0x74656462n ^ k1];
  if (rounds.words === 2) v[1] ^= 0xeen;
  const turn = (times: number) => {
    for (let i = 0; i < times; i++) {
      v[0] = (v[0] + v[1]) & MASK;
      v[1] = rotate(v[1], 5n) ^ v[0];
      v[0] = rotate(v[0], 16n);
      v[2] = (v[2] + v[3]) & MASK;
      v[3] = rotate(v[3], 8n) ^ v[2];
      v[0] = (v[0] + v[3]) & MASK;
      v[3] = rotate(v[3], 7n) ^ v[0];
      v[2] = (v[2] + v[1]) & MASK;
      v[1] = rotate(v[1], 13n) ^ v[2];
      v[2] = rotate(v[2], 16n);
    }
  };
  const whole = message.length - (message.length % 4);
  const bytes = [...message, ...new Array(4 - (message.length % 4)).fill(0)];
  bytes[whole + 3] = message.length & 0xff;
  for (let i = 0; i < bytes.length; i += 4) {
    const word = bytes.slice(i, i + 4).reduce((sum, byte, k) => sum | (BigInt(byte) << BigInt(8 * k)), 0n);
    v[3] ^= word;
    turn(rounds.c);
    v[0] ^= word;
  }
  v[2] ^= rounds.words === 2 ? 0xeen : 0xffn;
  turn(rounds.d);
  const output = [int32(v[1] ^ v[3])];
  if (rounds.words === 2) {
    v[1] ^= 0xddn;
    turn(rounds.d);
    output.push(int32(v[1] ^ v[3]));
  }
  if (rounds.rest) output.push(int32(v[0] ^ v[2]));
  return output;
}
