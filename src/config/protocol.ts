/** IP protocols as people write them: `tcp`, `esp`, `any`, or a number (IANA protocol numbers). */
import { PROTOCOL_ANY } from '../pipeline/spec.ts';
import type { Refusal } from './address.ts';

const NUMBERS = {
  tcp: 6,
  udp: 17,
  sctp: 132,
  esp: 50,
  ah: 51,
  gre: 47,
  ipip: 4,
  sit: 41,
  l2tp: 115,
  any: PROTOCOL_ANY,
} as const;

export type ProtocolName = keyof typeof NUMBERS;

export const PROTOCOL_NAMES = Object.keys(NUMBERS) as [ProtocolName, ...ProtocolName[]];

/** Numbers that no service can have, with the reason. The IPv6 headers of IANA's list stand in front of a protocol and are none themselves. */
const REFUSED: ReadonlyMap<number, string> = new Map([
  [1, 'ICMP to a service address is handled by the director itself'],
  [58, 'ICMPv6 to a service address is handled by the director itself'],
  ...[0, 43, 44, 60, 135, 139, 140].map((number): [number, string] => [number, 'it is an extension header of IPv6']),
]);

export function protocolRefusal(number: number): Refusal | null {
  const why = REFUSED.get(number);
  return why === undefined ? null : { code: 'GD_CONFIG_PROTOCOL', message: `protocol ${number} can have no service: ${why}` };
}

export function protocolNumber(protocol: ProtocolName | number): number {
  return typeof protocol === 'number' ? protocol : NUMBERS[protocol];
}

/** `tcp`, `esp`; `protocol 89` for what has no name here. */
export function protocolText(number: number): string {
  return PROTOCOL_NAMES.find((name) => NUMBERS[name] === number) ?? `protocol ${number}`;
}

/** Ports that a service can be told apart by. */
export function hasPorts(number: number): boolean {
  return number === NUMBERS.tcp || number === NUMBERS.udp || number === NUMBERS.sctp;
}
