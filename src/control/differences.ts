/** What differs between two pieces of plain data, in the words of the configuration file: `pools.web.tunnel.port-ipv6`. */
import { formatAddress } from '../base/address.ts';

/** Path of a leaf in the words of the file → its value as text. */
export type Leaves = ReadonlyMap<string, string>;

/** `queueLength` → `queue-length`: what a compiled key is called in the file. */
export function fileKey(key: string): string {
  return key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

/** Every leaf of `value`. Lists of plain data and bytes are leaves; what is undefined is not there. */
export function leavesOf(value: unknown, path = '', leaves: Map<string, string> = new Map()): Map<string, string> {
  if (value === undefined) return leaves;
  if (value === null || typeof value !== 'object' || Array.isArray(value) || value instanceof Uint8Array) {
    leaves.set(path, textOf(value));
    return leaves;
  }
  // The keys of a map are names that somebody gave, those of an object are ours.
  const entries = value instanceof Map ? [...value] : Object.entries(value).map(([key, inner]) => [fileKey(key), inner]);
  for (const [key, inner] of entries) leavesOf(inner, path === '' ? String(key) : `${path}.${key}`, leaves);
  return leaves;
}

/** Paths that one has and the other has not, or with another value; sorted. */
export function differences(before: Leaves, after: Leaves): string[] {
  const paths = new Set([...before.keys(), ...after.keys()]);
  return [...paths].filter((path) => before.get(path) !== after.get(path)).sort();
}

function textOf(value: unknown): string {
  if (value instanceof Uint8Array) {
    return value.length === 4 || value.length === 16 ? formatAddress(value) : Array.from(value, hexByte).join('');
  }
  if (value === null || typeof value !== 'object') return String(value);
  return JSON.stringify(value, (_, inner: unknown) => (inner instanceof Uint8Array ? textOf(inner) : inner));
}

function hexByte(byte: number): string {
  return byte.toString(16).padStart(2, '0');
}
