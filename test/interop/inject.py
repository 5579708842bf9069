"""Sends whole IP packets as they are: one line of standard input each, its bytes in hexadecimal. Linux fills in the IPv4 identification
when it is 0, and the header checksum."""
import ipaddress, socket, sys

four = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
six = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW)
for line in sys.stdin:
    packet = bytes.fromhex(line)
    if packet[0] >> 4 == 4:
        four.sendto(packet, (str(ipaddress.ip_address(packet[16:20])), 0))
    else:
        six.sendto(packet, (str(ipaddress.ip_address(packet[24:40])), 0))
