# ICMP errors about flows, made by hand, and what arrives of them.
#
#   icmp_errors.py listen ADDRESS...    until SIGTERM; then, as JSON, what came: [client address, client port] of each quoted packet
#   icmp_errors.py send OPTIONS         OPTIONS as JSON: family, target, port, clients ([address, port] each); "time exceeded" about each
#
# The quote is the reply of a service on `target` to the client: its IP header, and 8 bytes of UDP.

import json
import select
import signal
import socket
import struct
import sys
import time

WINDOW = 32


def ones(data):
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def raw(six):
    if six:
        return socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
    return socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)


def quoted(six, data):
    """Client and port of the packet that an error quotes, None for another message. IPv4 comes with its IP header."""
    message = data if six else data[(data[0] & 15) * 4 :]
    if message[0] != (3 if six else 11):
        return None
    quote = message[8:]
    if six:
        return [socket.inet_ntop(socket.AF_INET6, quote[24:40]), struct.unpack("!H", quote[42:44])[0]]
    return [socket.inet_ntop(socket.AF_INET, quote[16:20]), struct.unpack("!H", quote[22:24])[0]]


def listen(addresses):
    poller = select.poll()
    sockets = {}
    for address in addresses:
        six = ":" in address
        listener = raw(six)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        listener.bind((address, 0))
        sockets[listener.fileno()] = (six, listener)
        poller.register(listener, select.POLLIN)
    seen = []

    def end(*_):
        print(json.dumps(seen, separators=(",", ":")), flush=True)
        sys.exit(0)

    signal.signal(signal.SIGTERM, end)
    print("ready", flush=True)
    while True:
        for descriptor, _ in poller.poll():
            six, listener = sockets[descriptor]
            found = quoted(six, listener.recv(2048))
            if found is not None:
                seen.append(found)


def send(options):
    six = options["family"] == 6
    kind = socket.AF_INET6 if six else socket.AF_INET
    target = options["target"]
    service = socket.inet_pton(kind, target)
    sender = raw(six)
    for k, (client, port) in enumerate(options["clients"]):
        there = socket.inet_pton(kind, client)
        transport = struct.pack("!HHHH", options["port"], port, 1208, 0)
        if six:
            quote = struct.pack("!IHBB", 6 << 28, 1208, 17, 1) + service + there + transport
            message = struct.pack("!BBHI", 3, 0, 0, 0) + quote
        else:
            header = struct.pack("!BBHHHBBH", 0x45, 0, 1228, k & 0xFFFF, 0x4000, 1, 17, 0) + service + there
            quote = header + transport
            message = struct.pack("!BBHI", 11, 0, 0, 0) + quote
            message = message[:2] + struct.pack("!H", 0xFFFF - ones(message)) + message[4:]
        sender.sendto(message, (target, 0))
        if k % WINDOW == WINDOW - 1:
            time.sleep(0.01)


if sys.argv[1] == "listen":
    listen(sys.argv[2:])
else:
    send(json.loads(sys.argv[2]))
