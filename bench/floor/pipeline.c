/*
 * The packet path in C: what src/pipeline does to a plain packet (TCP or UDP by flow, GUE variant 0), as a C programmer would write it. It reads the
 * same snapshot, keeps the same flow table, and writes the same bytes: test/full/pipeline-floor.ts compares them. The constants of
 * src/pipeline/layout.ts come from there, as -D options (build.ts).
 *
 * Two passes over a batch of packets: parse, find the service, hash, ask for the flow's cache line; then flow table, Maglev slot, outer headers, guard,
 * counters. Left out is what those packets never need, but not the question whether they do: super-packets, partial checksums, IPv6 extension
 * headers, fragments, ICMP, other protocols, packets too big for their tunnel. Such a packet is dropped.
 *
 *     pipeline KEY0 KEY1 ENTRIES SNAPSHOT…   then commands on standard input, an answer to each on standard output:
 *         select SNAPSHOT FAMILY FLOWS       makes a case ready (FLOWS 0: every packet a new flow) and warms up; "ready"
 *         round BATCHES                      ns of CPU time per packet with the path, and of filling the batch alone; packets not forwarded
 *         serve MS PERCENT PROCESSOR         works for so many milliseconds by the wall clock, this share of the time and asleep otherwise, kept on a
 *                                            processor (-1: on none): packets, batches that took more than a millisecond, ns of the longest
 *     pipeline KEY0 KEY1 ENTRIES --packets SNAPSHOT
 *         standard input: for each batch | now | count | then count × | length | bytes |, 32-bit words of the machine's order
 *         standard output: for each packet | length, 0 when dropped | bytes |; at the end the words of the flow table
 */
#define _GNU_SOURCE
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#define BATCH 64
/* src/base/arena.ts */
#define HEADROOM 128
#define STRIDE 2112
/* src/pipeline/flow-table.ts */
#define WAYS 4
#define ID_MASK 0xffffffu
#define CONFIRMED (1u << 24)
#define CONFIRM_WITHIN 60
#define CONFIRMED_IDLE 600
#define MAX_AGE ((1u << 26) - 1)
/* Egress: bench/pipeline.ts. */
#define PORT_BASE 49152
#define PORT_MASK 16383
#define PATH_MTU 1600

#define MAX_BACKENDS 65536
#define MAX_SERVICES 1024

enum { TCP = 6, UDP = 17, SYN = 2, RST = 4, ACK = 16 };
enum { FORWARD = 1, DROP = 0 };
enum {
    NONE, NOT_IP, TRUNCATED, MALFORMED_IP, MALFORMED_TRANSPORT, NOT_A_SERVICE, TTL_EXPIRED, LOOP, NOT_PLAIN, NO_BACKEND, TOO_BIG, TUNNEL_LENGTH,
    REASONS
};

struct entry {
    uint32_t low, high, state;
    int32_t seen;
};
struct bucket {
    struct entry way[WAYS];
};

struct packet {
    uint8_t *frame, *transport, *out, *tunnel;
    uint32_t length, total;
    uint8_t virtio_flags, gso_type;
    uint8_t family, protocol, tcp_flags, verdict, reason, outer_family;
    int32_t service, backend;
    uint32_t hash, low, high, ports, out_length;
};

struct snapshot {
    int32_t *words;
    uint16_t **tables;
};

static struct snapshot snapshot;
static uint32_t key0, key1;
static struct bucket *buckets;
static uint32_t mask;
static int32_t now;
static struct packet packets[BATCH];
static int count;
static int32_t path_mtu[MAX_BACKENDS];
static struct {
    uint64_t packets, bytes;
} per_backend[MAX_BACKENDS], per_service[MAX_SERVICES];
static uint64_t drops[REASONS], received, received_bytes, forwarded, forwarded_bytes, batches, hits, misses, inserts, evictions, refused;

static void die(const char *what) {
    perror(what);
    exit(1);
}

static inline uint32_t load16(const uint8_t *at) {
    uint16_t value;
    memcpy(&value, at, 2);
    return __builtin_bswap16(value);
}
static inline uint32_t load32(const uint8_t *at) {
    uint32_t value;
    memcpy(&value, at, 4);
    return __builtin_bswap32(value);
}
static inline void store16(uint8_t *at, uint32_t value) {
    uint16_t swapped = __builtin_bswap16((uint16_t)value);
    memcpy(at, &swapped, 2);
}
static inline void store32(uint8_t *at, uint32_t value) {
    value = __builtin_bswap32(value);
    memcpy(at, &value, 4);
}

/* src/maglev-hash/mix.ts, flow-hash.ts */
static inline uint32_t mix32(uint32_t x) {
    x = (x ^ x >> 16) * 0x7feb352d;
    x = (x ^ x >> 15) * 0x846ca68b;
    return x ^ x >> 16;
}
static inline uint32_t absorb(uint32_t state, uint32_t word) {
    uint32_t x = (state ^ word) * 0xac4c1b51;
    return x ^ x >> 15;
}
static inline uint32_t flow_hash4(const uint8_t *addresses, uint32_t ports, uint32_t protocol) {
    uint32_t h = absorb(0xa4093822 ^ protocol * 0x082efa99, load32(addresses));
    return mix32(absorb(absorb(h, load32(addresses + 4)), ports));
}
static inline uint32_t flow_hash6(const uint8_t *addresses, uint32_t ports, uint32_t protocol) {
    uint32_t s = 0xa4093822 ^ protocol * 0x082efa99, d = 0x299f31d0;
    for (int i = 0; i < 16; i += 4) {
        s = absorb(s, load32(addresses + i));
        d = absorb(d, load32(addresses + 16 + i));
    }
    return mix32(absorb(absorb(s, d * 0x7feb352d), ports));
}

/* src/maglev-hash/half-siphash.ts */
struct sip {
    uint32_t v0, v1, v2, v3;
};
static inline uint32_t rotate(uint32_t x, int by) { return x << by | x >> (32 - by); }
static inline void sip_round(struct sip *s) {
    s->v0 += s->v1;
    s->v1 = rotate(s->v1, 5) ^ s->v0;
    s->v0 = rotate(s->v0, 16);
    s->v2 += s->v3;
    s->v3 = rotate(s->v3, 8) ^ s->v2;
    s->v0 += s->v3;
    s->v3 = rotate(s->v3, 7) ^ s->v0;
    s->v2 += s->v1;
    s->v1 = rotate(s->v1, 13) ^ s->v2;
    s->v2 = rotate(s->v2, 16);
}
static inline void sip_word(struct sip *s, uint32_t word) {
    s->v3 ^= word;
    sip_round(s);
    s->v0 ^= word;
}
static inline void fingerprint(struct packet *p, const uint8_t *addresses, int bytes) {
    struct sip s = {key0, key1, 0x6c796765 ^ key0, 0x74656462 ^ key1};
    for (int i = 0; i < bytes; i += 4) sip_word(&s, load32(addresses + i));
    sip_word(&s, p->ports);
    sip_word(&s, (uint32_t)(bytes + 5) << 24 | p->protocol);
    s.v2 ^= 0xff;
    sip_round(&s);
    sip_round(&s);
    sip_round(&s);
    p->low = s.v1 ^ s.v3;
    p->high = s.v0 ^ s.v2;
}

/* src/pipeline/service-index.ts: the longest prefix that has a service for this protocol and port. */
static inline uint32_t mix4(uint32_t address, uint32_t key) {
    uint32_t h = (address ^ key * 0x9e3779b1) * 0x85ebca6b;
    return h ^ h >> 15;
}
static int service_of_port(const int32_t *words, int first, int count, int port) {
    const int32_t *intervals = words + words[H_INTERVALS];
    int low = first, high = first + count - 1;
    while (low <= high) {
        int middle = (low + high) / 2;
        const int32_t *one = intervals + middle * INTERVAL_WORDS;
        if (port < one[0]) high = middle - 1;
        else if (port > one[1]) low = middle + 1;
        else return one[2];
    }
    return -1;
}
static inline uint32_t prefix_mask(int bits) { return bits <= 0 ? 0 : bits >= 32 ? ~0u : ~0u << (32 - bits); }
static int find_service(const int32_t *words, int family, const uint8_t *destination, uint32_t protocol, int port) {
    const int32_t *lengths = words + words[family == 4 ? H_LENGTHS4 : H_LENGTHS6];
    int lengths_count = words[family == 4 ? H_LENGTHS4_COUNT : H_LENGTHS6_COUNT];
    for (int i = 0; i < lengths_count; i++) {
        int length = lengths[i];
        int32_t key = 1 + length + (int32_t)(protocol << 8);
        if (family == 4) {
            const int32_t *table = words + words[H_INDEX4];
            uint32_t network = load32(destination) & prefix_mask(length);
            for (uint32_t slot = mix4(network, (uint32_t)key);; slot++) {
                const int32_t *one = table + (slot & (uint32_t)words[H_INDEX4_MASK]) * INDEX4_WORDS;
                if (one[1] == 0) break;
                if (one[1] != key || (uint32_t)one[0] != network) continue;
                int found = service_of_port(words, one[2], one[3], port);
                if (found >= 0) return found;
                break;
            }
        } else {
            const int32_t *table = words + words[H_INDEX6];
            uint32_t a = load32(destination) & prefix_mask(length), b = load32(destination + 4) & prefix_mask(length - 32);
            uint32_t c = load32(destination + 8) & prefix_mask(length - 64), d = load32(destination + 12) & prefix_mask(length - 96);
            uint32_t h = mix4(mix4(mix4(mix4(a, (uint32_t)key) ^ b, 0x3c6ef372) ^ c, 0x1b873593) ^ d, 0x5bd1e995);
            for (uint32_t slot = h;; slot++) {
                const int32_t *one = table + (slot & (uint32_t)words[H_INDEX6_MASK]) * INDEX6_WORDS;
                if (one[4] == 0) break;
                if (one[4] != key || (uint32_t)one[0] != a || (uint32_t)one[1] != b || (uint32_t)one[2] != c || (uint32_t)one[3] != d)
                    continue;
                int found = service_of_port(words, one[5], one[6], port);
                if (found >= 0) return found;
                break;
            }
        }
    }
    return -1;
}

/* src/pipeline/recent-services.ts: the answers that were last given, by their whole question. */
static struct recent {
    uint32_t address[4], key;
    int32_t service;
    uint32_t pad[2];
} recent[256];
static inline int recent_service(const int32_t *words, int family, const uint8_t *destination, uint32_t protocol, uint32_t port) {
    uint32_t key = protocol << 16 | port, a = load32(destination), b = 0, c = 0, d = 0;
    if (family == 6) {
        b = load32(destination + 4);
        c = load32(destination + 8);
        d = load32(destination + 12);
        key |= 1u << 31;
    }
    struct recent *one = recent + ((a ^ b ^ c ^ d ^ key) * 0x9e3779b1 >> 24);
    if (((one->address[0] ^ a) | (one->address[1] ^ b) | (one->address[2] ^ c) | (one->address[3] ^ d) | (one->key ^ key)) == 0)
        return one->service;
    int found = find_service(words, family, destination, protocol, (int)port);
    if (found >= 0) *one = (struct recent){{a, b, c, d}, key, found, {0, 0}};
    return found;
}

/* src/pipeline/own-tunnel.ts, for UDP */
static int is_own_tunnel(const struct packet *p, const int32_t *words) {
    for (int t = 0; t < words[H_TUNNEL_COUNT]; t++) {
        const int32_t *one = words + words[H_TUNNELS] + t * TUNNEL_WORDS;
        if (one[T_PROTOCOL] != UDP || one[T_PORT] != (int32_t)(p->ports & 0xffff) || one[T_FAMILY] != p->family) continue;
        const uint8_t *source = p->frame + (p->family == 4 ? 12 : 8);
        int last = p->family == 4 ? 0 : 3;
        uint32_t differ = 0;
        for (int w = 0; w <= last; w++) {
            uint32_t bits = load32(source + w * 4) ^ (uint32_t)one[T_SOURCE + w];
            differ |= w == last ? bits & (uint32_t)one[T_MASK] : bits;
        }
        if (differ == 0) return 1;
    }
    return 0;
}

/* Parses the packet, finds its service and computes its hashes. Returns a reason to drop it, or NONE. */
static inline int classify(struct packet *p, const int32_t *words) {
    uint8_t *at = p->frame;
    uint32_t length = p->length;
    if (length == 0) return TRUNCATED;
    const uint8_t *addresses;
    uint8_t hops;
    if (at[0] >> 4 == 4) {
        if (length < 20) return TRUNCATED;
        uint32_t header = (uint32_t)(at[0] & 15) * 4, total = load16(at + 2);
        if (header < 20 || total < header) return MALFORMED_IP;
        if (total > length) return TRUNCATED;
        if ((load16(at + 6) & 0x3fff) != 0) return NOT_PLAIN;
        p->family = 4;
        p->total = total;
        p->transport = at + header;
        p->protocol = at[9];
        hops = at[8];
        addresses = at + 12;
    } else if (at[0] >> 4 == 6) {
        if (length < 40) return TRUNCATED;
        uint32_t total = 40 + load16(at + 4);
        if (total > length) return TRUNCATED;
        p->family = 6;
        p->total = total;
        p->transport = at + 40;
        p->protocol = at[6];
        hops = at[7];
        addresses = at + 8;
    } else {
        return NOT_IP;
    }
    if (p->protocol != TCP && p->protocol != UDP) return NOT_PLAIN;
    uint8_t *transport = p->transport, *end = at + p->total;
    if (transport + 4 > end) return MALFORMED_TRANSPORT;
    uint32_t ports = load32(transport);
    p->service = recent_service(words, p->family, addresses + (p->family == 4 ? 4 : 16), p->protocol, ports & 0xffff);
    if (p->service < 0) return NOT_A_SERVICE;
    p->ports = ports;
    p->tcp_flags = 0;
    if (p->protocol == TCP) {
        if (end - transport < 20) return MALFORMED_TRANSPORT;
        uint32_t header = (uint32_t)(transport[12] >> 4) * 4;
        if (header < 20 || header > end - transport) return MALFORMED_TRANSPORT;
        p->tcp_flags = transport[13];
    } else {
        if (end - transport < 8) return MALFORMED_TRANSPORT;
        uint32_t datagram = load16(transport + 4);
        if (datagram < 8 || datagram > end - transport) return MALFORMED_TRANSPORT;
    }
    if (hops < 1) return TTL_EXPIRED;
    if (p->gso_type != 0 || (p->virtio_flags & 1) != 0) return NOT_PLAIN;
    if (p->protocol == UDP && is_own_tunnel(p, words)) return LOOP;
    if (p->family == 4) {
        p->hash = flow_hash4(addresses, ports, p->protocol);
        fingerprint(p, addresses, 8);
    } else {
        p->hash = flow_hash6(addresses, ports, p->protocol);
        fingerprint(p, addresses, 32);
    }
    return NONE;
}

/* src/pipeline/choice.ts */
static inline int serves(const int32_t *words, int id, int pool) {
    if (id < 0 || id >= words[H_BACKEND_LIMIT]) return 0;
    const int32_t *backend = words + words[H_BACKENDS] + id * BACKEND_WORDS;
    return backend[B_POOL] == pool && (backend[B_STATE] == STATE_SERVING || backend[B_STATE] == STATE_DRAINING);
}
static inline int table_backend(const int32_t *words, uint32_t hash, int table, int32_t seed, int32_t size, int members) {
    if (table < 0) return -1;
    uint32_t slot = (uint32_t)((uint64_t)mix32(hash ^ (uint32_t)seed) * (uint32_t)size >> 32);
    return words[members + snapshot.tables[table][slot]];
}
static int previous_backend(const int32_t *words, const int32_t *pool, const struct packet *p) {
    if (now >= pool[p->protocol == TCP ? P_PREVIOUS_UNTIL : P_PREVIOUS_UNTIL_OTHERS]) return -1;
    return table_backend(words, p->hash, pool[P_PREVIOUS_TABLE], pool[P_PREVIOUS_SEED], pool[P_PREVIOUS_SIZE], pool[P_PREVIOUS_MEMBERS]);
}
static inline int current_backend(const int32_t *words, const int32_t *pool, const struct packet *p) {
    return table_backend(words, p->hash, pool[P_TABLE], pool[P_SEED], pool[P_SIZE], pool[P_MEMBERS]);
}

/* src/pipeline/flow-table.ts: how much an entry is worth replacing. Without branches, as there: which one goes is random. */
static inline uint32_t worth(const struct entry *e, uint32_t tie) {
    uint32_t age = (uint32_t)(now - e->seen);
    age = (int32_t)age < 0 ? 0 : age & MAX_AGE;
    return (uint32_t)(e->state == 0) << 30 | (~e->state >> 24 & 1) << 29 | age << 2 | tie;
}
static inline uint32_t larger(uint32_t a, uint32_t b) { return a > b ? a : b; }
static void insert(const struct packet *p, int backend) {
    struct entry *way = buckets[p->low & mask].way;
    uint32_t turn = p->high & 3;
    uint32_t best = larger(larger(worth(way, 3 ^ turn), worth(way + 1, 2 ^ turn)), larger(worth(way + 2, 1 ^ turn), worth(way + 3, turn)));
    if (best < 1u << 29 && best >> 2 < CONFIRMED_IDLE) {
        refused++;
        return;
    }
    struct entry *victim = way + (3 - ((best ^ turn) & 3));
    evictions += (~best >> 30 & 1) & ((best >> 2 & MAX_AGE) < CONFIRMED_IDLE);
    *victim = (struct entry){p->low, p->high, (uint32_t)(backend + 1), now};
    inserts++;
}

/* src/pipeline/steer.ts. Returns a reason to drop the packet, or NONE. */
static int steer_anew(struct packet *p, const int32_t *words, const int32_t *service, struct entry *entry, int initial) {
    int pool_number = service[S_POOL];
    const int32_t *pool = words + words[H_POOLS] + pool_number * POOL_WORDS;
    int id = -1, followers = -1;
    misses++;
    if (entry == NULL) {
        int previous = previous_backend(words, pool, p);
        if (!serves(words, previous, pool_number)) previous = -1;
        if (!initial) id = previous;
        else if (pool[P_PREVIOUS_TABLE] >= 0 && now < pool[P_PREVIOUS_UNTIL]) followers = previous >= 0 ? previous : current_backend(words, pool, p);
    }
    if (id < 0) id = current_backend(words, pool, p);
    if (id < 0) return NO_BACKEND;
    p->backend = id;
    if ((initial && (followers < 0 || followers == id)) || (p->tcp_flags & RST) != 0) return NONE;
    if (entry != NULL) {
        entry->seen = now;
        entry->state = (uint32_t)(id + 1) | CONFIRMED;
    } else {
        insert(p, id);
    }
    return NONE;
}
static inline int steer(struct packet *p, const int32_t *words) {
    const int32_t *service = words + words[H_SERVICES] + p->service * SERVICE_WORDS;
    int initial = p->protocol == TCP && (p->tcp_flags & (SYN | ACK | RST)) == SYN;
    struct entry *entry = buckets[p->low & mask].way, *end = entry + WAYS;
    while (entry < end && (entry->low != p->low || entry->high != p->high || entry->state == 0)) entry++;
    if (entry == end) return steer_anew(p, words, service, NULL, initial);
    int known = (int)(entry->state & ID_MASK) - 1;
    const int32_t *backend = words + words[H_BACKENDS] + known * BACKEND_WORDS;
    if (!serves(words, known, service[S_POOL]) || entry->seen < backend[B_SINCE]) return steer_anew(p, words, service, entry, initial);
    if (!initial) {
        int32_t seen = entry->seen;
        if (seen != now) entry->seen = now;
        if ((entry->state & CONFIRMED) == 0 && now - seen <= CONFIRM_WITHIN) entry->state |= CONFIRMED;
    }
    hits++;
    p->backend = known;
    return NONE;
}

/* Internet checksum of `length` bytes, not complemented, folded. */
static inline uint32_t fold(uint64_t sum) {
    sum = (sum >> 32) + (sum & 0xffffffff);
    sum = (sum >> 16) + (sum & 0xffff);
    sum = (sum >> 16) + (sum & 0xffff);
    return (uint32_t)((sum >> 16) + (sum & 0xffff));
}
static uint32_t sum16(const uint8_t *at, uint32_t length, uint32_t initial) {
    uint64_t sum = 0;
    for (; length >= 4; length -= 4, at += 4) {
        uint32_t word;
        memcpy(&word, at, 4);
        sum += word;
    }
    if (length >= 2) {
        uint16_t word;
        memcpy(&word, at, 2);
        sum += word;
        at += 2;
        length -= 2;
    }
    if (length != 0) sum += *at;
    return fold((uint64_t)__builtin_bswap16((uint16_t)fold(sum)) + initial);
}

/* src/pipeline/encapsulate.ts: the template in front of the packet, and what differs from packet to packet. */
static inline int encapsulate(struct packet *p, const int32_t *words) {
    const int32_t *backend = words + words[H_BACKENDS] + p->backend * BACKEND_WORDS;
    /* src/pipeline/segment-stage.ts: packets that fit are not looked at further. */
    if (path_mtu[p->backend] != 0 && (int32_t)p->total + words[H_MOST_OVERHEAD] > path_mtu[p->backend]) return TOO_BIG;
    if (backend[B_GENERAL] != 0) return NOT_PLAIN;
    const uint8_t *template = (const uint8_t *)(backend + B_TEMPLATE);
    int outer4 = backend[B_FAMILY] == 4, inner4 = p->family == 4;
    uint32_t network_bytes = outer4 ? 20 : 40, overhead = network_bytes + 12, total = overhead + p->total;
    if ((outer4 ? total : total - 40) > 65535) return TOO_BIG;
    uint8_t *inner = p->frame, *out = inner - overhead, *udp = out + network_bytes, *gue = udp + 8;
    uint32_t traffic_class = inner4 ? inner[1] : (load16(inner) >> 4 & 0xff);
    uint32_t datagram = p->total + 12, port = PORT_BASE + ((p->hash ^ p->hash >> 16) & PORT_MASK), protocol = inner4 ? 4 : 41;
    memcpy(out, template, 20);
    if (outer4) {
        uint32_t sum = (uint32_t)backend[B_HEADER_SUM] + traffic_class + total;
        store32(out, 0x45000000 | traffic_class << 16 | total);
        store16(out + 10, ~((sum & 0xffff) + (sum >> 16) + (((sum & 0xffff) + (sum >> 16)) >> 16)));
    } else {
        memcpy(out + 20, template + 20, 20);
        store32(out, 0x60000000 | traffic_class << 20);
        store16(out + 4, datagram);
    }
    memcpy(udp, template + network_bytes, 4);
    store16(udp, port);
    store32(udp + 4, datagram << 16);
    store32(gue, protocol << 16);
    if (backend[B_CHECKSUM] == CHECKSUM_ALL) {
        const uint8_t *from = inner4 ? p->transport : inner;
        uint32_t start = (uint32_t)backend[B_DATAGRAM_SUM] + datagram * 2 + port + protocol;
        uint32_t checksum = ~sum16(from, (uint32_t)(inner + p->total - from), start) & 0xffff;
        store16(udp + 6, checksum == 0 ? 0xffff : checksum);
    }
    p->out = out;
    p->out_length = total;
    p->tunnel = gue;
    p->outer_family = outer4 ? 4 : 6;
    return NONE;
}

/* src/pipeline/offsets.ts: what is about to leave is one whole tunnel packet, in its slot. */
static inline int guard(const struct packet *p, const uint8_t *slot) {
    const uint8_t *inner = p->frame, *end = p->out + p->out_length;
    int header = (int)(p->transport - inner);
    int right = p->out >= slot && end <= slot + STRIDE && inner + p->total == end && p->transport > inner && p->transport <= end &&
                p->tunnel == p->out + (p->outer_family == 4 ? 28 : 48) && inner - p->tunnel == 4 + (p->tunnel[0] & 0x1f) * 4 &&
                p->out[0] >> 4 == p->outer_family && inner[0] >> 4 == p->family && p->tunnel[1] == (p->family == 4 ? 4 : 41) &&
                (p->family == 4 ? inner[0] == (0x40 | header >> 2) : header >= 40) && (header & 3) == 0;
    return right ? NONE : TUNNEL_LENGTH;
}

static inline void account(const struct packet *p, const int32_t *words) {
    received++;
    received_bytes += p->length;
    if (p->service >= 0) {
        int id = words[words[H_SERVICES] + p->service * SERVICE_WORDS + S_ID];
        if (id >= MAX_SERVICES) id = MAX_SERVICES - 1;
        per_service[id].packets++;
        per_service[id].bytes += p->total;
    }
    if (p->verdict == FORWARD) {
        forwarded++;
        forwarded_bytes += p->out_length;
        per_backend[p->backend].packets++;
        per_backend[p->backend].bytes += p->total;
    } else {
        drops[p->reason]++;
    }
}

static uint8_t *arena;

static void process(void) {
    const int32_t *words = snapshot.words;
    for (int i = 0; i < count; i++) {
        struct packet *p = packets + i;
        p->service = -1;
        p->reason = (uint8_t)classify(p, words);
        if (p->reason == NONE) __builtin_prefetch(buckets + (p->low & mask), 1);
    }
    for (int i = 0; i < count; i++) {
        struct packet *p = packets + i;
        if (p->reason == NONE) p->reason = (uint8_t)steer(p, words);
        if (p->reason == NONE) p->reason = (uint8_t)encapsulate(p, words);
        if (p->reason == NONE) p->reason = (uint8_t)guard(p, arena + (size_t)i * STRIDE);
        p->verdict = p->reason == NONE ? FORWARD : DROP;
        account(p, words);
    }
    batches++;
}

static void *huge(size_t bytes) {
    const size_t page = 2 << 20;
    uint8_t *memory = mmap(NULL, bytes + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) die("mmap");
    memory += -(uintptr_t)memory % page;
    madvise(memory, bytes, MADV_HUGEPAGE);
    return memory;
}

/* | words of the root | root | tables | for each: slots, slots × 16 bits | as build.ts wrote it. */
static struct snapshot load_snapshot(const char *path) {
    FILE *file = fopen(path, "rb");
    if (file == NULL) die(path);
    uint32_t head;
    struct snapshot loaded;
    if (fread(&head, 4, 1, file) != 1) die(path);
    loaded.words = aligned_alloc(64, ((size_t)head * 4 + 63) & ~(size_t)63);
    if (fread(loaded.words, 4, head, file) != head) die(path);
    if (fread(&head, 4, 1, file) != 1) die(path);
    loaded.tables = calloc(head + 1, sizeof *loaded.tables);
    for (uint32_t t = 0, tables = head; t < tables; t++) {
        if (fread(&head, 4, 1, file) != 1) die(path);
        loaded.tables[t] = calloc(head, 2);
        if (fread(loaded.tables[t], 2, head, file) != head) die(path);
    }
    fclose(file);
    return loaded;
}

/* The bench's packets: bench/pipeline.ts `template`, `fill`. */
static int bench_family, bench_flows;
static uint32_t counter;

static void fill(void) {
    int source = bench_family == 4 ? 12 : 20, port = bench_family == 4 ? 20 : 40;
    for (int i = 0; i < BATCH; i++) {
        struct packet *p = packets + i;
        p->verdict = p->reason = 0;
        counter = bench_flows == 0 ? counter + 1 : counter + 1 >= (uint32_t)bench_flows ? 0 : counter + 1;
        uint32_t flow = counter * 0x9e3779b1;
        store32(p->frame + source, (flow & 0x00ffffff) | 0x0a000000);
        store16(p->frame + port, 1024 + (flow >> 24));
    }
    /* A driver's packets are read by somebody else: their bytes must be there. */
    __asm__ volatile("" ::: "memory");
}

static void prepare(int family, int flows) {
    static const uint8_t packet4[60] = {0x45, 0, 0, 60, 0, 0, 0x40, 0, 63, TCP, 0, 0, 198, 51, 100, 7, 192, 0, 2, 1, 0x9c, 0x40, 1, 187,
                                        0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x10};
    static const uint8_t packet6[80] = {0x60, 0, 0, 0, 0, 40, TCP, 63, 0x20, 1, 0xd, 0xb8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
                                        0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0x9c, 0x40, 1, 187, 0, 0, 0, 0, 0, 0, 0, 0,
                                        0x50, 0x10};
    bench_family = family;
    bench_flows = flows;
    counter = 0;
    count = BATCH;
    now = 100;
    memset(buckets, 0, ((size_t)mask + 1) * sizeof *buckets);
    for (int i = 0; i < BATCH; i++) {
        packets[i] = (struct packet){.frame = arena + (size_t)i * STRIDE + HEADROOM, .length = family == 4 ? 60 : 80};
        memcpy(packets[i].frame, family == 4 ? packet4 : packet6, packets[i].length);
    }
    long warm = flows == 0 ? 1000000 : flows * 2 > 100000 ? flows * 2 : 100000;
    for (long b = 0; b < warm / BATCH; b++) {
        fill();
        process();
    }
}

/* Of this thread: while others have the processor it stands still. */
static double clock_ns(void) {
    struct timespec at;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &at);
    return (double)at.tv_sec * 1e9 + (double)at.tv_nsec;
}

static double wall_ns(void) {
    struct timespec at;
    clock_gettime(CLOCK_BOOTTIME, &at);
    return (double)at.tv_sec * 1e9 + (double)at.tv_nsec;
}

static void keep_on(int processor) {
    cpu_set_t set;
    CPU_ZERO(&set);
    for (int n = 0; n < CPU_SETSIZE; n++) if (processor < 0 || n == processor) CPU_SET(n, &set);
    if (sched_setaffinity(0, sizeof set, &set) != 0) die("sched_setaffinity");
}

/* bench/memory-thread.ts: a millisecond of work, then the sleep that belongs to it; what is timed is from batch to batch, without the sleep. */
static void serve(int milliseconds, int percent, int processor) {
    keep_on(processor);
    uint64_t before = forwarded;
    long pauses = 0;
    double worked = 0, longest = 0, last = wall_ns(), end = last + milliseconds * 1e6;
    while (last < end) {
        fill();
        process();
        double at = wall_ns(), took = at - last;
        if (took > 1e6) pauses++;
        if (took > longest) longest = took;
        worked += took;
        last = at;
        if (percent >= 100 || worked < 1e6) continue;
        double rest = worked * 100 / percent - worked;
        struct timespec nap = {(time_t)(rest / 1e9), (long)rest % 1000000000};
        nanosleep(&nap, NULL);
        worked = 0;
        last = wall_ns();
    }
    printf("%ld %ld %.0f\n", (long)(forwarded - before), pauses, longest);
}

static void bench(int snapshots, char **paths) {
    struct snapshot *loaded = calloc((size_t)snapshots, sizeof *loaded);
    for (int s = 0; s < snapshots; s++) loaded[s] = load_snapshot(paths[s]);
    char line[256];
    while (fgets(line, sizeof line, stdin) != NULL) {
        int which, family, flows, rounds, percent, processor;
        if (sscanf(line, "select %d %d %d", &which, &family, &flows) == 3 && which < snapshots) {
            snapshot = loaded[which];
            memset(recent, 0, sizeof recent);
            prepare(family, flows);
            puts("ready");
        } else if (sscanf(line, "round %d", &rounds) == 1) {
            uint64_t before = forwarded;
            double start = clock_ns();
            for (int b = 0; b < rounds; b++) {
                fill();
                process();
            }
            double middle = clock_ns();
            for (int b = 0; b < rounds; b++) fill();
            double end = clock_ns();
            double each = (double)rounds * BATCH;
            printf("%.3f %.3f %ld\n", (middle - start) / each, (end - middle) / each, (long)((uint64_t)rounds * BATCH - (forwarded - before)));
        } else if (sscanf(line, "serve %d %d %d", &rounds, &percent, &processor) == 3 && percent > 0) {
            serve(rounds, percent, processor);
        } else {
            fprintf(stderr, "pipeline: not a command: %s", line);
            exit(2);
        }
        fflush(stdout);
    }
}

static uint32_t read_word(void) {
    uint32_t word;
    if (fread(&word, 4, 1, stdin) != 1) die("standard input");
    return word;
}

static void pass(const char *path) {
    snapshot = load_snapshot(path);
    uint32_t word;
    while (fread(&word, 4, 1, stdin) == 1) {
        now = (int32_t)word;
        count = (int)read_word();
        if (count > BATCH) exit(2);
        for (int i = 0; i < count; i++) {
            uint32_t length = read_word();
            packets[i] = (struct packet){.frame = arena + (size_t)i * STRIDE + HEADROOM, .length = length};
            if (length > STRIDE - HEADROOM || fread(packets[i].frame, 1, length, stdin) != length) die("standard input");
        }
        process();
        for (int i = 0; i < count; i++) {
            uint32_t length = packets[i].verdict == FORWARD ? packets[i].out_length : 0;
            fwrite(&length, 4, 1, stdout);
            fwrite(packets[i].out, 1, length, stdout);
        }
    }
    fwrite(buckets, sizeof *buckets, (size_t)mask + 1, stdout);
}

int main(int argc, char **argv) {
    if (argc < 5) {
        fprintf(stderr, "usage: pipeline KEY0 KEY1 ENTRIES [--packets] SNAPSHOT…\n");
        return 2;
    }
    key0 = (uint32_t)strtol(argv[1], NULL, 0);
    key1 = (uint32_t)strtol(argv[2], NULL, 0);
    uint32_t entries = (uint32_t)strtol(argv[3], NULL, 0);
    mask = entries / WAYS - 1;
    buckets = huge((size_t)entries * sizeof(struct entry));
    arena = aligned_alloc(4096, (((size_t)BATCH * STRIDE) + 4095) & ~(size_t)4095);
    for (int id = 0; id < MAX_BACKENDS; id++) path_mtu[id] = PATH_MTU;
    if (strcmp(argv[4], "--packets") == 0) pass(argv[5]);
    else bench(argc - 4, argv + 4);
    return 0;
}
