/**
 * A lock that lives in the network namespace and dies with its holder: a bound abstract unix socket (unix(7)). No file stays
 * behind, another network namespace has its own, and a child process does not inherit it (SOCK_CLOEXEC).
 */
import { E, errno, libc, must } from './library.ts';
import { AF_UNIX, unixAddress } from './unix-address.ts';

const socket = libc<(domain: number, type: number, protocol: number) => number>('int socket(int domain, int type, int protocol)');
const bind = libc<(fd: number, address: Uint8Array, length: number) => number>(
  'int bind(int fd, const void *address, uint32_t length)',
);
const listen = libc<(fd: number, backlog: number) => number>('int listen(int fd, int backlog)');
const connect = libc<(fd: number, address: Uint8Array, length: number) => number>(
  'int connect(int fd, const void *address, uint32_t length)',
);
const getsockopt = libc<(fd: number, level: number, name: number, value: Uint8Array, length: Uint32Array) => number>(
  'int getsockopt(int fd, int level, int name, _Out_ void *value, _Inout_ uint32_t *length)',
);
const close = libc<(fd: number) => number>('int close(int fd)');

const SOCK_STREAM = 1;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;
const SOL_SOCKET = 1;
const SO_PEERCRED = 17;

function open(): number {
  return must(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), 'socket(AF_UNIX)');
}

export class NamespaceLock {
  /** The socket: to be sent to the process that takes over (descriptor-passing.ts). */
  readonly descriptor: number;

  private constructor(descriptor: number) {
    this.descriptor = descriptor;
  }

  /** The lock, or null when another socket (of this or another process) holds it. Throws CodedError when the kernel refuses otherwise. */
  static take(name: string): NamespaceLock | null {
    const fd = open();
    const address = unixAddress(`@${name}`);
    if (bind(fd, address, address.length) < 0) {
      const taken = errno() === E.EADDRINUSE;
      try {
        if (!taken) must(-1, `bind(@${name})`);
      } finally {
        close(fd);
      }
      return null;
    }
    // Listening records who we are, for `holder`. We never accept: each question asked of us stays in the backlog, hence its size.
    must(listen(fd, 4096), `listen(@${name})`);
    return new NamespaceLock(fd);
  }

  /** The lock that another process held and sent us; from now on we are named as its holder. It is released with the last descriptor of it. */
  static inherit(descriptor: number): NamespaceLock {
    // Listening again records who we are (net/unix/af_unix.c: unix_listen).
    must(listen(descriptor, 4096), 'listen at an inherited lock');
    return new NamespaceLock(descriptor);
  }

  /**
   * Who holds it: process id (0 when it lives in a process namespace that we can not see) and user id at the time it began to listen.
   * null when nobody does, or a program that bound the name and does not listen: the kernel then does not say.
   */
  static holder(name: string): { readonly process: number; readonly user: number } | null {
    const fd = open();
    try {
      const address = unixAddress(`@${name}`);
      if (connect(fd, address, address.length) < 0) return null;
      // struct ucred: pid, uid, gid.
      const credentials = new Uint32Array(3);
      if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, new Uint8Array(credentials.buffer), Uint32Array.of(12)) < 0) return null;
      return { process: credentials[0], user: credentials[1] };
    } finally {
      close(fd);
    }
  }

  release(): void {
    close(this.descriptor);
  }
}
