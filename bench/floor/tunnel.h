/* What both programs need: a TUN queue as the director opens it, and the words of their errors. */
#ifndef TUNNEL_H
#define TUNNEL_H
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

/* virtio-net header with its buffer count. */
#define VNET 12
#define GUE 4
/* src/base/arena.ts */
#define HEADROOM 128
#define STRIDE 65728
#define RECORD 256

static void die(const char *what) {
    perror(what);
    exit(1);
}

/* Bytes of IP and TCP header when the IPv4 packet is TCP without IP options; 0 otherwise. */
static inline int tcp_headers(const uint8_t *packet, int length) {
    if (length < 40 || packet[0] != 0x45 || packet[9] != IPPROTO_TCP) return 0;
    int headers = 20 + ((packet[32] >> 4) << 2);
    return headers <= length ? headers : 0;
}

static inline uint16_t fold(uint32_t sum) {
    sum = (sum >> 16) + (sum & 0xffff);
    return (uint16_t)(sum + (sum >> 16));
}

/* One queue of a TUN device. `flags`: IFF_MULTI_QUEUE, O_NONBLOCK is the caller's affair. */
static inline int open_tun(const char *name, int open_flags, unsigned offloads) {
    int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | open_flags);
    if (fd < 0) die("/dev/net/tun");
    struct ifreq request = {0};
    strncpy(request.ifr_name, name, IFNAMSIZ - 1);
    request.ifr_flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE;
    if (ioctl(fd, TUNSETIFF, &request) < 0) die("TUNSETIFF");
    int size = VNET;
    if (ioctl(fd, TUNSETVNETHDRSZ, &size) < 0) die("TUNSETVNETHDRSZ");
    if (offloads != 0 && ioctl(fd, TUNSETOFFLOAD, offloads) < 0) die("TUNSETOFFLOAD");
    return fd;
}

#endif
