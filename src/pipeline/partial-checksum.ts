/**
 * Where the ingress can not say whether a frame's checksum is whole (AF_XDP carries no virtio-net facts): a sender on this machine, behind a veth, leaves the
 * transport checksum to a device, and its field holds the pseudo-header's sum only (Documentation/networking/checksum-offloads.rst). Every
 * receiver would drop what is forwarded that way.
 *
 * A packet is such a one when its field equals that sum and it does not verify. One in 65,536 right checksums equals it too, and verifies: only those
 * are summed. A wrong checksum that equals it by chance is taken for one of these, and put right.
 */
import * as checksum from '../wire/checksum.ts';
import * as ipv4 from '../wire/ipv4.ts';
import * as ipv6 from '../wire/ipv6.ts';
import * as tcp from '../wire/tcp.ts';
import * as udp from '../wire/udp.ts';

const TCP = ipv4.PROTOCOL_TCP;
const TCP_CHECKSUM_AT = tcp.CHECKSUM_AT;
const UDP_CHECKSUM_AT = udp.CHECKSUM_AT;
const SOURCE4 = ipv4.SOURCE_AT;
const SOURCE6 = ipv6.SOURCE_AT;

/**
 * True when the TCP or UDP checksum of the packet whose IP header lies at `networkAt` and whose transport header, whole, at `transportAt` is only begun; `end`: behind
 * its last byte. `protocol` is TCP or UDP. No fragment, and no super-packet.
 */
export function isChecksumBegun(
  view: DataView,
  family: number,
  protocol: number,
  networkAt: number,
  transportAt: number,
  end: number,
): boolean {
  const length = (end - transportAt) | 0;
  const field = view.getUint16(transportAt + (protocol === TCP ? TCP_CHECKSUM_AT : UDP_CHECKSUM_AT));
  const pseudo = checksum.fold(
    family === 4
      ? checksum.pseudoSum4(view, networkAt + SOURCE4, protocol, length)
      : checksum.pseudoSum6(view, networkAt + SOURCE6, protocol, length),
  );
  return field === pseudo && !checksum.verifies(checksum.sum(view, transportAt, length, pseudo));
}

/** Completes it; returns what the field held: the pseudo-header's sum. */
export function completeChecksum(view: DataView, protocol: number, transportAt: number, end: number): number {
  const offset = protocol === TCP ? TCP_CHECKSUM_AT : UDP_CHECKSUM_AT;
  const begun = view.getUint16(transportAt + offset);
  checksum.completePartial(view, transportAt, offset, end);
  return begun;
}
