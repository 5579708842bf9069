/**
 * Memory that both sides see: JavaScript as an ArrayBuffer, the kernel by its address.
 *
 * Three traps, each of which ends in a crash or in silence:
 *  - Unmapping under a live view is a SIGSEGV, and Node refuses to detach a view over foreign memory (structuredClone copies it).
 *    `release` therefore gives the pages back and leaves the addresses reserved: a late access reads zeros. The range itself is
 *    unmapped when the collector has proved that no view is left.
 *  - Posting such a buffer to another thread copies or detaches it, depending on the versions. Each thread maps for itself.
 *  - V8 never moves the memory behind an ArrayBuffer, so an address taken once stays right for as long as the array is referenced.
 *    `pin` is that reference.
 */
import { addressOf, libc, must, viewOf } from './library.ts';
import { mapZeros, unmapPages } from './pages.ts';

const memcpy = libc<(to: number, from: number, bytes: number) => void>('void memcpy(uintptr_t to, uintptr_t from, size_t bytes)');
const madvise = libc<(at: number, bytes: number, advice: number) => number>(
  'int madvise(uintptr_t at, size_t bytes, int advice)',
);

const mallocTrim = libc<(pad: number) => number>('int malloc_trim(size_t pad)');

const MADV_DONTNEED = 4;
const MADV_HUGEPAGE = 14;
const HUGE_PAGE = 2 * 1024 * 1024;

export interface MappedMemory {
  readonly buffer: ArrayBuffer;
  /** Address of the first byte, exact below 2^53. */
  readonly address: number;
  /** Gives the pages back; what still looks at them reads zeros. Safe to call twice. */
  release(): void;
}

/** Unmaps a range once its ArrayBuffer, and with it every view, has been collected. */
const ranges = new FinalizationRegistry<{ base: number; length: number }>(({ base, length }) => {
  unmapPages(base, length);
});

/**
 * Maps `bytes` of zeroed private memory, aligned to 2 MiB and advised to use huge pages (a batch of large slots spans a thousand
 * small pages). Untouched pages cost nothing. Throws CodedError GD_RAW_SOCKET_CALL when the kernel refuses.
 */
export function mapMemory(bytes: number): MappedMemory {
  const length = bytes + HUGE_PAGE;
  const base = mapZeros(length, `mmap of ${length} bytes`, 'raise the memory limit of the process');
  const address = Math.ceil(base / HUGE_PAGE) * HUGE_PAGE;
  // Advice only: a kernel without transparent huge pages answers EINVAL and small pages do the job.
  madvise(address, bytes, MADV_HUGEPAGE);
  const buffer = viewOf(address, bytes);
  ranges.register(buffer, { base, length });
  return {
    buffer,
    address,
    release() {
      must(madvise(base, length, MADV_DONTNEED), 'madvise(MADV_DONTNEED)');
    },
  };
}

/**
 * Advises the kernel to back the memory of `array` with huge pages, as far as it holds whole ones; the pages already there are
 * collected later. For large memory that is read at random: with 4 KiB pages every access also misses the TLB (a flow table of 64 MiB:
 * half the time per packet). Returns false when the kernel has none to give; nothing else changes then.
 */
export function adviseHugePages(array: ArrayBufferView): boolean {
  const bytes = new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
  const address = addressOf(bytes);
  const from = Math.ceil(address / HUGE_PAGE) * HUGE_PAGE;
  const to = Math.floor((address + bytes.length) / HUGE_PAGE) * HUGE_PAGE;
  return to > from && madvise(from, to - from, MADV_HUGEPAGE) === 0;
}

/** Gives the pages behind `array`, whose memory begins and ends with a page, back to the kernel; it reads zeros from then on. */
export function giveBackPages(array: Uint8Array): void {
  must(madvise(addressOf(array), array.length, MADV_DONTNEED), 'madvise(MADV_DONTNEED)');
}

/** Plain memory for structures that the kernel reads or writes: keep the object referenced for as long as the kernel has `address`. */
export interface Pinned {
  readonly int32: Int32Array;
  readonly uint16: Uint16Array;
  readonly bytes: Uint8Array;
  readonly address: number;
}

/**
 * `bytes` of zeroed memory outside V8's moving heap, with its address taken once. An address is no small integer of V8: a field that only ever held such numbers is a
 * double to it, and every call that is given one makes a number on the heap (16 bytes for each reading of a clock). One that held null before
 * keeps the number that was made once.
 */
export function pin(bytes: number): Pinned {
  const buffer = new ArrayBuffer(Math.ceil(bytes / 8) * 8);
  const whole = new Uint8Array(buffer);
  const pinned: Omit<Pinned, 'address'> & { address: number | null } = {
    int32: new Int32Array(buffer),
    uint16: new Uint16Array(buffer),
    bytes: whole,
    address: null,
  };
  pinned.address = addressOf(whole);
  return pinned as Pinned;
}

let retained: Pinned | undefined;

/**
 * Called after a system call that read `memory` by its address: until here the collector must not take it (a number does not hold
 * what it points to). Structures that live as long as their owner need no such call.
 */
export function retain(memory: Pinned): void {
  retained = memory === retained ? undefined : memory;
}

/**
 * Stores an address as the two 32-bit halves of a 64-bit pointer: no BigInt. Typed-array stores wrap modulo 2^32, so the low half
 * needs no masking; `index` counts 32-bit words. Little-endian, as every supported machine is (x64, arm64).
 */
export function storeAddress(words: Int32Array, index: number, address: number): void {
  words[index] = address;
  words[index + 1] = address / 4294967296;
}

/** Copies between memories by their addresses: a view for each copy, which a typed array would take, is garbage. They do not overlap. */
export function copyMemory(to: number, from: number, bytes: number): void {
  memcpy(to, from, bytes);
}

/**
 * Gives whole free pages of C's allocator back to the system, those of all threads (malloc_trim(3)): between blocks that are in use it keeps them else for ever. Compilers and
 * collectors of V8 take much for a moment in threads of their own. Takes some milliseconds, in which a thread that allocates by C may wait.
 */
export function trimAllocator(): void {
  mallocTrim(0);
}
