"""Connections that say again and again whom they reach.

    flows.py server NAME PORT            answers every line with NAME
    flows.py client ADDRESS PORT COUNT   opens COUNT connections, then for each line of standard input asks on every one of them, and prints a
                                         list: the name that answered, or what became of the connection
"""

import json
import resource
import selectors
import socket
import sys
import time

PATIENCE = 15


def serve(name, port):
    select = selectors.DefaultSelector()
    listener = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=4096)
    listener.setblocking(False)
    select.register(listener, selectors.EVENT_READ)
    print("ready", flush=True)
    while True:
        for key, _ in select.select():
            if key.fileobj is listener:
                peer, _ = listener.accept()
                peer.setblocking(False)
                select.register(peer, selectors.EVENT_READ)
                continue
            try:
                data = key.fileobj.recv(4096)
            except OSError:
                data = b""
            if data:
                key.fileobj.send(name.encode() + b"\n")
            else:
                select.unregister(key.fileobj)
                key.fileobj.close()


def ask(connections):
    select = selectors.DefaultSelector()
    said = ["silence"] * len(connections)
    waiting = set()
    for i, connection in enumerate(connections):
        try:
            connection.send(b"who\n")
            select.register(connection, selectors.EVENT_READ, i)
            waiting.add(i)
        except OSError as error:
            said[i] = error.strerror
    deadline = time.monotonic() + PATIENCE
    while waiting and time.monotonic() < deadline:
        for key, _ in select.select(0.2):
            try:
                said[key.data] = key.fileobj.recv(4096).decode().strip() or "closed"
            except OSError as error:
                said[key.data] = error.strerror
            select.unregister(key.fileobj)
            waiting.discard(key.data)
    return said


def client(address, port, count):
    connections = [socket.create_connection((address, port), timeout=PATIENCE) for _ in range(count)]
    for connection in connections:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setblocking(False)
    print("ready", flush=True)
    for _ in sys.stdin:
        print(json.dumps(ask(connections)), flush=True)


resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
if sys.argv[1] == "server":
    serve(sys.argv[2], int(sys.argv[3]))
else:
    client(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
