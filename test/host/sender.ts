// A client's socket, without Node's event loop: what is sent is on its way when the call returns.

import { closeDescriptor, writeDescriptor } from '../../src/raw-socket/file.ts';
import { E, errno, libc, must } from '../../src/raw-socket/library.ts';
import { pin } from '../../src/raw-socket/memory.ts';
import { AF_INET, AF_INET6, openSocket, SOCK_DGRAM, setOption } from '../../src/raw-socket/socket.ts';

const connectCall = libc<(fd: number, at: number, bytes: number) => number>(
  'int connect(int fd, uintptr_t at, unsigned int bytes)',
);
const SOCK_STREAM = 1;
const IPPROTO_UDP = 17;
const UDP_SEGMENT = 103;

export class Sender {
  readonly #descriptor: number;

  /** A UDP socket connected to `address`, or a TCP socket whose SYN is sent. */
  constructor(protocol: 'tcp' | 'udp', address: Uint8Array, port: number) {
    const six = address.length === 16;
    this.#descriptor = openSocket(six ? AF_INET6 : AF_INET, protocol === 'tcp' ? SOCK_STREAM : SOCK_DGRAM, 0, 'a sender');
    const name = pin(32);
    name.uint16[0] = six ? AF_INET6 : AF_INET;
    name.bytes[2] = port >> 8;
    name.bytes[3] = port;
    name.bytes.set(address, six ? 8 : 4);
    const result = connectCall(this.#descriptor, name.address, six ? 28 : 16);
    if (result < 0 && errno() !== E.EINPROGRESS) must(result, 'connect');
  }

  /** From now on a datagram larger than this leaves as one super-packet. */
  segment(bytes: number): void {
    setOption(this.#descriptor, IPPROTO_UDP, UDP_SEGMENT, bytes, 'UDP_SEGMENT');
  }

  /** Returns how many bytes the kernel took; waits up to ten seconds for a connection that is being made: a lost SYN is sent again after one. */
  send(bytes: Uint8Array): number {
    const memory = pin(bytes.length);
    memory.bytes.set(bytes);
    for (const end = Date.now() + 10_000; ; ) {
      const sent = writeDescriptor(this.#descriptor, memory.address, bytes.length);
      if (sent < 0 && errno() === E.EAGAIN && Date.now() < end) continue;
      return must(sent, 'send');
    }
  }

  close(): void {
    closeDescriptor(this.#descriptor);
  }
}
