/** AF_PACKET: copies of the frames that an interface receives for our services. See README.md beside this file. */
import { HEADROOM } from '../../base/arena.ts';
import type { Batch, IngressFacts } from '../../base/batch.ts';
import { LINK_ETHERNET } from '../../base/batch.ts';
import { dropReason } from '../../base/drop-reason.ts';
import { VERDICT_REPLY } from '../../base/verdict.ts';
import { closeDescriptor } from '../../raw-socket/file.ts';
import { attachFilter } from '../../raw-socket/filter.ts';
import { E, errno } from '../../raw-socket/library.ts';
import type { Pinned } from '../../raw-socket/memory.ts';
import { pin } from '../../raw-socket/memory.ts';
import { MessageVector, MSG_TRUNC } from '../../raw-socket/message.ts';
import {
  AUXDATA_BYTES,
  AUXDATA_STATUS,
  AUXDATA_VLAN_TCI,
  AUXDATA_VLAN_TPID,
  boundInterface,
  openPacketSocket,
  PACKET_VNET_HEADER,
  STATUS_VLAN_TPID_VALID,
  STATUS_VLAN_VALID,
  takePacketDrops,
} from '../../raw-socket/packet-socket.ts';
import type { DriverStatistics, Ingress } from '../driver.ts';
import { clearFrame, markTruncated } from '../frame.ts';
import { NO_PACKET, SendQueue } from '../send-queue.ts';
import { readVirtioHeader } from '../virtio-header.ts';
import type { FilterPrecision, ServiceMatch } from './filter.ts';
import { packetFilter } from './filter.ts';

const REPLY_FAILED = dropReason('reply-failed');
const RECEIVE_BUFFER = 32 * 1024 * 1024;
/** Bytes per virtio-net header in our own array: 10, padded. */
const HEADER_STRIDE = 16;
const VLAN_TAG = 4;
/** Destination and source MAC address: the tag goes behind them. */
const MAC_PAIR = 12;
const ETHERTYPE_VLAN = 0x8100;

export interface PacketIngressOptions {
  readonly device: string;
  readonly services: readonly ServiceMatch[];
  /** Shared by the threads of one director on one interface; null (default) when there is one thread. */
  readonly fanoutGroup?: number | null;
  /**
   * A socket opened already, with what waits in it (it is closed with the driver); otherwise one is opened here. Its filter stays as it is until
   * `setServices`: another process may read it still, and would lose what we do not want.
   */
  readonly queue?: number;
  /** Bytes; default 32 MiB. */
  readonly receiveBuffer?: number;
}

export class PacketIngress implements Ingress {
  readonly name: string;
  readonly facts: IngressFacts = { link: LINK_ETHERNET, hopDone: false, canPass: false, headerVerified: false };
  readonly descriptor: number;
  readonly exhausted = false;
  readonly interfaceIndex: number;
  /** errno of the last receive or reply that failed for another reason than "nothing there"; 0 when none did. */
  lastErrno = 0;
  readonly #zeroHeader = pin(HEADER_STRIDE);
  #precision: FilterPrecision = 'ports';
  #bound: Batch | null = null;
  #headers: Pinned = pin(HEADER_STRIDE);
  #messages = new MessageVector({ messages: 1, segments: 2, nameBytes: 0, controlBytes: AUXDATA_BYTES });
  #replies = new SendQueue({ messages: 1, segments: 2, nameBytes: 0, controlBytes: 0 });
  #drops = 0;
  #open = true;

  constructor(options: PacketIngressOptions) {
    this.name = `packet:${options.device}`;
    const { queue } = options;
    const { descriptor, interfaceIndex } =
      queue === undefined
        ? openPacketSocket({
            device: options.device,
            fanoutGroup: options.fanoutGroup ?? null,
            receiveBuffer: options.receiveBuffer ?? RECEIVE_BUFFER,
          })
        : { descriptor: queue, interfaceIndex: boundInterface(queue) };
    this.descriptor = descriptor;
    this.interfaceIndex = interfaceIndex;
    if (queue !== undefined) return;
    try {
      this.setServices(options.services);
    } catch (error) {
      closeDescriptor(this.descriptor);
      throw error;
    }
  }

  /** How closely the kernel's filter follows the services: `prefixes` or `all-ip` when ports did not fit the program. */
  get precision(): FilterPrecision {
    return this.#precision;
  }

  /** Replaces the filter in one step, after a reload. Packets queued under the old one still arrive; classify drops them. */
  setServices(services: readonly ServiceMatch[]): void {
    const { program, precision } = packetFilter(services);
    attachFilter(this.descriptor, program);
    this.#precision = precision;
  }

  receive(batch: Batch): number {
    if (batch !== this.#bound) this.#bind(batch);
    const messages = this.#messages;
    const count = messages.receive(this.descriptor, batch.capacity);
    if (count < 0) {
      // ENETDOWN arrives once when the interface goes down; the socket stays usable and delivers again when it is back.
      const number = errno();
      if (number !== E.EAGAIN && number !== E.EINTR) this.lastErrno = number;
      batch.count = 0;
      return 0;
    }
    for (let i = 0; i < count; i++) {
      clearFrame(batch, i);
      batch.frameLength[i] = messages.transferred(i) - PACKET_VNET_HEADER;
      if ((messages.flags(i) & MSG_TRUNC) !== 0) {
        batch.frameLength[i] = batch.frameCapacity;
        markTruncated(batch, i);
      }
      const shift = this.#restoreTag(batch, i);
      readVirtioHeader(batch, i, this.#headers.uint16, (i * HEADER_STRIDE) >> 1, shift);
      // The kernel wrote how much control data there was; the next call must find the room again.
      messages.setControlLength(i, AUXDATA_BYTES);
    }
    batch.count = count;
    return count;
  }

  /** Sends each reply, a whole Ethernet frame, out of the interface it concerns. */
  reply(batch: Batch): void {
    if (batch !== this.#bound) this.#bind(batch);
    const queue = this.#replies;
    for (let i = 0; i < batch.count; i++) {
      if (batch.verdict[i] !== VERDICT_REPLY) continue;
      this.#push(batch, i, batch.outAt[i], batch.outLength[i]);
    }
    for (let a = 0; a < batch.answers; a++) {
      // As many replies as packets fit the queue; answers come on top.
      if (queue.full) queue.flush(this.descriptor, batch, REPLY_FAILED);
      this.#push(batch, NO_PACKET, batch.answerAt[a], batch.answerLength[a]);
    }
    if (queue.count > 0) queue.flush(this.descriptor, batch, REPLY_FAILED);
    if (queue.lastErrno !== 0) this.lastErrno = queue.lastErrno;
  }

  statistics(): DriverStatistics {
    if (this.#open) this.#drops += takePacketDrops(this.descriptor);
    return { kernelDrops: this.#drops };
  }

  close(): void {
    if (!this.#open) return;
    this.statistics();
    this.#open = false;
    closeDescriptor(this.descriptor);
  }

  #push(batch: Batch, owner: number, at: number, length: number): void {
    const queue = this.#replies;
    const message = queue.count++;
    queue.owner[message] = owner;
    queue.vector.setSegment(message, 1, batch.arena.address + at, length);
  }

  /**
   * The kernel takes the outer VLAN tag out of the frame and reports it beside it: put it back, so that the frame is what was on the
   * wire and a reply goes out on the same VLAN. Returns by how many bytes the frame now begins earlier.
   *
   *     before:        | MACs 12 | type | …        frameAt = slot + 128
   *     after:   | MACs 12 | tag 4 | type | …      frameAt = slot + 124
   */
  #restoreTag(batch: Batch, i: number): number {
    const messages = this.#messages;
    if (messages.controlLength(i) < AUXDATA_VLAN_TPID + 2) return 0;
    const control = messages.controlAt(i);
    const status = messages.int32[(control + AUXDATA_STATUS) >> 2];
    if ((status & STATUS_VLAN_VALID) === 0) return 0;
    const tci = messages.uint16[(control + AUXDATA_VLAN_TCI) >> 1];
    const known = (status & STATUS_VLAN_TPID_VALID) !== 0;
    const tpid = known ? messages.uint16[(control + AUXDATA_VLAN_TPID) >> 1] : ETHERTYPE_VLAN;
    const at = batch.frameAt[i];
    batch.arena.bytes.copyWithin(at - VLAN_TAG, at, at + MAC_PAIR);
    batch.arena.view.setUint16(at - VLAN_TAG + MAC_PAIR, tpid, false);
    batch.arena.view.setUint16(at - VLAN_TAG + MAC_PAIR + 2, tci, false);
    batch.frameAt[i] = at - VLAN_TAG;
    batch.frameLength[i] += VLAN_TAG;
    return VLAN_TAG;
  }

  /** Points the messages at a batch's slots, once per batch object. */
  #bind(batch: Batch): void {
    const capacity = batch.capacity;
    this.#headers = pin(capacity * HEADER_STRIDE);
    this.#messages = new MessageVector({ messages: capacity, segments: 2, nameBytes: 0, controlBytes: AUXDATA_BYTES });
    this.#replies = new SendQueue({ messages: capacity, segments: 2, nameBytes: 0, controlBytes: 0 });
    for (let i = 0; i < capacity; i++) {
      this.#messages.setSegment(i, 0, this.#headers.address + i * HEADER_STRIDE, PACKET_VNET_HEADER);
      this.#messages.setSegment(i, 1, batch.arena.address + batch.slotAt[i] + HEADROOM, batch.frameCapacity);
      this.#replies.vector.setSegment(i, 0, this.#zeroHeader.address, PACKET_VNET_HEADER);
    }
    this.#bound = batch;
  }
}
