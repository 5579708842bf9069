/*
 * The sender of the bench forward for link-layer drivers: whole frames out of a packet socket, past the queueing discipline, as many as it can.
 *
 *     link-sender DEVICE MAC SERVICE PORT BYTES SECONDS COUNT   TCP packets with ACK, BYTES long with their IP header, of 256 flows, in frames to MAC; COUNT at most,
 *                                                               0: as many as go. Prints "sending", and at the end how many.
 */
#include "link.h"
#include <time.h>

#define FLOWS 256
#define BURST 64

static double seconds_now(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (double)at.tv_sec + (double)at.tv_nsec * 1e-9;
}

int main(int argc, char **argv) {
    if (argc != 8) {
        fprintf(stderr, "usage: link-sender DEVICE MAC SERVICE PORT BYTES SECONDS COUNT\n");
        return 2;
    }
    int port = atoi(argv[4]), bytes = atoi(argv[5]), one = 1;
    if (bytes < 40 || bytes > 9000) die("BYTES");
    static uint8_t frames[FLOWS][LINK + 9000];
    for (int f = 0; f < FLOWS; f++) {
        parse_mac(argv[2], frames[f]);
        interface_mac(argv[1], frames[f] + 6);
        frames[f][12] = 0x08;
        uint8_t *p = frames[f] + LINK;
        memcpy(p, (uint8_t[]){0x45, 0, (uint8_t)(bytes >> 8), (uint8_t)bytes, 0, 0, 0x40, 0, 64, IPPROTO_TCP, 0, 0, 10, 80, 0, 2}, 16);
        if (inet_pton(AF_INET, argv[3], p + 16) != 1) die(argv[3]);
        uint32_t sum = 0;
        for (int i = 0; i < 20; i += 2) sum += (uint32_t)(p[i] << 8 | p[i + 1]);
        uint16_t checksum = (uint16_t)~fold(sum);
        p[10] = (uint8_t)(checksum >> 8);
        p[11] = (uint8_t)checksum;
        p[20] = 0x80;
        p[21] = (uint8_t)f;
        p[22] = (uint8_t)(port >> 8);
        p[23] = (uint8_t)port;
        p[32] = 0x50;
        p[33] = 0x10;
    }
    struct mmsghdr messages[FLOWS] = {0};
    struct iovec pieces[FLOWS];
    for (int f = 0; f < FLOWS; f++) {
        pieces[f] = (struct iovec){frames[f], (size_t)(LINK + bytes)};
        messages[f].msg_hdr.msg_iov = &pieces[f];
        messages[f].msg_hdr.msg_iovlen = 1;
    }
    int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
    struct sockaddr_ll name = {.sll_family = AF_PACKET, .sll_ifindex = (int)interface_named(argv[1])};
    if (fd < 0 || setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &one, sizeof one) < 0) die("AF_PACKET");
    if (bind(fd, (struct sockaddr *)&name, sizeof name) < 0) die("bind");
    puts("sending");
    fflush(stdout);
    double until = seconds_now() + atof(argv[6]);
    unsigned long sent = 0, most = strtoul(argv[7], NULL, 10);
    for (int at = 0; seconds_now() < until && (most == 0 || sent < most); at = (at + BURST) % FLOWS) {
        unsigned due = most == 0 || most - sent > BURST ? BURST : (unsigned)(most - sent);
        int done = sendmmsg(fd, messages + at, due, 0);
        if (done > 0) sent += (unsigned long)done;
        else if (errno != ENOBUFS && errno != EAGAIN) die("sendmmsg");
    }
    printf("%lu\n", sent);
    return 0;
}
