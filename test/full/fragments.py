# Fragments made by hand, sent in any order, and the answers to the datagrams that they make.
#
#   fragments.py server NAME PORT ADDRESS...    answers every datagram with NAME, its number, and the CRC of what came
#   fragments.py client OPTIONS                 OPTIONS as JSON; prints what it saw as JSON
#   fragments.py flood OPTIONS                  fragments of packets that never end, as fast as they go
#
# A window of datagrams is cut into fragments, these are shuffled (with bogus ones among them), sent through a raw socket, and every answer
# is awaited before the next window: what is lost, is lost on the way and not in a queue that was too short.

import json
import random
import resource
import select
import socket
import struct
import sys
import time
import zlib

# Bytes of a datagram in each fragment but the last, on a link of 1,500.
PIECE = {4: 1480, 6: 1448}
IPV6_HDRINCL = 36


def ones(data):
    """Sum of 16-bit words, folded as late as possible."""
    if len(data) % 2:
        data += b"\0"
    return sum(struct.unpack("!%dH" % (len(data) // 2), data))


def finish(total):
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF or 0xFFFF


def header4(source, target, identification, offset, more, length):
    # Total length and header checksum are the kernel's to fill (raw(7)).
    field = (0x2000 if more else 0) | offset >> 3
    return struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + length, identification & 0xFFFF or 1, field, 64, 17, 0, source, target)


def header6(source, target, identification, offset, more, length, following):
    start = struct.pack("!IHBB16s16s", 0x60000000, 8 + length, 44, 64, source, target)
    return start + struct.pack("!BBHI", following, 0, offset | (1 if more else 0), identification)


class Sender:
    def __init__(self, family):
        self.family = family
        kind = socket.AF_INET if family == 4 else socket.AF_INET6
        self.raw = socket.socket(kind, socket.SOCK_RAW, socket.IPPROTO_RAW)
        if family == 6:
            self.raw.setsockopt(socket.IPPROTO_IPV6, IPV6_HDRINCL, 1)
        self.raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8 << 20)

    def pack(self, address):
        return socket.inet_pton(socket.AF_INET if self.family == 4 else socket.AF_INET6, address)

    def fragment(self, source, target, identification, offset, more, bytes_, following=17):
        if self.family == 4:
            return header4(source, target, identification, offset, more, len(bytes_)) + bytes_
        return header6(source, target, identification, offset, more, len(bytes_), following) + bytes_

    def send(self, packet, target):
        self.raw.sendto(packet, (target, 0))


def cut(sender, source, target, identification, datagram, spread):
    """All fragments of a UDP datagram. `spread`: later ones name other next headers, which nobody may read (RFC 8200 4.5) but hashes do."""
    pieces = []
    piece = PIECE[sender.family]
    for offset in range(0, len(datagram), piece):
        part = datagram[offset : offset + piece]
        following = (17, 60, 43)[offset // piece % 3] if spread else 17
        pieces.append(sender.fragment(source, target, identification, offset, offset + piece < len(datagram), part, following))
    return pieces


def bogus(sender, target, rng):
    """A fragment of a packet of which no other comes: half of them first ones."""
    if sender.family == 4:
        source = bytes([203, 0, 113, rng.randrange(1, 255)])
    else:
        source = bytes.fromhex("20010db8") + rng.randbytes(12)
    first = rng.random() < 0.5
    body = struct.pack("!HHHH", rng.randrange(1024, 65536), PORT, 3008, 0) + bytes(56) if first else bytes(64)
    return sender.fragment(source, target, rng.getrandbits(16 if sender.family == 4 else 32), 0 if first else 1480, True, body)


PORT = 0


def server(name, port, addresses):
    poller = select.poll()
    sockets = {}
    for address in addresses:
        listener = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        listener.bind((address, port))
        sockets[listener.fileno()] = listener
        poller.register(listener, select.POLLIN)
    print("ready", flush=True)
    while True:
        for descriptor, _ in poller.poll():
            data, peer = sockets[descriptor].recvfrom(65536)
            answer = "%s %d %08x" % (name, struct.unpack("!I", data[:4])[0], zlib.crc32(data))
            sockets[descriptor].sendto(answer.encode(), peer)


class Flow:
    def __init__(self, source, port, sock):
        self.source = source
        self.port = port
        self.sock = sock
        self.owner = None


def client(options):
    global PORT
    PORT = options["port"]
    target = options["target"]
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    rng = random.Random(options["seed"])
    sender = Sender(options["family"])
    kind = socket.AF_INET if options["family"] == 4 else socket.AF_INET6
    poller = select.epoll()
    flows = {}
    order = []
    for k in range(options["flows"]):
        source = options["sources"][k % len(options["sources"])]
        sock = socket.socket(kind, socket.SOCK_DGRAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        sock.bind((source, options["firstPort"] + k))
        sock.setblocking(False)
        poller.register(sock, select.EPOLLIN)
        flow = Flow(sender.pack(source), options["firstPort"] + k, sock)
        flows[sock.fileno()] = flow
        order.append(flow)

    awaited = {}
    told = {"datagrams": 0, "fragments": 0, "bogus": 0, "lost": 0, "missteered": 0, "corrupt": 0, "strangers": 0, "workers": {}}

    def take(patience):
        deadline = time.monotonic() + patience
        while awaited and time.monotonic() < deadline:
            for descriptor, _ in poller.poll(0.05):
                flow = flows[descriptor]
                while True:
                    try:
                        answer = flow.sock.recv(200).decode().split()
                    except (BlockingIOError, ConnectionError):
                        break
                    expected = awaited.pop(int(answer[1]), None)
                    if expected is None or expected[0] is not flow:
                        told["strangers"] += 1
                        continue
                    if int(answer[2], 16) != expected[1]:
                        told["corrupt"] += 1
                    if flow.owner is None:
                        flow.owner = answer[0]
                    elif flow.owner != answer[0]:
                        told["missteered"] += 1
                    told["workers"][answer[0]] = told["workers"].get(answer[0], 0) + 1

    # A whole datagram of each flow: its worker is the one that the flow's fragments must reach.
    number = options.get("firstNumber", 0)
    owners = options.get("owners")
    if owners is not None:
        for flow, owner in zip(order, owners):
            flow.owner = owner
    for begin in range(0, len(order) if owners is None else 0, 64):
        for flow in order[begin : begin + 64]:
            number += 1
            data = struct.pack("!I", number) + b"whole"
            awaited[number] = (flow, zlib.crc32(data))
            flow.sock.sendto(data, (target, PORT))
        take(3)
    told["unanswered"] = len(awaited)
    awaited.clear()
    told["workers"] = {}

    there = sender.pack(target)
    filler = rng.randbytes(options["bytes"] - 4)
    filler_sum = ones(filler)
    length = 8 + options["bytes"]
    began = time.monotonic()
    sent = 0
    while sent < options["datagrams"]:
        packets = []
        for _ in range(min(options["window"], options["datagrams"] - sent)):
            flow = order[sent % len(order)]
            sent += 1
            number += 1
            data = struct.pack("!I", number) + filler
            pseudo = ones(flow.source + there) + 17 + length
            total = pseudo + flow.port + PORT + length + (number >> 16) + (number & 0xFFFF) + filler_sum
            datagram = struct.pack("!HHHH", flow.port, PORT, length, finish(total)) + data
            pieces = cut(sender, flow.source, there, number, datagram, options["spread"])
            told["fragments"] += len(pieces)
            packets += pieces
            awaited[number] = (flow, zlib.crc32(data))
        noise = options["bogus"]
        packets += [bogus(sender, there, rng) for _ in range(noise)]
        told["bogus"] += noise
        rng.shuffle(packets)
        for packet in packets:
            sender.send(packet, target)
        take(3)
        told["lost"] += len(awaited)
        awaited.clear()
        if told["lost"] > 50:
            break
    told["datagrams"] = sent
    told["owners"] = [flow.owner for flow in order]
    told["seconds"] = round(time.monotonic() - began, 1)
    print(json.dumps(told))


def flood(options):
    global PORT
    PORT = options["port"]
    rng = random.Random(options["seed"])
    sender = Sender(options["family"])
    there = sender.pack(options["target"])
    for _ in range(options["packets"]):
        sender.send(bogus(sender, there, rng), options["target"])
    print(json.dumps({"packets": options["packets"]}))


if sys.argv[1] == "server":
    server(sys.argv[2], int(sys.argv[3]), sys.argv[4:])
elif sys.argv[1] == "client":
    client(json.loads(sys.argv[2]))
else:
    flood(json.loads(sys.argv[2]))
