/*
 * The worker of the bulk bench, the same for the director and for its floor: GUE over UDP into a TUN device, as cheaply as user space can.
 * One recvmsg takes a train (UDP_GRO), one writev hands it to the kernel as one super-packet. It believes what it gets: no
 * checksum is verified, which would cost more than all else. A production worker lets its kernel unwrap.
 *
 * Consecutive TCP segments of one message become one super-packet; whatever does not fit begins another one.
 *
 *     decapsulate DEVICE PORT                 prints "ready" when datagrams are taken; ends by a signal
 */
#include "tunnel.h"

#define PIECES 128

static uint8_t slot[STRIDE];
static uint8_t header[VNET + 128];
static struct iovec pieces[PIECES];
static int tun;

/* Leaves the pseudo-header's sum in the checksum field, with which the kernel takes the rest for good (NEEDS_CSUM). */
static void trust(uint8_t *ip, int tcp_length) {
    uint32_t sum = IPPROTO_TCP + (uint32_t)tcp_length;
    for (int k = 12; k < 20; k += 2) sum += (uint32_t)ip[k] << 8 | ip[k + 1];
    uint16_t value = fold(sum);
    ip[36] = (uint8_t)(value >> 8);
    ip[37] = (uint8_t)value;
}

static void write_packet(const uint8_t *first, int headers, const uint8_t *last, int count, int payload, int size) {
    struct virtio_net_hdr *virtio = (struct virtio_net_hdr *)header;
    memset(header, 0, VNET);
    uint8_t *ip = header + VNET;
    memcpy(ip, first, (size_t)headers);
    int total = headers + payload;
    ip[2] = (uint8_t)(total >> 8);
    ip[3] = (uint8_t)total;
    ip[10] = ip[11] = 0;
    uint32_t sum = 0;
    for (int k = 0; k < 20; k += 2) sum += (uint32_t)ip[k] << 8 | ip[k + 1];
    uint16_t checksum = (uint16_t)~fold(sum);
    ip[10] = (uint8_t)(checksum >> 8);
    ip[11] = (uint8_t)checksum;
    ip[33] |= last[33] & (0x01 | 0x08);
    trust(ip, total - 20);
    virtio->flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
    virtio->csum_start = 20;
    virtio->csum_offset = 16;
    if (count > 1) {
        virtio->gso_type = VIRTIO_NET_HDR_GSO_TCPV4;
        virtio->gso_size = (uint16_t)size;
        virtio->hdr_len = (uint16_t)headers;
    }
    pieces[0] = (struct iovec){header, (size_t)(VNET + headers)};
    if (writev(tun, pieces, count + 1) < 0) perror("decapsulate: writev");
}

int main(int argc, char **argv) {
    if (argc != 3) {
        fprintf(stderr, "usage: decapsulate DEVICE PORT\n");
        return 2;
    }
    tun = open_tun(argv[1], 0, 0);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) die("socket");
    int on = 1, buffer = 16 << 20;
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &buffer, sizeof buffer) < 0) die("SO_RCVBUFFORCE");
    if (setsockopt(fd, IPPROTO_UDP, UDP_GRO, &on, sizeof on) < 0) die("UDP_GRO");
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[2]))};
    if (bind(fd, (struct sockaddr *)&name, sizeof name) < 0) die("bind");
    puts("ready");
    fflush(stdout);
    for (;;) {
        union {
            struct cmsghdr align;
            char bytes[CMSG_SPACE(sizeof(int))];
        } control;
        struct iovec into = {slot, sizeof slot};
        struct msghdr message = {.msg_iov = &into, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
        int length = (int)recvmsg(fd, &message, 0);
        if (length < 0) die("recvmsg");
        int datagram = length;
        struct cmsghdr *entry = CMSG_FIRSTHDR(&message);
        if (entry != NULL && entry->cmsg_level == IPPROTO_UDP && entry->cmsg_type == UDP_GRO) datagram = *(int *)CMSG_DATA(entry);
        const uint8_t *first = NULL, *last = NULL;
        int headers = 0, count = 0, payload = 0, size = 0;
        uint32_t next = 0;
        for (int at = 0; at < length; at += datagram) {
            int bytes = length - at < datagram ? length - at : datagram;
            const uint8_t *packet = slot + at + GUE;
            int inner = tcp_headers(packet, bytes - GUE);
            if (inner == 0) continue;
            int part = bytes - GUE - inner;
            uint32_t sequence;
            memcpy(&sequence, packet + 24, 4);
            sequence = ntohl(sequence);
            int joins = count > 0 && count < PIECES - 1 && inner == headers && sequence == next && part > 0 && part <= size &&
                        payload + part + headers <= 65535 && payload == count * size && memcmp(packet + 12, first + 12, 12) == 0 &&
                        memcmp(packet + 28, first + 28, 5) == 0 && (last[33] & 0x07) == 0;
            if (!joins) {
                if (count > 0) write_packet(first, headers, last, count, payload, size);
                first = packet;
                headers = inner;
                count = payload = 0;
                size = part;
            }
            last = packet;
            pieces[count + 1] = (struct iovec){(void *)(packet + inner), (size_t)part};
            count++;
            payload += part;
            next = sequence + (uint32_t)part;
        }
        if (count > 0) write_packet(first, headers, last, count, payload, size);
    }
}
