/**
 * Unix stream sockets as plain descriptors. Node has unix sockets of its own, but none over which a descriptor can be sent
 * (descriptor-passing.ts). Set-up only; non-blocking, not inherited by children.
 *
 *     struct sockaddr_un:  | u16 family | path, zero-terminated |   at most 108 bytes of path
 */
import { chmodSync } from 'node:fs';
import { CodedError } from '../base/errors.ts';
import { closeDescriptor } from './file.ts';
import { E, errno, libc, must } from './library.ts';
import { type Pinned, pin, retain } from './memory.ts';
import { SOL_SOCKET } from './socket.ts';

const socketCall = libc<(family: number, type: number, protocol: number) => number>(
  'int socket(int family, int type, int protocol)',
);
const pairCall = libc<(family: number, type: number, protocol: number, at: number) => number>(
  'int socketpair(int family, int type, int protocol, uintptr_t at)',
);
const bindCall = libc<(fd: number, at: number, bytes: number) => number>('int bind(int fd, uintptr_t at, unsigned int bytes)');
const listenCall = libc<(fd: number, backlog: number) => number>('int listen(int fd, int backlog)');
const connectCall = libc<(fd: number, at: number, bytes: number) => number>(
  'int connect(int fd, uintptr_t at, unsigned int bytes)',
);
const acceptCall = libc<(fd: number, at: number, length: number, flags: number) => number>(
  'int accept4(int fd, uintptr_t at, uintptr_t length, int flags)',
);
const getsockoptCall = libc<(fd: number, level: number, name: number, at: number, lengthAt: number) => number>(
  'int getsockopt(int fd, int level, int name, uintptr_t at, uintptr_t lengthAt)',
);

const AF_UNIX = 1;
const SOCK_STREAM = 1;
const SOCK_NONBLOCK_CLOEXEC = 0x800 | 0x80000;
const SO_PEERCRED = 17;
/** sizeof(sun_path) with its final zero byte (include/uapi/linux/un.h). */
const MOST_PATH = 107;

function addressOfPath(path: string): { readonly memory: Pinned; readonly length: number } {
  const bytes = Buffer.from(path);
  if (bytes.length > MOST_PATH) {
    throw new CodedError(
      'GD_RAW_SOCKET_PATH',
      `the path of a socket has at most ${MOST_PATH} bytes, not ${bytes.length}: ${path}`,
      {
        hint: 'name a shorter RUNTIME_DIRECTORY',
      },
    );
  }
  const memory = pin(2 + MOST_PATH + 1);
  memory.uint16[0] = AF_UNIX;
  memory.bytes.set(bytes, 2);
  return { memory, length: 2 + bytes.length + 1 };
}

function open(): number {
  return must(socketCall(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK_CLOEXEC, 0), 'socket(AF_UNIX)');
}

/** Two sockets that are connected with each other. */
export function socketPair(): [number, number] {
  const pair = pin(8);
  must(pairCall(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK_CLOEXEC, 0, pair.address), 'socketpair(AF_UNIX)');
  return [pair.int32[0], pair.int32[1]];
}

/**
 * Listens at `path`, which only this user (and root) may connect to; whoever closes the descriptor removes the path too. Throws CodedError when
 * something is there already.
 */
export function listenUnix(path: string): number {
  const descriptor = open();
  try {
    const { memory, length } = addressOfPath(path);
    // Between bind and chmod it would have the mode that umask leaves.
    const before = process.umask(0o177);
    try {
      must(bindCall(descriptor, memory.address, length), `bind to ${path}`);
    } finally {
      process.umask(before);
    }
    retain(memory);
    chmodSync(path, 0o600);
    must(listenCall(descriptor, 1), `listen at ${path}`);
    return descriptor;
  } catch (error) {
    closeDescriptor(descriptor);
    throw error;
  }
}

/** Connects to who listens at `path`; it need not have accepted. Throws CodedError GD_RAW_SOCKET_CALL (ENOENT, ECONNREFUSED, EACCES). */
export function connectUnix(path: string): number {
  const descriptor = open();
  try {
    const { memory, length } = addressOfPath(path);
    must(connectCall(descriptor, memory.address, length), `connect to ${path}`);
    retain(memory);
    return descriptor;
  } catch (error) {
    closeDescriptor(descriptor);
    throw error;
  }
}

/** The next connection to a listening socket, −1 while there is none. */
export function acceptUnix(listener: number): number {
  const descriptor = acceptCall(listener, 0, 0, SOCK_NONBLOCK_CLOEXEC);
  if (descriptor >= 0) return descriptor;
  const number = errno();
  if (number === E.EAGAIN || number === E.EINTR || number === E.ECONNABORTED) return -1;
  return must(descriptor, 'accept4');
}

/** Who connected (struct ucred: pid, uid, gid), as the kernel saw it then; process 0 when it lives in a process namespace that we can not see. */
export function peerOf(descriptor: number): { readonly process: number; readonly user: number } {
  const memory = pin(16);
  memory.int32[3] = 12;
  must(getsockoptCall(descriptor, SOL_SOCKET, SO_PEERCRED, memory.address, memory.address + 12), 'getsockopt SO_PEERCRED');
  retain(memory);
  return { process: memory.int32[0], user: memory.int32[1] >>> 0 };
}
