/*
 * Sender and receiver of the benches forward and latency.
 *
 *     traffic send SOURCE SERVICE PORT BYTES RATE SECONDS   TCP packets with ACK, BYTES long with their IP header, of 256 flows; RATE a second, 0: as many
 *                                                         as it can. Each has the time it left in its first 8 bytes of payload (from 48 bytes on).
 *                                                         Prints how many; "sending" to standard error when it begins.
 *     traffic refuse PORT                                 takes GUE packets and drops them at the socket, as cheaply as can be; on each line of standard
 *                                                         input it prints when (CLOCK_MONOTONIC, ns) and how many packets eth0 had received by then
 *     traffic receive PORT                                takes GUE packets; on each line of standard input it prints, of the packets since the last:
 *                                                         count, and how long they took: 50th, 99th and 99.9th percentile and the longest, ns
 */
#include "tunnel.h"
#include <linux/filter.h>
#include <sys/prctl.h>
#include <time.h>

#define FLOWS 256
#define BURST 32
#define HEADERS 40

static uint64_t now_ns(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (uint64_t)at.tv_sec * 1000000000u + (uint64_t)at.tv_nsec;
}

static int send_packets(char **argv) {
    struct sockaddr_in service = {.sin_family = AF_INET};
    int port = atoi(argv[2]), bytes = atoi(argv[3]);
    double rate = atof(argv[4]), seconds = atof(argv[5]);
    static uint8_t packets[BURST][65536];
    struct mmsghdr messages[BURST] = {0};
    struct iovec pieces[BURST];
    int fd = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW);
    /* Packets count against it until the director has read them: a small one would pace the sender by its reader. */
    int buffer = 64 << 20;
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &buffer, sizeof buffer) < 0) die("socket");
    for (int i = 0; i < BURST; i++) {
        uint8_t *p = packets[i];
        memcpy(p, (uint8_t[]){0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, IPPROTO_TCP, 0, 0}, 12);
        p[2] = (uint8_t)(bytes >> 8);
        p[3] = (uint8_t)bytes;
        if (inet_pton(AF_INET, argv[0], p + 12) != 1) die(argv[0]);
        if (inet_pton(AF_INET, argv[1], p + 16) != 1) die(argv[1]);
        p[22] = (uint8_t)(port >> 8);
        p[23] = (uint8_t)port;
        p[32] = 0x50;
        p[33] = 0x10;
        pieces[i] = (struct iovec){p, (size_t)bytes};
        messages[i].msg_hdr.msg_name = &service;
        messages[i].msg_hdr.msg_namelen = sizeof service;
        messages[i].msg_hdr.msg_iov = &pieces[i];
        messages[i].msg_hdr.msg_iovlen = 1;
    }
    memcpy(&service.sin_addr, packets[0] + 16, 4);
    prctl(PR_SET_TIMERSLACK, 1);
    fputs("sending\n", stderr);
    uint64_t start = now_ns(), end = start + (uint64_t)(seconds * 1e9), sent = 0, skipped = 0;
    for (uint64_t now = start; now < end; now = now_ns()) {
        int due = BURST;
        if (rate > 0) {
            uint64_t owed = (uint64_t)((double)(now - start) / 1e9 * rate) + 1;
            /* What a busy machine kept it from sending is not sent later all at once. */
            if (owed > sent + BURST) {
                skipped += owed - BURST - sent;
                sent = owed - BURST;
            }
            due = (int)(owed - sent);
        }
        for (int i = 0; i < due; i++) {
            uint32_t flow = (uint32_t)(sent + (uint64_t)i) % FLOWS;
            packets[i][20] = (uint8_t)(0x80 | flow >> 8);
            packets[i][21] = (uint8_t)flow;
            if (bytes >= HEADERS + 8) memcpy(packets[i] + HEADERS, &now, 8);
        }
        if (due > 0) {
            int done = sendmmsg(fd, messages, (unsigned)due, 0);
            if (done < 0 && errno != ENOBUFS && errno != EAGAIN) die("sendmmsg");
            sent += (uint64_t)due;
        }
        if (rate > 0) {
            uint64_t next = start + (uint64_t)((double)sent / rate * 1e9);
            /* Not shorter than the timer can: then a few leave together. */
            uint64_t least = now + 50000;
            if (next < least) next = least;
            struct timespec until = {(time_t)(next / 1000000000u), (long)(next % 1000000000u)};
            clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
        }
    }
    printf("%lu\n", (unsigned long)(sent - skipped));
    return 0;
}

static int bound_socket(const char *port) {
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), buffer = 8 << 20;
    struct sockaddr_in mine = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &buffer, sizeof buffer) < 0) die("socket");
    if (bind(fd, (struct sockaddr *)&mine, sizeof mine) < 0) die("bind");
    return fd;
}

static void refuse_packets(const char *port) {
    int fd = bound_socket(port);
    struct sock_filter nothing = BPF_STMT(BPF_RET | BPF_K, 0);
    struct sock_fprog program = {1, &nothing};
    if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) < 0) die("SO_ATTACH_FILTER");
    puts("ready");
    fflush(stdout);
    char line[16];
    while (fgets(line, sizeof line, stdin) != NULL) {
        unsigned long packets = 0;
        FILE *counter = fopen("/sys/class/net/eth0/statistics/rx_packets", "r");
        if (counter == NULL || fscanf(counter, "%lu", &packets) != 1) die("eth0");
        printf("%lu %lu\n", (unsigned long)now_ns(), packets);
        fflush(stdout);
        fclose(counter);
    }
}

/* Tenths of a microsecond. */
#define CELL 100
#define CELLS 1000000
static uint32_t cells[CELLS];
static uint64_t longest, received;

static uint64_t percentile(double share) {
    uint64_t want = (uint64_t)((double)received * share), seen = 0;
    for (uint64_t c = 0; c < CELLS; c++) {
        seen += cells[c];
        if (seen > want) return c * CELL;
    }
    return longest;
}

static int receive_packets(const char *port) {
    static uint8_t buffers[BURST][2048];
    struct mmsghdr messages[BURST] = {0};
    struct iovec pieces[BURST];
    int fd = bound_socket(port);
    for (int i = 0; i < BURST; i++) {
        pieces[i] = (struct iovec){buffers[i], sizeof buffers[i]};
        messages[i].msg_hdr.msg_iov = &pieces[i];
        messages[i].msg_hdr.msg_iovlen = 1;
    }
    puts("ready");
    fflush(stdout);
    struct pollfd both[2] = {{fd, POLLIN, 0}, {0, POLLIN, 0}};
    for (;;) {
        poll(both, 2, -1);
        if (both[1].revents != 0) {
            char line[16];
            if (fgets(line, sizeof line, stdin) == NULL) return 0;
            printf("%lu %lu %lu %lu %lu\n", (unsigned long)received, (unsigned long)percentile(0.5), (unsigned long)percentile(0.99),
                   (unsigned long)percentile(0.999), (unsigned long)longest);
            fflush(stdout);
            memset(cells, 0, sizeof cells);
            longest = received = 0;
        }
        int got = recvmmsg(fd, messages, BURST, MSG_DONTWAIT, NULL);
        uint64_t now = now_ns();
        for (int i = 0; i < got; i++) {
            uint64_t left;
            if (messages[i].msg_len < GUE + HEADERS + 8) continue;
            memcpy(&left, buffers[i] + GUE + HEADERS, 8);
            uint64_t took = now - left;
            if (took > longest) longest = took;
            cells[took / CELL < CELLS ? took / CELL : CELLS - 1]++;
            received++;
        }
    }
}

int main(int argc, char **argv) {
    if (argc == 8 && strcmp(argv[1], "send") == 0) return send_packets(argv + 2);
    if (argc == 3 && strcmp(argv[1], "refuse") == 0) {
        refuse_packets(argv[2]);
        return 0;
    }
    if (argc == 3 && strcmp(argv[1], "receive") == 0) return receive_packets(argv[2]);
    fprintf(stderr, "usage: traffic send SOURCE SERVICE PORT BYTES RATE SECONDS | refuse PORT | receive PORT\n");
    return 2;
}
