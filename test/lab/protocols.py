"""Packets of protocols without sockets of their own, and datagrams that are answered: for test/lab/protocols.test.ts.

    protocols.py count PROTOCOL ADDRESS           counts packets of an IP protocol that arrive for ADDRESS; says "ready", then a line with the count for each
    protocols.py answer ADDRESS PORT NAME         answers every datagram with NAME
    protocols.py send PROTOCOL VIP PACKETS SOURCE...   from each SOURCE so many raw packets, with ports 40000 → 2905 in front
    protocols.py ask VIP PORT PACKETS             from one socket; prints who answered how often, as JSON
"""

import collections
import json
import socket
import sys
import time

FIRST = (40000).to_bytes(2, "big") + (2905).to_bytes(2, "big")


def count(protocol, address):
    raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, int(protocol))
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    raw.bind((address, 0))
    print("ready", flush=True)
    for seen in range(1, 100_000):
        raw.recv(65536)
        print("seen", seen, flush=True)


def answer(address, port, name):
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind((address, int(port)))
    print("ready", flush=True)
    while True:
        _, client = udp.recvfrom(65536)
        udp.sendto(name.encode(), client)


def send(protocol, vip, packets, *sources):
    for source in sources:
        raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, int(protocol))
        raw.bind((source, 0))
        for number in range(int(packets)):
            raw.sendto(FIRST + number.to_bytes(4, "big") + bytes(60), (vip, 0))
            time.sleep(0.001)


def ask(vip, port, packets):
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.settimeout(5)
    names = collections.Counter()
    for _ in range(int(packets)):
        udp.sendto(b"who", (vip, int(port)))
        names[udp.recv(100).decode()] += 1
    print(json.dumps(names))


globals()[sys.argv[1]](*sys.argv[2:])
