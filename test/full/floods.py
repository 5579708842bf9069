# Floods of packets that each are of another flow, transfers that say whom they reach while it happens, and a look at what comes to a worker.
#
#   floods.py flood MAC ADDRESS PORT SAMPLE-BITS
#       Raw frames to the router's MAC, from 100.64.0.0/10. A line of standard input starts a flood:
#           run STAGE KINDS COUNT RATE CHANGE PATIENCE     KINDS: syn, ack, udp, with commas between them; COUNT of each; RATE packets a second, together
#       With CHANGE 1 it says "middle" when half of them are out, and is told "changed" before three quarters are; it says at its end what it sent, as JSON.
#   floods.py watch PORT SAMPLE-BITS
#       Notes the sampled packets that come to UDP port PORT in GUE. At the end of its standard input: [[source, port, mark], …].
#   floods.py transfers ADDRESS PORT COUNT PERIOD
#       COUNT connections to flows.py's servers, 1,000 bytes on each every PERIOD seconds; every answer must come from whom the first one came from.
#       "mark" begins to count anew; "tell" says what was since, as JSON.
#
#     source address:   01100100 01 | kind (2 bits) | stage (4 bits) | number (16 bits)
#     sampled are those whose number ends with SAMPLE-BITS zeros; the mark is the inner IP identification
import collections, ctypes, heapq, json, resource, select, selectors, socket, struct, sys, time

NET = 0x64400000
KINDS = ['syn', 'ack', 'udp']
FLAGS = {'syn': 0x02, 'ack': 0x10}
# Marks: the first packet of a flow, and why there is a second one.
FIRST, SOON_OF_BEFORE, LATE_OF_BEFORE, SOON_OF_AFTER, LATE_OF_AFTER, UNCHANGED = 1, 2, 3, 4, 5, 6
SOON = 0.1
BURST = 256
SOL_PACKET, PACKET_QDISC_BYPASS = 263, 20
PATIENCE = 20


def fold(total):
    total = (total & 0xffff) + (total >> 16)
    return (total & 0xffff) + (total >> 16)


def words_of(data):
    return sum(struct.unpack(f'!{len(data) // 2}H', data))


class Frame:
    """A frame of one kind, whose source, port and mark are filled in; checksums follow from sums of what stays."""

    def __init__(self, kind, link, address, port):
        self.protocol = socket.IPPROTO_UDP if kind == 'udp' else socket.IPPROTO_TCP
        if kind == 'udp':
            self.sum_at, body = 40, struct.pack('!HHHH', 0, port, 16, 0) + b'flooding'
        else:
            self.sum_at, body = 50, struct.pack('!HHIIBBHHH', 0, port, 1, 0 if kind == 'syn' else 1, 0x50, FLAGS[kind], 8192, 0, 0)
        destination = socket.inet_aton(address)
        head = struct.pack('!BBHHHBBH4s4s', 0x45, 0, 20 + len(body), 0, 0x4000, 64, self.protocol, 0, b'\0\0\0\0', destination)
        self.data = bytearray(link + head + body)
        self.head_sum = words_of(head)
        self.body_sum = words_of(body) + words_of(destination) + self.protocol + len(body)

    def fill(self, source, port, mark):
        halves = (source >> 16) + (source & 0xffff)
        data = self.data
        struct.pack_into('!H', data, 18, mark)
        struct.pack_into('!HI', data, 24, fold(self.head_sum + mark + halves) ^ 0xffff, source)
        struct.pack_into('!H', data, 34, port)
        # A checksum of zero would mean none in UDP; in TCP both forms of zero are the same.
        struct.pack_into('!H', data, self.sum_at, fold(self.body_sum + halves + port) ^ 0xffff or 0xffff)
        return data


class Flood:
    def __init__(self, mac, address, port, bits):
        with open('/sys/class/net/eth0/address') as own:
            link = bytes.fromhex(mac.replace(':', '') + own.read().strip().replace(':', '')) + b'\x08\x00'
        self.frames = {kind: Frame(kind, link, address, port) for kind in KINDS}
        self.mask = (1 << bits) - 1
        self.bits = bits
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        self.socket.setsockopt(SOL_PACKET, PACKET_QDISC_BYPASS, 1)
        self.socket.bind(('eth0', 0))
        self.sent = 0

    def send(self, kind, source, port, mark):
        try:
            self.socket.send(self.frames[kind].fill(source, port, mark))
            self.sent += 1
        except OSError:
            # No room in the device: it was not sent.
            pass

    def second(self, kind, source, port, mark):
        # Behind a SYN comes what ends the handshake.
        self.send('ack' if kind == 'syn' else kind, source, port, mark)

    def run(self, stage, kinds, count, rate, change, patience):
        bases = [(kind, NET | KINDS.index(kind) << 20 | stage << 16) for kind in kinds]
        before = self.sent
        start = time.monotonic()
        begun, owed, first_after, changed = start, 0, None, 0.0
        soon, due = collections.deque(), []
        late = []
        for i in range(count):
            low, port = i & 0xffff, 1024 + (i >> 16)
            for kind, base in bases:
                self.send(kind, base | low, port, FIRST)
            if not low & self.mask:
                now = time.monotonic()
                is_late = bool((low >> self.bits) + (i >> 16) & 1)
                if i < count // 2:
                    late.append((LATE_OF_BEFORE, low, port)) if is_late else soon.append((low, port))
                elif first_after is not None:
                    late.append((LATE_OF_AFTER, low, port)) if is_late else due.append((now + SOON, low, port))
            if first_after is not None and i & 3 == 0 and soon:
                low, port = soon.popleft()
                for kind, base in bases:
                    self.second(kind, base | low, port, SOON_OF_BEFORE)
            if i & 31:
                continue
            now = time.monotonic()
            while due and due[0][0] <= now:
                _, low, port = heapq.heappop(due)
                for kind, base in bases:
                    self.second(kind, base | low, port, SOON_OF_AFTER)
            if change and i >= count // 2 and owed == 0:
                owed = 1
                print('middle', flush=True)
            if owed == 1 and select.select([sys.stdin], [], [], 30 if i >= count * 3 // 4 else 0)[0] and sys.stdin.readline():
                now = time.monotonic()
                first_after, changed, owed = i, now, 2
            ahead = begun + (i + 1) * len(bases) / rate - now
            if ahead > 0:
                time.sleep(ahead)
            elif ahead < -BURST / rate:
                # What the machine kept from us is not made up for in one burst.
                begun -= ahead + BURST / rate
        seconds = time.monotonic() - start
        flooded = self.sent - before
        self.rest(bases, soon, due, late, changed, first_after, rate, patience)
        print(json.dumps({
            'sent': flooded, 'all': self.sent, 'seconds': seconds, 'after': None if first_after is None else count - first_after,
        }), flush=True)

    def rest(self, bases, soon, due, late, changed, first_after, rate, patience):
        """The second packets that are still to come."""
        if first_after is None:
            again = [(UNCHANGED, low, port) for low, port in soon] + [(UNCHANGED, low, port) for _, low, port in late]
            self.paced(bases, again, rate)
            return
        time.sleep(SOON)
        self.paced(bases, [(SOON_OF_BEFORE, low, port) for low, port in soon], rate)
        self.paced(bases, [(SOON_OF_AFTER, low, port) for _, low, port in due], rate)
        if patience == 0:
            return
        time.sleep(max(0, changed + patience - time.monotonic()))
        self.paced(bases, late, rate)

    def paced(self, bases, flows, rate):
        for n, (mark, low, port) in enumerate(flows):
            for kind, base in bases:
                self.second(kind, base | low, port, mark)
            if n & 31 == 31:
                time.sleep(32 * len(bases) / rate)


def flood(mac, address, port, bits):
    one = Flood(mac, address, port, bits)
    print('ready', flush=True)
    # Unbuffered: `select` must see a line that waits.
    for line in iter(sys.stdin.readline, ''):
        words = line.split()
        if words[0] == 'run':
            one.run(int(words[1]), words[2].split(','), int(words[3]), int(words[4]), words[5] == '1', float(words[6]))


def watch(port, bits):
    # Ethernet 14, outer IPv4 20, UDP 8, GUE 4: the inner header begins at 46.
    code = [
        (0x30, 0, 0, 23), (0x15, 0, 6, 17),
        (0x28, 0, 0, 36), (0x15, 0, 4, port),
        (0x20, 0, 0, 58), (0x54, 0, 0, 0xffc00000 | ((1 << bits) - 1)), (0x15, 0, 1, NET),
        (0x06, 0, 0, 128), (0x06, 0, 0, 0),
    ]
    program = b''.join(struct.pack('HBBI', *line) for line in code)
    held = ctypes.create_string_buffer(program)
    tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    # SO_ATTACH_FILTER, SO_RCVBUFFORCE
    tap.setsockopt(socket.SOL_SOCKET, 26, struct.pack('HxxxxxxP', len(code), ctypes.addressof(held)))
    tap.setsockopt(socket.SOL_SOCKET, 33, 16 << 20)
    tap.bind(('eth0', 0x0800))
    tap.setblocking(False)
    print('ready', flush=True)
    seen = []
    while True:
        readable = select.select([tap, sys.stdin], [], [])[0]
        while True:
            try:
                data = tap.recv(128)
            except BlockingIOError:
                break
            mark, = struct.unpack_from('!H', data, 50)
            source, _, sport = struct.unpack_from('!IIH', data, 58)
            seen.append((source & 0x3fffff, sport, mark))
        if sys.stdin in readable and not sys.stdin.readline():
            break
    # PACKET_STATISTICS: packets, drops.
    missed = struct.unpack('II', tap.getsockopt(SOL_PACKET, 6, 8))[1]
    print(json.dumps({'seen': seen, 'missed': missed}), flush=True)


class Transfer:
    __slots__ = ('socket', 'name', 'sent', 'due', 'has_answered')

    def __init__(self, place):
        self.socket = socket.create_connection(place, timeout=PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            # A restart is to cost as little more than itself as the kernel allows (TCP_RTO_MAX_MS, Linux 6.15).
            self.socket.setsockopt(socket.IPPROTO_TCP, 44, 1000)
        except OSError:
            pass
        self.socket.setblocking(False)
        self.name, self.sent, self.due, self.has_answered = None, 0.0, 0.0, False


class Transfers:
    def __init__(self, place, count, period):
        self.period = period
        self.alive = [Transfer(place) for _ in range(count)]
        self.selector = selectors.DefaultSelector()
        for one in self.alive:
            self.selector.register(one.socket, selectors.EVENT_READ, one)
        self.ended = collections.Counter()
        self.mark()

    def mark(self):
        self.messages, self.longest = 0, 0.0
        for one in self.alive:
            one.has_answered = False

    def tell(self):
        return {
            'alive': len(self.alive), 'answered': sum(one.has_answered for one in self.alive), 'messages': self.messages,
            'longest': round(self.longest, 3), 'ended': dict(self.ended), 'workers': sorted({str(one.name) for one in self.alive}),
        }

    def lose(self, one, why):
        self.ended[why] += 1
        self.alive.remove(one)
        self.selector.unregister(one.socket)
        one.socket.close()

    def send(self, one, now):
        one.sent = now
        try:
            one.socket.send(b'w' * 1000)
        except OSError as error:
            self.lose(one, error.strerror)

    def read(self, one):
        try:
            name = one.socket.recv(4096).decode().strip() or 'closed'
        except OSError as error:
            return self.lose(one, error.strerror)
        if name == 'closed' or (one.name or name) != name:
            return self.lose(one, f'{one.name}, then {name}')
        one.name = name
        self.longest = max(self.longest, time.monotonic() - one.sent)
        self.messages += 1
        one.sent, one.has_answered = 0.0, True

    def run(self):
        start = time.monotonic()
        for n, one in enumerate(self.alive):
            one.due = start + self.period * n / len(self.alive)
        self.selector.register(sys.stdin, selectors.EVENT_READ, None)
        print('ready', flush=True)
        while True:
            now = time.monotonic()
            for one in list(self.alive):
                if one.sent:
                    if now - one.sent > PATIENCE:
                        self.lose(one, f'no answer from {one.name}')
                elif one.due <= now:
                    one.due = max(one.due + self.period, now)
                    self.send(one, now)
            for key, _ in self.selector.select(0.01):
                if key.data is not None:
                    self.read(key.data)
                    continue
                line = sys.stdin.readline().strip()
                if not line:
                    return
                if line == 'mark':
                    self.mark()
                print(json.dumps(self.tell()), flush=True)


hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65536), hard))
mode, *rest = sys.argv[1:]
if mode == 'flood':
    flood(rest[0], rest[1], int(rest[2]), int(rest[3]))
elif mode == 'watch':
    watch(int(rest[0]), int(rest[1]))
else:
    Transfers((rest[0], int(rest[1])), int(rest[2]), float(rest[3])).run()
