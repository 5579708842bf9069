/**
 * Who this process is and what it may do: user, capabilities, no-new-privs. (capabilities(7), prctl(2), credentials(7))
 *
 * Capabilities and no-new-privs belong to a task, not to a process: what is changed here changes the calling thread and those that it
 * starts later, never the threads that Node has already. Whoever wants a whole process with other privileges changes this thread and then
 * executes a program (`execute`): every other thread ends there, and every thread of the new program inherits.
 */
import { readFileSync } from 'node:fs';
import { CodedError, EXIT } from '../base/errors.ts';
import { E, errno, errnoName, libc, must, viewOf } from './library.ts';

const prctl = libc<(option: number, second: number, third: number, fourth: number, fifth: number) => number>(
  'int prctl(int option, unsigned long second, unsigned long third, unsigned long fourth, unsigned long fifth)',
);
const capset = libc<(header: Uint32Array, data: Uint32Array) => number>('int capset(void *header, const void *data)');
const setresuid = libc<(real: number, effective: number, saved: number) => number>(
  'int setresuid(unsigned int real, unsigned int effective, unsigned int saved)',
);
const setresgid = libc<(real: number, effective: number, saved: number) => number>(
  'int setresgid(unsigned int real, unsigned int effective, unsigned int saved)',
);
const setgroups = libc<(count: number, list: Uint32Array) => number>('int setgroups(size_t count, const void *list)');
const initgroups = libc<(name: string, group: number) => number>('int initgroups(const char *name, unsigned int group)');
const getpwnam = libc<(name: string) => number>('uintptr_t getpwnam(const char *name)');
const getpwuid = libc<(id: number) => number>('uintptr_t getpwuid(unsigned int id)');
const getgrnam = libc<(name: string) => number>('uintptr_t getgrnam(const char *name)');
const execve = libc<(path: string, words: (string | null)[], environment: (string | null)[]) => number>(
  'int execve(const char *path, const char **words, const char **environment)',
);

const fcntl = libc<(fd: number, command: number, value: number) => number>('int fcntl(int fd, int command, long value)');

const F_SETFD = 2;
const PR_SET_KEEPCAPS = 8;
const PR_CAPBSET_DROP = 24;
const PR_SET_NO_NEW_PRIVS = 38;
const PR_CAP_AMBIENT = 47;
const PR_CAP_AMBIENT_RAISE = 2;
const PR_CAP_AMBIENT_CLEAR_ALL = 4;
const LINUX_CAPABILITY_VERSION_3 = 0x20080522;

/** Numbers of capabilities by name (linux/capability.h), those that concern a director. */
export const CAPABILITY = {
  CAP_SETGID: 6,
  CAP_SETUID: 7,
  CAP_SETPCAP: 8,
  CAP_NET_BIND_SERVICE: 10,
  CAP_NET_ADMIN: 12,
  CAP_NET_RAW: 13,
  CAP_BPF: 39,
} as const;
export type CapabilityName = keyof typeof CAPABILITY;

/** A set of capabilities: bit n is capability n. */
export function capabilitySet(names: readonly CapabilityName[]): bigint {
  return names.reduce((set, name) => set | (1n << BigInt(CAPABILITY[name])), 0n);
}

/** What one task is and may. Sets have bit n for capability n. */
export interface Credentials {
  readonly user: number;
  readonly group: number;
  readonly inheritable: bigint;
  readonly permitted: bigint;
  readonly effective: bigint;
  readonly bounding: bigint;
  readonly ambient: bigint;
  readonly noNewPrivileges: boolean;
}

/** Of the main thread of this process, or from the text of any /proc/PID/task/TID/status. User and group are the effective ones. */
export function readCredentials(status: string = readFileSync('/proc/self/status', 'utf8')): Credentials {
  const field = (name: string): string => new RegExp(`^${name}:\\s*(.*)$`, 'm').exec(status)?.[1] ?? '';
  const set = (name: string): bigint => BigInt(`0x${field(name) || '0'}`);
  return {
    user: Number(field('Uid').split('\t')[1]),
    group: Number(field('Gid').split('\t')[1]),
    inheritable: set('CapInh'),
    permitted: set('CapPrm'),
    effective: set('CapEff'),
    bounding: set('CapBnd'),
    ambient: set('CapAmb'),
    noNewPrivileges: field('NoNewPrivs') === '1',
  };
}

/** A user as the system's databases know it. */
export interface User {
  readonly id: number;
  readonly group: number;
  /** Empty for a number that no database knows. */
  readonly name: string;
}

/**
 * A user by name or number, null when there is none of that name. A number that nobody knows is a user all the same, of the group of the
 * same number.
 *
 *     struct passwd:  | char *name | char *password | u32 uid | u32 gid | …     struct group:  | char *name | char *password | u32 gid | …
 */
export function findUser(nameOrNumber: string | number): User | null {
  const known = typeof nameOrNumber === 'number' ? getpwuid(nameOrNumber) : getpwnam(nameOrNumber);
  if (known === 0) return typeof nameOrNumber === 'number' ? { id: nameOrNumber, group: nameOrNumber, name: '' } : null;
  const [id, group] = new Uint32Array(viewOf(known, 24), 16, 2);
  const name = typeof nameOrNumber === 'string' ? nameOrNumber : textAt(known);
  return { id, group, name };
}

/** The number of a group, null when there is none of that name. */
export function findGroup(nameOrNumber: string | number): number | null {
  if (typeof nameOrNumber === 'number') return nameOrNumber;
  const known = getgrnam(nameOrNumber);
  return known === 0 ? null : new Uint32Array(viewOf(known, 24), 16, 1)[0];
}

/** The C text that the pointer at `address` leads to. A name has at most 256 bytes (LOGIN_NAME_MAX). */
function textAt(address: number): string {
  const [low, high] = new Uint32Array(viewOf(address, 8), 0, 2);
  const start = high * 4294967296 + low;
  let length = 0;
  while (length < 256 && new Uint8Array(viewOf(start + length, 1))[0] !== 0) length++;
  return new TextDecoder().decode(new Uint8Array(viewOf(start, length)));
}

/** This thread and all that it starts gain nothing by executing a program, whatever its owner or file capabilities. Never undone. */
export function forbidNewPrivileges(): void {
  must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 'prctl PR_SET_NO_NEW_PRIVS');
}

/** Takes from the bounding set what is not in `kept`; nothing happens without CAP_SETPCAP, which it needs. */
export function limitBoundingSet(kept: bigint): void {
  const { effective, bounding } = readCredentials();
  if ((effective & capabilitySet(['CAP_SETPCAP'])) === 0n) return;
  for (let number = 0; bounding >> BigInt(number) > 0n; number++) {
    const bit = 1n << BigInt(number);
    if ((bounding & bit) !== 0n && (kept & bit) === 0n) must(prctl(PR_CAPBSET_DROP, number, 0, 0, 0), 'prctl PR_CAPBSET_DROP');
  }
}

/**
 * Becomes `user` with `group` and the user's supplementary groups, for good. Permitted capabilities stay, on this thread only; effective ones
 * are gone until `setCapabilities`. Throws CodedError (exit code 77) without CAP_SETUID and CAP_SETGID.
 */
export function becomeUser(user: User, group: number): void {
  const hint = 'it needs CAP_SETUID and CAP_SETGID: start it with them, or as that user in the first place';
  must(prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0), 'prctl PR_SET_KEEPCAPS');
  must(user.name === '' ? setgroups(0, new Uint32Array(1)) : initgroups(user.name, group), 'initgroups', hint);
  must(setresgid(group, group, group), `setresgid to ${group}`, hint);
  must(setresuid(user.id, user.id, user.id), `setresuid to ${user.id}`, hint);
}

/** Makes permitted, effective, inheritable and ambient sets of this thread exactly `set`, a part of what is permitted now. */
export function setCapabilities(set: bigint): void {
  const low = Number(set & 0xffffffffn);
  const high = Number(set >> 32n);
  must(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0), 'prctl PR_CAP_AMBIENT_CLEAR_ALL');
  // struct __user_cap_data_struct, twice: u32 effective, permitted, inheritable.
  const data = Uint32Array.of(low, low, low, high, high, high);
  must(capset(Uint32Array.of(LINUX_CAPABILITY_VERSION_3, 0), data), 'capset');
  for (let number = 0; set >> BigInt(number) > 0n; number++) {
    if (((set >> BigInt(number)) & 1n) === 0n) continue;
    must(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, number, 0, 0), 'prctl PR_CAP_AMBIENT_RAISE');
  }
}

/**
 * Becomes another program: the process id, standard input, output and error, and this thread's privileges stay, nothing else does. Returns
 * only by throwing CodedError. To be called on the main thread.
 */
export function execute(
  path: string,
  words: readonly string[],
  environment: Readonly<Record<string, string | undefined>>,
): never {
  const entries = Object.entries(environment).filter(([, value]) => value !== undefined);
  // Node lets no program inherit what it was started with (uv_disable_stdio_inheritance).
  for (const descriptor of [0, 1, 2]) fcntl(descriptor, F_SETFD, 0);
  execve(path, [path, ...words, null], [...entries.map(([name, value]) => `${name}=${value}`), null]);
  const number = errno();
  throw new CodedError('GD_RAW_SOCKET_EXECUTE', `${path} can not be executed: ${errnoName(number)}`, {
    exitCode: number === E.EPERM || number === E.EACCES ? EXIT.PRIVILEGE : EXIT.FAILED,
    hint: `namei -l ${path}`,
  });
}
