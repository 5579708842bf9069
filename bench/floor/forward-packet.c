/*
 * The floor of the bench forward for ingress and egress `packet`: a ring of frames (TPACKET_V2) of the director's size, filled behind the director's own
 * filter, and one sendmmsg of the batch on a second packet socket (src/io/packet). The same system calls in the same order (the ring until it is empty or the batch
 * full; sendmmsg; poll when nothing was there), packets sent from where the kernel put them. It writes constant headers and looks at nothing.
 *
 *     forward-packet DEVICE SOURCE WORKER WORKER-MAC PORT FILTER   FILTER: code,if-true,if-false,k/…   prints "ready"; ends by a signal
 *
 * BLOCK, BLOCKS, FRAME and RESERVE are the ring's shape (src/io/packet/ring.ts).
 */
#include "link.h"
#include <linux/filter.h>
#include <sys/eventfd.h>

#define FRAMES (BLOCK / FRAME * BLOCKS)

static int packet_socket(void) {
    int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
    if (fd < 0) die("AF_PACKET");
    return fd;
}

static void set(int fd, int level, int name, int value, const char *what) {
    if (setsockopt(fd, level, name, &value, sizeof value) < 0) die(what);
}

static void bind_to(int fd, unsigned index, int protocol) {
    struct sockaddr_ll name = {.sll_family = AF_PACKET, .sll_protocol = htons((uint16_t)protocol), .sll_ifindex = (int)index};
    if (bind(fd, (struct sockaddr *)&name, sizeof name) < 0) die("bind");
}

static void attach(int fd, const char *text) {
    static struct sock_filter code[4096];
    unsigned short count = 0;
    int used;
    unsigned value[4];
    for (; sscanf(text, "%u,%u,%u,%u/%n", value, value + 1, value + 2, value + 3, &used) == 4; text += used)
        code[count++] = (struct sock_filter){(uint16_t)value[0], (uint8_t)value[1], (uint8_t)value[2], value[3]};
    struct sock_fprog program = {count, code};
    if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) < 0) die("SO_ATTACH_FILTER");
}

int main(int argc, char **argv) {
    if (argc != 7) {
        fprintf(stderr, "usage: forward-packet DEVICE SOURCE WORKER WORKER-MAC PORT FILTER\n");
        return 2;
    }
    build_headers(argv[1], argv[2], argv[3], argv[4], atoi(argv[5]));
    unsigned index = interface_named(argv[1]);
    int in = packet_socket(), out = packet_socket();
    attach(in, "6,0,0,0/");
    set(in, SOL_PACKET, PACKET_VNET_HDR, 1, "PACKET_VNET_HDR");
    set(in, SOL_PACKET, PACKET_AUXDATA, 1, "PACKET_AUXDATA");
    set(in, SOL_PACKET, PACKET_IGNORE_OUTGOING, 1, "PACKET_IGNORE_OUTGOING");
    set(in, SOL_SOCKET, SO_RCVBUFFORCE, 32 << 20, "SO_RCVBUFFORCE");
    set(in, SOL_PACKET, PACKET_VERSION, TPACKET_V2, "PACKET_VERSION");
    set(in, SOL_PACKET, PACKET_RESERVE, RESERVE, "PACKET_RESERVE");
    set(in, SOL_PACKET, PACKET_COPY_THRESH, 1, "PACKET_COPY_THRESH");
    struct tpacket_req shape = {BLOCK, BLOCKS, FRAME, FRAMES};
    if (setsockopt(in, SOL_PACKET, PACKET_RX_RING, &shape, sizeof shape) < 0) die("PACKET_RX_RING");
    uint8_t *ring = mmap(NULL, (size_t)BLOCK * BLOCKS, PROT_READ | PROT_WRITE, MAP_SHARED, in, 0);
    if (ring == MAP_FAILED) die("mmap");
    bind_to(in, index, ETH_P_ALL);
    attach(out, "6,0,0,0/");
    set(out, SOL_SOCKET, SO_SNDBUFFORCE, 8 << 20, "SO_SNDBUFFORCE");
    bind_to(out, index, 0);
    attach(in, argv[6]);

    struct mmsghdr messages[BATCH] = {0};
    struct iovec pieces[BATCH];
    uint8_t *held[BATCH];
    for (int i = 0; i < BATCH; i++) {
        messages[i].msg_hdr.msg_iov = &pieces[i];
        messages[i].msg_hdr.msg_iovlen = 1;
    }
    struct pollfd wait[2] = {{in, POLLIN, 0}, {eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), POLLIN, 0}};
    puts("ready");
    fflush(stdout);
    unsigned next = 0;
    for (int got = 0;;) {
        for (int i = 0; i < got; i++) __atomic_store_n((uint32_t *)held[i], TP_STATUS_KERNEL, __ATOMIC_SEQ_CST);
        for (got = 0; got < BATCH; got++) {
            uint8_t *frame = ring + (size_t)(next / (BLOCK / FRAME)) * BLOCK + (size_t)(next % (BLOCK / FRAME)) * FRAME;
            struct tpacket2_hdr *header = (struct tpacket2_hdr *)frame;
            if ((__atomic_load_n(&header->tp_status, __ATOMIC_SEQ_CST) & TP_STATUS_USER) == 0) break;
            held[got] = frame;
            pieces[got] = (struct iovec){encapsulate(frame + header->tp_mac, header->tp_snaplen), header->tp_snaplen + OUTER};
            next = next + 1 == FRAMES ? 0 : next + 1;
        }
        if (got == 0) {
            poll(wait, 2, 100);
            continue;
        }
        for (int at = 0; at < got;) {
            int sent = sendmmsg(out, messages + at, (unsigned)(got - at), MSG_DONTWAIT | MSG_NOSIGNAL);
            at += sent > 0 ? sent : 1;
        }
    }
}
