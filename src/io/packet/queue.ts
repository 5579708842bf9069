/**
 * The queue of a packet socket: packets in it are received by calls (recvmmsg), many in one, into the slots of a batch.
 *
 *     message k:  | virtio-net header, 10 bytes of ours | frame → a slot of the batch |   beside it: the VLAN tag
 */
import { HEADROOM } from '../../base/arena.ts';
import type { Batch } from '../../base/batch.ts';
import { E, errno } from '../../raw-socket/library.ts';
import type { Pinned } from '../../raw-socket/memory.ts';
import { pin } from '../../raw-socket/memory.ts';
import { MessageVector, MSG_TRUNC } from '../../raw-socket/message.ts';
import {
  AUXDATA_BYTES,
  AUXDATA_STATUS,
  AUXDATA_VLAN_TCI,
  AUXDATA_VLAN_TPID,
  PACKET_VNET_HEADER,
  STATUS_VLAN_TPID_VALID,
  STATUS_VLAN_VALID,
} from '../../raw-socket/packet-socket.ts';
import { clearFrame, markTruncated } from '../frame.ts';
import { readVirtioHeader } from '../virtio-header.ts';
import { ETHERTYPE_VLAN, restoreTag } from './vlan-tag.ts';

/** Bytes per virtio-net header in our own array: 10, padded. */
const HEADER_STRIDE = 16;

export class PacketQueue {
  readonly #descriptor: number;
  readonly #batch: Batch;
  readonly #headers: Pinned;
  readonly #messages: MessageVector;
  /** errno of the last call that failed for another reason than "nothing there"; 0 when none did. */
  lastErrno = 0;

  constructor(descriptor: number, batch: Batch) {
    const { capacity } = batch;
    this.#descriptor = descriptor;
    this.#batch = batch;
    this.#headers = pin(capacity * HEADER_STRIDE);
    this.#messages = new MessageVector({ messages: capacity, segments: 2, nameBytes: 0, controlBytes: AUXDATA_BYTES });
    for (let k = 0; k < capacity; k++) {
      this.#messages.setSegment(k, 0, this.#headers.address + k * HEADER_STRIDE, PACKET_VNET_HEADER);
      this.aim(k, batch.slotAt[k]);
    }
  }

  /** Message `k` is to be received into the slot at `slot`. */
  aim(k: number, slot: number): void {
    const { arena, frameCapacity } = this.#batch;
    this.#messages.setSegment(k, 1, arena.address + slot + HEADROOM, frameCapacity);
  }

  /** Receives up to `most` messages, from 0 on; how many came. Never blocks. */
  receive(most: number): number {
    const count = this.#messages.receive(this.#descriptor, most);
    if (count >= 0) return count;
    // ENETDOWN arrives once when the interface goes down; the socket stays usable and delivers again when it is back.
    const number = errno();
    if (number !== E.EAGAIN && number !== E.EINTR) this.lastErrno = number;
    return 0;
  }

  /** Column `i`, whose slot message `k` was received into, gets what it says. */
  settle(k: number, i: number): void {
    const messages = this.#messages;
    const batch = this.#batch;
    clearFrame(batch, i);
    batch.frameLength[i] = messages.transferred(k) - PACKET_VNET_HEADER;
    if ((messages.flags(k) & MSG_TRUNC) !== 0) {
      batch.frameLength[i] = batch.frameCapacity;
      markTruncated(batch, i);
    }
    const shift = this.#restoreTag(k, i);
    readVirtioHeader(batch, i, this.#headers.uint16, (k * HEADER_STRIDE) >> 1, shift);
    // The kernel wrote how much control data there was; the next call must find the room again.
    messages.setControlLength(k, AUXDATA_BYTES);
  }

  #restoreTag(k: number, i: number): number {
    const messages = this.#messages;
    if (messages.controlLength(k) < AUXDATA_VLAN_TPID + 2) return 0;
    const control = messages.controlAt(k);
    const status = messages.int32[(control + AUXDATA_STATUS) >> 2];
    if ((status & STATUS_VLAN_VALID) === 0) return 0;
    const tci = messages.uint16[(control + AUXDATA_VLAN_TCI) >> 1];
    const known = (status & STATUS_VLAN_TPID_VALID) !== 0;
    const tpid = known ? messages.uint16[(control + AUXDATA_VLAN_TPID) >> 1] : ETHERTYPE_VLAN;
    return restoreTag(this.#batch, i, tci, tpid);
  }
}
