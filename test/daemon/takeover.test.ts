// A director that is replaced while packets flow: nothing is lost, nothing is taken away, and what fails leaves the old one as it was.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { type TestContext, test } from 'node:test';
import { askAction, askStatus } from '../../src/admin/client.ts';
import { loaderArguments, program } from '../../src/demo/cast.ts';
import type { Lab } from '../../src/demo/lab/topology.ts';
import { needs } from '../needs.ts';
import { buildLab, configuration, eventually, METRICS_PORT, RunningDirector } from './running-director.ts';

/** What the director's namespace has of rules, routes, devices and the lock. */
function belongings(lab: Lab): string {
  const script =
    'nft list ruleset 2>/dev/null; ip -d link show gd0 2>/dev/null; ip route; ip -6 route; grep -ac "@gue-director" /proc/net/unix || true';
  return lab.director.run('sh', ['-c', script]);
}

/** A director that is ready; a start may take long where much else runs. */
async function started(t: TestContext, lab: Lab, yaml: string): Promise<RunningDirector> {
  const director = RunningDirector.launch(t, lab, yaml);
  await eventually(() => director.entries('ready').length === 1, 'ready', 60_000);
  return director;
}

/** A command of ours in the director's namespace. */
function command(lab: Lab, ...args: string[]): { status: number | null; out: string; error: string } {
  const { director } = lab;
  const all = ['netns', 'exec', director.name, process.execPath, ...loaderArguments(), program('../cli/main'), ...args];
  const env = { ...process.env, RUNTIME_DIRECTORY: director.runtimeDirectory };
  const { status, stdout, stderr } = spawnSync('ip', all, { encoding: 'utf8', env });
  return { status, out: stdout, error: stderr };
}

/** Sends datagrams from many ports at a steady rate until it is told to stop; how many. */
function startSender(lab: Lab): { stop(): Promise<number> } {
  const script = `
import socket, sys, time, select
sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(50)]
for one in sockets: one.connect(('${lab.vip4}', 53))
sent = 0
start = time.monotonic()
while not select.select([sys.stdin], [], [], 0)[0]:
    due = int((time.monotonic() - start) * 2000)
    while sent < due:
        sockets[sent % 50].send(b'x' * 64)
        sent += 1
    time.sleep(0.001)
print(sent)
`;
  const child = lab.client.spawn('python3', ['-c', script], { stdio: ['pipe', 'pipe', 'inherit'] });
  return {
    stop: () =>
      new Promise((resolve) => {
        let text = '';
        child.stdout?.on('data', (part) => {
          text += part;
        });
        child.on('close', () => resolve(Number(text)));
        child.stdin?.end('\n');
      }),
  };
}

test(
  'two upgrades in a row under traffic: no packet lost, counters go on, host unchanged; SIGTERM then leaves nothing',
  needs('namespaces', 'tun', 'python3'),
  async (t) => {
    const lab = buildLab(t, 2);
    const nothing = belongings(lab);
    const director = await started(t, lab, configuration(lab, { threads: 2 }));
    const before = belongings(lab);
    const sender = startSender(lab);
    const processes = [director.actor.child.pid];
    for (let turn = 0; turn < 2; turn++) {
      await eventually(() => director.metric('received_packets_total') > 200 * (turn + 1), 'packets flow', 60_000);
      const { status, out, error } = command(lab, 'upgrade', '--json');
      assert.equal(status, 0, `${error}\n${director.actor.words}`);
      const answer = JSON.parse(out) as { process: number; ready: { gaps: number[] } };
      t.after(() => kill(answer.process));
      assert.ok(!processes.includes(answer.process));
      processes.push(answer.process);
      assert.equal(answer.ready.gaps.length, 2);
      for (const gap of answer.ready.gaps) assert.ok(gap >= 0 && gap < 1000, `nobody read for ${gap} ms`);
      assert.equal(belongings(lab), before);
    }
    await eventually(
      () => lab.director.processes().filter((pid) => processes.includes(pid)).length === 1,
      'old ones ended',
      60_000,
    );
    await new Promise((resolve) => setTimeout(resolve, 300));
    const sent = await sender.stop();
    await eventually(() => director.metric('forwarded_packets_total') >= sent, `${sent} packets are counted`, 60_000);
    const metrics = director.metrics();
    assert.equal(metrics.get('gue_director_service_packets_total{service="dns-4"}'), sent);
    assert.equal(metrics.get('gue_director_forwarded_packets_total'), sent);
    assert.equal(metrics.get('gue_director_kernel_dropped_packets_total{driver="tun:gd0"}'), 0);
    assert.equal(director.get('/-/ready').status, 200);
    process.kill(processes[2] as number, 'SIGTERM');
    await eventually(() => !lab.director.processes().includes(processes[2] as number), 'the last one ended', 60_000);
    assert.equal(belongings(lab), nothing);
  },
);

test(
  'what can not take over leaves the running director as it was: nobody there, other threads, a wrong file, a failure behind the baton; the next one takes over',
  needs('namespaces', 'tun', 'python3'),
  async (t) => {
    const lab = buildLab(t, 1);
    const nobody = command(lab, 'upgrade');
    assert.equal(nobody.status, 69, nobody.error);
    const yaml = configuration(lab);
    const director = await started(t, lab, yaml);
    const before = belongings(lab);
    const pid = director.actor.child.pid as number;
    const file = director.entries('ready').length === 1 ? configFile(director) : '';

    writeFileSync(file, configuration(lab, { threads: 2 }));
    const threads = command(lab, 'upgrade');
    assert.equal(threads.status, 1);
    assert.match(threads.error, /threads is 1 in the running director and 2 in the new configuration/);
    assert.match(threads.error, /systemctl restart/);

    writeFileSync(file, 'services: nonsense\n');
    const wrong = command(lab, 'upgrade');
    assert.equal(wrong.status, 1);
    assert.match(wrong.error, /exit code 78/);

    // Its threads read, its identities are written, its routes made: then the last step fails.
    const directory = lab.director.runtimeDirectory;
    const identities = () => readFileSync(join(directory, 'flows.identities'), 'utf8');
    const descriptors = () => readdirSync(`/proc/${pid}/fd`).length;
    const [known, open] = [identities(), descriptors()];
    const listen = `import socket; s = socket.create_server(('127.0.0.1', 6077)); print('listens', flush=True); s.accept()`;
    const thief = lab.director.spawn('python3', ['-c', listen], { stdio: ['ignore', 'pipe', 'inherit'] });
    t.after(() => thief.kill('SIGKILL'));
    await once(thief.stdout as Readable, 'data');
    const there = lab.director.processes();
    const more = `- { name: w9, address: "${lab.workers[0].address4.replace(/\.\d+$/, '.250')}" }`;
    writeFileSync(
      file,
      yaml
        .replace(`127.0.0.1:${METRICS_PORT}`, '127.0.0.1:6077')
        .replace('port: 53, pool: over-4', 'port: 5353, pool: over-4')
        .replace(/backends:\n( +)/, `backends:\n$1${more}\n$1`),
    );
    const late = command(lab, 'upgrade');
    assert.equal(late.status, 1, `${late.error}\n${director.actor.words}`);
    assert.match(late.error, /can not listen on 127\.0\.0\.1:6077/);
    // It went as far as that.
    await director.event('thread-restarted');
    assert.equal(identities(), known);
    assert.equal(director.actor.child.exitCode, null);
    await eventually(() => lab.director.processes().join() === there.join(), 'the new one ended');
    assert.equal(belongings(lab), before);
    assert.equal(director.get('/-/ready').status, 200);
    await eventually(() => descriptors() === open, `${open} descriptors again, not ${descriptors()}`);

    // A drain goes over by itself: its file is only for those who come after a crash.
    writeFileSync(file, yaml);
    const socket = join(directory, 'admin.sock');
    await askAction(socket, '/-/drain', { director: true });
    rmSync(join(directory, 'drains.json'));
    const { status, body } = await askAction(socket, '/-/upgrade', {}, 120_000);
    assert.equal(status, 200, JSON.stringify(body));
    const next = body.process as number;
    t.after(() => kill(next));
    await eventually(() => !lab.director.processes().includes(pid), 'the old one ended', 60_000);
    assert.match((await askStatus({ path: socket })).ready.reasons.join(), /draining/);
    assert.ok(existsSync(join(directory, 'drains.json')));
    assert.equal(identities(), known);
    process.kill(next, 'SIGTERM');
    await eventually(() => !lab.director.processes().includes(next), 'the last one ended', 60_000);
  },
);

function configFile(director: RunningDirector): string {
  const line = readFileSync(`/proc/${director.actor.child.pid}/cmdline`, 'utf8').split('\0');
  return line[line.indexOf('--config') + 1];
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}
