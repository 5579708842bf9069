/** UDP sockets with fixed source ports: the kernel writes outer IP and UDP. See README.md beside this file. */
import type { Batch } from '../../base/batch.ts';
import { dropReason } from '../../base/drop-reason.ts';
import { CodedError, EXIT } from '../../base/errors.ts';
import { VERDICT_DROP, VERDICT_FORWARD } from '../../base/verdict.ts';
import { closeDescriptor } from '../../raw-socket/file.ts';
import { E } from '../../raw-socket/library.ts';
import { AF_INET, AF_INET6 } from '../../raw-socket/socket.ts';
import type { Egress, EgressFacts } from '../driver.ts';
import { SendQueue } from '../send-queue.ts';
import { gatherSegment } from '../train.ts';
import { CONTROL_BYTES, layControl4, layControl6, writeControl4, writeControl6 } from './control.ts';
import { openSockets, switchChecksum } from './sockets.ts';

const SEND_FAILED = dropReason('send-failed');
const UNREACHABLE = dropReason('send-unreachable');
/** struct sockaddr_in (16 bytes) or sockaddr_in6 (28), padded. */
const NAME_BYTES = 32;
/** Messages of one system call. */
const MESSAGES = 512;

export interface UdpEgressOptions {
  /** First source port; default 61440, above the kernel's ephemeral range (32768–60999). */
  readonly sourcePortBase?: number;
  /** How many, a power of two; default 64. */
  readonly sourcePorts?: number;
}

/**
 * Packets are grouped by (socket, checksum wanted): a group leaves in one sendmmsg. Groups are chains through the batch:
 *
 *     key = 4 × port index + 2 × IPv6 + 1 × checksum filled        heads[key] → next[i] → next[…] → −1
 */
export class UdpEgress implements Egress {
  readonly name = 'udp';
  readonly facts: EgressFacts;
  readonly #base: number;
  readonly #ports: number;
  readonly #descriptors: readonly number[];
  /** 1 where the socket is set to fill checksums (the kernel's default). */
  readonly #fills: Uint8Array;
  readonly #heads: Int32Array;
  readonly #tails: Int32Array;
  readonly #touched: Int32Array;
  #next = new Int32Array(64);
  readonly #queue4 = createQueue(AF_INET);
  readonly #queue6 = createQueue(AF_INET6);
  #open = true;
  /** EAFNOSUPPORT once a packet was for a family that the kernel does not have. */
  #familyErrno = 0;

  constructor(options: UdpEgressOptions = {}) {
    this.#base = options.sourcePortBase ?? 61440;
    this.#ports = options.sourcePorts ?? 64;
    if (this.#ports < 1 || (this.#ports & (this.#ports - 1)) !== 0 || this.#base < 1 || this.#base + this.#ports > 65536) {
      throw new CodedError(
        'GD_IO_UDP_PORTS',
        `${this.#ports} source ports from ${this.#base}: not a power of two inside 1–65535`,
        {
          exitCode: EXIT.CONFIG,
        },
      );
    }
    this.facts = {
      layer: 'payload',
      trains: 'none',
      maxSegments: 1,
      maxBytes: 65535,
      trainsNeedChecksum: true,
      sourcePortBase: this.#base,
      sourcePortMask: this.#ports - 1,
    };
    this.#descriptors = openSockets(this.#base, this.#ports);
    this.#fills = new Uint8Array(this.#descriptors.length).fill(1);
    this.#heads = new Int32Array(this.#ports * 4).fill(-1);
    this.#tails = new Int32Array(this.#ports * 4);
    this.#touched = new Int32Array(this.#ports * 4);
  }

  /** errno of the last packet that was given up, 0 when none was: for the log. */
  get lastErrno(): number {
    return this.#queue4.lastErrno || this.#queue6.lastErrno || this.#familyErrno;
  }

  send(batch: Batch): void {
    if (batch.capacity > this.#next.length) this.#next = new Int32Array(batch.capacity);
    const groups = this.#group(batch);
    for (let g = 0; g < groups; g++) {
      const key = this.#touched[g];
      const six = (key & 2) !== 0;
      const socket = (key >> 2) + (six ? this.#ports : 0);
      const queue = six ? this.#queue6 : this.#queue4;
      this.#setChecksum(socket, six, key & 1);
      for (let i = this.#heads[key]; i >= 0; i = this.#next[i]) {
        for (let k = 0; k < batch.segmentCount[i]; k++) {
          if (queue.full) queue.flush(this.#descriptors[socket], batch, 0);
          if (six) fill6(queue, batch, i, k);
          else fill4(queue, batch, i, k);
        }
      }
      this.#heads[key] = -1;
      queue.flush(this.#descriptors[socket], batch, 0);
    }
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    for (const descriptor of this.#descriptors) if (descriptor >= 0) closeDescriptor(descriptor);
  }

  /** Chains the packets to forward by key; returns the number of keys in `touched`. Order inside a key is the batch's. */
  #group(batch: Batch): number {
    const view = batch.arena.view;
    let groups = 0;
    for (let i = 0; i < batch.count; i++) {
      if (batch.verdict[i] !== VERDICT_FORWARD) continue;
      const port = batch.sourcePort[i] - this.#base;
      if (port < 0 || port >= this.#ports) {
        // Not a port of ours: sending it from another one would break the promise that a flow keeps its port.
        batch.verdict[i] = VERDICT_DROP;
        batch.reason[i] = SEND_FAILED;
        continue;
      }
      const six = batch.outerFamily[i] === 6 ? 2 : 0;
      if (this.#descriptors[six === 0 ? 0 : this.#ports] < 0) {
        this.#familyErrno = E.EAFNOSUPPORT;
        batch.verdict[i] = VERDICT_DROP;
        batch.reason[i] = UNREACHABLE;
        continue;
      }
      const filled = view.getUint16(batch.outerTransportAt[i] + 6, false) === 0 ? 0 : 1;
      const key = (port << 2) | six | filled;
      this.#next[i] = -1;
      if (this.#heads[key] < 0) {
        this.#heads[key] = i;
        this.#touched[groups++] = key;
      } else {
        this.#next[this.#tails[key]] = i;
      }
      this.#tails[key] = i;
    }
    return groups;
  }

  /** A system call only when the socket's last group wanted the other kind: pools of one kind never switch. */
  #setChecksum(socket: number, six: boolean, fills: number): void {
    if (this.#fills[socket] === fills) return;
    // A kernel that refuses leaves the checksum as it was: valid, merely not what was asked for.
    if (switchChecksum(this.#descriptors[socket], six, fills === 1)) this.#fills[socket] = fills;
  }
}

/** The payload begins at the GUE header; port and address come from our outer headers. */
function fill4(queue: SendQueue, batch: Batch, i: number, k: number): void {
  const view = batch.arena.view;
  const at = batch.outAt[i];
  const message = queue.count++;
  const vector = queue.vector;
  queue.owner[message] = i;
  gatherSegment(vector, message, batch, i, k, batch.tunnelAt[i] - at);
  const name = vector.nameAt(message);
  vector.uint16[(name >> 1) + 1] = view.getUint16(batch.outerTransportAt[i] + 2, true);
  vector.int32[(name >> 2) + 1] = view.getInt32(at + 16, true);
  writeControl4(vector, message, view, at);
}

function fill6(queue: SendQueue, batch: Batch, i: number, k: number): void {
  const view = batch.arena.view;
  const at = batch.outAt[i];
  const message = queue.count++;
  const vector = queue.vector;
  queue.owner[message] = i;
  gatherSegment(vector, message, batch, i, k, batch.tunnelAt[i] - at);
  const name = vector.nameAt(message);
  const words = vector.int32;
  vector.uint16[(name >> 1) + 1] = view.getUint16(batch.outerTransportAt[i] + 2, true);
  words[(name >> 2) + 2] = view.getInt32(at + 24, true);
  words[(name >> 2) + 3] = view.getInt32(at + 28, true);
  words[(name >> 2) + 4] = view.getInt32(at + 32, true);
  words[(name >> 2) + 5] = view.getInt32(at + 36, true);
  writeControl6(vector, message, view, at);
}

function createQueue(family: number): SendQueue {
  const queue = new SendQueue({ messages: MESSAGES, segments: 2, nameBytes: NAME_BYTES, controlBytes: CONTROL_BYTES });
  for (let i = 0; i < MESSAGES; i++) {
    queue.vector.uint16[queue.vector.nameAt(i) >> 1] = family;
    queue.vector.setNameLength(i, family === AF_INET ? 16 : 28);
    if (family === AF_INET) layControl4(queue.vector, i);
    else layControl6(queue.vector, i);
  }
  return queue;
}
