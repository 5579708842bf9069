"""A NAT that forgets: relays one client's UDP to a server, and gives it a new source address and port again and again.

    nat.py LISTEN-PORT SERVER SERVER-PORT PACKETS MOVES ADDRESS...

Listens on 127.0.0.1. After every PACKETS packets of the client, and not more often than every 30 ms, it sends from the next ADDRESS and a port
that the kernel picks, MOVES times at most for each source port of the client. Answers to the places before still arrive. Each place is a line of
its output: "place ADDRESS PORT".
"""

import selectors
import socket
import sys
import time

PAUSE = 0.03
LARGEST = 65536


def main():
    listen, server, port, packets, moves = int(sys.argv[1]), sys.argv[2], *(int(word) for word in sys.argv[3:6])
    addresses = sys.argv[6:]
    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    inside = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    inside.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    inside.bind(("127.0.0.1", listen))
    select = selectors.DefaultSelector()
    select.register(inside, selectors.EVENT_READ, None)
    # For each client: the socket in use, packets since the last move, moves left, when it moved last.
    clients = {}
    turn = 0

    def place(client):
        nonlocal turn
        outside = socket.socket(family, socket.SOCK_DGRAM)
        outside.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        outside.bind((addresses[turn % len(addresses)], 0))
        turn += 1
        outside.connect((server, port))
        select.register(outside, selectors.EVENT_READ, client)
        print("place", *outside.getsockname()[:2], flush=True)
        return outside

    print("ready", flush=True)
    while True:
        for key, _ in select.select():
            if key.data is not None:
                try:
                    inside.sendto(key.fileobj.recv(LARGEST), key.data)
                except ConnectionError:
                    pass
                continue
            data, client = inside.recvfrom(LARGEST)
            state = clients.get(client)
            now = time.monotonic()
            if state is None:
                state = clients[client] = [place(client), 0, moves, now]
            elif state[1] >= packets and state[2] > 0 and now - state[3] >= PAUSE:
                state[:] = [place(client), 0, state[2] - 1, now]
            state[1] += 1
            try:
                state[0].send(data)
            except ConnectionError:
                pass


main()
