"""What both guest scripts do: a TUN device that packets are injected through, and the kernel's tables of IPVS as values."""
import fcntl, ipaddress, os, struct, subprocess

IFF_TUN, IFF_NO_PI, TUNSETIFF = 1, 0x1000, 0x400454CA


def run(*words, **more):
    return subprocess.run(words, check=True, text=True, **more)


def open_tun():
    """The descriptor of a TUN device that is up and the way to everywhere."""
    tun = os.open('/dev/net/tun', os.O_RDWR)
    fcntl.ioctl(tun, TUNSETIFF, struct.pack('16sH22x', b'flows', IFF_TUN | IFF_NO_PI))
    run('ip', 'link', 'set', 'flows', 'up')
    run('ip', 'link', 'set', 'lo', 'up')
    run('ip', 'route', 'add', 'default', 'dev', 'flows')
    run('ip', '-6', 'route', 'add', 'default', 'dev', 'flows')
    return tun


def folded(data):
    """The Internet checksum."""
    total = sum(struct.unpack('!%dH' % ((len(data) + 1) // 2), data + b'\0' * (len(data) & 1)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def text(word):
    """An address as /proc/net/ip_vs writes it, in the usual form."""
    word = word.strip('[]')
    if ':' in word:
        return str(ipaddress.ip_address(word))
    return str(ipaddress.ip_address(int(word, 16)))


def connections():
    """Every connection that the kernel made: (protocol, client, port, address, port, server, server port)."""
    rows = []
    with open('/proc/net/ip_vs_conn') as lines:
        for line in list(lines)[1:]:
            protocol, client, port, to, to_port, server, server_port = line.split()[:7]
            ports = int(port, 16), int(to_port, 16), int(server_port, 16)
            rows.append((protocol.lower(), text(client), ports[0], text(to), ports[1], text(server), ports[2]))
    return rows
