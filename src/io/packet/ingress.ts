/** AF_PACKET: copies of the frames that an interface receives for our services. See README.md beside this file. */
import type { Batch, IngressFacts } from '../../base/batch.ts';
import { LINK_ETHERNET } from '../../base/batch.ts';
import { CodedError } from '../../base/errors.ts';
import { closeDescriptor } from '../../raw-socket/file.ts';
import { attachFilter } from '../../raw-socket/filter.ts';
import { ringOf } from '../../raw-socket/packet-ring.ts';
import { boundInterface, openPacketSocket, takePacketDrops } from '../../raw-socket/packet-socket.ts';
import type { DriverStatistics, DriverWarning, Ingress, MappedBatch } from '../driver.ts';
import type { FilterPrecision, ServiceMatch } from './filter.ts';
import { packetFilter } from './filter.ts';
import { PacketQueue } from './queue.ts';
import { PacketReplies } from './replies.ts';
import { PacketRing, type RingKind, ringShape } from './ring.ts';

const RECEIVE_BUFFER = 32 * 1024 * 1024;

export interface PacketIngressOptions {
  readonly device: string;
  readonly services: readonly ServiceMatch[];
  /** Shared by the threads of one director on one interface; null (default) when there is one thread. */
  readonly fanoutGroup?: number | null;
  /**
   * A socket opened already, with what waits in it (it is closed with the driver); otherwise one is opened here. Its filter stays as it is until
   * `setServices`: another process may read it still, and would lose what we do not want. It has the ring, or none, that it was opened with.
   */
  readonly queue?: number;
  /** How packets wait: in a ring, or (`none`, default) in the socket's queue. */
  readonly ring?: RingKind;
  /** Bytes of the socket's queue; default 32 MiB. */
  readonly receiveBuffer?: number;
  /** Blocks of the ring; default: 32 MiB of them. */
  readonly ringBlocks?: number;
}

/** The kind of ring is the socket's for good, and sockets outlive processes. */
function handedOver(found: RingKind): DriverWarning {
  return {
    message: `the socket that was handed over has "ring: ${found}", and keeps it`,
    hint: 'systemctl restart gue-director, when a short interruption does no harm',
  };
}

/** With the ring that is asked for, or, when the kernel has not the memory for it, without one and with a warning. Throws CodedError: missing device or privilege. */
export function openPacketIngress(options: PacketIngressOptions): PacketIngress {
  try {
    return new PacketIngress(options);
  } catch (error) {
    if (!(error instanceof CodedError) || error.code !== 'GD_RAW_SOCKET_RING') throw error;
    const message = `packets are read by calls, which cost more: ${error.message}`;
    return new PacketIngress({ ...options, ring: 'none' }, { message, hint: error.hint });
  }
}

export class PacketIngress implements Ingress {
  readonly name: string;
  readonly warning: DriverWarning | null;
  readonly facts: IngressFacts = { link: LINK_ETHERNET, hopDone: false, canPass: false, headerVerified: false };
  readonly descriptor: number;
  readonly exhausted = false;
  readonly interfaceIndex: number;
  /** With a ring: packets lie in it, so the batch is made over its memory. Each call ends the use of the batch before. */
  readonly createBatch?: (capacity: number) => MappedBatch;
  readonly rest?: (batch: Batch) => number;
  readonly #ring: PacketRing | null;
  #precision: FilterPrecision = 'ports';
  #bound: Batch | null = null;
  #queue: PacketQueue | null = null;
  #replies: PacketReplies | null = null;
  #drops = 0;
  #open = true;

  /** Throws CodedError: missing device or privilege; GD_RAW_SOCKET_RING when the kernel has not the memory for the ring. `missed`: why it has not the ring it was to have. */
  constructor(options: PacketIngressOptions, missed: DriverWarning | null = null) {
    this.name = `packet:${options.device}`;
    const { queue, ring = 'none', ringBlocks } = options;
    const found = queue === undefined ? ring : (ringOf(queue) ?? 'none');
    const shape = ringShape(found, ringBlocks);
    this.warning = found === ring ? missed : handedOver(found);
    const { descriptor, interfaceIndex } =
      queue === undefined
        ? openPacketSocket({
            device: options.device,
            fanoutGroup: options.fanoutGroup ?? null,
            receiveBuffer: options.receiveBuffer ?? RECEIVE_BUFFER,
            ...(shape === null ? {} : { ring: shape }),
          })
        : { descriptor: queue, interfaceIndex: boundInterface(queue) };
    this.descriptor = descriptor;
    this.interfaceIndex = interfaceIndex;
    this.#ring = shape === null ? null : new PacketRing(descriptor, shape, queue !== undefined);
    const held = this.#ring;
    if (held !== null) {
      this.createBatch = (capacity) => held.createBatch(this.facts, capacity);
      this.rest = (batch) => held.rest(batch);
    }
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

  /** errno of the last receive or reply that failed for another reason than "nothing there"; 0 when none did. */
  get lastErrno(): number {
    return this.#replies?.lastErrno || this.#queue?.lastErrno || this.#ring?.lastErrno || 0;
  }

  /** How packets wait: as asked for, or as the socket that was handed over has it. */
  get ring(): RingKind {
    return this.#ring?.kind ?? 'none';
  }

  /** Replaces the filter in one step, after a reload. Packets queued under the old one still arrive; classify drops them. */
  setServices(services: readonly ServiceMatch[]): void {
    const { program, precision } = packetFilter(services);
    attachFilter(this.descriptor, program);
    this.#precision = precision;
  }

  receive(batch: Batch): number {
    if (this.#ring !== null) return this.#ring.receive(batch);
    if (batch !== this.#bound) this.#bind(batch);
    const queue = this.#queue as PacketQueue;
    const count = queue.receive(batch.capacity);
    for (let i = 0; i < count; i++) queue.settle(i, i);
    batch.count = count;
    return count;
  }

  /** Sends each reply, a whole Ethernet frame, out of the interface it concerns. */
  reply(batch: Batch): void {
    if (batch !== this.#bound) this.#bind(batch);
    (this.#replies as PacketReplies).send(batch);
  }

  statistics(): DriverStatistics {
    if (this.#open) this.#drops += takePacketDrops(this.descriptor);
    return { kernelDrops: this.#drops + (this.#ring?.lost ?? 0) };
  }

  close(): void {
    if (!this.#open) return;
    this.statistics();
    this.#open = false;
    this.#ring?.unmap();
    closeDescriptor(this.descriptor);
  }

  /** Once per batch object: the kernel gets the addresses of its slots. */
  #bind(batch: Batch): void {
    if (this.#ring === null) this.#queue = new PacketQueue(this.descriptor, batch);
    this.#replies = new PacketReplies(this.descriptor, batch.capacity);
    this.#bound = batch;
  }
}
