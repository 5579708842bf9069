/** Maps and bytes as JSON, and back: `{ "$map": [[key, value], …] }`, `{ "$bytes": "c0000201" }`. Everything else is JSON already. */

const MAP = '$map';
const BYTES = '$bytes';

/** `value` with nothing in it that JSON can not hold. */
export function toPlain(value: unknown): unknown {
  if (value instanceof Map) return { [MAP]: [...value].map(([key, one]) => [toPlain(key), toPlain(one)]) };
  if (value instanceof Uint8Array) return { [BYTES]: Buffer.from(value).toString('hex') };
  if (Array.isArray(value)) return value.map(toPlain);
  if (value === null || typeof value !== 'object') return value;
  return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, toPlain(one)]));
}

/** What `toPlain` was given, but for what is undefined in it. */
export function fromPlain(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(fromPlain);
  if (value === null || typeof value !== 'object') return value;
  const { [MAP]: entries, [BYTES]: hex } = value as Record<string, unknown>;
  if (Array.isArray(entries)) return new Map(entries.map(([key, one]) => [fromPlain(key), fromPlain(one)]));
  if (typeof hex === 'string') return Uint8Array.from(Buffer.from(hex, 'hex'));
  return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, fromPlain(one)]));
}
