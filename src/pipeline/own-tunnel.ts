/** The loop guard: our own tunnel packets, come back as if they were a client's. */
import type { Batch } from '../base/batch.ts';
import * as ipv4 from '../wire/ipv4.ts';
import * as ipv6 from '../wire/ipv6.ts';
import * as udp from '../wire/udp.ts';
import { H_TUNNEL_COUNT, H_TUNNELS, T_FAMILY, T_MASK, T_PORT, T_PROTOCOL, T_SOURCE, TUNNEL_WORDS } from './layout.ts';

const UDP = ipv4.PROTOCOL_UDP;

/** True when packet `i` is from a tunnel source of ours, of its protocol, to the port that it sends to. */
export function isOwnTunnel(batch: Batch, i: number, words: Int32Array): boolean {
  const view = batch.arena.view;
  const kind = batch.protocol[i];
  const port = kind === UDP ? udp.destinationPort(view, batch.transportAt[i]) : 0;
  const sourceAt = batch.networkAt[i] + (batch.family[i] === 4 ? ipv4.SOURCE_AT : ipv6.SOURCE_AT);
  const sourceWords = batch.family[i] === 4 ? 1 : 4;
  const count = words[H_TUNNEL_COUNT];
  for (let t = 0; t < count; t++) {
    const tunnel = words[H_TUNNELS] + t * TUNNEL_WORDS;
    if (words[tunnel + T_PROTOCOL] !== kind || words[tunnel + T_PORT] !== port) continue;
    if (words[tunnel + T_FAMILY] !== batch.family[i]) continue;
    // A source may be spread over a prefix: then its last word is compared in part.
    let differ = 0;
    for (let w = 0; w < sourceWords; w++) {
      const bits = view.getInt32(sourceAt + w * 4) ^ words[tunnel + T_SOURCE + w];
      differ |= w === sourceWords - 1 ? bits & words[tunnel + T_MASK] : bits;
    }
    if (differ === 0) return true;
  }
  return false;
}
