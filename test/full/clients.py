"""Both ends of a transfer whose packets nobody may cut: clients.py ROLE KIND HERE THERE PORT BYTES.

KIND  tcp   as every client sends
      md5   TCP-MD5 (RFC 2385): each segment is signed as its sender made it
      udp   datagrams that may not be fragmented, as large as the kernel says that the path carries; one at a time, sent again until answered

The server says `ready`, then the SHA-256 of what it got. The client says, as JSON, what its kernel held for the path's MTU or the segment size
before and after, and the SHA-256 of what it sent.
"""
import hashlib
import json
import socket
import struct
import sys

role, kind, here, there = sys.argv[1:5]
port, size = int(sys.argv[5]), int(sys.argv[6])
six = ':' in here
family = socket.AF_INET6 if six else socket.AF_INET
PATIENCE = 20
TCP_MAXSEG, TCP_MD5SIG = 2, 14
# linux/in.h and linux/in6.h: level, MTU_DISCOVER, PMTUDISC_DO, MTU.
level, discover, do, path_mtu = (socket.IPPROTO_IPV6, 23, 2, 24) if six else (socket.IPPROTO_IP, 10, 2, 14)
block = hashlib.sha512(b'gue-director').digest() * 1024


def body():
    left = size
    while left > 0:
        piece = block[: min(left, len(block))]
        yield piece
        left -= len(piece)


def sent_hash():
    total = hashlib.sha256()
    for piece in body():
        total.update(piece)
    return total.hexdigest()


def sign(s):
    """struct tcp_md5sig: address of the peer, flags, prefix, key length, interface, key."""
    peer = socket.inet_pton(family, there)
    name = struct.pack('=HHI16sI100x', family, 0, 0, peer, 0) if six else struct.pack('=HH4s120x', family, 0, peer)
    s.setsockopt(socket.IPPROTO_TCP, TCP_MD5SIG, name + struct.pack('=BBHi80s', 0, 0, 3, 0, b'key'))


def serve_tcp(s):
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind((here, port))
    s.listen()
    print('ready', flush=True)
    connection, _ = s.accept()
    connection.settimeout(PATIENCE)
    got = hashlib.sha256()
    while data := connection.recv(1 << 18):
        got.update(data)
    return got.hexdigest()


def send_tcp(s):
    s.connect((there, port))
    before = s.getsockopt(socket.IPPROTO_TCP, TCP_MAXSEG)
    for piece in body():
        s.sendall(piece)
    after = s.getsockopt(socket.IPPROTO_TCP, TCP_MAXSEG)
    s.shutdown(socket.SHUT_WR)
    assert s.recv(1) == b''
    return {'before': before, 'after': after}


def serve_udp(s):
    s.bind((here, port))
    print('ready', flush=True)
    got, expected = hashlib.sha256(), 0
    while True:
        data, peer = s.recvfrom(65535)
        (number,) = struct.unpack_from('!I', data)
        if number == expected:
            got.update(data[4:])
            expected += 1
        s.sendto(struct.pack('!I', number), peer)
        if len(data) == 4:
            return got.hexdigest()


def send_udp(s):
    s.setsockopt(level, discover, do)
    s.connect((there, port))
    s.settimeout(0.5)
    mtu = before = s.getsockopt(level, path_mtu)
    stream, told = b''.join(body()), 0
    at = number = tries = 0
    done = False
    while not done:
        room = mtu - (48 if six else 28) - 4
        piece = stream[at : at + room]
        done = len(piece) == 0
        tries = 0
        while True:
            try:
                s.send(struct.pack('!I', number) + piece)
                while struct.unpack('!I', s.recv(64))[0] != number:
                    pass
                break
            except socket.timeout:
                tries += 1
                assert tries < PATIENCE * 2, 'no answer'
            except OSError as error:
                # EMSGSIZE: the answer to this or an earlier datagram, or the kernel's own word. The same bytes go in smaller ones.
                if error.errno != 90:
                    raise
                told += 1
                assert told < 100, 'told again and again'
                mtu = s.getsockopt(level, path_mtu)
                piece = piece[: mtu - (48 if six else 28) - 4]
        at += len(piece)
        number += 1
    return {'before': before, 'after': mtu, 'told': told}


with socket.socket(family, socket.SOCK_DGRAM if kind == 'udp' else socket.SOCK_STREAM) as s:
    s.settimeout(PATIENCE)
    if kind == 'md5':
        sign(s)
    if role == 'server':
        print(serve_udp(s) if kind == 'udp' else serve_tcp(s), flush=True)
    else:
        result = send_udp(s) if kind == 'udp' else send_tcp(s)
        print(json.dumps({**result, 'sha256': sent_hash()}), flush=True)
