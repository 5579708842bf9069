/** MAC addresses as people write them. */
import type { Refusal } from './address.ts';

/** `02:00:5e:10:00:01`, digits of either case → 6 bytes. Refused: groups, and the address of nobody (all zero). */
export function parseLinkAddress(text: string): { value: Uint8Array; refusal: null } | { value: null; refusal: Refusal } {
  const refuse = (message: string) => ({ value: null, refusal: { code: 'GD_CONFIG_MAC', message } }) as const;
  if (!/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i.test(text)) return refuse(`"${text}" is not a MAC address such as 02:00:5e:10:00:01`);
  const value = Uint8Array.from(text.split(':').map((part) => Number.parseInt(part, 16)));
  if ((value[0] & 1) === 1) return refuse(`${text} is a group's MAC address, which no host can have`);
  if (value.every((byte) => byte === 0)) return refuse(`${text} is nobody's MAC address`);
  return { value, refusal: null };
}
