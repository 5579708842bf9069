/** `127.0.0.1:6079`, `[::1]:6079`, `off` → where an HTTP server listens. */
import { formatAddress } from '../base/address.ts';
import { parseAnyAddress, type Refusal } from './address.ts';
import type { ListenAddress } from './config.ts';

/** `off` → null. Names are refused: reading a configuration asks no resolver. */
export function parseListen(text: string): { value: ListenAddress | null; refusal: null } | { value: null; refusal: Refusal } {
  if (text === 'off') return { value: null, refusal: null };
  const match = /^(?:\[([^\]]*)\]|([^:[\]]*)):(\d{1,6})$/.exec(text);
  if (match === null) {
    const colons = text.split(':').length - 1;
    const hint = colons > 1 ? ' (brackets around an IPv6 address)' : '';
    return refuse(`"${text}" is not ADDRESS:PORT, such as 127.0.0.1:6079 or [::1]:6079${hint}`);
  }
  const host = match[1] ?? match[2];
  const port = Number(match[3]);
  if (port > 65535) return refuse(`"${text}": a port is a number from 0 to 65535`);
  if (host === '') return refuse(`"${text}" names no address; write 0.0.0.0:${port} to listen on every one`);
  if (host === 'localhost') return refuse(`"${text}": names are not resolved; write 127.0.0.1:${port} or [::1]:${port}`);
  const parsed = parseAnyAddress(host);
  if (parsed.value === null) return refuse(parsed.refusal.message);
  if ((match[1] === undefined) !== (parsed.value.length === 4)) return refuse(`"${text}": brackets are for IPv6 addresses`);
  return { value: { host: formatAddress(parsed.value), port }, refusal: null };
}

function refuse(message: string): { value: null; refusal: Refusal } {
  return { value: null, refusal: { code: 'GD_CONFIG_LISTEN', message } };
}
