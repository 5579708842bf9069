// The service manager's end of NOTIFY_SOCKET: a unix datagram socket, which Node does not have.

import { chmodSync, rmSync } from 'node:fs';
import { closeDescriptor } from '../../src/raw-socket/file.ts';
import { E, errno, libc, must } from '../../src/raw-socket/library.ts';
import { openSocket, SOCK_DGRAM } from '../../src/raw-socket/socket.ts';
import { AF_UNIX, unixAddress } from '../../src/raw-socket/unix-address.ts';

const bind = libc<(fd: number, address: Uint8Array, length: number) => number>(
  'int bind(int fd, const void *address, unsigned int length)',
);
const recv = libc<(fd: number, bytes: Uint8Array, length: number, flags: number) => number>(
  'intptr_t recv(int fd, _Out_ void *bytes, size_t length, int flags)',
);

export class NotifyReceiver {
  readonly path: string;
  readonly #descriptor: number;
  readonly #heard: string[] = [];

  /** `path` as in NOTIFY_SOCKET; a file may be written to by every user. */
  constructor(path: string) {
    this.path = path;
    this.#descriptor = openSocket(AF_UNIX, SOCK_DGRAM, 0, 'the receiver of a test');
    const address = unixAddress(path);
    must(bind(this.#descriptor, address, address.length), `bind ${path}`);
    if (!path.startsWith('@')) chmodSync(path, 0o666);
  }

  /** Every message so far. */
  heard(): readonly string[] {
    const bytes = new Uint8Array(4096);
    for (;;) {
      const length = recv(this.#descriptor, bytes, bytes.length, 0);
      if (length < 0 && errno() === E.EAGAIN) return this.#heard;
      this.#heard.push(new TextDecoder().decode(bytes.subarray(0, must(length, 'recv'))));
    }
  }

  close(): void {
    closeDescriptor(this.#descriptor);
    if (!this.path.startsWith('@')) rmSync(this.path, { force: true });
  }
}
