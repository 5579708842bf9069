"""Many TCP connections that know which worker they are at.

    drain_flows.py server NAME PORT            answers every line of every connection with NAME
    drain_flows.py client ADDRESS PORT         does what it is told, a JSON object a line, and answers each with one

A connection whose flow is steered to another worker is reset by that worker's kernel, which does not know it.
"""
import json
import resource
import selectors
import socket
import sys
import time

PATIENCE = 4.0
AT_ONCE = 100


def many_files():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65536), hard))


def serve(name, port):
    answer = (name + '\n').encode()
    selector = selectors.DefaultSelector()
    for family, address in ((socket.AF_INET, '0.0.0.0'), (socket.AF_INET6, '::')):
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((address, port))
        listener.listen(4096)
        listener.setblocking(False)
        selector.register(listener, selectors.EVENT_READ, True)
    print('ready', flush=True)
    while True:
        for key, _ in selector.select():
            if key.data:
                connection = key.fileobj.accept()[0]
                connection.setblocking(False)
                selector.register(connection, selectors.EVENT_READ, False)
                continue
            try:
                data = key.fileobj.recv(65536)
                if data:
                    key.fileobj.sendall(answer * data.count(b'\n'))
                    continue
            except OSError:
                pass
            selector.unregister(key.fileobj)
            key.fileobj.close()


class Client:
    def __init__(self, address, port):
        self.family = socket.AF_INET6 if ':' in address else socket.AF_INET
        self.there = (address, port)
        self.flows = []  # (socket, owner)

    def ask(self, sockets):
        """One line on each socket; its answer, or None, by socket."""
        answers = {}
        for at in range(0, len(sockets), AT_ONCE):
            selector = selectors.DefaultSelector()
            for one in sockets[at:at + AT_ONCE]:
                try:
                    one.sendall(b'?\n')
                    selector.register(one, selectors.EVENT_READ)
                except OSError:
                    answers[one] = None
            end = time.monotonic() + PATIENCE
            while selector.get_map() and time.monotonic() < end:
                for key, _ in selector.select(end - time.monotonic()):
                    try:
                        answers[key.fileobj] = key.fileobj.recv(200).decode().strip() or None
                    except OSError:
                        answers[key.fileobj] = None
                    selector.unregister(key.fileobj)
            selector.close()
        return answers

    def connect(self, count):
        """`count` connections, each with the worker that it is at; and how many failed."""
        made, failed = [], 0
        for _ in range(count):
            one = socket.socket(self.family, socket.SOCK_STREAM)
            one.settimeout(PATIENCE)
            try:
                one.connect(self.there)
                made.append(one)
            except OSError:
                one.close()
                failed += 1
        answers = self.ask(made)
        flows = []
        for one in made:
            if answers.get(one) is None:
                failed += 1
                one.close()
            else:
                flows.append((one, answers[one]))
        return flows, failed

    @staticmethod
    def owners(flows):
        counts = {}
        for _, owner in flows:
            counts[owner] = counts.get(owner, 0) + 1
        return counts

    def open(self, count):
        flows, failed = self.connect(count)
        self.flows += flows
        return {'owners': self.owners(flows), 'failed': failed}

    def new(self, count):
        """Short connections: opened, asked, closed."""
        flows, failed = self.connect(count)
        for one, _ in flows:
            one.close()
        return {'owners': self.owners(flows), 'failed': failed}

    def say(self):
        """Asks on every connection that is open; what broke is closed and forgotten."""
        answers = self.ask([one for one, _ in self.flows])
        alive, broken, strange, kept = {}, {}, 0, []
        for one, owner in self.flows:
            if answers.get(one) is None:
                broken[owner] = broken.get(owner, 0) + 1
                one.close()
                continue
            strange += answers[one] != owner
            alive[owner] = alive.get(owner, 0) + 1
            kept.append((one, owner))
        self.flows = kept
        return {'alive': alive, 'broken': broken, 'strange': strange}

    def pace(self, seconds):
        """Asks again and again; what broke in all rounds together."""
        end = time.monotonic() + seconds
        rounds, broken, strange, alive = 0, {}, 0, {}
        while time.monotonic() < end:
            said = self.say()
            rounds += 1
            strange += said['strange']
            alive = said['alive']
            for owner, count in said['broken'].items():
                broken[owner] = broken.get(owner, 0) + count
        return {'rounds': rounds, 'alive': alive, 'broken': broken, 'strange': strange}

    def finish(self, owner, count):
        """Ends connections in good order: the worker's end is read to the last byte."""
        ended, rest, wrong = 0, [], 0
        for one, whose in self.flows:
            if whose != owner or ended == count:
                rest.append((one, whose))
                continue
            ended += 1
            try:
                one.shutdown(socket.SHUT_WR)
                one.settimeout(PATIENCE)
                wrong += one.recv(10) != b''
            except OSError:
                wrong += 1
            one.close()
        self.flows = rest
        return {'finished': ended - wrong, 'wrong': wrong}


def main():
    many_files()
    role, first, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
    if role == 'server':
        serve(first, port)
    client = Client(first, port)
    print('{}', flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        do = order.pop('do')
        print(json.dumps(getattr(client, do)(**order)), flush=True)


main()
