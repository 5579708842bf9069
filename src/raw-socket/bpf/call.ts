/** bpf(2): one system call for maps, programs and links, each with its own reading of one block of parameters (union bpf_attr). */
import { arch } from 'node:process';
import { CodedError, EXIT } from '../../base/errors.ts';
import { E, errno, errnoName, libc } from '../library.ts';
import { type Pinned, pin, retain } from '../memory.ts';

const syscall = libc<(number: number, command: number, at: number, bytes: number) => number>(
  'long syscall(long number, int command, uintptr_t at, unsigned int bytes)',
);

/** Number of bpf(2): asm/unistd_64.h, and asm-generic/unistd.h, which arm64 has. */
const SYS_BPF = arch === 'x64' ? 321 : 280;

export const BPF_MAP_CREATE = 0;
export const BPF_MAP_LOOKUP_ELEM = 1;
export const BPF_MAP_UPDATE_ELEM = 2;
export const BPF_MAP_DELETE_ELEM = 3;
export const BPF_MAP_GET_NEXT_KEY = 4;
export const BPF_PROG_LOAD = 5;
export const BPF_PROG_TEST_RUN = 10;
export const BPF_LINK_CREATE = 28;

/** Zeroed parameters of a call. A kernel that knows fewer takes them as long as the rest is zero (bpf_check_uarg_tail_zero). */
export function bpfParameters(): Pinned {
  return pin(128);
}

/** The verifier gives up when a signal waits for its thread (kernel/bpf/verifier.c, bpf_check and do_check): the next attempt comes behind the signal. */
const MOST_ATTEMPTS = 100;

/** What the kernel answers, negative with `errno()` set when it refuses. `bytes`: how much of the parameters is meant. */
export function tryBpf(command: number, parameters: Pinned, bytes: number): number {
  let result = -1;
  for (let attempt = 0; attempt < MOST_ATTEMPTS; attempt++) {
    result = syscall(SYS_BPF, command, parameters.address, bytes);
    if (result >= 0 || errno() !== E.EAGAIN) break;
  }
  retain(parameters);
  return result;
}

/** The same, but throws CodedError GD_RAW_SOCKET_BPF naming `object` when the kernel refuses. */
export function bpf(command: number, parameters: Pinned, bytes: number, object: string): number {
  const result = tryBpf(command, parameters, bytes);
  if (result < 0) throw bpfError(object, errno());
  return result;
}

/** The error for a refused call. */
export function bpfError(object: string, number: number, detail = ''): CodedError {
  const privilege = number === E.EPERM || number === E.EACCES;
  const hints: Readonly<Record<number, string>> = {
    [E.EPERM]:
      'run as root, or give the process CAP_BPF, CAP_NET_ADMIN and CAP_NET_RAW (before Linux 5.11 also LimitMEMLOCK=infinity)',
    [E.ENOSYS]: 'this kernel has no bpf(2): use another ingress driver',
  };
  return new CodedError('GD_RAW_SOCKET_BPF', `${object}: ${errnoName(number)}${detail}`, {
    exitCode: privilege ? EXIT.PRIVILEGE : EXIT.FAILED,
    hint: hints[number] ?? '',
  });
}
