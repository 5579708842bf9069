/** A whole IP packet made from nothing, for probes and questions. It allocates: no per-packet code makes its packets so. */
import * as checksum from './checksum.ts';
import * as ipv4 from './ipv4.ts';
import * as ipv6 from './ipv6.ts';

/** A packet whose IP header is written; what is behind it is zeros yet. */
export interface IpPacket {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  /** Where the transport header begins. */
  readonly at: number;
}

/** `source` and `destination`: 4 or 16 bytes, both of one family. `length`: bytes behind the IP header. IPv4 with DF (RFC 791 §3.1), no options or extension headers. */
export function ipPacket(source: Uint8Array, destination: Uint8Array, protocol: number, length: number, hops: number): IpPacket {
  const six = source.length === 16;
  const at = six ? ipv6.HEADER_LENGTH : ipv4.HEADER_LENGTH;
  const bytes = new Uint8Array(at + length);
  const view = new DataView(bytes.buffer);
  if (six) {
    ipv6.writeStart(view, 0, 0, 0, length, protocol, hops);
    bytes.set(source, ipv6.SOURCE_AT);
    bytes.set(destination, ipv6.DESTINATION_AT);
  } else {
    const [from, to] = [source, destination].map((address) => new DataView(address.buffer, address.byteOffset, 4).getInt32(0));
    ipv4.write(view, 0, 0, at + length, 0, ipv4.DONT_FRAGMENT, hops, protocol, from, to);
  }
  return { bytes, view, at };
}

/** What a checksum over all that is behind the IP header comes to, the pseudo header included (RFC 9293 §3.1, RFC 8200 §8.1); the checksum field must be 0. Not yet folded. */
export function transportSum({ bytes, view, at }: IpPacket, protocol: number): number {
  const length = bytes.length - at;
  const pseudo =
    at === ipv6.HEADER_LENGTH
      ? checksum.pseudoSum6(view, ipv6.SOURCE_AT, protocol, length)
      : checksum.pseudoSum4(view, ipv4.SOURCE_AT, protocol, length);
  return checksum.sum(view, at, length, pseudo);
}
