/**
 * One queue of a TUN or TAP device, as one thread reads it and writes its replies back. The two drivers differ in what the frames are:
 * tun/ingress.ts, tap/ingress.ts.
 */
import { readFileSync } from 'node:fs';
import { HEADROOM } from '../base/arena.ts';
import type { Batch, IngressFacts } from '../base/batch.ts';
import { dropReason } from '../base/drop-reason.ts';
import { VERDICT_DROP, VERDICT_REPLY } from '../base/verdict.ts';
import { closeDescriptor } from '../raw-socket/file.ts';
import { E, errno } from '../raw-socket/library.ts';
import type { Pinned } from '../raw-socket/memory.ts';
import { pin } from '../raw-socket/memory.ts';
import { MessageVector } from '../raw-socket/message.ts';
import { openTunQueue, type QueueKind, type QueueOffloads, VNET_HEADER } from '../raw-socket/tun.ts';
import type { DriverStatistics, Ingress } from './driver.ts';
import { clearFrame, markTruncated } from './frame.ts';
import { readVirtioHeader } from './virtio-header.ts';

const REPLY_FAILED = dropReason('reply-failed');
/** Bytes per virtio-net header in our own array: 12, padded. */
const HEADER_STRIDE = 16;
/** Where the bytes behind a full slot go: one suffices to see that a packet did not fit. */
const SPILL = 8;
/**
 * A batch ends after the packet that reaches so many bytes. Its packets are read twice more, by the checksums and by the kernel that sends
 * them; sixty-four super-packets are 4 MiB, which no core's own cache holds until then.
 */
const BATCH_BYTES = 256 * 1024;

export interface DeviceQueueOptions {
  readonly device: string;
  /** A queue opened already (it is closed with the driver); otherwise one is opened here. */
  readonly queue?: number;
  /** One of a device's queues reports the device's drops; default true. */
  readonly reportsDrops?: boolean;
  /** What the kernel may leave to us; of a queue opened already, whoever opened it has said so. Default: see `openTunQueue`. */
  readonly offloads?: QueueOffloads;
}

/** What belongs to one batch. */
interface Bound {
  readonly batch: Batch;
  readonly read: () => number;
  /** What the kernel reads and writes by its addresses: referenced for as long as that. */
  readonly headers: Pinned;
  readonly reads: MessageVector;
}

export class DeviceQueue implements Ingress {
  readonly name: string;
  readonly facts: IngressFacts;
  readonly descriptor: number;
  readonly exhausted = false;
  readonly countsDevice = true;
  /** errno of the last read or write that failed for another reason than "nothing there"; 0 when none did. */
  lastErrno = 0;
  readonly #device: string;
  readonly #reportsDrops: boolean;
  readonly #reply = new MessageVector({ messages: 1, segments: 2, nameBytes: 0, controlBytes: 0 });
  readonly #zeroHeader = pin(HEADER_STRIDE);
  #bound: Bound | null = null;
  #open = true;
  #drops = 0;

  constructor(kind: QueueKind, facts: IngressFacts, options: DeviceQueueOptions) {
    const { device, offloads } = options;
    this.#device = device;
    this.#reportsDrops = options.reportsDrops ?? true;
    this.name = `${kind}:${device}`;
    this.facts = facts;
    this.descriptor = options.queue ?? openTunQueue(device, { kind, ...(offloads === undefined ? {} : { offloads }) });
    this.#reply.setSegment(0, 0, this.#zeroHeader.address, VNET_HEADER);
  }

  receive(batch: Batch): number {
    let bound = this.#bound;
    if (bound === null || bound.batch !== batch) {
      bound = this.#bind(batch);
      this.#bound = bound;
    }
    const count = bound.read();
    batch.count = Math.max(0, count);
    // EAGAIN: the queue is empty. EIO/EBADFD: the device is down or gone; the next poll or check of the host tells. Behind packets it is not
    // asked which: they would wait for the answer, and an error that stays meets the next call again.
    if (count < 0) this.#note(errno());
    return batch.count;
  }

  /** Writes each reply back: the kernel sees it as received from this device. */
  reply(batch: Batch): void {
    for (let i = 0; i < batch.count; i++) {
      if (batch.verdict[i] !== VERDICT_REPLY) continue;
      if (this.#write(batch, batch.outAt[i], batch.outLength[i])) continue;
      batch.verdict[i] = VERDICT_DROP;
      batch.reason[i] = REPLY_FAILED;
    }
    for (let a = 0; a < batch.answers; a++) {
      if (!this.#write(batch, batch.answerAt[a], batch.answerLength[a])) batch.answersLost++;
    }
  }

  #write(batch: Batch, at: number, length: number): boolean {
    this.#reply.setSegment(0, 1, batch.arena.address + at, length);
    if (this.#reply.writeFrom(this.descriptor, 0) >= 0) return true;
    this.#note(errno());
    return false;
  }

  /** The device's own drops: packets that came while its queue was full (the transmit "drop" column of /proc/net/dev). */
  statistics(): DriverStatistics {
    if (this.#open && this.#reportsDrops) this.#drops = transmitDrops(this.#device) ?? this.#drops;
    return { kernelDrops: this.#drops };
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    closeDescriptor(this.descriptor);
  }

  /** Points the readv segments at a batch's slots, once per batch object. */
  #bind(batch: Batch): Bound {
    const headers = pin(batch.capacity * HEADER_STRIDE + SPILL);
    const reads = new MessageVector({ messages: batch.capacity, segments: 3, nameBytes: 0, controlBytes: 0 });
    for (let i = 0; i < batch.capacity; i++) {
      reads.setSegment(i, 0, headers.address + i * HEADER_STRIDE, VNET_HEADER);
      reads.setSegment(i, 1, batch.arena.address + batch.slotAt[i] + HEADROOM, batch.frameCapacity);
      reads.setSegment(i, 2, headers.address + batch.capacity * HEADER_STRIDE, SPILL);
    }
    return { batch, headers, reads, read: readsOf(batch, reads.reader(this.descriptor), headers.uint16) };
  }

  #note(number: number): void {
    if (number !== E.EAGAIN && number !== E.EINTR) this.lastErrno = number;
  }
}

/**
 * A function that reads until the queue is empty or the batch full, and returns how many packets that were; −1 with `errno()` set when already the first read failed. A closure over one batch, as
 * the stages are (pipeline/pipeline.ts). Between two reads it does next to nothing: the kernel's code has driven what lies here out of the first-level caches each time, so columns are
 * filled for all packets behind the last one.
 */
function readsOf(batch: Batch, readInto: (i: number) => number, headers: Uint16Array): () => number {
  const { capacity, frameCapacity, frameLength } = batch;
  const room = VNET_HEADER + frameCapacity;

  function fill(count: number): void {
    for (let i = 0; i < count; i++) {
      clearFrame(batch, i);
      readVirtioHeader(batch, i, headers, (i * HEADER_STRIDE) >> 1, 0);
      const bytes = frameLength[i];
      if (bytes > room) {
        frameLength[i] = frameCapacity;
        markTruncated(batch, i);
      } else {
        frameLength[i] = bytes - VNET_HEADER;
      }
    }
  }

  return function read(): number {
    let count = 0;
    let total = 0;
    while (count < capacity && total < BATCH_BYTES) {
      const bytes = readInto(count);
      if (bytes < VNET_HEADER) {
        if (count === 0) return bytes < 0 ? -1 : 0;
        break;
      }
      frameLength[count] = bytes;
      total += bytes;
      count++;
    }
    fill(count);
    return count;
  };
}

/**
 * Packets a device of this process's network namespace dropped on transmit; null when it is not listed. /proc/net/dev and not
 * /sys: sysfs shows the namespace it was mounted in.
 */
function transmitDrops(device: string): number | null {
  for (const line of readFileSync('/proc/net/dev', 'utf8').split('\n')) {
    const colon = line.indexOf(':');
    if (colon < 0 || line.slice(0, colon).trim() !== device) continue;
    // Eight receive columns, then transmit: bytes packets errs drop …
    const columns = line
      .slice(colon + 1)
      .trim()
      .split(/\s+/);
    return Number(columns[11]);
  }
  return null;
}
