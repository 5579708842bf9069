/**
 * The one table of drop reasons. The word is the API of the data plane: metric label, log field, `explain` and `replay`
 * output, and the anchor in docs/drop-reasons.md (a test holds the two together).
 */

interface DropReasonEntry {
  readonly word: string;
  /** One sentence for people. */
  readonly text: string;
}

const TABLE = [
  ['none', 'not dropped'],
  ['not-a-service', 'no service has this destination address, protocol and port'],
  ['not-ip', 'the frame carries neither IPv4 nor IPv6'],
  ['truncated', 'the frame ends before the headers or the length it claims'],
  ['malformed-ip', 'the IP header has an impossible version, header length or total length'],
  ['ip-checksum', 'the IPv4 header checksum is wrong'],
  ['malformed-transport', 'the TCP, UDP or SCTP header has an impossible length'],
  ['ipv6-extension', 'the IPv6 extension header chain is too long or can not be followed'],
  ['fragment', 'an IP fragment of a service that takes none, or of a packet that would be answered here'],
  ['fragment-tiny', 'the first fragment of a packet ends within its transport header, or another one could overwrite it'],
  ['fragment-length', 'a fragment that is empty, ends behind 65,535 bytes, or is not the last and no multiple of 8 bytes long'],
  ['fragment-duplicate', 'a fragment whose bytes have all been forwarded already'],
  [
    'fragment-overlap',
    'a fragment that overlaps another one of its packet or contradicts its end, and every later one of that packet',
  ],
  ['fragment-not-held', 'a fragment that came before the first one of its packet, while as many as may wait were waiting'],
  ['fragment-timeout', 'a fragment that waited for the first one of its packet in vain'],
  ['ttl-expired', 'the TTL or hop limit ran out at this hop'],
  ['ttl-expired-rate', 'the TTL or hop limit ran out at this hop, and too many answers that say so were given in this second'],
  ['icmp-not-steered', 'an ICMP message to a service address that is neither answered here nor about a flow'],
  ['icmp-checksum', 'an ICMP error whose checksum is wrong'],
  ['icmp-quote', 'an ICMP error whose quoted packet can not be read, or was not sent from the address that the error came to'],
  ['icmp-quote-not-a-service', 'an ICMP error whose quoted packet comes from no service'],
  ['icmp-quote-fragment', 'an ICMP error about a fragment without ports, whose flow can not be known'],
  ['echo-dropped', 'an echo request to a service address, which the configuration says to drop'],
  ['bad-virtio-header', 'the virtio-net header contradicts the frame'],
  ['super-packet', 'a merged frame that makes more segments than can be sent at once'],
  ['super-packet-checksum', 'a merged frame whose finished transport checksum is wrong, or that should have none yet'],
  ['too-big', 'the packet and its outer headers exceed the path MTU of its tunnel, or what one UDP datagram can carry'],
  ['too-big-rate', 'the packet is too big for its tunnel, and too many answers that say so were given in this second'],
  ['no-backend', 'the pool has no backend that may serve'],
  ['encapsulation-loop', 'the packet is our own tunnel traffic come back'],
  ['tunnel-length', 'the offsets of outer and inner headers contradict each other (the tunnel header would be too short)'],
  ['wrong-host', 'the frame was addressed to another host on the link, or to a group of hosts'],
  ['send-too-big', 'the kernel refused the encapsulated packet: larger than the MTU of the way out (EMSGSIZE)'],
  ['send-unreachable', 'the kernel has no route or no neighbour for the backend (ENETUNREACH, EHOSTUNREACH)'],
  ['send-refused', 'a firewall rule or a missing privilege refused the send (EPERM, EACCES)'],
  ['send-no-buffer', 'the send queue was full and stayed full (EAGAIN, ENOBUFS)'],
  [
    'offload-refused',
    'the kernel refused to cut an encapsulated super-packet: its offsets or lengths contradict each other (EINVAL)',
  ],
  ['send-failed', 'the send failed for another reason; the log names the errno'],
  ['reply-failed', 'an answer of ours (ARP, neighbour advertisement, ICMP) could not be sent'],
] as const satisfies readonly (readonly [string, string])[];

export type DropReasonWord = (typeof TABLE)[number][0];

/** All reasons; the index in this list is the number that travels with a packet. */
export const DROP_REASONS: readonly DropReasonEntry[] = TABLE.map(([word, text]) => ({ word, text }));

export const DROP_REASON_COUNT = TABLE.length;

/** The number of a reason. For module-level constants only; never called per packet. */
export function dropReason(word: DropReasonWord): number {
  return TABLE.findIndex((row) => row[0] === word);
}
