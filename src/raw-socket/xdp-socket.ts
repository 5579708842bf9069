/**
 * AF_XDP: a socket whose packets lie in memory of ours (UMEM) and whose four rings are driven without system calls.
 * (Documentation/networking/af_xdp.rst, linux/if_xdp.h)
 *
 *     fill:        frames we lend for receiving      ─► kernel
 *     receive:     packets in them                   ◄─ kernel
 *     transmit:    packets we hand over              ─► kernel
 *     completion:  frames that are ours again        ◄─ kernel
 *
 * A frame may begin anywhere (XDP_UMEM_UNALIGNED_CHUNK_FLAG, Linux ≥ 5.4), so that strides need be no power of two. Offsets count from the UMEM's first byte
 * and must stay below 2^32 here: then their upper halves are 0, but for the receive ring's.
 */
import { CodedError, EXIT } from '../base/errors.ts';
import { closeDescriptor } from './file.ts';
import { E, errno, errnoName, libc, viewOf } from './library.ts';
import { pin, retain, storeAddress } from './memory.ts';
import { coverPages, MAP_POPULATE, MAP_SHARED, mapPages, unmapPages } from './pages.ts';
import { PollSet } from './poll.ts';
import { AF_XDP, getStructOption, openSocket, SOCK_RAW, setOption, setStructOption, switchOption } from './socket.ts';
import { XdpRing } from './xdp-ring.ts';

const bindCall = libc<(fd: number, at: number, bytes: number) => number>('int bind(int fd, uintptr_t at, unsigned int bytes)');
const sendto = libc<(fd: number, at: number, bytes: number, flags: number, name: number, nameBytes: number) => number>(
  'intptr_t sendto(int fd, uintptr_t at, size_t bytes, int flags, uintptr_t name, unsigned int nameBytes)',
);
const recvfrom = libc<(fd: number, at: number, bytes: number, flags: number, name: number, nameBytes: number) => number>(
  'intptr_t recvfrom(int fd, uintptr_t at, size_t bytes, int flags, uintptr_t name, uintptr_t nameBytes)',
);

const SOL_XDP = 283;
const XDP_MMAP_OFFSETS = 1;
const XDP_RX_RING = 2;
const XDP_TX_RING = 3;
const XDP_UMEM_REG = 4;
const XDP_UMEM_FILL_RING = 5;
const XDP_UMEM_COMPLETION_RING = 6;
const XDP_STATISTICS = 7;
const XDP_OPTIONS = 8;
const XDP_OPTIONS_ZEROCOPY = 1;
/** Packets that one wake-up sends in copy mode, Linux ≥ 6.18; 32 before. */
const XDP_MAX_TX_SKB_BUDGET = 9;

const XDP_UMEM_UNALIGNED_CHUNK_FLAG = 1;
const XDP_COPY = 1 << 1;
const XDP_USE_NEED_WAKEUP = 1 << 3;
/** Packets may take several frames, Linux ≥ 6.6. */
const XDP_USE_SG = 1 << 4;

const PGOFF_RX = 0;
const PGOFF_TX = 0x80000000;
const PGOFF_FILL = 0x100000000;
const PGOFF_COMPLETION = 0x180000000;

const MSG_DONTWAIT = 0x40;
const PAGE = 4096;

/** The kernel leaves this room in front of every frame it receives; nobody uses it behind the program, so it is ours. */
export const XDP_PACKET_HEADROOM = 256;
/** A closed socket gives its queue back a moment later (a work queue of the kernel): who comes right behind it waits, this long at most. */
const QUEUE_FREE_MS = 2000;
const PAUSE_MS = 5;
/** struct xdp_desc: u64 place, u32 length, u32 options */
const DESCRIPTOR_BYTES = 16;
const PLACE_BYTES = 8;

export interface XdpSocketOptions {
  readonly interfaceIndex: number;
  /** For messages. */
  readonly device: string;
  readonly queue: number;
  /** Address of the UMEM's first byte, a multiple of the page size, and its length. */
  readonly address: number;
  readonly bytes: number;
  /** Bytes of one frame: 2,048 to 4,096. */
  readonly stride: number;
  /** Entries of the rings: powers of two. */
  readonly fill: number;
  readonly receive: number;
  readonly transmit: number;
  readonly completion: number;
  /** The device reads and writes the frames itself, where it can; elsewhere, and when false, the kernel copies (xp_assign_dev). */
  readonly zeroCopy: boolean;
  /** A packet larger than a frame comes in several, where the kernel can: each descriptor but the last has XDP_CONTINUES in its options. */
  readonly severalFrames: boolean;
}

/** Option of a descriptor: the packet goes on in the next one. */
export const XDP_CONTINUES = 1;

interface RingOffsets {
  readonly producer: number;
  readonly consumer: number;
  readonly entries: number;
  readonly flags: number;
}

/** What the kernel lost or refused since the socket was opened. */
export interface XdpStatistics {
  /** Packets for which no frame was lent, or that were larger than one. */
  readonly dropped: number;
  /** Packets that found the receive ring full. */
  readonly ringFull: number;
  /** Entries of the fill and the transmit ring that are no frames: an error of ours. */
  readonly invalid: number;
}

interface RingRange {
  readonly address: number;
  readonly bytes: number;
}

/** What was a ring is unmapped when the collector has proved that nobody looks at it any more. */
const ranges = new FinalizationRegistry<RingRange>(({ address, bytes }) => {
  unmapPages(address, bytes);
});

export class XdpSocket {
  readonly descriptor: number;
  /** Packets larger than a frame are received. */
  readonly severalFrames: boolean;
  readonly fill: XdpRing;
  readonly received: XdpRing;
  readonly transmit: XdpRing;
  readonly completed: XdpRing;
  #open = true;
  readonly #statistics = pin(48);
  readonly #ranges: RingRange[] = [];

  /**
   * A socket bound to one receive queue. It receives what a program redirects to it (an XSKMAP) once frames are lent. The UMEM must stay mapped until
   * after `close`. Throws CodedError: GD_RAW_SOCKET_XDP_TAKEN when another socket has the queue, GD_RAW_SOCKET_CALL otherwise.
   */
  constructor(options: XdpSocketOptions) {
    this.descriptor = openSocket(AF_XDP, SOCK_RAW, 0, `AF_XDP on ${options.device}`);
    try {
      registerMemory(this.descriptor, options);
      const sizes = [
        [XDP_UMEM_FILL_RING, options.fill],
        [XDP_UMEM_COMPLETION_RING, options.completion],
        [XDP_RX_RING, options.receive],
        [XDP_TX_RING, options.transmit],
      ] as const;
      for (const [name, entries] of sizes) setOption(this.descriptor, SOL_XDP, name, entries, `ring ${name} of AF_XDP`);
      const offsets = readOffsets(this.descriptor);
      this.received = this.#mapRing(PGOFF_RX, offsets[0], options.receive, 'consumer');
      this.transmit = this.#mapRing(PGOFF_TX, offsets[1], options.transmit, 'producer');
      this.fill = this.#mapRing(PGOFF_FILL, offsets[2], options.fill, 'producer');
      this.completed = this.#mapRing(PGOFF_COMPLETION, offsets[3], options.completion, 'consumer');
      // One wake-up for a whole batch; a kernel that does not know it sends 32 at a time.
      switchOption(this.descriptor, SOL_XDP, XDP_MAX_TX_SKB_BUDGET, options.transmit);
      this.severalFrames = bind(this.descriptor, options);
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** Has the kernel look at the transmit ring. 0, or the errno: EAGAIN and EBUSY when it could not send everything now. */
  wakeTransmit(): number {
    return sendto(this.descriptor, 0, 0, MSG_DONTWAIT, 0, 0) < 0 ? errno() : 0;
  }

  /** Has a zero-copy driver look at the fill ring. */
  wakeFill(): void {
    recvfrom(this.descriptor, 0, 0, MSG_DONTWAIT, 0, 0);
  }

  /** True when the kernel says that it runs without copies: the device's own word. */
  runsWithoutCopies(): boolean {
    getStructOption(this.descriptor, SOL_XDP, XDP_OPTIONS, this.#statistics.address, 4, 'XDP_OPTIONS');
    return (this.#statistics.int32[0] & XDP_OPTIONS_ZEROCOPY) !== 0;
  }

  /**
   *     u64 rx_dropped | rx_invalid_descs | tx_invalid_descs | rx_ring_full | rx_fill_ring_empty_descs | tx_ring_empty_descs
   */
  statistics(): XdpStatistics {
    getStructOption(this.descriptor, SOL_XDP, XDP_STATISTICS, this.#statistics.address, 48, 'XDP_STATISTICS');
    const words = this.#statistics.int32;
    const at = (k: number) => (words[2 * k] >>> 0) + (words[2 * k + 1] >>> 0) * 4294967296;
    return { dropped: at(0), ringFull: at(3), invalid: at(1) + at(2) };
  }

  /**
   * Packets that wait in the receive ring are lost; the queue is free for another socket a moment later. Safe to call twice.
   *
   * A mapped ring holds its socket: with the descriptor closed and a ring still mapped the queue would stay taken. Views may look at the rings still, so
   * other memory takes their place: a late access reads zeros.
   */
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    for (const { address, bytes } of this.#ranges) coverPages(address, bytes, 'mmap over a ring of AF_XDP');
    closeDescriptor(this.descriptor);
  }

  #mapRing(place: number, offsets: RingOffsets, entries: number, side: 'producer' | 'consumer'): XdpRing {
    const entryBytes = place === PGOFF_RX || place === PGOFF_TX ? DESCRIPTOR_BYTES : PLACE_BYTES;
    const bytes = offsets.entries + entries * entryBytes;
    const source = { descriptor: this.descriptor, offset: place, flags: MAP_SHARED | MAP_POPULATE };
    const address = mapPages(bytes, source, 'mmap of a ring of AF_XDP');
    const buffer = viewOf(address, bytes);
    this.#ranges.push({ address, bytes });
    ranges.register(buffer, { address, bytes });
    const layout = {
      producerAt: offsets.producer >> 2,
      consumerAt: offsets.consumer >> 2,
      flagsAt: offsets.flags >> 2,
      entriesAt: offsets.entries >> 2,
      entries,
    };
    return new XdpRing(new Int32Array(buffer, 0, bytes >> 2), layout, side);
  }
}

/**
 *     struct xdp_umem_reg: u64 address | u64 bytes | u32 chunk_size | u32 headroom | u32 flags | u32 tx_metadata_len
 */
function registerMemory(descriptor: number, options: XdpSocketOptions): void {
  if (options.address % PAGE !== 0) throw new RangeError('the UMEM must begin with a page');
  const registration = pin(32);
  storeAddress(registration.int32, 0, options.address);
  storeAddress(registration.int32, 2, options.bytes);
  registration.int32[4] = options.stride;
  registration.int32[6] = XDP_UMEM_UNALIGNED_CHUNK_FLAG;
  try {
    setStructOption(descriptor, SOL_XDP, XDP_UMEM_REG, registration.address, 32, 'XDP_UMEM_REG');
  } catch (error) {
    if (errno() !== E.ENOBUFS) throw error;
    throw new CodedError(
      'GD_RAW_SOCKET_XDP_MEMORY',
      `AF_XDP on ${options.device}: ${options.bytes} bytes may not be locked in memory`,
      {
        exitCode: EXIT.PRIVILEGE,
        hint: 'raise the limit: LimitMEMLOCK=infinity in the systemd unit, ulimit -l unlimited in a shell, or CAP_IPC_LOCK',
        cause: error,
      },
    );
  }
  retain(registration);
}

/** Of receive, transmit, fill and completion ring, in this order: struct xdp_mmap_offsets, four u64 each. */
function readOffsets(descriptor: number): RingOffsets[] {
  const memory = pin(128);
  const bytes = getStructOption(descriptor, SOL_XDP, XDP_MMAP_OFFSETS, memory.address, 128, 'XDP_MMAP_OFFSETS');
  if (bytes !== 128) {
    throw new CodedError('GD_RAW_SOCKET_XDP_OLD', 'this kernel has AF_XDP without need-wakeup (Linux 5.4)', {
      hint: 'use the ingress driver packet',
    });
  }
  const at = (k: number) => memory.int32[2 * k];
  return [0, 4, 8, 12].map((k) => ({ producer: at(k), consumer: at(k + 1), entries: at(k + 2), flags: at(k + 3) }));
}

/**
 * Binds, waiting for the queue's last owner to be gone; true when packets may take several frames.
 *
 *     struct sockaddr_xdp: u16 family | u16 flags | u32 interface | u32 queue | u32 shared UMEM's descriptor
 */
function bind(descriptor: number, options: XdpSocketOptions): boolean {
  const { interfaceIndex, queue, device, zeroCopy } = options;
  const name = pin(16);
  const flags = XDP_USE_NEED_WAKEUP | (zeroCopy ? 0 : XDP_COPY);
  name.uint16[0] = AF_XDP;
  name.int32[1] = interfaceIndex;
  name.int32[2] = queue;
  const attempt = (more: number): number => {
    name.uint16[1] = flags | more;
    return bindCall(descriptor, name.address, 16) < 0 ? errno() : 0;
  };
  const pause = new PollSet(1);
  let number = 0;
  for (let waited = 0; waited < QUEUE_FREE_MS; waited += PAUSE_MS) {
    number = attempt(options.severalFrames ? XDP_USE_SG : 0);
    if (options.severalFrames && number === 0) return true;
    // A kernel, or a device, that does not know the flag refuses it. Not so a queue that is still taken: it may be free at the next look.
    if (options.severalFrames && number !== E.EBUSY) number = attempt(0);
    if (number !== E.EBUSY) break;
    pause.wait(PAUSE_MS);
  }
  retain(name);
  if (number === 0) return false;
  const what = `AF_XDP on queue ${queue} of ${device}`;
  if (number === E.EBUSY) {
    throw new CodedError('GD_RAW_SOCKET_XDP_TAKEN', `${what}: another socket has this queue`, {
      exitCode: EXIT.FAILED,
      hint: 'stop the other program that uses AF_XDP here: ss --xdp',
    });
  }
  const hints: Readonly<Record<number, string>> = {
    [E.EINVAL]: `ethtool -l ${device}   shows how many queues it has`,
    [E.ENOBUFS]: 'raise the limit of locked memory: LimitMEMLOCK=infinity',
  };
  throw new CodedError('GD_RAW_SOCKET_CALL', `bind ${what}: ${errnoName(number)}`, {
    exitCode: number === E.EPERM ? EXIT.PRIVILEGE : EXIT.FAILED,
    hint: hints[number] ?? '',
  });
}
