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
