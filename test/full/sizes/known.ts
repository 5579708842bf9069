// Cases that were once wrong, by name, each the smallest that shows it.

import { packet } from '../../builder/packet.ts';
import { VIP4, VIP6 } from '../packets.ts';
import { type Case, NO_FACTS } from './draft.ts';
import { portOf } from './place.ts';

export interface Known extends Case {
  readonly name: string;
  /** Number in INGRESSES. */
  readonly ingress: number;
  /** Of every backend. */
  readonly pathMtu: number;
  readonly verdict: 'drop' | 'forward' | 'reply' | 'pass';
}

const RAW_IP = 1;
const CLIENT4 = Uint8Array.of(198, 51, 100, 7);
const CLIENT6 = Uint8Array.from([...VIP6.subarray(0, 15), 77]);

const damaged = (family: 4 | 6) => {
  const network = packet();
  const layers = family === 4 ? network.ipv4({ src: CLIENT4, dst: VIP4 }) : network.ipv6({ src: CLIENT6, dst: VIP6 });
  return layers
    .tcp({ dport: portOf('segment', 'full'), checksum: 0x1234 })
    .payload(700)
    .bytes();
};

export const KNOWN: readonly Known[] = ([4, 6] as const).map((family) => ({
  // The outer UDP checksum of a train is made from the inner one, which was not looked at: it came out wrong too.
  name: `IPv${family}: said to be a super-packet, fits one segment, and its finished checksum is wrong`,
  frame: damaged(family),
  facts: { ...NO_FACTS, gsoType: family === 4 ? 1 : 4, gsoSize: 1448 },
  ingress: RAW_IP,
  pathMtu: 1500,
  verdict: 'drop',
}));
