# A terminal around a command: waits for the first picture, types, or sends a signal; says what was written and what state the terminal was left in.
#   python3 terminal.py '{"command": [...], "keys": [["packets/s", "s"], ...], "signal": "SIGTERM" or null}'
import fcntl, json, os, pty, select, signal, struct, subprocess, sys, termios, time

asked = json.loads(sys.argv[1])
master, slave = pty.openpty()
fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack('HHHH', 30, 110, 0, 0))
before = termios.tcgetattr(slave)


def own_terminal():
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


child = subprocess.Popen(asked['command'], stdin=slave, stdout=slave, stderr=slave, start_new_session=True, preexec_fn=own_terminal)
written = b''
deadline = time.time() + 20


def read_until(word):
    """Everything that comes until `word` has come behind what was there before."""
    global written
    seen = len(written)
    while word not in written[seen:]:
        if time.time() > deadline:
            child.kill()
            raise SystemExit('waited in vain for %r in %r' % (word, written[seen:]))
        if select.select([master], [], [], 0.1)[0]:
            written += os.read(master, 65536)


raw = None
for word, key in asked['keys']:
    read_until(word.encode())
    raw = not termios.tcgetattr(slave)[3] & termios.ICANON
    os.write(master, key.encode())
if asked['signal']:
    read_until(b'packets/s')
    child.send_signal(getattr(signal, asked['signal']))
while child.poll() is None:
    if time.time() > deadline:
        child.kill()
        raise SystemExit('it did not end')
    if select.select([master], [], [], 0.05)[0]:
        written += os.read(master, 65536)
while select.select([master], [], [], 0.1)[0]:
    written += os.read(master, 65536)
print(json.dumps({'code': child.returncode, 'written': written.decode(), 'raw': raw, 'restored': termios.tcgetattr(slave) == before}))
