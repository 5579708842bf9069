"""Runs in the guest: restores rules into the kernel's IPVS and asks for the real server of many flows.

Standard input: JSON {"rules": text for ipvsadm-restore, "addresses": [addresses and prefixes], "marks": [[mark, prefix, protocol], ...], "flows": [[protocol,
client, port, address, port], ...]}. The addresses become local, packets to a mark's prefix and protocol get the mark, and the first packet of each flow (a TCP SYN, a UDP datagram, an SCTP INIT) is injected through a TUN device. Output: JSON
{"list": text of /proc/net/ip_vs, "saved": text of ipvsadm-save -n, "made": [[protocol, client, port, address, port, server, server port], ...]},
of every connection that the kernel made.
"""
import ipaddress, json, os, struct, subprocess, sys

from ipvs_guest import connections, folded, open_tun, run

NUMBERS = {'tcp': 6, 'udp': 17, 'sctp': 132}


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def transport(protocol, port, to, pseudo):
    if protocol == 'sctp':
        chunk = struct.pack('!BBHIIHHI', 1, 0, 20, 1, 65536, 1, 1, 1)
        bare = struct.pack('!HHII', port, to, 0, 0) + chunk
        return bare[:8] + struct.pack('<I', crc32c(bare)) + chunk
    if protocol == 'udp':
        data = struct.pack('!HHHH', port, to, 8, 0)
        return data[:6] + struct.pack('!H', folded(pseudo(len(data)) + data) or 0xFFFF)
    data = struct.pack('!HHIIBBHHH', port, to, 1, 0, 0x50, 2, 65535, 0, 0)
    return data[:16] + struct.pack('!H', folded(pseudo(len(data)) + data)) + data[18:]


def packet(protocol, client, port, address, to):
    source, target = ipaddress.ip_address(client), ipaddress.ip_address(address)
    number = NUMBERS[protocol]
    if source.version == 4:
        inner = transport(protocol, port, to, lambda size: source.packed + target.packed + struct.pack('!HH', number, size))
        head = struct.pack('!BBHHHBBH4s4s', 0x45, 0, 20 + len(inner), 0, 0, 64, number, 0, source.packed, target.packed)
        return head[:10] + struct.pack('!H', folded(head)) + head[12:] + inner
    inner = transport(protocol, port, to, lambda size: source.packed + target.packed + struct.pack('!II', size, number))
    return struct.pack('!IHBB', 6 << 28, len(inner), number, 64) + source.packed + target.packed + inner


question = json.load(sys.stdin)
tun = open_tun()
for six in (False, True):
    routes = ['route add local %s dev lo\n' % address for address in question['addresses'] if (':' in address) == six]
    run('ip', *(['-6'] if six else []), '-batch', '-', input=''.join(routes))
if question['marks']:
    run('tc', 'qdisc', 'add', 'dev', 'flows', 'ingress')
for mark, prefix, protocol in question['marks']:
    family = 'ipv6' if ':' in prefix else 'ip'
    match = ['protocol', family, 'flower', 'ip_proto', protocol, 'dst_ip', prefix]
    run('tc', 'filter', 'add', 'dev', 'flows', 'parent', 'ffff:', *match, 'action', 'skbedit', 'mark', str(mark))
run('ipvsadm', '-R', input=question['rules'])
for flow in question['flows']:
    os.write(tun, packet(*flow))
with open('/proc/net/ip_vs') as lines:
    listed = lines.read()
saved = run('ipvsadm-save', '-n', stdout=subprocess.PIPE).stdout
json.dump({'list': listed, 'saved': saved, 'made': connections()}, sys.stdout)
