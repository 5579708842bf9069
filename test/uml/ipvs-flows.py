"""Runs in the guest: asks the kernel's IPVS for the real server of many flows.

Standard input: JSON {"services": [{"protocol", "address", "port", "options": [...], "servers": [[address, port, weight], ...],
"changes": [ipvsadm arguments, ...], "flows": [[client, port], ...]}]}. For each service the servers are added in order, the commands of
"changes" are run, and one UDP datagram of each flow is injected through a TUN device. Output: JSON, one list for each service: the
order of the kernel's own server list, and [client, port, server, server port] for each connection that it made.
"""
import ipaddress, json, os, struct, sys

from ipvs_guest import connections, folded, open_tun, run, text


def datagram(client, port, address, service_port):
    source, target = ipaddress.ip_address(client), ipaddress.ip_address(address)
    udp = struct.pack('!HHHH', port, service_port, 8, 0)
    if source.version == 4:
        head = struct.pack('!BBHHHBBH4s4s', 0x45, 0, 28, 0, 0, 64, 17, 0, source.packed, target.packed)
        return head[:10] + struct.pack('!H', folded(head)) + head[12:] + udp
    pseudo = source.packed + target.packed + struct.pack('!IHBB', 8, 0, 0, 17) + udp
    udp = udp[:6] + struct.pack('!H', folded(pseudo) or 0xFFFF)
    return struct.pack('!IHBB', 6 << 28, 8, 17, 64) + source.packed + target.packed + udp


tun = open_tun()
answers = []
for service in json.load(sys.stdin)['services']:
    address, port = service['address'], service['port']
    six = ':' in address
    name = ('[%s]:%d' if six else '%s:%d') % (address, port)
    run('ip', 'addr', 'add', address + ('/128' if six else '/32'), 'dev', 'lo', *(['nodad'] if six else []))
    run('ipvsadm', '-A', '-u', name, '-s', 'mh', *service['options'])
    for server, server_port, weight in service['servers']:
        target = ('[%s]:%d' if six else '%s:%d') % (server, server_port)
        run('ipvsadm', '-a', '-u', name, '-r', target, '-m', '-w', str(weight))
    for words in service['changes']:
        run('ipvsadm', *words)
    for client, client_port in service['flows']:
        os.write(tun, datagram(client, client_port, address, port))
    order = []
    with open('/proc/net/ip_vs') as lines:
        mine = False
        for line in lines:
            words = line.split()
            if words[0] in ('UDP', 'TCP'):
                at, _, at_port = words[1].rpartition(':')
                mine = text(at) == address and int(at_port, 16) == port
            elif mine and words[0] == '->' and words[1][0] in '[0123456789ABCDEF':
                at, _, at_port = words[1].rpartition(':')
                order.append([text(at), int(at_port, 16), int(words[3])])
    made = [[c, p, s, sp] for _, c, p, to, tp, s, sp in connections() if to == address and tp == port]
    answers.append({'order': order, 'made': made})
json.dump(answers, sys.stdout)
