/**
 * Processors of the calling thread (sched_setaffinity(2)): which it may run on, and how it is kept on one. A thread may always choose among those that its
 * process was given; that needs no privilege. The mask is of longs, bit n of byte n / 8 on little-endian machines.
 */
import { E, errno, libc, must } from './library.ts';
import { pin } from './memory.ts';

const getAffinity = libc<(thread: number, bytes: number, at: number) => number>(
  'int sched_getaffinity(int thread, size_t bytes, uintptr_t at)',
);
const setAffinity = libc<(thread: number, bytes: number, at: number) => number>(
  'int sched_setaffinity(int thread, size_t bytes, uintptr_t at)',
);

/** glibc: CPU_SETSIZE. */
export const MOST_PROCESSORS = 1024;
const MASK_BYTES = MOST_PROCESSORS / 8;
/** The calling thread. */
const SELF = 0;

/** Numbers of the processors that the calling thread may run on, ascending. Throws CodedError when the kernel refuses to say. */
export function allowedProcessors(): number[] {
  const mask = pin(MASK_BYTES);
  must(getAffinity(SELF, MASK_BYTES, mask.address), 'sched_getaffinity');
  return Array.from({ length: MOST_PROCESSORS }, (_, n) => n).filter((n) => (mask.bytes[n >> 3] & (1 << (n & 7))) !== 0);
}

/** Keeps the calling thread on one processor. False when there is no such processor, or this process was not given it. */
export function pinToProcessor(processor: number): boolean {
  const mask = pin(MASK_BYTES);
  mask.bytes[processor >> 3] = 1 << (processor & 7);
  const result = setAffinity(SELF, MASK_BYTES, mask.address);
  if (result < 0 && errno() === E.EINVAL) return false;
  must(result, `sched_setaffinity of processor ${processor}`);
  return true;
}
