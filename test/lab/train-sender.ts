// A sender of GUE that keeps neighbours together: packets of one length leave as one message (UDP_SEGMENT), as a director's do.

import { closeDescriptor } from '../../src/raw-socket/file.ts';
import { libc, must } from '../../src/raw-socket/library.ts';
import { pin } from '../../src/raw-socket/memory.ts';
import { AF_INET, AF_INET6, IPPROTO_UDP, openSocket, SOCK_DGRAM, setOption } from '../../src/raw-socket/socket.ts';
import { ip } from '../builder/addresses.ts';

export const PORT = 6080;
const UDP_SEGMENT = 103;
/** The kernel's limits for one message of UDP_SEGMENT, and ours to keep them. */
const MOST_DATAGRAMS = 64;
const MOST_BYTES = 65_000;

const sendtoCall = libc<(fd: number, at: number, bytes: number, flags: number, to: number, toBytes: number) => number>(
  'intptr_t sendto(int fd, uintptr_t at, size_t bytes, int flags, uintptr_t to, unsigned int toBytes)',
);

export class TrainSender {
  readonly #socket: number;
  readonly #to = pin(32);
  readonly #toBytes: number;
  readonly #buffer = pin(70_000);
  readonly #most: number;
  messages = 0;

  /** `most`: datagrams in one message; 1 for none that is a train. */
  constructor(address: string, most = MOST_DATAGRAMS) {
    this.#most = most;
    const bytes = ip(address);
    const six = bytes.length === 16;
    this.#socket = openSocket(six ? AF_INET6 : AF_INET, SOCK_DGRAM, 0, 'the test');
    this.#to.uint16[0] = six ? AF_INET6 : AF_INET;
    this.#to.bytes.set([PORT >> 8, PORT & 255], 2);
    this.#to.bytes.set(bytes, six ? 8 : 4);
    this.#toBytes = six ? 28 : 16;
  }

  /** Packets in order: neighbours of one length leave as one train, and a shorter one may close it. */
  send(packets: readonly Uint8Array[]): void {
    let from = 0;
    while (from < packets.length) {
      const size = packets[from].length;
      let to = from + 1;
      const fits = () => to < packets.length && to - from < this.#most && (to - from + 1) * (size + 4) < MOST_BYTES;
      while (fits() && packets[to].length === size) to++;
      if (fits() && packets[to].length < size) to++;
      this.#sendTrain(packets.slice(from, to));
      from = to;
    }
  }

  #sendTrain(packets: readonly Uint8Array[]): void {
    let length = 0;
    for (const packet of packets) {
      this.#buffer.bytes.set([0, packet[0] >> 4 === 4 ? 4 : 41, 0, 0], length);
      this.#buffer.bytes.set(packet, length + 4);
      length += packet.length + 4;
    }
    setOption(this.#socket, IPPROTO_UDP, UDP_SEGMENT, packets.length > 1 ? packets[0].length + 4 : 0, 'UDP_SEGMENT');
    must(sendtoCall(this.#socket, this.#buffer.address, length, 0, this.#to.address, this.#toBytes), 'sendto');
    this.messages++;
  }

  close(): void {
    closeDescriptor(this.#socket);
  }
}
