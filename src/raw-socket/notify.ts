/**
 * The socket on which a service manager hears how a service is: datagrams of `KEY=value` lines to a unix socket that it named in
 * NOTIFY_SOCKET (sd_notify(3)). Node has no unix datagram sockets.
 */
import { closeDescriptor } from './file.ts';
import { E, errno, libc, must } from './library.ts';
import { openSocket, SOCK_DGRAM } from './socket.ts';
import { AF_UNIX, unixAddress } from './unix-address.ts';

const sendto = libc<(fd: number, data: Uint8Array, bytes: number, flags: number, to: Uint8Array, length: number) => number>(
  'intptr_t sendto(int fd, const void *data, size_t bytes, int flags, const void *to, unsigned int length)',
);

/** No signal when nobody is there. */
const MSG_NOSIGNAL = 0x4000;

export class NotifySocket {
  readonly #descriptor: number;
  readonly #path: string;
  readonly #address: Uint8Array;

  /** `path` as in NOTIFY_SOCKET: absolute, or an abstract name behind `@`. Throws CodedError when it can not be one. */
  constructor(path: string) {
    this.#path = path;
    this.#address = unixAddress(path);
    this.#descriptor = openSocket(AF_UNIX, SOCK_DGRAM, 0, 'NOTIFY_SOCKET');
  }

  /**
   * Sends one message. Never waits: false when the receiver's queue is full now. Throws CodedError when nobody receives there. Every message
   * goes to the address, not over a connection: a service manager that executes itself anew binds a new socket.
   */
  send(text: string): boolean {
    const data = new TextEncoder().encode(text);
    const sent = sendto(this.#descriptor, data, data.length, MSG_NOSIGNAL, this.#address, this.#address.length);
    if (sent < 0 && (errno() === E.EAGAIN || errno() === E.ENOBUFS)) return false;
    must(sent, `sendto ${this.#path} (NOTIFY_SOCKET)`, 'unset NOTIFY_SOCKET when no service manager listens there');
    return true;
  }

  close(): void {
    closeDescriptor(this.#descriptor);
  }
}
