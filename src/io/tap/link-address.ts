/** The MAC address that service addresses have on a TAP's link. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { CodedError, EXIT } from '../../base/errors.ts';

/** First byte, IEEE 802 §8.2: bit 0 a group, bit 1 administered locally (never a manufacturer's). */
const GROUP = 0x01;
const LOCAL = 0x02;

/**
 * An address made of the machine's id, the host name and the device name: the same after every start, so that neighbours need not learn
 * it anew; another on every host, so that two directors on one bridged link do not share it. 6 bytes, locally administered.
 */
export function defaultLinkAddress(device: string): Uint8Array {
  return linkAddressOf([machineId(), hostname(), device]);
}

/** The address for these words. */
export function linkAddressOf(words: readonly string[]): Uint8Array {
  const bytes = Uint8Array.from(createHash('sha256').update(words.join('\0')).digest().subarray(0, 6));
  bytes[0] = (bytes[0] & ~GROUP) | LOCAL;
  return bytes;
}

/** machine-id(5); empty where there is none (many containers, whose host names differ). */
function machineId(): string {
  try {
    return readFileSync('/etc/machine-id', 'latin1').trim();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return '';
    throw error;
  }
}

/** Throws CodedError GD_IO_LINK_ADDRESS unless `bytes` is the address of one host: 6 bytes, no group, not all zero. */
export function checkLinkAddress(bytes: Uint8Array): void {
  if (bytes.length === 6 && (bytes[0] & GROUP) === 0 && bytes.some((byte) => byte !== 0)) return;
  const text = [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join(':');
  throw new CodedError('GD_IO_LINK_ADDRESS', `"${text}" can not be the MAC address of a host`, {
    exitCode: EXIT.CONFIG,
    hint: 'leave it out, or give one that begins with 02',
  });
}
