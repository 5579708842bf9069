/** One network namespace of a lab, and what can be done in it. */
import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process';
import { execute, ipBatch } from './command.ts';
import { runtimeDirectoryOf } from './sweep.ts';

export class Namespace {
  /** As `ip netns` knows it: `gd-<pid>-client`. */
  readonly name: string;
  /** The word in the topology's picture: `client`, `router`, `director`, `worker-1`. */
  readonly role: string;
  /** Addresses on `eth0`, as text; the router has its inside addresses here. */
  readonly address4: string;
  readonly address6: string;

  constructor(name: string, role: string, address4: string, address6: string) {
    this.name = name;
    this.role = role;
    this.address4 = address4;
    this.address6 = address6;
  }

  /** Lines of `ip` commands, without the word `ip`. */
  ip(...lines: string[]): void {
    ipBatch(this.name, lines);
  }

  /** Runs a command in here to its end; standard output as text. Throws a coded error when it fails. */
  run(command: string, args: readonly string[] = [], input?: string): string {
    return execute('ip', ['netns', 'exec', this.name, command, ...args], input, { RUNTIME_DIRECTORY: this.runtimeDirectory });
  }

  /** Starts a command in here. `ip netns exec` replaces itself by the command, so the child's pid is the command's. */
  spawn(command: string, args: readonly string[] = [], options: SpawnOptions = {}): ChildProcess {
    const env = { ...(options.env ?? process.env), RUNTIME_DIRECTORY: this.runtimeDirectory };
    return spawn('ip', ['netns', 'exec', this.name, command, ...args], { ...options, env });
  }

  /** Where programs in here keep their sockets: a namespace of the network does not divide the file system. */
  get runtimeDirectory(): string {
    return runtimeDirectoryOf(this.name);
  }

  /** Writes sysctls: `{ 'net.ipv4.ip_forward': 1 }`. By hand, because a minimal Debian has no `sysctl` command. */
  sysctl(values: Readonly<Record<string, string | number>>): void {
    const lines = Object.entries(values).map(([key, value]) => `echo ${value} > /proc/sys/${key.replaceAll('.', '/')}`);
    this.run('sh', ['-e'], lines.join('\n'));
  }

  /** Process ids of everything that runs in here. */
  processes(): number[] {
    return execute('ip', ['netns', 'pids', this.name]).split(/\s+/).filter(Boolean).map(Number);
  }
}
