# Traffic of every kind, a little of each, for as long as its standard input stays open.
#
#   soak_traffic.py server PORT
#       sends back every datagram to PORT.
#   soak_traffic.py client PER-SECOND TCP-PORT UDP-PORT ADDRESS4 ADDRESS6
#       about PER-SECOND things a second: datagrams of 1 to 4,000 bytes (the larger ones leave in fragments), half of them from a port of their own;
#       connections that are made, used and closed; a bulk transfer of 256 KiB now and then; datagrams that no service takes. Says "ready", and one line of
#       JSON when its standard input ends.
import json, random, select, socket, struct, sys, time

NAME = 16


def source(level, info):
    # struct in_pktinfo and in6_pktinfo without the interface: it came by the tunnel device, and must not leave there.
    if level == socket.IPPROTO_IP:
        return level, 8, struct.pack('i4s4s', 0, info[4:8], bytes(4))
    return level, 50, info[:16] + struct.pack('i', 0)


def server(port):
    sockets = []
    # A socket for each family: the answer to a datagram for the service address has to come from it.
    for family, level, option in ((socket.AF_INET, socket.IPPROTO_IP, 8), (socket.AF_INET6, socket.IPPROTO_IPV6, 49)):
        one = socket.socket(family, socket.SOCK_DGRAM)
        if family == socket.AF_INET6:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        # IP_PKTINFO and IPV6_RECVPKTINFO (include/uapi/linux/in.h, in6.h); Python names only some of them.
        one.setsockopt(level, option, 1)
        one.bind(('', port))
        sockets.append(one)
    print('ready', flush=True)
    while True:
        for one in select.select(sockets, [], [])[0]:
            try:
                data, ancillary, _, sender = one.recvmsg(8192, 256)
                one.sendmsg([data], [source(level, info) for level, _, info in ancillary], 0, sender)
            except OSError:
                pass


class Client:
    def __init__(self, tcp_port, udp_port, addresses):
        self.places = {socket.AF_INET: addresses[0], socket.AF_INET6: addresses[1]}
        self.tcp_port, self.udp_port = tcp_port, udp_port
        self.random = random.Random(20261123)
        self.data = self.random.randbytes(65536)
        self.count = {'datagrams': 0, 'answered': 0, 'connections': 0, 'answered connections': 0, 'bulk': 0, 'bulk whole': 0, 'nowhere': 0}
        self.steady = {family: self.udp(family) for family in self.places}
        self.own = []

    def udp(self, family):
        one = socket.socket(family, socket.SOCK_DGRAM)
        one.setblocking(False)
        return one

    def datagram(self):
        family = self.random.choice(list(self.places))
        one = self.steady[family]
        if self.random.random() < 0.5:
            one = self.udp(family)
            self.own.append(one)
            if len(self.own) > 64:
                self.drain(self.own[0])
                self.own.pop(0).close()
        self.send(one, (self.places[family], self.udp_port), self.random.randint(1, 4000), 'datagrams')

    def send(self, one, place, length, what):
        try:
            one.sendto(self.data[:length], place)
            self.count[what] += 1
        except OSError:
            pass

    def drain(self, one):
        try:
            while True:
                one.recv(8192)
                self.count['answered'] += 1
        except OSError:
            pass

    def connection(self, pieces, what):
        family = self.random.choice(list(self.places))
        one = socket.socket(family, socket.SOCK_STREAM)
        one.settimeout(2)
        self.count[what] += 1
        try:
            one.connect((self.places[family], self.tcp_port))
            greeting = b''
            while len(greeting) < NAME:
                greeting += self.some(one)
            for _ in range(pieces):
                piece = self.data[:8192]
                one.sendall(piece)
                back = b''
                while len(back) < len(piece):
                    back += self.some(one)
                if back != piece:
                    raise OSError('other bytes')
            return True
        except OSError:
            return False
        finally:
            one.close()

    def some(self, one):
        data = one.recv(65536)
        if not data:
            raise OSError('closed')
        return data

    def run(self, per_second):
        print('ready', flush=True)
        due = time.monotonic()
        while not select.select([sys.stdin], [], [], max(0, due - time.monotonic()))[0]:
            due = max(due + 1 / per_second, time.monotonic() - 1)
            draw = self.random.random()
            if draw < 0.9:
                self.datagram()
            elif draw < 0.98:
                self.count['answered connections'] += self.connection(1, 'connections')
            elif draw < 0.981:
                self.count['bulk whole'] += self.connection(32, 'bulk')
            else:
                self.send(self.steady[socket.AF_INET], (self.places[socket.AF_INET], 9), 100, 'nowhere')
            for one in self.steady.values():
                self.drain(one)
        time.sleep(0.3)
        for one in [*self.steady.values(), *self.own]:
            self.drain(one)
        print(json.dumps(self.count), flush=True)


if sys.argv[1] == 'server':
    server(int(sys.argv[2]))
else:
    Client(int(sys.argv[3]), int(sys.argv[4]), sys.argv[5:7]).run(float(sys.argv[2]))
