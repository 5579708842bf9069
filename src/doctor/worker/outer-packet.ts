/** The outer packet of a tunnel, as packet filters see it. */
import type { Fit } from './filter-walk.ts';
import type { WantedTunnel } from './wanted.ts';

/** One kind of outer packet. */
export interface Outer {
  readonly family: 4 | 6;
  /** UDP destination port, null: an IP protocol. */
  readonly port: number | null;
  /** Names and numbers of the IP protocol. */
  readonly protocols: readonly (string | number)[];
  readonly text: string;
}

const PROTOCOLS: Readonly<Record<string, readonly (string | number)[]>> = {
  'ipip 4': ['ipip', 'ipencap', 4],
  'ipip 6': ['ipv6', 41],
  gre: ['gre', 47],
};
/** Directors send from ports above those of well-known services. */
const LEAST_SOURCE_PORT = 1024;

export function outerOf({ encapsulation, outer, inner, port }: WantedTunnel): Outer {
  if (port !== null) return { family: outer, port, protocols: ['udp', 17], text: `UDP port ${port}` };
  const protocols = PROTOCOLS[encapsulation === 'gre' ? 'gre' : `ipip ${inner}`];
  return { family: outer, port, protocols, text: `IP protocol ${protocols.at(-1)}` };
}

/** Bounds of ports, inclusive. */
export type Range = readonly [number, number];

export function fitsPort(ranges: readonly Range[], { port }: Outer): Fit {
  return port !== null && ranges.some(([from, to]) => from <= port && port <= to) ? 'yes' : 'no';
}

export function fitsSourcePort(ranges: readonly Range[], { port }: Outer): Fit {
  return port !== null && ranges.some(([, to]) => to >= LEAST_SOURCE_PORT) ? 'maybe' : 'no';
}

/** A state of connection tracking: nobody answers a tunnel packet, so each flow of them is new, or not tracked, for ever. */
export function fitsState(states: readonly string[]): Fit {
  return states.some((state) => /^(new|untracked)$/i.test(state)) ? 'yes' : 'no';
}

/** `!=`, `!`. */
export function not(fit: Fit): Fit {
  return fit === 'yes' ? 'no' : fit === 'no' ? 'yes' : fit;
}

/** An address that packets go to: one of this host's, perhaps; never a group. */
export function fitsDestination(text: string): Fit {
  return /^(22[4-9]|23\d|255)\.|^ff[0-9a-f]{2}:/i.test(text) ? 'no' : 'some';
}
