// Makes this process's kernel one that lacks something: a seccomp filter that answers one system call with an errno. It can not be taken
// away again, so a test that uses it has a file, and with it a process, of its own.
import { addressOf, libc, must } from '../../src/raw-socket/library.ts';

const prctl = libc<(option: number, a: number, b: number, c: number, d: number) => number>(
  'int prctl(int option, uintptr_t a, uintptr_t b, uintptr_t c, uintptr_t d)',
);
const PR_SET_SECCOMP = 22;
const PR_SET_NO_NEW_PRIVS = 38;
const SECCOMP_MODE_FILTER = 2;
const CALLS = process.arch === 'arm64' ? { socket: 198, setsockopt: 208 } : { socket: 41, setsockopt: 54 };

/**
 * From now on `call` with `value` as argument number `argument` (from 0) fails with `errno`, in this thread and its children. struct
 * sock_filter: u16, u8, u8, u32.
 */
export function refuseCall(call: keyof typeof CALLS, argument: number, value: number, errno: number): void {
  const program = [
    [0x20, 0, 0, 0], // A = system call number (struct seccomp_data)
    [0x15, 0, 3, CALLS[call]],
    [0x20, 0, 0, 16 + 8 * argument], // A = the argument's lower half
    [0x15, 0, 1, value],
    [0x06, 0, 0, 0x00050000 | errno], // SECCOMP_RET_ERRNO
    [0x06, 0, 0, 0x7fff0000], // SECCOMP_RET_ALLOW
  ];
  const code = new DataView(new ArrayBuffer(program.length * 8));
  program.forEach(([operation, yes, no, k], i) => {
    code.setUint16(i * 8, operation, true);
    code.setUint8(i * 8 + 2, yes);
    code.setUint8(i * 8 + 3, no);
    code.setUint32(i * 8 + 4, k, true);
  });
  const bytes = new Uint8Array(code.buffer);
  const header = new BigUint64Array([BigInt(program.length), BigInt(addressOf(bytes))]);
  must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 'prctl(PR_SET_NO_NEW_PRIVS)');
  must(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, addressOf(header), 0, 0), 'prctl(PR_SET_SECCOMP)');
}
