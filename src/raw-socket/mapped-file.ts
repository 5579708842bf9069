/**
 * A file whose content is memory: preallocated, locked by one process, mapped shared. What is stored in it survives the process, however
 * that ends: the pages are the kernel's.
 *
 * Two traps. A file with holes on a full disk ends its writer by SIGBUS at the first store into one: all of it is allocated before it
 * is mapped. And whoever makes it shorter while it is mapped does the same to us: hence the lock, and mode 0600.
 */
import { closeSync, constants, fchmodSync, fstatSync, ftruncateSync, openSync } from 'node:fs';
import { CodedError, EXIT } from '../base/errors.ts';
import { E, errno, errnoName, libc, must, viewOf } from './library.ts';
import { MAP_FIXED, MAP_PRIVATE, MAP_SHARED, mapPages, unmapPages } from './pages.ts';

const flock = libc<(fd: number, operation: number) => number>('int flock(int fd, int operation)');
const allocate = libc<(fd: number, offset: number, bytes: number) => number>(
  'int posix_fallocate(int fd, long offset, long bytes)',
);
const madvise = libc<(at: number, bytes: number, advice: number) => number>(
  'int madvise(uintptr_t at, size_t bytes, int advice)',
);

const LOCK_SH_NB = 1 | 4;
const LOCK_EX_NB = 2 | 4;
const LOCK_UN = 8;
const MADV_HUGEPAGE = 14;

/** Memory of the process at a place that all its threads may look at. Structured-cloneable. */
export interface MappedRange {
  /** Exact below 2^53. */
  readonly address: number;
  readonly bytes: number;
}

/**
 * Opens the regular file at `path`, or makes it, with mode 0600, and locks it (flock(2)): the lock ends by `unlock`, or with the last descriptor and the last
 * mapping of this opening: with the process, or, when the descriptor was passed on, with the one that has it then. null: another opening of it is locked. Throws GD_RAW_SOCKET_FILE
 * when it can not be had or belongs to somebody else.
 */
export function openLocked(path: string): number | null {
  const refuse = (why: string, cause?: unknown): CodedError =>
    new CodedError('GD_RAW_SOCKET_FILE', `can not use ${path}: ${why}`, { hint: `ls -l ${path}`, exitCode: EXIT.FAILED, cause });
  let descriptor: number;
  try {
    // Non-blocking: somebody may have put a pipe there.
    const { O_RDWR, O_CREAT, O_NOFOLLOW, O_NONBLOCK } = constants;
    descriptor = openSync(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK, 0o600);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    throw refuse(code ?? message, error);
  }
  try {
    const about = fstatSync(descriptor);
    if (!about.isFile()) throw refuse('it is no regular file');
    if (about.uid !== process.geteuid?.()) throw refuse(`it belongs to user ${about.uid}`);
    if (about.nlink !== 1) throw refuse('it has another name as well (a hard link), or none');
    if (flock(descriptor, LOCK_EX_NB) < 0) {
      const held = errno() === E.EWOULDBLOCK;
      if (!held) must(-1, `flock of ${path}`);
      closeSync(descriptor);
      return null;
    }
    if ((about.mode & 0o777) !== 0o600) fchmodSync(descriptor, 0o600);
    return descriptor;
  } catch (error) {
    closeSync(descriptor);
    throw error;
  }
}

/** Ends the lock, also that of whoever was passed the descriptor. A mapping alone would keep it. */
export function unlock(descriptor: number): void {
  must(flock(descriptor, LOCK_UN), 'flock(LOCK_UN)');
}

/** True while somebody has the file at `path` locked. Throws the file system's error when it can not be opened for reading. */
export function isLocked(path: string): boolean {
  const descriptor = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    return flock(descriptor, LOCK_SH_NB) < 0;
  } finally {
    closeSync(descriptor);
  }
}

/**
 * Makes the file `bytes` long, all zeros and all of it allocated. Throws GD_RAW_SOCKET_FILE when there is no room; the file is
 * empty then.
 */
export function refill(descriptor: number, bytes: number): void {
  ftruncateSync(descriptor, 0);
  // It returns the error's number and leaves errno alone.
  const failure = allocate(descriptor, 0, bytes);
  if (failure === 0) return;
  ftruncateSync(descriptor, 0);
  throw new CodedError('GD_RAW_SOCKET_FILE', `can not allocate ${bytes} bytes: ${errnoName(failure)}`, {
    hint: 'df -h   shows how much room there is',
  });
}

/** Length of the file in bytes. */
export function lengthOf(descriptor: number): number {
  return fstatSync(descriptor).size;
}

/**
 * Maps the first `bytes` of the file, shared and writable, with huge pages where the file system has some for it. Must lie within the file.
 * The range stays mapped until `unmap`; closing the descriptor does not end it.
 */
export function mapFile(descriptor: number, bytes: number): MappedRange {
  const address = mapOf(descriptor, bytes, MAP_SHARED);
  // Advice only: most file systems have none to give.
  madvise(address, bytes, MADV_HUGEPAGE);
  return { address, bytes };
}

/**
 * Maps the first `bytes` of the file so that they can be read, and that what is written into them stays here: a copy of each page that is
 * written to. For somebody else's file, until `share`.
 */
export function mapCopy(descriptor: number, bytes: number): MappedRange {
  return { address: mapOf(descriptor, bytes, MAP_PRIVATE), bytes };
}

/** Puts the file itself where its copy was, and throws the copy away. Views stay as they are; nobody may be using one at this moment. */
export function share(descriptor: number, { address, bytes }: MappedRange): void {
  mapOf(descriptor, bytes, MAP_SHARED | MAP_FIXED, address);
  madvise(address, bytes, MADV_HUGEPAGE);
}

/**
 * A thread's view over a range that the process has mapped: each thread makes its own, because posting one detaches it. It does not keep the
 * range mapped.
 */
export function viewMapped({ address, bytes }: MappedRange): ArrayBuffer {
  return viewOf(address, bytes);
}

/** Unmaps the range. A later access through any view of any thread is a SIGSEGV: only for ranges that nobody looks at any more. */
export function unmap({ address, bytes }: MappedRange): void {
  must(unmapPages(address, bytes) ? 0 : -1, 'munmap');
}

function mapOf(descriptor: number, bytes: number, flags: number, address = 0): number {
  const source = { descriptor, offset: 0, flags, address };
  return mapPages(bytes, source, `mmap of ${bytes} bytes of a file`, 'raise the memory limit of the process');
}
