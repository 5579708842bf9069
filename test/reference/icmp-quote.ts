// Which flow an ICMP error is about, read from whole packets as the documents say it: the slow twin of src/pipeline/icmp-quote.ts and of what
// icmp-stage.ts believes. Shares nothing with them. Written from RFC 792, RFC 1812 §4.3.2, RFC 4443 §3, RFC 4884 §4 and RFC 8200 §4.

import { naiveChecksum, naivePseudoSum } from './checksum.ts';

/** The flow as the client's packets have it. Ports are null for a quoted fragment behind the first. */
export interface QuotedFlow {
  readonly client: Uint8Array;
  readonly service: Uint8Array;
  readonly protocol: number;
  readonly clientPort: number | null;
  readonly servicePort: number | null;
}

export type Judgement = QuotedFlow | 'no-error' | 'quote' | 'checksum';

const EXTENSIONS = [0, 43, 44, 51, 60, 135, 139, 140];

/** Upper header of the packet in `bytes`, which may end early; null when it can not be found in them. */
function upperOf(bytes: Uint8Array): { at: number; protocol: number; later: boolean } | null {
  if (bytes[0] >> 4 === 4) {
    const header = (bytes[0] % 16) * 4;
    if (bytes.length < 20 || header < 20 || bytes.length < header) return null;
    const offset = (bytes[6] % 32) * 256 + bytes[7];
    return { at: header, protocol: bytes[9], later: offset > 0 };
  }
  if (bytes[0] >> 4 !== 6 || bytes.length < 40) return null;
  let protocol = bytes[6];
  let at = 40;
  let steps = 0;
  while (EXTENSIONS.includes(protocol)) {
    if (steps === 8 || (protocol === 0 && steps > 0) || at + 8 > bytes.length) return null;
    const kind = protocol;
    protocol = bytes[at];
    steps++;
    if (kind === 44) {
      if (bytes[at + 2] * 32 + Math.floor(bytes[at + 3] / 8) > 0) return { at: at + 8, protocol, later: true };
      at += 8;
    } else at += kind === 51 ? (bytes[at + 1] + 2) * 4 : (bytes[at + 1] + 1) * 8;
    if (at > bytes.length) return null;
  }
  return { at, protocol, later: false };
}

/** What the whole IP packet `packet`, ICMP of its family, says. Its own headers are whole. */
export function judgeError(packet: Uint8Array): Judgement {
  const isIpv4 = packet[0] >> 4 === 4;
  const upper = upperOf(packet);
  if (upper === null) throw new Error('no whole packet');
  const message = packet.slice(upper.at);
  if (!(isIpv4 ? [3, 11, 12] : [1, 2, 3, 4]).includes(message[0])) return 'no-error';
  let quote = message.slice(8);
  if (!isIpv4 && (message[0] === 1 || message[0] === 3) && message[4] * 8 >= 128) quote = quote.slice(0, message[4] * 8);
  if (quote.length === 0 || quote[0] >> 4 !== packet[0] >> 4) return 'quote';
  const quoted = upperOf(quote);
  if (quoted === null || (!quoted.later && quote.length < quoted.at + 8)) return 'quote';
  const [from, size] = isIpv4 ? [12, 4] : [8, 16];
  const service = quote.slice(from, from + size);
  const destination = packet.slice(from + size, from + 2 * size);
  if (service.join() !== destination.join()) return 'quote';
  const pseudo = isIpv4 ? 0 : naivePseudoSum(packet.slice(8, 24), packet.slice(24, 40), 58, message.length);
  if (naiveChecksum(message, 0, message.length, pseudo) !== 0) return 'checksum';
  return {
    client: quote.slice(from + size, from + 2 * size),
    service,
    protocol: quoted.protocol,
    servicePort: quoted.later ? null : quote[quoted.at] * 256 + quote[quoted.at + 1],
    clientPort: quoted.later ? null : quote[quoted.at + 2] * 256 + quote[quoted.at + 3],
  };
}
