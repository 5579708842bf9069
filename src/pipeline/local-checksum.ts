/**
 * The sum of a packet whose own checksums are right, without looking at its payload: Linux's local checksum offload
 * (Documentation/networking/checksum-offloads.rst, lco_csum). An outer UDP checksum covers the whole inner packet; but a transport
 * header and payload with a right checksum always sum to the complement of their pseudo-header, and a right IPv4 header to zero:
 *
 *     | outer pseudo-header, UDP, GUE | inner IPv4 header | inner TCP / UDP header, payload |
 *       sum them                        ≡ 0                 ≡ −(inner pseudo-header)
 *
 * So the outer checksum of a train's segments costs additions per header, not a second pass over every byte. For a packet whose checksum
 * may be wrong, or a UDP datagram without one, it is the wrong sum: use `sum` there.
 */
import * as checksum from '../wire/checksum.ts';
import * as ipv4 from '../wire/ipv4.ts';
import * as ipv6 from '../wire/ipv6.ts';

const IPV4_SOURCE_AT = ipv4.SOURCE_AT;
const IPV6_SOURCE_AT = ipv6.SOURCE_AT;

/**
 * Partial (folded, for wire/checksum.ts) of the IP packet whose header lies at `networkAt`, transport header at `transportAt`, of
 * `length` bytes in all; its payload need not lie behind it. `protocol`: the transport's number.
 */
export function innerSum(view: DataView, networkAt: number, transportAt: number, length: number, protocol: number): number {
  const header = transportAt - networkAt;
  if (ipv4.version(view, networkAt) === 4) {
    const pseudo = checksum.pseudoSum4(view, networkAt + IPV4_SOURCE_AT, protocol, length - header);
    return ~checksum.fold(pseudo) & 0xffff;
  }
  // The addresses stand in the header and in the pseudo-header, and cancel: what is left are the first 8 bytes and the extensions.
  const pseudo = checksum.fold(protocol + length - header);
  const start = checksum.sum(view, networkAt, IPV6_SOURCE_AT, ~pseudo & 0xffff);
  return checksum.sum(view, networkAt + ipv6.HEADER_LENGTH, header - ipv6.HEADER_LENGTH, start);
}
