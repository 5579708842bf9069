"""Runs in the guest: what the kernel's IPVS makes of packets.

Standard input: JSON {"setup": [shell lines], "cases": [{"endpoint": address, "packets": [[hexadecimal, start, offset], ...]}, ...]}. Each packet
comes in on a TUN device as a whole IP packet; where `start` is not negative its transport checksum is partial (NEEDS_CSUM), to be summed from
`start` and put at `start + offset`. Output: JSON, for each case a list of what left for its endpoint, hexadecimal, null for a packet that
caused nothing.
"""
import fcntl, ipaddress, json, os, select, struct, subprocess, sys

IFF_TUN, IFF_NO_PI, IFF_VNET_HDR, TUNSETIFF = 1, 0x1000, 0x4000, 0x400454CA
NEEDS_CSUM = 1


def tun(name, flags):
    descriptor = os.open('/dev/net/tun', os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(descriptor, TUNSETIFF, struct.pack('16sH22x', name, IFF_TUN | IFF_NO_PI | flags))
    return descriptor


def left_for(wire, endpoint, patience):
    """The next packet for `endpoint` on the wire, or None."""
    while select.select([wire], [], [], patience)[0]:
        packet = os.read(wire, 65600)
        destination = packet[16:20] if packet[0] >> 4 == 4 else packet[24:40]
        if destination == endpoint:
            return packet.hex()
    return None


clients = tun(b'clients', IFF_VNET_HDR)
wire = tun(b'wire', 0)
question = json.load(sys.stdin)
for line in question['setup']:
    subprocess.run(line, shell=True, check=True)
answers = []
for case in question['cases']:
    endpoint = ipaddress.ip_address(case['endpoint']).packed
    made = []
    for text, start, offset in case['packets']:
        partial = start >= 0
        header = struct.pack('<BBHHHH', NEEDS_CSUM if partial else 0, 0, 0, 0, start if partial else 0, offset if partial else 0)
        os.write(clients, header + bytes.fromhex(text))
        made.append(left_for(wire, endpoint, 0.3))
    answers.append(made)
json.dump(answers, sys.stdout)
