/**
 * Where packets to a silent backend vanish: datagrams with few hops to live, each of which the router where they run out tells of, as traceroute does. A router that
 * throws the backend's packets away does not count their hops, and says nothing; that it does toward another backend behind it shows that it could.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { TunnelSocket } from './tunnel-socket.ts';

export interface SilentTarget {
  /** 4 or 16 bytes. */
  readonly address: Uint8Array;
  readonly port: number;
  /** Another backend, which answers, behind the same first router; null without one. */
  readonly beside: Uint8Array | null;
}

export interface Vanishing {
  /** The last router that told, and its number on the way, from 1; null: none did. */
  readonly last: { readonly address: Uint8Array; readonly hop: number } | null;
  /** The first router tells of packets to the other backend and not of those to this one: it throws them away. */
  readonly swallowed: boolean;
}

/** Routers that are looked for, one after the other from the first. */
const HOPS = 8;
const BYTES = 64;
const PATIENCE = 700;
const LOOK_EVERY = 20;

/** Takes less than a second. Throws CodedError when the kernel gives no sockets. */
export async function followPaths(targets: readonly SilentTarget[]): Promise<Vanishing[]> {
  const open: TunnelSocket[] = [];
  const socket = (address: Uint8Array, port: number, hops: number) => {
    const made = new TunnelSocket(address, port, BYTES, hops);
    open.push(made);
    made.send(BYTES);
    return made;
  };
  try {
    const ways = targets.map(({ address, port, beside }) => ({
      probes: Array.from({ length: HOPS }, (_, i) => socket(address, port, i + 1)),
      control: beside === null ? null : socket(beside, port, 1),
    }));
    const told = new Map<TunnelSocket, Uint8Array>();
    const since = Date.now();
    while (Date.now() - since < PATIENCE) {
      await delay(LOOK_EVERY);
      for (const one of open) {
        const router = told.has(one) ? null : one.expired();
        if (router !== null) told.set(one, router);
      }
    }
    return ways.map(({ probes, control }) => {
      const hop = probes.findLastIndex((probe) => told.has(probe)) + 1;
      const address = hop === 0 ? undefined : told.get(probes[hop - 1]);
      return {
        last: address === undefined ? null : { address, hop },
        swallowed: hop === 0 && control !== null && told.has(control),
      };
    });
  } finally {
    for (const one of open) one.close();
  }
}
