/*
 * The floor of the benches forward and latency: what the director's tun ingress and raw egress can not avoid for single packets, in C. The same system
 * calls in the same order (poll; readv until the queue is empty or the batch full; one sendmmsg of the whole batch on one raw socket), the same
 * memory (slots with headroom). In front of each packet it writes the same bytes but for two lengths; it looks at nothing.
 *
 *     forward DEVICE SOURCE WORKER PORT THREADS   prints "ready" when the device is there; ends by a signal
 */
#include "tunnel.h"
#include <pthread.h>

#define BATCH 64
#define OUTER 32

static struct sockaddr_in worker = {.sin_family = AF_INET};
static uint8_t outer[OUTER] = {0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, IPPROTO_UDP, 0, 0};

struct queue {
    int tun, out;
};

static void *forward(void *argument) {
    struct queue *queue = argument;
    uint8_t *arena = mmap(NULL, (size_t)BATCH * STRIDE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (arena == MAP_FAILED) die("mmap");
    struct virtio_net_hdr headers[BATCH][2];
    uint8_t spill[8];
    struct mmsghdr messages[BATCH] = {0};
    struct iovec pieces[BATCH];
    for (int i = 0; i < BATCH; i++) {
        messages[i].msg_hdr.msg_name = &worker;
        messages[i].msg_hdr.msg_namelen = sizeof worker;
        messages[i].msg_hdr.msg_iov = &pieces[i];
        messages[i].msg_hdr.msg_iovlen = 1;
    }
    struct pollfd wait = {queue->tun, POLLIN, 0};
    for (;;) {
        int got = 0;
        while (got < BATCH) {
            uint8_t *packet = arena + (size_t)got * STRIDE + HEADROOM;
            struct iovec into[3] = {{headers[got], VNET}, {packet, STRIDE - HEADROOM}, {spill, sizeof spill}};
            ssize_t read = readv(queue->tun, into, 3);
            if (read < VNET) break;
            size_t total = (size_t)read - VNET + OUTER;
            uint8_t *out = packet - OUTER;
            memcpy(out, outer, OUTER);
            out[2] = (uint8_t)(total >> 8);
            out[3] = (uint8_t)total;
            out[24] = (uint8_t)((total - 20) >> 8);
            out[25] = (uint8_t)(total - 20);
            pieces[got++] = (struct iovec){out, total};
        }
        if (got == 0) {
            poll(&wait, 1, 100);
            continue;
        }
        for (int at = 0; at < got;) {
            int sent = sendmmsg(queue->out, messages + at, (unsigned)(got - at), MSG_DONTWAIT | MSG_NOSIGNAL);
            at += sent > 0 ? sent : 1;
        }
    }
    return NULL;
}

int main(int argc, char **argv) {
    if (argc != 6) {
        fprintf(stderr, "usage: forward DEVICE SOURCE WORKER PORT THREADS\n");
        return 2;
    }
    if (inet_pton(AF_INET, argv[2], outer + 12) != 1) die(argv[2]);
    if (inet_pton(AF_INET, argv[3], outer + 16) != 1) die(argv[3]);
    memcpy(&worker.sin_addr, outer + 16, 4);
    int port = atoi(argv[4]), threads = atoi(argv[5]);
    outer[20] = 0xf0;
    outer[22] = (uint8_t)(port >> 8);
    outer[23] = (uint8_t)port;
    outer[29] = 4;
    struct queue *queues = calloc((size_t)threads, sizeof *queues);
    for (int t = 0; t < threads; t++) {
        queues[t].tun = open_tun(argv[1], O_NONBLOCK, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN);
        queues[t].out = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW);
        if (queues[t].out < 0) die("socket");
        int buffer = 1 << 20;
        if (setsockopt(queues[t].out, SOL_SOCKET, SO_SNDBUFFORCE, &buffer, sizeof buffer) < 0) die("SO_SNDBUFFORCE");
    }
    puts("ready");
    fflush(stdout);
    for (int t = 1; t < threads; t++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, forward, &queues[t]) != 0) die("pthread_create");
    }
    forward(&queues[0]);
}
