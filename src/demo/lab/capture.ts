/** A packet capture in a namespace, through tcpdump. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { missingCommand } from './command.ts';
import type { Namespace } from './namespace.ts';

export class Capture {
  readonly file: string;
  readonly #child: ChildProcess;

  private constructor(file: string, child: ChildProcess) {
    this.file = file;
    this.#child = child;
  }

  /** Resolves when tcpdump listens: no packet after that is missed. `link` may be `any`; `filter` is a pcap expression. */
  static async start(namespace: Namespace, link: string, file: string, filter = ''): Promise<Capture> {
    // Immediate mode: else the last packets wait in the kernel's ring for up to a second, and SIGINT loses them.
    // -U: every packet is written at once; -Z root: in a user namespace tcpdump can not become another user.
    const args = ['tcpdump', '-i', link, '-n', '-U', '--immediate-mode', '-s', '0', '-B', '8192', '-Z', 'root', '-w', file];
    if (filter !== '') args.push(filter);
    const child = spawn('ip', ['netns', 'exec', namespace.name, ...args], { stdio: ['ignore', 'ignore', 'pipe'] });
    let said = '';
    child.stderr!.setEncoding('utf8');
    await new Promise<void>((resolve, reject) => {
      child.stderr!.on('data', (text: string) => {
        said += text;
        if (said.includes('listening on')) resolve();
      });
      child.once('error', reject);
      child.once('exit', () => {
        if (/No such file/.test(said)) reject(missingCommand('tcpdump'));
        else reject(new Error(`tcpdump in ${namespace.name}: ${said.trim()}`));
      });
    });
    return new Capture(file, child);
  }

  /** Ends the capture; the file is complete afterwards. Waits a moment first, for packets still in the kernel's ring. */
  async stop(): Promise<void> {
    await new Promise((resolve) => setTimeout(resolve, 150));
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = once(this.#child, 'exit');
    this.#child.kill('SIGINT');
    await ended;
  }
}
