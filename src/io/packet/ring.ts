/**
 * The receive ring of a packet socket as one thread has it: the ring's memory is the first part of the arena of the thread's batch, so that a packet is
 * encapsulated where the kernel put it, and sent from there. Behind it each column has a slot of its own, for what does not lie in the ring.
 *
 *     arena:  | ring: blocks × block bytes | home slot × columns | header records |
 *
 * What was received stays ours until the next call; then the kernel gets it back.
 */
import { Arena, BATCH_RECORDS, HEADROOM, LARGE_STRIDE } from '../../base/arena.ts';
import { Batch, type IngressFacts } from '../../base/batch.ts';
import { CodedError, EXIT } from '../../base/errors.ts';
import { mapRing, type RingShape, ringBytes, unmapRing } from '../../raw-socket/packet-ring.ts';
import type { MappedBatch } from '../driver.ts';
import { clearFrame, markTruncated } from '../frame.ts';
import { mapPacketMemory } from '../packet-memory.ts';
import { BlockWalk } from './block-walk.ts';
import { FrameWalk } from './frame-walk.ts';
import { PacketQueue } from './queue.ts';
import type { RingWalk } from './ring-walk.ts';

export type RingKind = 'frames' | 'blocks' | 'none';

const KIB = 1024;
const RING_BYTES = 32 * KIB * KIB;
/**
 * A frame takes a packet of an interface with MTU 1,500 and VLAN tags, 1,908 bytes in all, behind header and headroom; 33 × 64, because an even power of two would
 * put every frame's first line into the same few cache sets. 31 of them fill a block to 64 bytes.
 */
const FRAME_BYTES = 2112;
const FRAME_BLOCK = 64 * KIB;
/** Three super-packets of 64 KiB fill a block; one of 128 KiB would be half empty behind the first. */
const BLOCK_BYTES = 256 * KIB;
/** The least there is: packets wait for it. */
const RETIRE_MS = 1;

/** The ring of that kind; null for none. The successor of a process must know it: no call tells the shape of a ring. */
export function ringShape(kind: RingKind, blocks?: number): RingShape | null {
  if (kind === 'none') return null;
  const blockBytes = kind === 'frames' ? FRAME_BLOCK : BLOCK_BYTES;
  return {
    kind,
    blockBytes,
    blocks: blocks ?? RING_BYTES / blockBytes,
    // Of blocks the kernel wants a frame size too, and makes nothing of it.
    frameBytes: FRAME_BYTES,
    retireMs: RETIRE_MS,
    reserve: HEADROOM,
  };
}

export class PacketRing {
  readonly kind: RingKind;
  readonly #descriptor: number;
  readonly #bytes: number;
  readonly #walk: RingWalk;
  #batch: Batch | null = null;
  #homes = new Int32Array(0);
  #queue: PacketQueue | null = null;

  /** `inherited`: somebody else has read it before. */
  constructor(descriptor: number, shape: RingShape, inherited: boolean) {
    this.kind = shape.kind;
    this.#descriptor = descriptor;
    this.#bytes = ringBytes(shape);
    this.#walk = shape.kind === 'frames' ? new FrameWalk(shape, inherited) : new BlockWalk(shape, inherited);
  }

  get lost(): number {
    return this.#walk.lost;
  }

  get lastErrno(): number {
    return this.#queue?.lastErrno ?? 0;
  }

  createBatch(facts: IngressFacts, capacity: number): MappedBatch {
    this.#leave();
    const before = Math.ceil(this.#bytes / LARGE_STRIDE);
    const slots = before + capacity;
    const memory = mapPacketMemory(Arena.bytesFor(slots, LARGE_STRIDE, BATCH_RECORDS));
    const arena = new Arena(memory.buffer, slots, LARGE_STRIDE, memory.address, BATCH_RECORDS);
    memory.summedThrough(arena.view);
    const batch = new Batch(arena, facts, capacity);
    for (let i = 0; i < capacity; i++) batch.slotAt[i] = (before + i) * LARGE_STRIDE;
    this.#homes = batch.slotAt.slice();
    batch.homeAt = this.#homes;
    // A slot's usual place for a frame, as in any batch.
    for (let i = 0; i < capacity; i++) batch.frameAt[i] = batch.slotAt[i] + HEADROOM;
    mapRing(this.#descriptor, memory.address, this.#bytes);
    this.#walk.attach(memory.buffer);
    this.#queue = new PacketQueue(this.#descriptor, batch);
    this.#batch = batch;
    return {
      batch,
      release: () => {
        if (this.#batch === batch) this.unmap();
        memory.release();
      },
    };
  }

  receive(batch: Batch): number {
    return this.#take(batch, true);
  }

  /** Fills the batch with what of an opened block was not delivered yet; 0 when that is nothing: all of the ring is the kernel's, or its next reader's, again. */
  rest(batch: Batch): number {
    return this.#take(batch, false);
  }

  /** The ring leaves our memory; the kernel gets back what we had of it, delivered or not: what made a thread fail is not read again. */
  unmap(): void {
    const batch = this.#batch;
    if (batch === null) return;
    while (this.#walk.take(batch, false) > 0);
    batch.count = 0;
    this.#leave();
  }

  #leave(): void {
    if (this.#batch !== null) unmapRing(this.#batch.arena.address, this.#bytes);
    this.#batch = null;
  }

  #take(batch: Batch, more: boolean): number {
    if (batch !== this.#batch) throw wrongBatch();
    const count = this.#walk.take(batch, more);
    if (this.#walk.large > 0) this.#fetch(batch);
    return count;
  }

  /** What is larger than a frame comes out of the socket's queue, where it lies in the same order, into the columns' own slots. */
  #fetch(batch: Batch): void {
    const { large, largeColumns } = this.#walk;
    const queue = this.#queue as PacketQueue;
    let done = 0;
    for (let refused = 0; done < large && refused < 2; ) {
      for (let k = 0; k < large - done; k++) queue.aim(k, this.#homes[largeColumns[done + k]]);
      const got = queue.receive(large - done);
      // An error of the socket (the interface went down) is told once, in place of a packet.
      if (got === 0) refused++;
      for (let k = 0; k < got; k++) {
        const i = largeColumns[done + k];
        batch.slotAt[i] = this.#homes[i];
        queue.settle(k, i);
      }
      done += got;
    }
    for (; done < large; done++) {
      const i = largeColumns[done];
      batch.slotAt[i] = this.#homes[i];
      clearFrame(batch, i);
      batch.frameLength[i] = 0;
      markTruncated(batch, i);
    }
  }
}

function wrongBatch(): CodedError {
  return new CodedError('GD_IO_PACKET_BATCH', 'a packet ring fills only the batch that was made over it', {
    exitCode: EXIT.FAILED,
  });
}
