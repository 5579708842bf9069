# Long-lived TCP transfers at a pace: one process holds them all.
#
#   paced_transfers.py server NAME PORT
#       says 16 bytes of its name to whoever connects, then sends back what it gets.
#   paced_transfers.py client COUNT BYTES PERIOD UDP-ADDRESS UDP-PORTS STAY... -- ADDRESS PORT...
#       COUNT connections in turn to the places; each sends BYTES every PERIOD seconds and compares what comes back, byte by byte. What breaks is
#       made anew; one more for every twenty is made anew after ten messages. STAY: names of servers whose connections must not break. Says "ready", and one line of JSON after a line on its standard input; on its standard error when one broke.
import collections, errno, json, selectors, socket, struct, sys, time, zlib

NAME = 16
PATTERN = bytes((i * 7 + (i >> 8) * 13) & 255 for i in range(65536))
# Seconds after which an answer is late: whatever was lost and sent again after a timeout (rto_min 1 s) is.
LATE = 0.9
# One connection more for so many, made anew after so many messages: new flows all the time.
SHORT_LIVED = 20
RENEW_AFTER = 10


def server(name, port):
    listener = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    listener.bind(('::', port))
    listener.listen(4096)
    listener.setblocking(False)
    selector = selectors.DefaultSelector()
    selector.register(listener, selectors.EVENT_READ)
    print('ready', flush=True)
    while True:
        for key, _ in selector.select():
            if key.fileobj is listener:
                try:
                    while True:
                        connection, _ = listener.accept()
                        connection.setblocking(False)
                        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                        connection.send(name.encode().ljust(NAME))
                        selector.register(connection, selectors.EVENT_READ)
                except BlockingIOError:
                    pass
                except OSError:
                    pass
                continue
            connection = key.fileobj
            try:
                data = connection.recv(65536)
                # A few kilobytes at a time always fit the send buffer.
                if data and connection.send(data) == len(data):
                    continue
            except BlockingIOError:
                continue
            except OSError:
                pass
            selector.unregister(connection)
            connection.close()


class Transfer:
    def __init__(self, client, index, place):
        self.client, self.index, self.place = client, index, place
        self.generation = 0
        self.due = 0.0
        self.broken_at = 0.0
        self.open()

    def open(self):
        family = socket.AF_INET6 if ':' in self.place[0] else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.connect_ex(self.place)
        self.name, self.greeting = None, b''
        self.sent, self.received, self.counted = 0, 0, 0
        self.crc_sent, self.crc_received = 0, 0
        self.waiting = collections.deque()
        self.port = self.socket.getsockname()[1]
        self.opened = time.monotonic()
        self.client.selector.register(self.socket, selectors.EVENT_READ, self)

    def expected(self, at, length):
        # The stream of a connection starts at a place of the pattern of its own.
        start = (self.index * 977 + self.generation * 131 + at) % len(PATTERN)
        data = PATTERN[start:start + length]
        while len(data) < length:
            data += PATTERN[:length - len(data)]
        return data

    def send(self, now):
        if self.name is None:
            if now - self.opened > 5:
                self.end('connect')
            return
        data = self.expected(self.sent, self.client.bytes)
        try:
            if self.socket.send(data) != len(data):
                return self.end('full')
        except OSError as error:
            return self.end(errno.errorcode.get(error.errno, str(error)))
        self.sent += len(data)
        self.crc_sent = zlib.crc32(data, self.crc_sent)
        self.waiting.append((self.sent, now))
        self.client.messages += 1

    def read(self, now):
        try:
            data = self.socket.recv(65536)
        except BlockingIOError:
            return
        except OSError as error:
            return self.end(errno.errorcode.get(error.errno, str(error)))
        if not data:
            return self.end('closed')
        if self.name is None:
            self.greeting += data
            if len(self.greeting) < NAME:
                return
            self.name = self.greeting[:NAME].decode().strip()
            data = self.greeting[NAME:]
            if not data:
                return
        if data != self.expected(self.received, len(data)):
            self.client.wrong += 1
        self.crc_received = zlib.crc32(data, self.crc_received)
        self.received += len(data)
        while self.waiting and self.waiting[0][0] <= self.received:
            _, at = self.waiting.popleft()
            self.client.answered(self, now - at)

    def retransmitted(self):
        # struct tcp_info, include/uapi/linux/tcp.h: tcpi_total_retrans stands at byte 100.
        return struct.unpack_from('I', self.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104), 100)[0]

    def end(self, why):
        self.client.ended(self, why)
        self.anew()

    def renew(self):
        self.client.renewed += 1
        if self.name in self.client.stay:
            self.client.retransmissions += self.retransmitted()
            self.client.wrong += self.crc_sent != self.crc_received
        self.anew()

    def anew(self):
        self.client.selector.unregister(self.socket)
        self.socket.close()
        self.generation += 1
        self.open()


class Client:
    def __init__(self, count, size, period, stay, places, udp):
        self.count, self.bytes, self.period, self.stay = count, size, period, stay
        self.selector = selectors.DefaultSelector()
        self.messages = self.answers = self.wrong = self.late = self.renewed = 0
        self.longest = 0.0
        self.broken = collections.Counter()
        self.others = 0
        self.retransmissions = 0
        self.udp_address, self.udp_ports = udp
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.setblocking(False)
        self.datagrams = 0
        self.transfers = []
        for i in range(count + count // SHORT_LIVED):
            self.transfers.append(Transfer(self, i, places[i % len(places)]))
            if i % 50 == 49:
                self.poll(0.02)

    def poll(self, seconds):
        told = False
        for key, _ in self.selector.select(max(0, seconds)):
            if key.data is None:
                told = True
            else:
                key.data.read(time.monotonic())
        return told

    def answered(self, transfer, took):
        self.answers += 1
        if transfer.name not in self.stay:
            return
        self.longest = max(self.longest, took)
        if took > LATE:
            self.late += 1

    def ended(self, transfer, why):
        if transfer.name in self.stay:
            self.broken[f'{transfer.name} {why}'] += 1
            self.retransmissions += transfer.retransmitted()
            print(f'{time.strftime("%H:%M:%S")} broke: {transfer.name} {why}, local port {transfer.port}, {transfer.sent} bytes sent, '
                  f'{time.monotonic() - transfer.opened:.1f} s old', file=sys.stderr, flush=True)
        else:
            self.others += 1

    def settle(self, seconds, done):
        end = time.monotonic() + seconds
        while time.monotonic() < end and not done():
            self.poll(0.05)

    def probe(self, now):
        port = self.udp_ports[self.datagrams % len(self.udp_ports)]
        try:
            self.udp.sendto(b'probe', (self.udp_address, port))
            self.datagrams += 1
        except OSError:
            pass

    def run(self):
        self.settle(20, lambda: all(t.name for t in self.transfers))
        print('ready', json.dumps(collections.Counter(t.name for t in self.transfers)), flush=True)
        sys.stdin.readline()
        self.selector.register(sys.stdin, selectors.EVENT_READ, None)
        start = time.monotonic()
        # An order by due time that stays one: everybody's next turn is one period later.
        turns = collections.deque()
        for i, transfer in enumerate(self.transfers):
            transfer.due = start + self.period * i / len(self.transfers)
            turns.append(transfer)
        next_probe = start
        while True:
            now = time.monotonic()
            while turns and turns[0].due <= now:
                transfer = turns.popleft()
                if transfer.index >= self.count and transfer.sent >= RENEW_AFTER * self.bytes and not transfer.waiting:
                    transfer.renew()
                else:
                    transfer.send(now)
                transfer.due += self.period
                turns.append(transfer)
            if self.udp_ports and now >= next_probe:
                self.probe(now)
                next_probe += 0.1
            if self.poll(min(turns[0].due, next_probe) - time.monotonic()):
                break
        self.selector.unregister(sys.stdin)
        # Where the answers are still to come: what has a backend that left may never get one.
        staying = [t for t in self.transfers if t.name in self.stay]
        self.settle(5, lambda: all(not t.waiting for t in staying))
        unanswered = sum(len(t.waiting) for t in staying)
        checksums = sum(t.crc_sent != t.crc_received for t in staying if not t.waiting)
        retransmissions = self.retransmissions + sum(t.retransmitted() for t in staying)
        print(json.dumps({
            'messages': self.messages, 'answers': self.answers, 'datagrams': self.datagrams, 'staying': len(staying),
            'broken': dict(self.broken), 'others': self.others, 'renewed': self.renewed, 'wrong': self.wrong + checksums, 'unanswered': unanswered,
            'late': self.late, 'longest': round(self.longest * 1000), 'retransmissions': retransmissions,
        }), flush=True)


if sys.argv[1] == 'server':
    server(sys.argv[2], int(sys.argv[3]))
else:
    count, size, period, udp_address, udp_ports = sys.argv[2:7]
    rest = sys.argv[7:]
    split = rest.index('--')
    pairs = rest[split + 1:]
    places = [(pairs[i], int(pairs[i + 1])) for i in range(0, len(pairs), 2)]
    ports = [int(port) for port in udp_ports.split(',') if port]
    Client(int(count), int(size), float(period), set(rest[:split]), places, (udp_address, ports)).run()
