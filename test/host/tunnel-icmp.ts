// ICMP errors about tunnel packets, right or wrong in one field: what a router, or somebody who pretends to be one, would send.

import { packet } from '../builder/packet.ts';

export interface TunnelError {
  /** Who says so. */
  readonly from: string;
  /** The tunnel: our source, the backend, and the UDP ports. */
  readonly source: string;
  readonly backend: string;
  readonly port: number;
  readonly sourcePort: number;
  /** Default: frag-needed, packet-too-big. */
  readonly type?: number;
  readonly code?: number;
  readonly mtu?: number;
  /** Bytes of payload in the quoted packet, before it is cut; default 1,000. */
  readonly payload?: number;
  /** Bytes that the quote is cut to; default 28 over IPv4, 48 over IPv6: the headers. */
  readonly quoted?: number;
  /** IP protocol of the quoted packet; default UDP. */
  readonly protocol?: number;
  /** Wrong on purpose. */
  readonly checksum?: number;
  readonly quoteFields?: { readonly offset?: number; readonly options?: Uint8Array; readonly version?: number };
  /** To whom the error is sent; default: the tunnel's source. */
  readonly to?: string;
}

/** A tunnel packet: outer IP, UDP and payload. */
export function tunnelPacket(
  tunnel: Pick<TunnelError, 'source' | 'backend' | 'port' | 'sourcePort'>,
  payload: number,
): Uint8Array {
  const start = packet();
  if (tunnel.source.includes(':')) start.ipv6({ src: tunnel.source, dst: tunnel.backend });
  else start.ipv4({ src: tunnel.source, dst: tunnel.backend });
  return start.udp({ sport: tunnel.sourcePort, dport: tunnel.port }).payload(payload).bytes();
}

/** The fields that are given: the builder fills in the others. */
function given<T extends object>(fields: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as never;
}

/** The whole IP packet with the error in it. */
export function tunnelError(error: TunnelError): Uint8Array {
  const six = error.source.includes(':');
  const { source: src, backend: dst, protocol, quoteFields } = error;
  const quote = packet();
  if (six) quote.ipv6(given({ src, dst, nextHeader: protocol, version: quoteFields?.version }));
  else quote.ipv4(given({ src, dst, protocol, ...quoteFields }));
  quote.udp({ sport: error.sourcePort, dport: error.port }).payload(error.payload ?? 1000);
  const cut = quote.bytes().subarray(0, error.quoted ?? (six ? 48 : 28));
  const ends = { src: error.from, dst: error.to ?? error.source };
  const [type, code] = six ? [2, 0] : [3, 4];
  const message = given({
    type: error.type ?? type,
    code: error.code ?? code,
    rest: error.mtu ?? 0,
    checksum: error.checksum,
  });
  const outer = six ? packet().ipv6(ends).icmp6(message) : packet().ipv4(ends).icmp4(message);
  return outer.payload(cut).bytes();
}
