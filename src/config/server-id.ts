/** Server ids of QUIC connection ids as people write them: a number, or the bytes in hexadecimal. */
import type { Refusal } from './address.ts';

/** The value in 16 bytes, right-aligned: what `BackendSpec.serverId` is. */
export function parseServerId(id: number | string): { value: Uint8Array; refusal: null } | { value: null; refusal: Refusal } {
  const text = typeof id === 'number' ? id.toString(16) : id.replace(/^0x/, '');
  // Bytes have two digits each: an odd number of them is a decimal number in quotes as often as not.
  if (!/^[0-9a-fA-F]{1,30}$/.test(text) || (typeof id === 'string' && text.length % 2 !== 0)) {
    const message = `"${id}" is not a server id: a number without quotes, or up to 15 bytes in hexadecimal, two digits each, such as "0a1b2c"`;
    return { value: null, refusal: { code: 'GD_CONFIG_SERVER_ID', message } };
  }
  const digits = text.padStart(32, '0');
  return { value: Uint8Array.from({ length: 16 }, (_, i) => Number.parseInt(digits.slice(i * 2, i * 2 + 2), 16)), refusal: null };
}

/** Bytes that the value needs, 0 for the value 0. */
export function serverIdBytes(id: Uint8Array): number {
  const first = id.findIndex((byte) => byte !== 0);
  return first < 0 ? 0 : id.length - first;
}
