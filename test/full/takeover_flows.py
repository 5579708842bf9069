# Paced TCP transfers and a steady flood of datagrams, for a director that is replaced under them.
#
#   takeover_flows.py server PORT
#       sends back what it gets.
#   takeover_flows.py transfers ADDRESS PORT COUNT
#       COUNT connections, 1,000 bytes on each every 100 ms, each answer compared. Says "ready", and one line of JSON after a line on its
#       standard input: messages, broken connections, the longest wait for an answer in seconds.
#   takeover_flows.py flood ADDRESS PORT
#       datagrams of 64 bytes from 32 ports. Each line of standard input is a rate (packets a second), answered by how many were sent so far;
#       at its end the last answer.
import json, resource, select, selectors, socket, sys, time

PERIOD = 0.1
BYTES = 1000


def many_files():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65536), hard))


def server(port):
    listener = socket.create_server(('0.0.0.0', port), backlog=1024)
    listener.setblocking(False)
    selector = selectors.DefaultSelector()
    selector.register(listener, selectors.EVENT_READ)
    print('ready', flush=True)
    while True:
        for key, _ in selector.select():
            if key.fileobj is listener:
                one = listener.accept()[0]
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                selector.register(one, selectors.EVENT_READ)
                continue
            try:
                data = key.fileobj.recv(65536)
                if data:
                    key.fileobj.sendall(data)
                    continue
            except OSError:
                pass
            selector.unregister(key.fileobj)
            key.fileobj.close()


def transfers(address, port, count):
    flows = []
    for n in range(count):
        one = socket.create_connection((address, port), timeout=20)
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        one.settimeout(20)
        flows.append({'socket': one, 'body': bytes([n % 251]) * BYTES, 'due': time.monotonic() + PERIOD * n / count, 'sent': 0, 'got': b''})
    selector = selectors.DefaultSelector()
    for flow in flows:
        selector.register(flow['socket'], selectors.EVENT_READ, flow)
    print('ready', flush=True)
    messages = broken = 0
    longest = 0.0
    stopping = False
    alive = list(flows)

    def lose(flow):
        nonlocal broken
        broken += 1
        alive.remove(flow)
        selector.unregister(flow['socket'])

    while alive:
        now = time.monotonic()
        if not stopping and select.select([sys.stdin], [], [], 0)[0]:
            stopping = True
        waiting = [flow for flow in alive if flow['sent']]
        if stopping and not waiting:
            break
        for flow in list(alive):
            if flow['sent']:
                if now - flow['sent'] > 15:
                    lose(flow)
            elif not stopping and now >= flow['due']:
                flow['sent'] = now
                flow['due'] = max(flow['due'] + PERIOD, now)
                try:
                    flow['socket'].sendall(flow['body'])
                except OSError:
                    lose(flow)
        for key, _ in selector.select(0.005):
            flow = key.data
            try:
                data = flow['socket'].recv(65536)
            except OSError:
                data = b''
            flow['got'] += data
            if not data or not flow['body'].startswith(flow['got']):
                lose(flow)
            elif len(flow['got']) == BYTES:
                longest = max(longest, time.monotonic() - flow['sent'])
                flow['sent'], flow['got'] = 0, b''
                messages += 1
    print(json.dumps({'messages': messages, 'broken': broken, 'longest': longest}), flush=True)


def flood(address, port):
    sockets = []
    for _ in range(32):
        one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        one.connect((address, port))
        sockets.append(one)
    sends = [one.send for one in sockets]
    body = b'x' * 64
    print('ready', flush=True)
    rate = sent = since = 0
    start = time.monotonic()
    while True:
        if select.select([sys.stdin], [], [], 0 if rate else None)[0]:
            line = sys.stdin.readline()
            print(sent, flush=True)
            if not line:
                return
            rate, since, start = int(line), 0, time.monotonic()
        due = int((time.monotonic() - start) * rate)
        # What the machine kept from us is not made up for in one burst.
        if due - since > 2000:
            start += (due - since - 2000) / rate
            due = since + 2000
        for n in range(since, due):
            try:
                sends[n & 31](body)
                sent += 1
            except OSError:
                # A port unreachable that came back: the datagram was not sent, and the next call sends.
                pass
        since = due
        time.sleep(0.0005)


many_files()
mode, *rest = sys.argv[1:]
if mode == 'server':
    server(int(rest[0]))
elif mode == 'transfers':
    transfers(rest[0], int(rest[1]), int(rest[2]))
else:
    flood(rest[0], int(rest[1]))
