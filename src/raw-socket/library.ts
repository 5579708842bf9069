/**
 * The seam to C: the only file that names the FFI library. Everything below declares its calls through `libc`, so that another
 * FFI (node:ffi) can replace this one by editing this file.
 */
import koffi from 'koffi';
import { CodedError, EXIT } from '../base/errors.ts';

const handle = koffi.load('libc.so.6');

/** A C function as a typed JavaScript function. `prototype` is C: `int close(int fd)`. Pointers take typed arrays or addresses. */
export function libc<F extends (...args: never[]) => unknown>(prototype: string): F {
  return handle.func(prototype) as unknown as F;
}

/** errno of the last call made by this thread. */
export function errno(): number {
  return koffi.errno();
}

const NAMES = new Map(Object.entries(koffi.os.errno).map(([name, value]) => [value as number, name]));

/** `ENOENT` for 2; `errno 1234` for one the platform does not name. */
export function errnoName(value: number): string {
  return NAMES.get(value) ?? `errno ${value}`;
}

/** errno numbers by name: `E.EAGAIN`. */
export const E = koffi.os.errno as Readonly<Record<string, number>>;

/** Address of the memory behind a typed array, exact below 2^53. The array must stay referenced while the kernel uses it. */
export function addressOf(array: ArrayBufferView): number {
  return Number(koffi.address(array));
}

/** An ArrayBuffer over memory that C owns. Unmapping it while any view exists crashes the process. Never post it to a thread. */
export function viewOf(address: number, length: number): ArrayBuffer {
  return koffi.view(BigInt(address), length) as ArrayBuffer;
}

/** Throws a CodedError naming the call when `result` is negative; privilege errors carry their own exit code. */
export function must(result: number, call: string, hint = ''): number {
  if (result >= 0) return result;
  const number = errno();
  const name = errnoName(number);
  const privilege = number === E.EPERM || number === E.EACCES;
  throw new CodedError('GD_RAW_SOCKET_CALL', `${call}: ${name}`, {
    exitCode: privilege ? EXIT.PRIVILEGE : EXIT.FAILED,
    hint: hint || (privilege ? 'run as root, or give the process CAP_NET_ADMIN and CAP_NET_RAW' : ''),
  });
}
