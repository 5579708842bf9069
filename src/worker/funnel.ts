/**
 * From UDP sockets into a TUN device: batches of datagrams in (recvmmsg), one write for each inner packet out. TUN has no batched
 * write.
 *
 *     slot:  | GUE | inner packet        |        written as:  | virtio-net, 12 zero bytes | inner packet |
 *
 * A virtio-net header of zeros says: nothing to segment, no partial checksum.
 */
import { LARGE_STRIDE } from '../base/arena.ts';
import { E, errno } from '../raw-socket/library.ts';
import { type MappedMemory, mapMemory, pin } from '../raw-socket/memory.ts';
import { MessageVector, MSG_TRUNC } from '../raw-socket/message.ts';
import { VNET_HEADER } from '../raw-socket/tun.ts';
import { createDecapsulated, decapsulate, REFUSALS } from './decapsulate.ts';
import type { Tally } from './tally.ts';

/** Datagrams in one system call. */
const BATCH = 64;
/** A slot takes the largest UDP datagram there is (65,507 bytes). */
const SLOT = LARGE_STRIDE;
const TRUNCATED = REFUSALS.indexOf('truncated');

export class Funnel {
  readonly #device: number;
  readonly #tally: Tally;
  readonly #memory: MappedMemory = mapMemory(BATCH * SLOT);
  readonly #bytes = new Uint8Array(this.#memory.buffer, 0, BATCH * SLOT);
  readonly #incoming = new MessageVector({ messages: BATCH, segments: 1, nameBytes: 0, controlBytes: 0 });
  readonly #outgoing = new MessageVector({ messages: 1, segments: 2, nameBytes: 0, controlBytes: 0 });
  readonly #virtio = pin(16);
  readonly #inner = createDecapsulated();

  /** `device` is the descriptor of a TUN queue with virtio-net headers. */
  constructor(device: number, tally: Tally) {
    this.#device = device;
    this.#tally = tally;
    for (let i = 0; i < BATCH; i++) this.#incoming.setSegment(i, 0, this.#memory.address + i * SLOT, SLOT);
    this.#outgoing.setSegment(0, 0, this.#virtio.address, VNET_HEADER);
  }

  /** Moves what waits on a socket, at most one batch. Returns the number of datagrams: BATCH means that more may wait. */
  move(socket: number): number {
    const count = this.#incoming.receive(socket, BATCH);
    if (count < 0) {
      const number = errno();
      if (number !== E.EAGAIN && number !== E.EINTR) this.#tally.receiveFailed(number);
      return 0;
    }
    this.#tally.received += count;
    this.#inner.family = 0;
    for (let i = 0; i < count; i++) {
      if ((this.#incoming.flags(i) & MSG_TRUNC) !== 0) this.#tally.refused[TRUNCATED]++;
      else this.#inject(i * SLOT, this.#incoming.transferred(i));
    }
    return count;
  }

  get batch(): number {
    return BATCH;
  }

  #inject(at: number, length: number): void {
    const inner = this.#inner;
    if (!decapsulate(this.#bytes, at, length, inner)) {
      this.#tally.refused[inner.refusal]++;
      return;
    }
    this.#outgoing.setSegment(0, 1, this.#memory.address + inner.innerAt, inner.innerLength);
    if (this.#outgoing.writeFrom(this.#device, 0) < 0) {
      this.#tally.deviceRefused++;
      return;
    }
    this.#tally.injected++;
    this.#tally.injectedBytes += inner.innerLength;
  }

  /** Destination of the last good packet of the last batch: a copy of 4 or 16 bytes, or null. For checks beside the path. */
  lastDestination(): Uint8Array | null {
    const { family, innerAt } = this.#inner;
    if (family === 0) return null;
    return family === 4 ? this.#bytes.slice(innerAt + 16, innerAt + 20) : this.#bytes.slice(innerAt + 24, innerAt + 40);
  }

  close(): void {
    this.#memory.release();
  }
}
