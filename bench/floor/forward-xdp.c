/*
 * The floor of the bench forward for ingress and egress `xdp`: one AF_XDP socket in copy mode behind the director's own program (src/io/xdp), with rings,
 * frames and wake-ups as src/io/xdp/port.ts has them: up to a batch from the receive ring; as many free frames into the fill ring as it takes; the batch into
 * the transmit ring; one sendto while the kernel wants to be woken; poll when nothing was there. It writes constant headers and looks at nothing.
 *
 *     forward-xdp DEVICE SOURCE WORKER WORKER-MAC PORT   descriptor 3: the program's map of sockets; prints "ready"; ends by a signal
 *
 * FRAME, RECEIVE, TRANSMIT and COLUMNS are the port's sizes.
 */
#include "link.h"
#include <linux/bpf.h>
#include <linux/if_xdp.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>

/* Newer than some systems' headers. */
#ifndef XDP_USE_SG
#define XDP_USE_SG (1 << 4)
#endif
#define MAX_TX_SKB_BUDGET 9

#define SOCKETS 3
#define FRAMES (RECEIVE + TRANSMIT + COLUMNS)
#define HUGE (2u << 20)

struct ring {
    uint32_t *producer, *consumer, *flags, next, mask;
    void *entries;
};

static struct ring map_ring(int fd, off_t place, const struct xdp_ring_offset *at, uint32_t entries, size_t entry) {
    uint8_t *memory = mmap(NULL, at->desc + entries * entry, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, place);
    if (memory == MAP_FAILED) die("mmap of a ring");
    return (struct ring){(uint32_t *)(memory + at->producer), (uint32_t *)(memory + at->consumer), (uint32_t *)(memory + at->flags), 0,
                         entries - 1, memory + at->desc};
}

static inline uint32_t load(const uint32_t *word) { return __atomic_load_n(word, __ATOMIC_SEQ_CST); }

static inline void store(uint32_t *word, uint32_t value) { __atomic_store_n(word, value, __ATOMIC_SEQ_CST); }

static void set(int fd, int name, const void *value, unsigned bytes, const char *what) {
    if (setsockopt(fd, SOL_XDP, name, value, bytes) < 0) die(what);
}

static uint64_t unused[FRAMES];
static unsigned unused_count, lent, sending;
static struct ring fill, received, transmit, completed;

static void lend(void) {
    unsigned count = RECEIVE - lent;
    if (count > unused_count) count = unused_count;
    unsigned room = RECEIVE - (fill.next - load(fill.consumer));
    if (count > room) count = room;
    if (count == 0) return;
    for (unsigned k = 0; k < count; k++) ((uint64_t *)fill.entries)[fill.next++ & fill.mask] = unused[--unused_count];
    store(fill.producer, fill.next);
    lent += count;
}

static void reap(void) {
    unsigned count = load(completed.producer) - completed.next;
    if (count == 0) return;
    for (unsigned k = 0; k < count; k++) {
        uint64_t at = ((uint64_t *)completed.entries)[completed.next++ & completed.mask];
        unused[unused_count++] = at - at % FRAME;
    }
    store(completed.consumer, completed.next);
    sending -= count;
}

static int open_socket(const char *device, uint8_t *memory) {
    int fd = socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0);
    if (fd < 0) die("AF_XDP");
    struct xdp_umem_reg frames = {(uint64_t)(uintptr_t)memory, (uint64_t)FRAMES * FRAME, FRAME, 0, XDP_UMEM_UNALIGNED_CHUNK_FLAG};
    set(fd, XDP_UMEM_REG, &frames, sizeof frames, "XDP_UMEM_REG");
    uint32_t receive = RECEIVE, send = TRANSMIT;
    set(fd, XDP_UMEM_FILL_RING, &receive, 4, "fill ring");
    set(fd, XDP_UMEM_COMPLETION_RING, &send, 4, "completion ring");
    set(fd, XDP_RX_RING, &receive, 4, "receive ring");
    set(fd, XDP_TX_RING, &send, 4, "transmit ring");
    struct xdp_mmap_offsets at;
    socklen_t bytes = sizeof at;
    if (getsockopt(fd, SOL_XDP, XDP_MMAP_OFFSETS, &at, &bytes) < 0) die("XDP_MMAP_OFFSETS");
    received = map_ring(fd, XDP_PGOFF_RX_RING, &at.rx, RECEIVE, sizeof(struct xdp_desc));
    transmit = map_ring(fd, XDP_PGOFF_TX_RING, &at.tx, TRANSMIT, sizeof(struct xdp_desc));
    fill = map_ring(fd, (off_t)XDP_UMEM_PGOFF_FILL_RING, &at.fr, RECEIVE, sizeof(uint64_t));
    completed = map_ring(fd, (off_t)XDP_UMEM_PGOFF_COMPLETION_RING, &at.cr, TRANSMIT, sizeof(uint64_t));
    /* Kernels that do not know it send 32 with a wake-up. */
    setsockopt(fd, SOL_XDP, MAX_TX_SKB_BUDGET, &send, 4);
    struct sockaddr_xdp name = {AF_XDP, XDP_COPY | XDP_USE_NEED_WAKEUP | XDP_USE_SG, interface_named(device), 0, 0};
    for (int attempt = 0; bind(fd, (struct sockaddr *)&name, sizeof name) < 0; attempt++) {
        /* The queue's last owner is gone a moment after it was closed. */
        if (errno == EBUSY && attempt < 400) usleep(5000);
        else if (name.sxdp_flags & XDP_USE_SG) name.sxdp_flags &= (uint16_t)~XDP_USE_SG;
        else die("bind");
    }
    return fd;
}

static void stand_behind_program(int fd) {
    uint32_t queue = 0;
    union bpf_attr attributes = {0};
    attributes.map_fd = SOCKETS;
    attributes.key = (uint64_t)(uintptr_t)&queue;
    attributes.value = (uint64_t)(uintptr_t)&fd;
    if (syscall(SYS_bpf, BPF_MAP_UPDATE_ELEM, &attributes, sizeof attributes) < 0) die("BPF_MAP_UPDATE_ELEM");
}

int main(int argc, char **argv) {
    if (argc != 6) {
        fprintf(stderr, "usage: forward-xdp DEVICE SOURCE WORKER WORKER-MAC PORT\n");
        return 2;
    }
    build_headers(argv[1], argv[2], argv[3], argv[4], atoi(argv[5]));
    uint8_t *memory = mmap(NULL, (size_t)FRAMES * FRAME + 2 * HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) die("mmap");
    memory = (uint8_t *)(((uintptr_t)memory + HUGE - 1) / HUGE * HUGE);
    madvise(memory, (size_t)FRAMES * FRAME, MADV_HUGEPAGE);
    for (int f = FRAMES - 1; f >= 0; f--) unused[unused_count++] = (uint64_t)f * FRAME;
    int fd = open_socket(argv[1], memory);
    lend();
    stand_behind_program(fd);
    struct pollfd wait[2] = {{fd, POLLIN, 0}, {eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), POLLIN, 0}};
    puts("ready");
    fflush(stdout);
    for (;;) {
        unsigned got = load(received.producer) - received.next;
        if (got == 0) {
            poll(wait, 2, 100);
            continue;
        }
        if (got > BATCH) got = BATCH;
        if (sending + got > TRANSMIT) got = TRANSMIT - sending;
        for (unsigned i = 0; i < got; i++) {
            struct xdp_desc *from = &((struct xdp_desc *)received.entries)[received.next++ & received.mask];
            /* The top 16 bits: where in its frame the packet begins. */
            uint64_t at = (from->addr & 0xffffffffffff) + (from->addr >> 48);
            uint8_t *out = encapsulate(memory + at, from->len);
            ((struct xdp_desc *)transmit.entries)[transmit.next++ & transmit.mask] =
                (struct xdp_desc){(uint64_t)(out - memory), from->len + OUTER, 0};
        }
        store(received.consumer, received.next);
        lent -= got;
        lend();
        sending += got;
        store(transmit.producer, transmit.next);
        for (int attempt = 0; attempt < 64 && load(transmit.consumer) != transmit.next && (load(transmit.flags) & XDP_RING_NEED_WAKEUP); attempt++) {
            sendto(fd, NULL, 0, MSG_DONTWAIT, NULL, 0);
            reap();
        }
        reap();
    }
}
