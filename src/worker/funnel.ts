/**
 * From sockets into a TUN device: batches of messages in (recvmmsg), a write for each packet out, because TUN has no batched write.
 * What makes up for it are packets that hold many: with `gro` one message may carry a train of datagrams, and TCP segments of one
 * flow leave as one super-packet, gathered from where they were received.
 *
 *     slot:         | GUE | inner packet | GUE | inner packet | … | GUE | inner packet |
 *                   |<-- train size ---->|<-- train size ---->|   |<-- the rest ------>|
 *     one packet:   | virtio-net, 12 zero bytes | inner packet |
 *     super-packet: | virtio-net | IP, TCP | payload | payload | …        (train.ts)
 *
 * A virtio-net header of zeros says: nothing to segment, no partial checksum.
 */
import { LARGE_STRIDE } from '../base/arena.ts';
import { mapPacketMemory, type PacketMemory } from '../io/packet-memory.ts';
import { TRAIN_CONTROL, trainSize } from '../raw-socket/datagram.ts';
import { E, errno } from '../raw-socket/library.ts';
import { pin } from '../raw-socket/memory.ts';
import { MessageVector, MSG_TRUNC } from '../raw-socket/message.ts';
import { VNET_HEADER } from '../raw-socket/tun.ts';
import { Coalescer, type Outlet } from './coalesce.ts';
import { completeChecksum, createDecapsulated, decapsulate, REFUSALS } from './decapsulate.ts';
import type { Inlet } from './inlet.ts';
import type { Tally } from './tally.ts';
import { HEADER_ROOM, MAX_SEGMENTS, type Train } from './train.ts';

/** Messages in one system call. */
const BATCH = 64;
/** A slot takes the largest UDP datagram there is (65,507 bytes), and the largest train of them. */
const SLOT = LARGE_STRIDE;
const TRUNCATED = REFUSALS.indexOf('truncated');

export class Funnel implements Outlet {
  readonly #device: number;
  readonly #tally: Tally;
  readonly #memory: PacketMemory = mapPacketMemory(BATCH * SLOT);
  readonly #bytes = new Uint8Array(this.#memory.buffer, 0, BATCH * SLOT);
  readonly #view = new DataView(this.#memory.buffer, 0, BATCH * SLOT);
  readonly #incoming = new MessageVector({ messages: BATCH, segments: 1, nameBytes: 0, controlBytes: TRAIN_CONTROL });
  readonly #single = new MessageVector({ messages: 1, segments: 2, nameBytes: 0, controlBytes: 0 });
  readonly #gathered = new MessageVector({ messages: 1, segments: 1 + MAX_SEGMENTS, nameBytes: 0, controlBytes: 0 });
  readonly #virtio = pin(16);
  readonly #headers = pin(HEADER_ROOM);
  readonly #headersView = new DataView(this.#headers.bytes.buffer);
  readonly #inner = createDecapsulated();
  readonly #coalescer: Coalescer | null;

  /** `device` is the descriptor of a TUN queue with virtio-net headers. `gro`: merge TCP segments. */
  constructor(device: number, tally: Tally, gro: boolean) {
    this.#device = device;
    this.#tally = tally;
    this.#coalescer = gro ? new Coalescer(this.#view, this) : null;
    this.#memory.summedThrough(this.#view);
    for (let i = 0; i < BATCH; i++) this.#incoming.setSegment(i, 0, this.#memory.address + i * SLOT, SLOT);
    this.#single.setSegment(0, 0, this.#virtio.address, VNET_HEADER);
  }

  /**
   * Moves what waits at an inlet, at most one batch; nothing is kept back. Returns the number of messages: BATCH means that more may
   * wait.
   */
  move(inlet: Inlet): number {
    const count = this.#incoming.receive(inlet.socket, BATCH);
    if (count < 0) {
      const number = errno();
      if (number !== E.EAGAIN && number !== E.EINTR) this.#tally.receiveFailed(number);
      return 0;
    }
    this.#inner.family = 0;
    for (let i = 0; i < count; i++) {
      this.#split(i, inlet);
      // The kernel has put the length of what it wrote there, and takes it for the room next time.
      this.#incoming.setControlLength(i, TRAIN_CONTROL);
    }
    this.#coalescer?.flush();
    return count;
  }

  get batch(): number {
    return BATCH;
  }

  /** One message: a datagram, or a train of them. */
  #split(i: number, inlet: Inlet): void {
    const at = i * SLOT;
    const length = this.#incoming.transferred(i);
    const size = trainSize(this.#incoming, i);
    const whole = (this.#incoming.flags(i) & MSG_TRUNC) === 0;
    if (size <= 0 || size >= length) {
      this.#tally.received++;
      if (whole) this.#unwrap(at, length, inlet);
      else this.#tally.refused[TRUNCATED]++;
      return;
    }
    for (let from = 0; from < length; from += size) {
      const isLast = from + size >= length;
      this.#tally.received++;
      if (whole || !isLast) this.#unwrap(at + from, isLast ? length - from : size, inlet);
      else this.#tally.refused[TRUNCATED]++;
    }
  }

  #unwrap(at: number, length: number, inlet: Inlet): void {
    const inner = this.#inner;
    const outer = inlet.withIpv4Header ? (this.#bytes[at] & 0x0f) << 2 : 0;
    if (!decapsulate(this.#view, at + outer, length - outer, inner, inlet.payload)) {
      this.#tally.refused[inner.refusal]++;
      return;
    }
    completeChecksum(this.#view, inner);
    if (this.#coalescer === null) this.packet(inner.innerAt, inner.innerLength);
    else this.#coalescer.offer(inner.innerAt, inner.innerLength, inner.family);
  }

  /** Writes one packet. */
  packet(at: number, length: number): void {
    this.#single.setSegment(0, 1, this.#memory.address + at, length);
    if (this.#single.writeFrom(this.#device, 0) < 0) {
      this.#tally.deviceRefused++;
      return;
    }
    this.#tally.injected++;
    this.#tally.injectedBytes += length;
  }

  /** Writes a train as one packet; each segment by itself, as it came, when the kernel will not have it. */
  superPacket(train: Train): void {
    const { count, payloadAt, headerLength } = train;
    const address = this.#memory.address;
    const headers = train.writeHeaders(this.#view, this.#headersView, 0);
    this.#gathered.setSegment(0, 0, this.#headers.address, headers);
    for (let k = 0; k < count; k++) this.#gathered.setSegment(0, k + 1, address + payloadAt[k], train.payloadOf(k));
    if (this.#gathered.writeFrom(this.#device, 0, count + 1) < 0) {
      for (let k = 0; k < count; k++) this.packet(payloadAt[k] - headerLength, headerLength + train.payloadOf(k));
      return;
    }
    this.#tally.injected += count;
    this.#tally.injectedBytes += count * headerLength + train.payload;
    this.#tally.merged += count;
    this.#tally.superPackets++;
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
