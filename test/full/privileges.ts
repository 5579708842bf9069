// Who the director is while it works: every task's user and capabilities, in both ways to start it, while traffic flows and threads and
// devices are made anew; what may be written from where; and a crash under a service manager.
//
// Both sizes do the same; the full one restarts threads, makes devices anew and crashes more often, the first two in both ways to start (ROUNDS).

import { spawnSync } from 'node:child_process';
import { chmodSync, chownSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Lab } from '../../src/demo/lab/topology.ts';
import { capabilitySet, readCredentials } from '../../src/raw-socket/privileges.ts';
import { NotifyReceiver } from '../daemon/notify-receiver.ts';
import { asService, commandForUsers, USER } from '../daemon/other-user.ts';
import { configuration, eventually, METRICS_PORT } from '../daemon/running-director.ts';
import { setting, UNIT } from '../daemon/unit-file.ts';
import type { Line, Outcome, Scale } from './line.ts';
import { Supervisor } from './supervisor.ts';

/** How it is started: as root, which is to become the user, or as the unit starts it. */
type Mode = 'root' | 'service';

const ROUNDS: Readonly<Record<Scale, Readonly<Record<Mode, { restarts: number; devices: number; crashes: number }>>>> = {
  full: { root: { restarts: 3, devices: 5, crashes: 0 }, service: { restarts: 3, devices: 5, crashes: 5 } },
  scaled: { root: { restarts: 1, devices: 1, crashes: 0 }, service: { restarts: 0, devices: 0, crashes: 1 } },
};
/** Seconds from a crash until packets are forwarded again, on a machine however busy: RestartSec is one of them, a start two or three. */
const BACK_WITHIN = 40;
const PATIENCE = 40_000;
const THREADS = 2;
/** What docs/privileges.md says of this configuration. */
const DOCUMENTED = capabilitySet(['CAP_NET_ADMIN', 'CAP_NET_RAW']);
const WRITES = ['POST', 'PUT', 'DELETE', 'PATCH'];
const PATHS = ['/', '/-/reload', '/-/drain', '/-/plan', '/-/status', '/-/ready', '/metrics'];

class Run {
  readonly mode: Mode;
  readonly lab: Lab;
  readonly folder: string;
  readonly manager: NotifyReceiver;
  readonly director: Supervisor;
  readonly wrong: string[] = [];
  tasks = 0;
  /** A service manager reads all the time. */
  readonly #reading = setInterval(() => this.manager.heard(), 20);
  readonly #sender: ReturnType<Lab['client']['spawn']>;

  constructor(mode: Mode) {
    this.mode = mode;
    this.lab = Lab.create({ workers: 1 });
    this.folder = mkdtempSync(join(tmpdir(), 'gue-director-privileges-'));
    chmodSync(this.folder, 0o755);
    const { lab, folder } = this;
    const file = join(folder, 'director.yaml');
    const user = mode === 'root' ? `privileges: { user: ${USER} }\n` : '';
    writeFileSync(file, configuration(lab, { threads: THREADS }) + user);
    // For its user to read at each reload, and for nobody else.
    chownSync(file, 0, USER);
    chmodSync(file, 0o640);
    if (mode === 'service') {
      mkdirSync(lab.director.runtimeDirectory, { recursive: true });
      chmodSync(lab.director.runtimeDirectory, Number.parseInt(setting('RuntimeDirectoryMode')[0], 8));
      chownSync(lab.director.runtimeDirectory, USER, USER);
    }
    this.manager = new NotifyReceiver(join(folder, 'notify'));
    const privileges = mode === 'service' ? asService(setting('AmbientCapabilities')[0]) : [];
    const [command, ...words] = commandForUsers(folder, privileges, '../cli/main', 'run', '--config', file);
    const env = {
      ...process.env,
      HOME: folder,
      NOTIFY_SOCKET: this.manager.path,
      WATCHDOG_USEC: '2000000',
      GUE_DIRECTOR_TEST_FAULT: '1',
    };
    this.director = new Supervisor(() =>
      lab.director.spawn(command, words, { stdio: ['ignore', 'ignore', 'pipe'], cwd: folder, env }),
    );
    const flow = `const s = require('node:dgram').createSocket('udp4'); setInterval(() => s.send(Buffer.alloc(64), 53, '${lab.vip4}'), 2);`;
    this.#sender = lab.client.spawn(process.execPath, ['-e', flow], { stdio: 'ignore' });
  }

  close(): void {
    this.#sender.kill('SIGKILL');
    this.director.give();
    clearInterval(this.#reading);
    this.manager.close();
    this.lab.close();
    rmSync(this.folder, { recursive: true, force: true });
  }

  /** Waits for the nth entry of an event in the log, or fails with the log. */
  async event(name: string, count: number): Promise<void> {
    const seen = () => this.director.words.split(`"event":"${name}"`).length - 1;
    await eventually(() => seen() >= count, `${count} × ${name}`, PATIENCE).catch((error) => {
      throw new Error(`${error.message} (${this.mode})\n${this.director.words}`);
    });
  }

  async told(message: string, count = 1): Promise<void> {
    const seen = () => this.manager.heard().filter((text) => text.startsWith(message)).length;
    await eventually(() => seen() >= count, `${count} × ${message}`, PATIENCE).catch((error) => {
      throw new Error(`${error.message} (${this.mode}): ${this.manager.heard().join(' ')}\n${this.director.words}`);
    });
  }

  /** Packets forwarded so far by the process that runs now; −1 when it does not answer. */
  forwarded(): number {
    // bash: a Node for each look would cost more than what it looks at.
    const script = `exec 3<>/dev/tcp/127.0.0.1/${METRICS_PORT} || exit 0; printf 'GET /metrics HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3`;
    const text = this.lab.director.run('bash', ['-c', script]);
    return Number(/^gue_director_forwarded_packets_total\S* (\d+)/m.exec(text)?.[1] ?? -1);
  }

  async forwardsMore(): Promise<void> {
    const before = this.forwarded();
    await eventually(() => this.forwarded() > Math.max(0, before), 'packets are forwarded', PATIENCE);
  }

  /** Looks at every task a few times; what is not as documented is noted under `when`. */
  async look(when: string): Promise<void> {
    for (let round = 0; round < 5; round++) {
      const folder = `/proc/${this.director.pid}/task`;
      for (const task of readdirSync(folder)) {
        const text = statusOf(`${folder}/${task}/status`);
        if (text === null) continue;
        this.tasks++;
        const { inheritable, permitted, effective, bounding, ambient, noNewPrivileges } = readCredentials(text);
        const sets = [inheritable, permitted, effective, bounding, ambient];
        const ids = [/^Uid:\s*(.*)$/m, /^Gid:\s*(.*)$/m].map((pattern) => pattern.exec(text)?.[1] ?? '');
        const right =
          sets.every((set) => set === DOCUMENTED) &&
          noNewPrivileges &&
          ids.every((four) => four === Array(4).fill(USER).join('\t')) &&
          /^Groups:\s*$/m.test(text);
        if (!right) this.wrong.push(`${this.mode}, ${when}: ${text.replaceAll('\n', ' ')}`);
      }
      await delay(30);
    }
  }

  /** Every writing method at every path over TCP; returns the answers that are not 405. */
  writesOverTcp(): string[] {
    const script = `(async () => { for (const m of ${JSON.stringify(WRITES)}) for (const p of ${JSON.stringify(PATHS)}) {
      const r = await fetch('http://127.0.0.1:${METRICS_PORT}' + p, { method: m, body: '{}' });
      console.log(m, p, r.status);
    } })()`;
    const lines = this.lab.director.run(process.execPath, ['-e', script]).trim().split('\n');
    if (lines.length !== WRITES.length * PATHS.length) return [`only ${lines.length} answers`];
    return lines.filter((line) => !line.endsWith(' 405'));
  }

  /** Asks for a reload on the unix socket as another user, of these groups: the HTTP status, or why there is none. */
  writeAs(user: number, groups: readonly number[]): string {
    const socket = join(this.lab.director.runtimeDirectory, 'admin.sock');
    const script = `process.setgroups(${JSON.stringify(groups)}); process.setgid(${user}); process.setuid(${user});
      const asked = require('node:http').request({ socketPath: '${socket}', method: 'POST', path: '/-/reload' }, (r) => console.log(r.statusCode));
      asked.on('error', (error) => console.log(error.code)); asked.end();`;
    return this.lab.director.run(process.execPath, ['-e', script]).trim();
  }
}

/** null when the task has just ended. */
function statusOf(path: string): string | null {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return null;
  }
}

async function runMode(
  mode: Mode,
  scale: Scale,
): Promise<{ run: Run; figures: Record<string, number | string>; faults: string[] }> {
  const run = new Run(mode);
  const { restarts, devices, crashes } = ROUNDS[scale][mode];
  const { lab, director } = run;
  const faults: string[] = [];
  let slowest = 0;
  try {
    await run.told('READY=1');
    await run.event('ready', 1);
    await run.forwardsMore();
    await run.look('traffic');
    for (let count = 1; count <= restarts; count++) {
      director.signal('SIGUSR2');
      await run.event('thread-restarted', count);
      await run.forwardsMore();
      await run.look('thread restarted');
    }
    const threads = restarts;
    for (let count = 1; count <= devices; count++) {
      lab.director.ip('link delete gd0');
      // Every thread loses its queue.
      await run.event('thread-restarted', threads + count * THREADS);
      await run.forwardsMore();
      await run.look('device made anew');
    }
    director.signal('SIGHUP');
    await run.event('reloaded', 1);
    await run.told('RELOADING=1');
    await run.told('READY=1', 2);
    await run.told('WATCHDOG=1');
    const allowed = run.writesOverTcp();
    faults.push(...allowed.map((line) => `over TCP: ${line}`));
    const [stranger, member] = [run.writeAs(USER - 1, []), run.writeAs(USER - 1, [USER])];
    if (stranger !== 'EACCES') faults.push(`another user on the unix socket: ${stranger}`);
    if (member !== '200') faults.push(`a member of the group on the unix socket: ${member}`);
    for (let count = 1; count <= crashes; count++) {
      const crashed = performance.now();
      director.signal('SIGSEGV');
      await eventually(() => director.ends.length === count, 'it crashes', PATIENCE);
      const left = lab.leftovers();
      if (!left.some((fact) => fact.includes('blackhole'))) faults.push(`no blackhole after a crash: ${left.join('; ')}`);
      await run.event('ready', count + 1);
      await run.forwardsMore();
      const seconds = (performance.now() - crashed) / 1000;
      slowest = Math.max(slowest, seconds);
      if (seconds > BACK_WITHIN) faults.push(`back only ${seconds.toFixed(1)} s after a crash`);
      if (director.ends[count - 1] !== 'SIGSEGV') faults.push(`it ended by ${director.ends[count - 1]}`);
      await run.look('after a crash');
    }
    director.signal('SIGTERM');
    const end = await director.over;
    if (end !== 0) faults.push(`it ended with ${end}\n${director.words}`);
    await run.told('STOPPING=1');
    const left = lab.leftovers();
    if (left.length > 0) faults.push(`left behind: ${left.join('; ')}`);
  } finally {
    run.close();
  }
  const figures = {
    [`${mode}: tasks looked at`]: run.tasks,
    [`${mode}: threads restarted, devices made anew`]: `${restarts}, ${devices}`,
    [`${mode}: writes over TCP answered with 405`]: WRITES.length * PATHS.length,
    ...(crashes > 0 ? { 'crashes (SIGSEGV)': crashes, 'slowest return to forwarding': `${slowest.toFixed(1)} s` } : {}),
  };
  return { run, figures, faults };
}

/** In tenths, as systemd-analyze counts: 2.2 is 22. */
function exposure(): number {
  const rated = spawnSync('systemd-analyze', ['security', '--offline=true', '--no-pager', UNIT], { encoding: 'utf8' });
  return Math.round(Number(/exposure level for \S+: ([\d.]+)/.exec(rated.stdout)?.[1] ?? 10) * 10);
}

async function run(scale: Scale): Promise<Outcome> {
  const outcomes = [await runMode('root', scale), await runMode('service', scale)];
  const wrong = outcomes.flatMap((outcome) => outcome.run.wrong);
  const faults = outcomes.flatMap((outcome) => outcome.faults);
  const tenths = exposure();
  return {
    passed: wrong.length === 0 && faults.length === 0 && tenths <= 25 && outcomes.every((outcome) => outcome.run.tasks > 100),
    figures: {
      ...Object.assign({}, ...outcomes.map((outcome) => outcome.figures)),
      'tasks with other privileges than documented': wrong.length,
      'exposure of the unit (systemd-analyze security)': (tenths / 10).toFixed(1),
      ...(wrong.length + faults.length === 0 ? {} : { faults: [...faults, ...wrong.slice(0, 3)].join(' | ') }),
    },
  };
}

export const privileges: Line = {
  name: 'privileges',
  claim:
    'Started as root or by a service manager, every task runs as a plain user with exactly CAP_NET_ADMIN and CAP_NET_RAW and no-new-privs, also after threads and devices are made anew; the unit is rated 2.5 or less; HTTP changes nothing, the unix socket only for its group; after a SIGSEGV it forwards again.',
  twin: 'test/full/privileges.test.ts',
  run,
};
