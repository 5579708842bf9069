// Network namespaces without names: this process's main thread moves between them, and they vanish with the process, also when it is
// killed. What a call does (netlink, sockets, /proc/sys, child processes) happens in the namespace the thread is in.

import { spawnSync } from 'node:child_process';
import { closeSync, openSync, writeFileSync } from 'node:fs';
import { libc, must } from '../../src/raw-socket/library.ts';

const unshare = libc<(flags: number) => number>('int unshare(int flags)');
const setns = libc<(fd: number, kind: number) => number>('int setns(int fd, int kind)');
const CLONE_NEWNET = 0x40000000;
const OWN = '/proc/thread-self/ns/net';

export class Namespace {
  readonly #fd: number;

  /** A fresh namespace with `lo` up; or the one that `path` names, as it is. */
  constructor(path?: string) {
    if (path !== undefined) {
      this.#fd = openSync(path, 'r');
      return;
    }
    const before = openSync(OWN, 'r');
    must(unshare(CLONE_NEWNET), 'unshare(CLONE_NEWNET)');
    this.#fd = openSync(OWN, 'r');
    try {
      run('ip link set lo up');
    } finally {
      must(setns(before, CLONE_NEWNET), 'setns');
      closeSync(before);
    }
  }

  /** Where `ip link set … netns` finds it. */
  get path(): string {
    return `/proc/${process.pid}/fd/${this.#fd}`;
  }

  /** Runs `work` inside and comes back, whatever happens. Sockets opened in it stay inside. */
  inside<T>(work: () => T): T {
    const before = openSync(OWN, 'r');
    must(setns(this.#fd, CLONE_NEWNET), 'setns');
    try {
      return work();
    } finally {
      must(setns(before, CLONE_NEWNET), 'setns');
      closeSync(before);
    }
  }

  /** A pair of connected interfaces, `mine` here and `theirs` in `other`, both up. */
  connect(mine: string, other: Namespace, theirs: string): void {
    this.inside(() => {
      run(`ip link add ${mine} type veth peer name ${theirs} netns /proc/${process.pid}/fd/${other.#fd}`);
      run(`ip link set ${mine} up`);
    });
    other.inside(() => run(`ip link set ${theirs} up`));
  }

  /** Everything that a director might change, for a comparison of before and after. */
  state(): string {
    return this.inside(() =>
      ['ip -j route show table all', 'ip -6 -j route show table all', 'ip -j addr', 'ip -j link', 'nft list ruleset', 'ss -xlH']
        .map((command) => run(command))
        .join('\n'),
    );
  }

  close(): void {
    closeSync(this.#fd);
  }
}

/** Runs a command line (split at spaces; no shell) in the current namespace. Throws with its complaint. */
export function run(line: string): string {
  const [command, ...parameters] = line.split(' ');
  const result = spawnSync(command, parameters, {
    encoding: 'utf8',
    env: { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` },
  });
  if (result.status !== 0) throw new Error(`${line}: ${result.error?.message ?? result.stderr}`);
  return result.stdout;
}

export function setSysctl(path: string, value: string | number): void {
  writeFileSync(`/proc/sys/${path}`, String(value));
}
