/** Descriptors as the kernel knows them. They are numbers of the whole process: one thread may open and another use them. */
import { CodedError } from '../base/errors.ts';
import { E, errno, errnoName, libc, must } from './library.ts';

const openCall = libc<(path: string, flags: number, mode: number) => number>('int open(const char *path, int flags, int mode)');
const closeCall = libc<(fd: number) => number>('int close(int fd)');
const readCall = libc<(fd: number, at: number, bytes: number) => number>('intptr_t read(int fd, uintptr_t at, size_t bytes)');
const writeCall = libc<(fd: number, at: number, bytes: number) => number>('intptr_t write(int fd, uintptr_t at, size_t bytes)');

export const O_RDONLY = 0;
export const O_RDWR = 2;
export const O_NONBLOCK = 0x800;
export const O_CLOEXEC = 0x80000;

/** Opens a file or device, never inherited by children. Throws CodedError GD_RAW_SOCKET_CALL naming the path. */
export function openDescriptor(path: string, flags: number, hint = ''): number {
  return must(openCall(path, flags | O_CLOEXEC, 0), `open ${path}`, hint);
}

/** Closes a descriptor. One that is not open is an error of ours (someone else's may be hit next): it throws. */
export function closeDescriptor(descriptor: number): void {
  const result = closeCall(descriptor);
  // EINTR: Linux has closed it all the same (close(2), notes).
  if (result < 0 && errno() !== E.EINTR) {
    throw new CodedError('GD_RAW_SOCKET_CALL', `close of descriptor ${descriptor}: ${errnoName(errno())}`);
  }
}

/** Bytes read to `address`, −1 with `errno()` set on failure (EAGAIN: nothing there). */
export function readDescriptor(descriptor: number, address: number, bytes: number): number {
  return readCall(descriptor, address, bytes);
}

/** Bytes written from `address`, −1 with `errno()` set on failure. */
export function writeDescriptor(descriptor: number, address: number, bytes: number): number {
  return writeCall(descriptor, address, bytes);
}
