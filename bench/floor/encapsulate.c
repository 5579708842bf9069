/*
 * The floor of the bulk bench: what the director's tun ingress and udp egress can not avoid, in C. The same system calls in the same order
 * (poll; readv until the queue is empty or the batch full; sendmmsg with UDP_SEGMENT), the same memory (slots, header records) and the same pieces per
 * message.
 *
 * Written for each segment, as the director does: GUE header, the packet's headers, length, identification, sequence, flags.
 * Left out: parsing, finding the service, flow table, Maglev table, every checksum (TCP's over the payload above all), the guard, counters.
 * So its packets are not right, and only decapsulate.c takes them.
 *
 *     encapsulate DEVICE SOURCE WORKER PORT   prints "ready" when the device is there; ends by a signal
 */
#include "tunnel.h"

/* src/io/open.ts, src/io/device-queue.ts: packets and bytes of one batch. */
#define BATCH 64
#define BATCH_BYTES (256 * 1024)
#define PIECES 128
#define MESSAGES 512
#define MAX_BYTES 65507
#define MAX_SEGMENTS 64

static struct mmsghdr messages[MESSAGES];
static struct iovec pieces[MESSAGES][PIECES];
/* Control data as src/io/udp/control.ts lays it: source address, TOS, TTL, and for a train its segment size. */
struct entry4 {
    struct cmsghdr header;
    int value;
    int pad;
};
static struct {
    struct cmsghdr header;
    struct in_pktinfo source;
    int pad;
    struct entry4 tos, ttl, segment;
} control[MESSAGES];
static int count;
static unsigned long refused;

static void flush_to(int fd) {
    int at = 0, tried = -1;
    while (at < count) {
        int sent = sendmmsg(fd, messages + at, count - at, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent > 0) {
            at += sent;
            continue;
        }
        if (tried != at) {
            tried = at;
            struct pollfd one = {fd, POLLOUT, 0};
            if (errno == EAGAIN || errno == ENOBUFS) poll(&one, 1, 1);
            continue;
        }
        refused++;
        at++;
    }
    count = 0;
}

int main(int argc, char **argv) {
    if (argc != 5) {
        fprintf(stderr, "usage: encapsulate DEVICE SOURCE WORKER PORT\n");
        return 2;
    }
    int tun = open_tun(argv[1], O_NONBLOCK, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) die("socket");
    int buffer = 1 << 20, probe = IP_PMTUDISC_PROBE;
    if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &buffer, sizeof buffer) < 0) die("SO_SNDBUFFORCE");
    if (setsockopt(fd, IPPROTO_IP, IP_MTU_DISCOVER, &probe, sizeof probe) < 0) die("IP_MTU_DISCOVER");
    struct sockaddr_in mine = {.sin_family = AF_INET, .sin_port = htons(61440)};
    if (bind(fd, (struct sockaddr *)&mine, sizeof mine) < 0) die("bind");
    struct sockaddr_in worker = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[4]))};
    struct in_addr source;
    if (inet_pton(AF_INET, argv[2], &source) != 1) die(argv[2]);
    if (inet_pton(AF_INET, argv[3], &worker.sin_addr) != 1) die(argv[3]);

    size_t bytes = (size_t)BATCH * STRIDE + 8192 * RECORD;
    uint8_t *arena = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (arena == MAP_FAILED) die("mmap");
    uint8_t *records = arena + (size_t)BATCH * STRIDE;
    static struct virtio_net_hdr headers[BATCH][2];
    static uint8_t spill[8];
    static int lengths[BATCH];
    for (int i = 0; i < MESSAGES; i++) {
        messages[i].msg_hdr.msg_name = &worker;
        messages[i].msg_hdr.msg_namelen = sizeof worker;
        messages[i].msg_hdr.msg_iov = pieces[i];
        messages[i].msg_hdr.msg_control = &control[i];
        control[i].header = (struct cmsghdr){CMSG_LEN(sizeof(struct in_pktinfo)), IPPROTO_IP, IP_PKTINFO};
        control[i].source.ipi_spec_dst = source;
        control[i].tos = (struct entry4){{CMSG_LEN(sizeof(int)), IPPROTO_IP, IP_TOS}, 0, 0};
        control[i].ttl = (struct entry4){{CMSG_LEN(sizeof(int)), IPPROTO_IP, IP_TTL}, 64, 0};
        control[i].segment = (struct entry4){{CMSG_LEN(sizeof(uint16_t)), IPPROTO_UDP, UDP_SEGMENT}, 0, 0};
    }
    puts("ready");
    fflush(stdout);

    struct pollfd wait = {tun, POLLIN, 0};
    for (;;) {
        int got = 0;
        ssize_t total = 0;
        while (got < BATCH && total < BATCH_BYTES) {
            struct iovec into[3] = {
                {headers[got], VNET}, {arena + (size_t)got * STRIDE + HEADROOM, STRIDE - HEADROOM}, {spill, sizeof spill}};
            ssize_t read = readv(tun, into, 3);
            if (read < VNET) break;
            lengths[got++] = (int)read - VNET;
            total += read;
        }
        if (got == 0) {
            poll(&wait, 1, 100);
            continue;
        }
        uint8_t *record = records;
        /* The last message goes on with the next packet when its flow and segment size are the same and its last segment is full. */
        int open = 0, used = 0;
        uint32_t flow = 0;
        for (int i = 0; i < got; i++) {
            uint8_t *packet = arena + (size_t)i * STRIDE + HEADROOM;
            int inner = tcp_headers(packet, lengths[i]);
            int size = headers[i][0].gso_type == VIRTIO_NET_HDR_GSO_NONE ? 0 : headers[i][0].gso_size;
            if (inner == 0) continue;
            if (size == 0) {
                open = 0;
                if (count == MESSAGES) flush_to(fd);
                packet[-4] = 0;
                packet[-3] = 4;
                packet[-2] = packet[-1] = 0;
                struct msghdr *message = &messages[count].msg_hdr;
                pieces[count][0] = (struct iovec){packet - GUE, (size_t)lengths[i] + GUE};
                message->msg_iovlen = 1;
                message->msg_controllen = CMSG_SPACE(sizeof(struct in_pktinfo));
                count++;
                continue;
            }
            int payload = lengths[i] - inner;
            uint32_t sequence, identification = (uint32_t)packet[4] << 8 | packet[5];
            memcpy(&sequence, packet + 24, 4);
            sequence = ntohl(sequence);
            int segment = GUE + inner + size;
            int fit = MAX_BYTES / segment;
            if (fit > MAX_SEGMENTS) fit = MAX_SEGMENTS;
            int segments = (payload + size - 1) / size;
            uint32_t ports;
            memcpy(&ports, packet + 20, 4);
            if (open != segment || flow != ports) open = 0;
            flow = ports;
            for (int k = 0; k < segments; k++) {
                int last = k == segments - 1;
                int part = last ? payload - k * size : size;
                if (open == 0 || used == fit) {
                    if (count == MESSAGES) flush_to(fd);
                    control[count].segment.value = segment;
                    messages[count].msg_hdr.msg_controllen = sizeof control[count];
                    count++;
                    used = 0;
                }
                open = part == size ? segment : 0;
                uint8_t *out = record + 28;
                out[0] = 0;
                out[1] = 4;
                out[2] = out[3] = 0;
                memcpy(out + GUE, packet, (size_t)inner);
                uint8_t *ip = out + GUE;
                int total = inner + part;
                ip[2] = (uint8_t)(total >> 8);
                ip[3] = (uint8_t)total;
                uint32_t id = identification + (uint32_t)k;
                ip[4] = (uint8_t)(id >> 8);
                ip[5] = (uint8_t)id;
                uint32_t place = htonl(sequence + (uint32_t)(k * size));
                memcpy(ip + 24, &place, 4);
                if (!last) ip[33] &= (uint8_t) ~(0x01 | 0x08);
                pieces[count - 1][used * 2] = (struct iovec){out, (size_t)(GUE + inner)};
                pieces[count - 1][used * 2 + 1] = (struct iovec){packet + inner + k * size, (size_t)part};
                used++;
                messages[count - 1].msg_hdr.msg_iovlen = (size_t)used * 2;
                record += RECORD;
            }
        }
        flush_to(fd);
    }
}
