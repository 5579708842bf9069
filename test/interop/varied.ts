// Client packets as different from each other as a director may meet them: sizes, TCP options, IPv4 options, IPv6 extension headers, DSCP and
// ECN, TTLs, DF, identifications, flow labels, UDP without a checksum, checksums that are partial or wrong.

import { packet } from '../builder/packet.ts';
import type { Random } from '../full/random.ts';
import { withPartialChecksum } from '../reference/tunnel-writer.ts';
import type { Incoming } from '../uml/ipvs-forward.ts';

const SIZES = [0, 1, 2, 3, 7, 40, 333, 512, 1219, 1220, 1400];

/** TCP options that fill whole words: timestamps, MSS with window scale, SACK, no-operations. */
const TCP_OPTIONS = [
  [],
  [],
  [1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8],
  [2, 4, 5, 0xb4, 1, 3, 3, 7],
  [1, 1, 5, 10, 0, 0, 1, 0, 0, 0, 2, 0],
  Array<number>(40).fill(1),
];

/** IPv4 options that no host on the way changes: no-operations, and one of an experiment (RFC 4727, number 30, not copied) that nobody knows. */
const IPV4_OPTIONS = [[1, 1, 1, 0], [30, 8, 1, 2, 3, 4, 5, 6], Array<number>(40).fill(1)];

/** IPv6 headers that lie between the IP header and the transport header. */
// Of 8 bytes each: Linux drops a packet whose padding option is longer than 7 (net/ipv6/exthdrs.c ip6_parse_tlv).
const EXTENSIONS = [['hop-by-hop'], ['destination'], ['hop-by-hop', 'destination'], ['destination', 'destination']] as const;

function address(random: Random, family: 4 | 6): string {
  const last = 1 + random.below(250);
  return family === 4 ? `198.51.100.${last}` : `2001:db8:1:${random.below(65536).toString(16)}::${last.toString(16)}`;
}

/** The packet of number `index` to `vip`, from a client port of its own. */
export function variedPacket(random: Random, family: 4 | 6, vip: string, port: number, index: number): Incoming {
  const fields = { src: address(random, family), dst: vip };
  let build = packet();
  const plain = !random.chance(4);
  if (family === 4) {
    build = build.ipv4({
      ...fields,
      ttl: random.pick([2, 3, 32, 64, 64, 128, 255]),
      tos: random.below(256),
      id: random.below(65536),
      df: !random.chance(3),
      options: Uint8Array.from(plain ? [] : random.pick(IPV4_OPTIONS)),
    });
  } else {
    build = build.ipv6({
      ...fields,
      hopLimit: random.pick([2, 3, 32, 64, 64, 128, 255]),
      trafficClass: random.below(256),
      flowLabel: random.below(0x100000),
    });
    if (!plain) for (const kind of random.pick(EXTENSIONS)) build = build.extension(kind);
  }
  const size = random.pick([...SIZES, random.below(1400)]);
  const sport = 1024 + index;
  const payload = random.fill(new Uint8Array(size));
  const wrong = random.chance(16) ? { checksum: random.below(65536) } : {};
  if (random.chance(2)) {
    build = build.tcp({
      ...{ sport, dport: port, seq: random.next(), ack: random.next(), window: random.below(65536) },
      flags: random.pick(['SYN', 'ACK', 'PSH,ACK', 'FIN,ACK', 'SYN,ECE,CWR', 'ACK,URG']),
      options: Uint8Array.from(random.pick(TCP_OPTIONS)),
      ...wrong,
    });
  } else {
    const none = family === 4 && random.chance(8) ? { checksum: 'none' as const } : {};
    build = build.udp({ sport, dport: port, ...wrong, ...none });
  }
  const bytes = build.payload(payload).bytes();
  if (!plain || !random.chance(2)) return { packet: bytes, partial: null };
  const { packet: partial, remoteChecksum } = withPartialChecksum(bytes);
  return { packet: partial, partial: { start: remoteChecksum.start, offset: remoteChecksum.offset - remoteChecksum.start } };
}
