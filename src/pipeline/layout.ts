/**
 * Word layout of a snapshot's root: one block of shared memory, read by every forwarding thread through an Int32Array.
 * All offsets and counts are in 32-bit words. Byte strings (addresses, header templates) lie in memory order, so that a
 * native word copy moves them unchanged; everything else is a native integer.
 *
 *     | header | index 4 | index 6 | intervals | services | pools | members | tunnels | backends (by id) |
 */

export const ROOT_MAGIC = 0x67644431; // "gdD1"

// Header words.
export const H_MAGIC = 0;
export const H_GENERATION = 1;
export const H_WORDS = 2;
/** Prefix lengths in use, longest first: place and number, for IPv4 and IPv6. */
export const H_LENGTHS4 = 3;
export const H_LENGTHS4_COUNT = 4;
export const H_LENGTHS6 = 5;
export const H_LENGTHS6_COUNT = 6;
/** Open-addressed hash tables: place and mask (slots − 1). */
export const H_INDEX4 = 7;
export const H_INDEX4_MASK = 8;
export const H_INDEX6 = 9;
export const H_INDEX6_MASK = 10;
export const H_INTERVALS = 11;
export const H_SERVICES = 12;
export const H_SERVICE_COUNT = 13;
export const H_POOLS = 14;
export const H_POOL_COUNT = 15;
export const H_MEMBERS = 16;
export const H_BACKENDS = 17;
export const H_BACKEND_LIMIT = 18;
/** Tunnel ends of ours, for the loop guard: place and number. */
export const H_TUNNELS = 19;
export const H_TUNNEL_COUNT = 20;
/** Services that lower the MSS of SYNs. */
export const H_MSS_CLAMPS = 21;
/** What becomes of pings, and of ICMP errors about flows: one of the ICMP_ numbers each. */
export const H_ICMP_ECHO = 24;
export const H_ICMP_ERRORS = 25;
/** By interval (only the first of each index entry counts): what becomes of later fragments that come first (fragment-rules.ts). */
export const H_FRAGMENT_RULES = 26;
/** Table of server ids (server-ids.ts), 0 for none. */
export const H_SERVER_IDS = 22;
/** What services ask for beside TCP and UDP by flow: USES_ bits, and from bit 16 on the power of two that the server ids' slots are. */
export const H_PROTOCOLS = 23;
/** Pools whose table is asked for every packet, without flow table (scheme glb): 0 spares the others a look. */
export const H_STATELESS_POOLS = 28;
/** Bytes that any of its tunnels adds at most to a packet. */
export const H_MOST_OVERHEAD = 30;
/** Backends whose tunnels add something to single packets (tunnel-extra.ts). */
export const H_TUNNEL_EXTRAS = 31;
export const HEADER_WORDS = 32;

export const ICMP_ANSWER = 0;
export const ICMP_STEER = 1;
export const ICMP_DROP = 2;

/**
 * Index entries. The key word holds prefix length and protocol, plus one so that an empty slot is 0:
 *
 *     IPv4:  | address | key | first interval | intervals |
 *     IPv6:  | address × 4   | key | first interval | intervals | 0 |
 *
 * Protocol 0 is the entry of the address itself, whatever the protocol.
 */
export const INDEX4_WORDS = 4;
export const INDEX6_WORDS = 8;

export function indexKey(length: number, protocol: number): number {
  return 1 + length + (protocol << 8);
}

/** | first port | last port | service | */
export const INTERVAL_WORDS = 3;

// Service record.
export const S_POOL = 0;
export const S_AFFINITY = 1;
/** Stable id: place of the service's counters. */
export const S_ID = 2;
/** What becomes of packets too big for their tunnel. */
export const S_OVERSIZE = 3;
/** Largest MSS that a SYN may announce: 0 for any, MSS_CLAMP_AUTO for what fits the tunnel. */
export const S_MSS_CLAMP = 4;
/** How fragments of its packets find their backend: one of the FRAGMENTS_ numbers. */
export const S_FRAGMENTS = 6;
/** How QUIC connection ids are read: QUIC_ scheme, and for QUIC-LB the bytes of the server id and a bit for each config rotation. 0: not. */
export const S_QUIC = 5;
/** 1: it has all ports, or is an IPv6 prefix, so that Katran takes the destination port for 0. */
export const S_ALL_PORTS = 15;
export const SERVICE_WORDS = 16;

export const AFFINITY_TUPLE = 0;
export const AFFINITY_ADDRESSES = 1;
export const AFFINITY_SOURCE = 2;
/** Every datagram by itself. */
export const AFFINITY_NONE = 3;
/** Ports and protocol, not addresses. */
export const AFFINITY_PORTS = 4;

/** Some service has affinity none or reads connection ids: the appoint stage has something to do. */
export const USES_APPOINTMENT = 1;
/** Some service is for any protocol: what no other service takes is asked for under PROTOCOL_ANY. */
export const USES_ANY = 2;
/** Some service is for AH, which IPv6 has as an extension header. */
export const USES_AH = 4;
/** Some service has affinity ports. */
export const USES_PORTS = 8;

export const QUIC_SCHEME_MASK = 3;
export const QUIC_LB = 1;
export const QUIC_KATRAN = 2;
/** Four bits: bytes of the server id. */
export const QUIC_LENGTH_SHIFT = 4;
/** Seven bits, one for each config rotation that is read. */
export const QUIC_ROTATION_SHIFT = 8;
/** Words of a slot of the table of server ids. */
export const SERVER_ID_WORDS = 8;

export const OVERSIZE_SEGMENT = 0;
export const OVERSIZE_ICMP = 1;
export const OVERSIZE_DROP = 2;
export const OVERSIZE_SEGMENT_AND_TELL = 3;
export const OVERSIZE_FRAGMENT_INNER = 4;
export const OVERSIZE_FRAGMENT_OUTER = 5;

export const FRAGMENTS_HOLD = 0;
export const FRAGMENTS_BY_ADDRESS = 1;
export const FRAGMENTS_DROP = 2;

export const MSS_CLAMP_AUTO = -1;

// Pool record.
export const P_SIZE = 0;
export const P_SEED = 1;
/** Index in the snapshot's list of tables; −1 for none. */
export const P_TABLE = 2;
export const P_MEMBERS = 3;
export const P_PREVIOUS_SIZE = 4;
export const P_PREVIOUS_SEED = 5;
export const P_PREVIOUS_TABLE = 6;
export const P_PREVIOUS_MEMBERS = 7;
/** Seconds (the batch clock) until which the previous table answers: for TCP, and for what has no SYN to tell new flows by. */
export const P_PREVIOUS_UNTIL = 8;
export const P_PREVIOUS_UNTIL_OTHERS = 9;
/** How the table was built and is asked: a SCHEME_ number, and the place of its scheme block; of the current table and of the previous one. */
export const P_SCHEME = 10;
export const P_SCHEME_AT = 11;
export const P_PREVIOUS_SCHEME = 12;
export const P_PREVIOUS_SCHEME_AT = 13;
export const POOL_WORDS = 16;

export const SCHEME_MAGLEV = 0;
export const SCHEME_IPVS = 1;
export const SCHEME_KATRAN = 2;
export const SCHEME_GLB = 3;

/** Scheme block: how packets are hashed. Its flags, then what the scheme needs. */
export const X_FLAGS = 0;
/** katran: seeds of the address's and of the ports' hash. */
export const X_ADDRESS_SEED = 1;
export const X_PORTS_SEED = 2;
/** glb: the four words of the SipHash key; the fields of the second hash, 0 for none (X_FLAGS has those of the first). */
export const X_KEY = 1;
export const X_SECOND_FIELDS = 5;
export const SCHEME_WORDS = 8;

/** X_FLAGS of ipvs-mh. */
export const IPVS_PORT = 1;
export const IPVS_FALLBACK = 2;
/** X_FLAGS of katran. */
export const KATRAN_NO_SOURCE_PORT = 1;
export const KATRAN_DESTINATION_PORT_ONLY = 2;
export const KATRAN_BOTH_PORTS = 4;
/** X_FLAGS and X_SECOND_FIELDS of glb. */
export const GLB_SOURCE_ADDRESS = 1;
export const GLB_DESTINATION_ADDRESS = 2;
export const GLB_SOURCE_PORT = 4;
export const GLB_DESTINATION_PORT = 8;

/** Member word: the backend's id, and this bit when it has slots but takes no new flow (ipvs-mh). */
export const MEMBER_UNAVAILABLE = 1 << 30;
export const MEMBER_ID = MEMBER_UNAVAILABLE - 1;

/**
 * A tunnel source and what it sends: | destination port, 0 without UDP | family | address as 1 or 4 words of big-endian bytes, 0 … | outer IP
 * protocol |
 */
export const T_PORT = 0;
export const T_FAMILY = 1;
export const T_SOURCE = 2;
export const T_PROTOCOL = 6;
/** Of the address's last word, the bits that are always the same: −1, or fewer where flows are spread over a prefix. */
export const T_MASK = 7;
export const TUNNEL_WORDS = 8;

/**
 * Backend record, found by its stable id: two cache lines, the second one the header template.
 *
 *     IPv4 template: 20 IP + 8 UDP + 4 GUE = 32 bytes     IPv6: 40 + 8 + 4 = 52 bytes
 */
export const B_POOL = 0;
export const B_STATE = 1;
export const B_FAMILY = 2;
/** Bytes in front of the inner packet, without what single packets add (tunnel-extra.ts). */
export const B_OVERHEAD = 3;
/** Which packets get a filled outer checksum: one of the CHECKSUM_ numbers. */
export const B_CHECKSUM = 4;
/** Unfolded sum of the template's IPv4 header (total length 0, checksum 0). */
export const B_HEADER_SUM = 5;
/** Unfolded sum of the outer pseudo-header's addresses and protocol, and the UDP destination port. */
export const B_DATAGRAM_SUM = 6;
/** Seconds when this id was given to this backend: an older flow entry means somebody else. */
export const B_SINCE = 7;
/** One of the KIND_ numbers (tunnel-kind.ts). */
export const B_KIND = 8;
/** 0: GUE variant 0 as the template says, which encapsulate.ts writes word by word; else outer-headers.ts writes the outer headers. */
export const B_GENERAL = 9;
/** UDP destination ports: for inner IPv4 packets in the upper half, for inner IPv6 packets in the lower. */
export const B_PORTS = 10;
/** The most that a single packet adds to its tunnel header, bytes; 0 where none adds any. */
export const B_MOST_EXTRA = 11;
/** Header policy (header-policy.ts): 0 when the template says it all. */
export const B_POLICY = 12;
/** Mask of the bits at the end of the source address that the flow fills in. */
export const B_SPREAD = 13;
export const B_TEMPLATE = 16;
export const BACKEND_WORDS = 32;

export const CHECKSUM_NONE = 0;
export const CHECKSUM_ALL = 1;
/** Trains, where the way out can not cut them without (`trainsNeedChecksum` of io/driver.ts). */
export const CHECKSUM_TRAINS = 2;
/** All, and what came with a partial checksum leaves with it (remote-checksum.ts). */
export const CHECKSUM_REMOTE = 3;

export const STATE_ABSENT = 0;
export const STATE_SERVING = 1;
export const STATE_DRAINING = 2;
export const STATE_DOWN = 3;
