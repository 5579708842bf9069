/** IP addresses as bytes (4 or 16, network byte order) and their text. Parsing for people lives in `config/`. */

/** Text of an address: dotted quad, or RFC 5952 for 16 bytes. */
export function formatAddress(bytes: Uint8Array): string {
  if (bytes.length === 4) return `${bytes[0]}.${bytes[1]}.${bytes[2]}.${bytes[3]}`;
  if (bytes.length !== 16) throw new RangeError(`an address has 4 or 16 bytes, not ${bytes.length}`);
  const groups: number[] = [];
  for (let i = 0; i < 16; i += 2) groups.push((bytes[i] << 8) | bytes[i + 1]);
  // RFC 5952 §4.2: the longest run of two or more zero groups becomes "::", the first of equals.
  let from = -1;
  let length = 1;
  for (let i = 0; i < 8; ) {
    let end = i;
    while (end < 8 && groups[end] === 0) end++;
    if (end - i > length) {
      from = i;
      length = end - i;
    }
    i = end === i ? i + 1 : end;
  }
  const text = (part: number[]) => part.map((group) => group.toString(16)).join(':');
  if (from < 0) return text(groups);
  return `${text(groups.slice(0, from))}::${text(groups.slice(from + length))}`;
}

/** An address prefix: `bytes` has all host bits zero. */
export interface Prefix {
  readonly bytes: Uint8Array;
  /** Bits: 0–32 or 0–128. */
  readonly length: number;
}

export function formatPrefix(prefix: Prefix): string {
  return `${formatAddress(prefix.bytes)}/${prefix.length}`;
}

/** True when `address` (same family, else false) lies inside `prefix`. */
export function prefixContains(prefix: Prefix, address: Uint8Array): boolean {
  if (prefix.bytes.length !== address.length) return false;
  const whole = prefix.length >> 3;
  for (let i = 0; i < whole; i++) if (prefix.bytes[i] !== address[i]) return false;
  const rest = prefix.length & 7;
  if (rest === 0) return true;
  const mask = (0xff << (8 - rest)) & 0xff;
  return (prefix.bytes[whole] & mask) === (address[whole] & mask);
}

export function sameAddress(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}
