/** Ports as people write them: `443`, `8000-8999`, `all`. */
import type { Refusal } from './address.ts';

/** Inclusive. */
export interface PortRange {
  readonly from: number;
  readonly to: number;
}

const LARGEST = 65535;

/** `all` is 0–65535: a packet to port 0 belongs to the service as well. */
export function parsePorts(port: number | string): { value: PortRange; refusal: null } | { value: null; refusal: Refusal } {
  if (port === 'all') return { value: { from: 0, to: LARGEST }, refusal: null };
  if (typeof port === 'number') {
    if (Number.isInteger(port) && port >= 1 && port <= LARGEST) return { value: { from: port, to: port }, refusal: null };
    return refuse(`${port} is not a port: a whole number from 1 to ${LARGEST}`);
  }
  const match = /^(\d{1,6})\s*-\s*(\d{1,6})$/.exec(port);
  if (match === null) {
    const hint = /^\d+$/.test(port) ? `; write the number without quotes: ${Number(port)}` : '';
    return refuse(`"${port}" is not a port: write a number, a range such as "8000-8999", or all${hint}`);
  }
  const from = Number(match[1]);
  const to = Number(match[2]);
  if (from < 1 || to > LARGEST) return refuse(`"${port}": ports go from 1 to ${LARGEST}; write all for every port`);
  if (from > to) return refuse(`"${port}" runs backwards; did you mean ${to}-${from}?`);
  return { value: { from, to }, refusal: null };
}

export function formatPorts(range: PortRange): string {
  if (range.from === 0 && range.to === LARGEST) return 'all ports';
  return range.from === range.to ? `port ${range.from}` : `ports ${range.from}-${range.to}`;
}

function refuse(message: string): { value: null; refusal: Refusal } {
  return { value: null, refusal: { code: 'GD_CONFIG_PORT', message } };
}
