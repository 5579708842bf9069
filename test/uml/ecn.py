"""Sends IP packets as they are, or collects the packets that ICMP errors quote.

send      lines of hex on standard input, whole IP packets
collect N prints "ready", then for N quoted UDP packets "source-port traffic-class", whatever the family; gives up after a while
"""
import select
import socket
import struct
import sys

if sys.argv[1] == "send":
    four = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    six = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW)
    for line in sys.stdin:
        packet = bytes.fromhex(line.strip())
        if packet[0] >> 4 == 4:
            four.sendto(packet, (socket.inet_ntop(socket.AF_INET, packet[16:20]), 0))
        else:
            six.sendto(packet, (socket.inet_ntop(socket.AF_INET6, packet[24:40]), 0))
else:
    four = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    six = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
    print("ready", flush=True)
    left = int(sys.argv[2])
    while left > 0:
        ready, _, _ = select.select([four, six], [], [], 5)
        if not ready:
            break
        for source in ready:
            message = source.recv(65536)
            if source is four:
                message = message[(message[0] & 15) * 4 :]
                if message[0] != 3:
                    continue
                quote = message[8:]
                transport = (quote[0] & 15) * 4
                traffic_class = quote[1]
            else:
                if message[0] != 1:
                    continue
                quote = message[8:]
                transport = 40
                traffic_class = (quote[0] & 15) << 4 | quote[1] >> 4
            print(struct.unpack("!H", quote[transport : transport + 2])[0], traffic_class, flush=True)
            left -= 1
