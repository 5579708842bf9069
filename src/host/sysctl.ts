/** Kernel settings under /proc/sys, as the calling thread's network namespace has them. Read only: `run` changes none of them. */
import { readFileSync } from 'node:fs';

/** The value of `net.ipv4.ip_forward`-like settings given as a path (`net/ipv4/ip_forward`); null when the kernel has no such setting. */
export function readSysctl(path: string): string | null {
  try {
    return readFileSync(`/proc/sys/${path}`, 'utf8').trim();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
}

/** The dotted name that `sysctl` takes; a dot inside an interface name is written as a slash (sysctl(8)). */
export function sysctlName(...parts: string[]): string {
  return parts.map((part) => part.replaceAll('.', '/')).join('.');
}
