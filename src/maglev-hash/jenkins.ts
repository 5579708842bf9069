/**
 * Bob Jenkins' lookup3 (2006, public domain) as Linux has it in include/linux/jhash.h: what Katran's packet hash is made of. All values are
 * int32; words are as the machine loads them from the packet, little-endian.
 */
const INITIAL = 0xdeadbeef | 0;

/** `jhash_2words(first, second, seed)`. */
export function jenkinsWords2(first: number, second: number, seed: number): number {
  const start = (seed + INITIAL + 8) | 0;
  return final((first + start) | 0, (second + start) | 0, start);
}

/** `jhash` of 16 bytes, given as four words. */
export function jenkinsWords4(w0: number, w1: number, w2: number, w3: number, seed: number): number {
  const start = (seed + INITIAL + 16) | 0;
  let a = (w0 + start) | 0;
  let b = (w1 + start) | 0;
  let c = (w2 + start) | 0;
  a = ((a - c) | 0) ^ ((c << 4) | (c >>> 28));
  c = (c + b) | 0;
  b = ((b - a) | 0) ^ ((a << 6) | (a >>> 26));
  a = (a + c) | 0;
  c = ((c - b) | 0) ^ ((b << 8) | (b >>> 24));
  b = (b + a) | 0;
  a = ((a - c) | 0) ^ ((c << 16) | (c >>> 16));
  c = (c + b) | 0;
  b = ((b - a) | 0) ^ ((a << 19) | (a >>> 13));
  a = (a + c) | 0;
  c = ((c - b) | 0) ^ ((b << 4) | (b >>> 28));
  b = (b + a) | 0;
  return final((a + w3) | 0, b, c);
}

function final(first: number, second: number, third: number): number {
  let c = ((third ^ second) - ((second << 14) | (second >>> 18))) | 0;
  let a = ((first ^ c) - ((c << 11) | (c >>> 21))) | 0;
  let b = ((second ^ a) - ((a << 25) | (a >>> 7))) | 0;
  c = ((c ^ b) - ((b << 16) | (b >>> 16))) | 0;
  a = ((a ^ c) - ((c << 4) | (c >>> 28))) | 0;
  b = ((b ^ a) - ((a << 14) | (a >>> 18))) | 0;
  return ((c ^ b) - ((b << 24) | (b >>> 8))) | 0;
}
