// What a process holds: memory and descriptors.

import { readdirSync, readFileSync } from 'node:fs';

export interface Footprint {
  /** MiB resident, and of those the ones that belong to no file. */
  readonly resident: number;
  readonly anonymous: number;
  readonly descriptors: number;
  readonly threads: number;
}

/** From /proc/PID/status (Documentation/filesystems/proc.rst) and /proc/PID/fd. Throws when the process is gone. */
export function footprint(pid: number): Footprint {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const figure = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(status)?.[1]);
  return {
    resident: figure('VmRSS') / 1024,
    anonymous: figure('RssAnon') / 1024,
    descriptors: readdirSync(`/proc/${pid}/fd`).length,
    threads: figure('Threads'),
  };
}

/** MiB of anonymous memory by whose it is: malloc's (its heap, and its arenas of 64 MiB), and everything else, of a Node process nearly all V8's. */
export interface Holders {
  readonly malloc: number;
  readonly rest: number;
}

const ARENA = 0x4000000n;

/** From /proc/PID/smaps. An arena begins at a multiple of its size and ends in what malloc has not asked for yet (glibc malloc/arena.c, HEAP_MAX_SIZE). */
export function holders(pid: number): Holders {
  let malloc = 0;
  let rest = 0;
  let isMalloc = false;
  for (const line of readFileSync(`/proc/${pid}/smaps`, 'utf8').split('\n')) {
    const mapping = /^([0-9a-f]+)-[0-9a-f]+ (\S+) \S+ \S+ \d+ *(.*)$/.exec(line);
    if (mapping !== null) {
      const [, begin, permissions, name] = mapping;
      isMalloc = name === '[heap]' || (name === '' && permissions.startsWith('rw') && BigInt(`0x${begin}`) % ARENA === 0n);
      continue;
    }
    const held = Number(/^Anonymous:\s+(\d+)/.exec(line)?.[1] ?? 0) / 1024;
    if (isMalloc) malloc += held;
    else rest += held;
  }
  return { malloc, rest };
}
