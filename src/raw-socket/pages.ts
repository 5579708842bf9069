/** Pages of memory, from the kernel and back to it (mmap(2), munmap(2)). */
import { libc, must } from './library.ts';

const mmap = libc<(at: number, bytes: number, protection: number, flags: number, fd: number, offset: number) => number | bigint>(
  'uintptr_t mmap(uintptr_t at, size_t bytes, int protection, int flags, int fd, long offset)',
);
const munmap = libc<(at: number, bytes: number) => number>('int munmap(uintptr_t at, size_t bytes)');

const PROT_READ_WRITE = 0x3;
const MAP_PRIVATE_ANONYMOUS = 0x2 | 0x20;

export const MAP_SHARED = 0x1;
export const MAP_PRIVATE = 0x2;
/** At the address asked for; what was there is gone. */
export const MAP_FIXED = 0x10;
/** All pages are there at once: no fault at the first access. */
export const MAP_POPULATE = 0x8000;

export interface PageSource {
  readonly descriptor: number;
  /** Where in it the pages begin, a multiple of the page size. */
  readonly offset: number;
  /** MAP_…, one of MAP_SHARED and MAP_PRIVATE among them. */
  readonly flags: number;
  /** With MAP_FIXED the address, a multiple of the page size. */
  readonly address?: number;
}

/**
 * Maps `bytes` bytes of what a descriptor gives, to be read and written; returns their address, exact below 2^53. `what` and `hint` are for the CodedError
 * GD_RAW_SOCKET_CALL that it throws when the kernel refuses.
 */
export function mapPages(bytes: number, source: PageSource, what: string, hint?: string): number {
  const { address = 0, flags, descriptor, offset } = source;
  return mapped(mmap(address, bytes, PROT_READ_WRITE, flags, descriptor, offset), what, hint);
}

/** Maps `bytes` zeros of our own; returns their address. Throws as `mapPages`. */
export function mapZeros(bytes: number, what: string, hint?: string): number {
  return mapped(mmap(0, bytes, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, -1, 0), what, hint);
}

/** Puts zeros where something was mapped, which is gone: what still looks there sees those. Throws as `mapPages`. */
export function coverPages(address: number, bytes: number, what: string): void {
  mapped(mmap(address, bytes, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS | MAP_FIXED, -1, 0), what);
}

/** A later access is a SIGSEGV: only for pages that nobody looks at any more. False when the kernel refuses; `errno` says why. */
export function unmapPages(address: number, bytes: number): boolean {
  return munmap(address, bytes) === 0;
}

function mapped(result: number | bigint, what: string, hint?: string): number {
  // MAP_FAILED is (void *)-1, which does not fit a number and arrives as a BigInt.
  must(typeof result === 'bigint' ? -1 : 0, what, hint);
  return Number(result);
}
