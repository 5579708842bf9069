// This process's main thread in a named namespace of a lab, for the length of a call: sockets opened in it stay there.

import { closeSync, openSync } from 'node:fs';
import type { Namespace } from '../../src/demo/lab/namespace.ts';
import { libc, must } from '../../src/raw-socket/library.ts';

const setns = libc<(fd: number, kind: number) => number>('int setns(int fd, int kind)');
const CLONE_NEWNET = 0x40000000;

/** Runs `work` inside and comes back, whatever happens; of what is asynchronous, only the part before the first wait is inside. */
export function inside<T>(namespace: Namespace, work: () => T): T {
  const before = openSync('/proc/thread-self/ns/net', 'r');
  const there = openSync(`/run/netns/${namespace.name}`, 'r');
  try {
    must(setns(there, CLONE_NEWNET), 'setns');
    return work();
  } finally {
    must(setns(before, CLONE_NEWNET), 'setns');
    closeSync(before);
    closeSync(there);
  }
}
