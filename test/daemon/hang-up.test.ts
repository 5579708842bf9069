// SIGHUP means two things: a service manager wants a reload, or the terminal was closed. A director on a terminal that is then closed.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { nodeCommand } from '../../src/demo/cast.ts';
import { needs } from '../needs.ts';

/** Waits for the word "forwarding", sends SIGHUP, waits for "reloaded", closes the terminal; says the exit code. */
const TERMINAL = `
import os, pty, signal, sys, time
pid, terminal = pty.fork()
if pid == 0:
    os.execvp(sys.argv[1], sys.argv[1:])
said = b''
def until(word):
    global said
    while word not in said:
        said += os.read(terminal, 4096)
try:
    until(b'forwarding')
    os.kill(pid, signal.SIGHUP)
    until(b'reloaded')
except OSError:
    sys.exit(said.decode())
os.close(terminal)
for _ in range(300):
    done, status = os.waitpid(pid, os.WNOHANG)
    if done:
        print('ended with', os.waitstatus_to_exitcode(status))
        sys.exit()
    time.sleep(0.05)
os.kill(pid, signal.SIGKILL)
print('it still runs')
`;

test('SIGHUP reloads, and a terminal that is closed ends the director cleanly', needs('root', 'python3'), (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'gd-hang-up-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const file = join(folder, 'director.yaml');
  writeFileSync(
    file,
    `services: [{ name: s, address: 192.0.2.1, protocol: tcp, port: 80, pool: p }]
pools: { p: { table-size: 251, backends: [{ name: w, address: 198.51.100.1 }] } }
tunnel: { source: { ipv4: 203.0.113.1 } }
ingress: { driver: memory }
egress: { driver: memory }
metrics: { listen: off }
`,
  );
  const [command, args] = nodeCommand('../cli/main', 'run', '--config', file);
  const prepare = 'ip link set lo up; ip addr add 203.0.113.1/32 dev lo; exec "$@"';
  const words = ['-n', 'sh', '-ec', prepare, 'sh', 'python3', '-c', TERMINAL, command, ...args];
  const { stdout, stderr } = spawnSync('unshare', words, {
    encoding: 'utf8',
    env: { ...process.env, RUNTIME_DIRECTORY: folder },
  });
  assert.equal(stdout, 'ended with 0\n', stderr);
});
