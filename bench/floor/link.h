/* What the floors share that write link headers: one constant Ethernet, IPv4, UDP and GUE header, two lengths in it. */
#ifndef LINK_H
#define LINK_H
#include "tunnel.h"
#include <linux/if_ether.h>
#include <linux/if_packet.h>

#define BATCH 64
#define LINK 14
#define OUTER 32

static uint8_t headers[LINK + OUTER] = {[12] = 0x08, [14] = 0x45, [20] = 0x40, [22] = 64, [23] = IPPROTO_UDP};

static void parse_mac(const char *text, uint8_t *mac) {
    if (sscanf(text, "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", mac, mac + 1, mac + 2, mac + 3, mac + 4, mac + 5) != 6) die(text);
}

static unsigned interface_named(const char *device) {
    unsigned index = if_nametoindex(device);
    if (index == 0) die(device);
    return index;
}

static void interface_mac(const char *device, uint8_t *mac) {
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct ifreq request = {0};
    strncpy(request.ifr_name, device, IFNAMSIZ - 1);
    if (fd < 0 || ioctl(fd, SIOCGIFHWADDR, &request) < 0) die("SIOCGIFHWADDR");
    memcpy(mac, request.ifr_hwaddr.sa_data, 6);
    close(fd);
}

static inline void build_headers(const char *device, const char *source, const char *worker, const char *worker_mac, int port) {
    parse_mac(worker_mac, headers);
    interface_mac(device, headers + 6);
    uint8_t *ip = headers + LINK;
    if (inet_pton(AF_INET, source, ip + 12) != 1) die(source);
    if (inet_pton(AF_INET, worker, ip + 16) != 1) die(worker);
    uint32_t sum = 0;
    for (int i = 0; i < 20; i += 2) sum += (uint32_t)(ip[i] << 8 | ip[i + 1]);
    uint16_t checksum = (uint16_t)~fold(sum);
    ip[10] = (uint8_t)(checksum >> 8);
    ip[11] = (uint8_t)checksum;
    ip[20] = 0xf0;
    ip[22] = (uint8_t)(port >> 8);
    ip[23] = (uint8_t)port;
    ip[29] = 4;
}

/* Writes the headers in front of the IP packet of a received frame, over its link header. What leaves begins OUTER bytes earlier and is OUTER bytes longer. */
static inline uint8_t *encapsulate(uint8_t *frame, size_t length) {
    uint8_t *out = frame - OUTER;
    size_t total = length - LINK + OUTER;
    memcpy(out, headers, sizeof headers);
    out[16] = (uint8_t)(total >> 8);
    out[17] = (uint8_t)total;
    out[38] = (uint8_t)((total - 20) >> 8);
    out[39] = (uint8_t)(total - 20);
    return out;
}

#endif
