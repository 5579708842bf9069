/** UDP sockets with fixed source ports: the kernel writes outer IP and UDP. See README.md beside this file. */
import type { Batch } from '../../base/batch.ts';
import { createBank, SEND_ERRORS_AT } from '../../base/counters.ts';
import { dropReason } from '../../base/drop-reason.ts';
import { CodedError, EXIT } from '../../base/errors.ts';
import { VERDICT_DROP, VERDICT_FORWARD } from '../../base/verdict.ts';
import { closeDescriptor } from '../../raw-socket/file.ts';
import { E } from '../../raw-socket/library.ts';
import { AF_INET, AF_INET6 } from '../../raw-socket/socket.ts';
import type { Egress, EgressFacts } from '../driver.ts';
import { SendQueue, sendErrorAt } from '../send-queue.ts';
import { equalSegments, gatherPieces } from '../train.ts';
import {
  CONTROL_BYTES,
  layControl4,
  layControl6,
  SINGLE_CONTROL4,
  SINGLE_CONTROL6,
  writeControl4,
  writeControl6,
} from './control.ts';
import { openSockets, switchChecksum, takesTrains } from './sockets.ts';
import { TrainTail } from './train-tail.ts';

const NO_FAMILY = sendErrorAt(E.EAFNOSUPPORT);
const SEND_FAILED = dropReason('send-failed');
const UNREACHABLE = dropReason('send-unreachable');
/** struct sockaddr_in (16 bytes) or sockaddr_in6 (28), padded. */
const NAME_BYTES = 32;
/** Messages of one system call, and pieces of memory that all of them together are gathered from. */
const MESSAGES = 512;
const PIECES = 4096;
/** Segments that the kernel cuts one message into: 128 since Linux 6.9, 64 before. */
const MOST_SEGMENTS = 64;
/**
 * Bytes of one message. The kernel takes 65,507 over IPv4 and 65,527 over IPv6, but a device whose `gso_max_size` is the usual 65,536 is
 * given only frames shorter than that, link header included (net/core/dev.c gso_features_check); a longer one is cut before it leaves.
 *
 *     65,535 − Ethernet and VLAN 18 − UDP 8 − IPv4 20 or IPv6 40
 */
const MOST_BYTES4 = 65535 - 18 - 8 - 20;
const MOST_BYTES6 = 65535 - 18 - 8 - 40;

export interface UdpEgressOptions {
  /** First source port; default 61440, above the kernel's ephemeral range (32768–60999). */
  readonly sourcePortBase?: number;
  /** How many, a power of two; default 64. */
  readonly sourcePorts?: number;
  /** The thread's counters, for send errors; default: none that anybody reads. */
  readonly bank?: Float64Array;
}

/**
 * Packets are grouped by socket: a group leaves in one sendmmsg, in the order of the batch. Groups are chains through the batch:
 *
 *     key = 2 × port index + 1 × IPv6        heads[key] → next[i] → next[…] → −1
 *
 * Whether checksums are filled is the socket's option and not the message's, so a group that wants both leaves in as many calls as
 * it changes its mind: a flow's trains have a checksum where its single packets have none, and must not overtake each other.
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
  readonly #bank: Float64Array;
  readonly #queue4: SendQueue;
  readonly #queue6: SendQueue;
  readonly #tail4: TrainTail;
  readonly #tail6: TrainTail;
  /** Segments of one message: 1 on a kernel without UDP_SEGMENT. */
  readonly #mostSegments: number;
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
    this.#bank = options.bank ?? createBank();
    this.#queue4 = createQueue(AF_INET, this.#bank);
    this.#queue6 = createQueue(AF_INET6, this.#bank);
    this.#tail4 = new TrainTail(this.#queue4, MOST_SEGMENTS, MOST_BYTES4);
    this.#tail6 = new TrainTail(this.#queue6, MOST_SEGMENTS, MOST_BYTES6);
    this.#descriptors = openSockets(this.#base, this.#ports);
    const trains = takesTrains(this.#descriptors[0]);
    this.#mostSegments = trains ? MOST_SEGMENTS : 1;
    this.facts = {
      layer: 'payload',
      trains: trains ? 'udp-segment' : 'none',
      maxSegments: this.#mostSegments,
      maxBytes: trains ? MOST_BYTES6 : 65507,
      trainsNeedChecksum: trains,
      outerFragments: false,
      sourcePortBase: this.#base,
      sourcePortMask: this.#ports - 1,
    };
    this.#fills = new Uint8Array(this.#descriptors.length).fill(1);
    this.#heads = new Int32Array(this.#ports * 2).fill(-1);
    this.#tails = new Int32Array(this.#ports * 2);
    this.#touched = new Int32Array(this.#ports * 2);
  }

  /** errno of the last packet that was given up, 0 when none was: for the log. */
  get lastErrno(): number {
    return this.#queue4.lastErrno || this.#queue6.lastErrno || this.#familyErrno;
  }

  /** `notRawOnly`: packets that no socket could send as they are (`rawOnly`) are left alone; otherwise they are dropped. */
  send(batch: Batch, notRawOnly = false): void {
    if (batch.capacity > this.#next.length) this.#next = new Int32Array(batch.capacity);
    const groups = this.#group(batch, notRawOnly);
    for (let g = 0; g < groups; g++) {
      const key = this.#touched[g];
      const six = (key & 1) !== 0;
      const socket = (key >> 1) + (six ? this.#ports : 0);
      const descriptor = this.#descriptors[socket];
      const queue = six ? this.#queue6 : this.#queue4;
      for (let i = this.#heads[key]; i >= 0; i = this.#next[i]) {
        const fills = batch.arena.view.getUint16(batch.outerTransportAt[i] + 6, false) === 0 ? 0 : 1;
        if (this.#fills[socket] !== fills) {
          queue.flush(descriptor, batch, 0);
          this.#setChecksum(socket, six, fills);
        }
        this.#add(queue, descriptor, batch, i, fills);
      }
      this.#heads[key] = -1;
      queue.flush(descriptor, batch, 0);
    }
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    for (const descriptor of this.#descriptors) if (descriptor >= 0) closeDescriptor(descriptor);
  }

  /** Packet `i` as messages of the queue: one, or for a train as few as the kernel takes. */
  #add(queue: SendQueue, descriptor: number, batch: Batch, i: number, fills: number): void {
    const six = queue === this.#queue6;
    // The kernel cuts no message whose checksums it may not fill (net/ipv4/udp.c udp_send_skb).
    const most = fills === 1 ? this.#mostSegments : 1;
    const bytes = six ? MOST_BYTES6 : MOST_BYTES4;
    const count = batch.segmentCount[i];
    const skip = batch.tunnelAt[i] - batch.outAt[i];
    if (most === 1 || batch.recordAt[i] < 0) {
      for (let k = 0; k < count; k++) {
        if (!queue.takes(2)) queue.flush(descriptor, batch, 0);
        fill(queue, batch, i, k, 1, skip, six);
      }
      return;
    }
    const tail = six ? this.#tail6 : this.#tail4;
    for (let k = tail.join(batch, i, skip, six); k < count; ) {
      const segments = equalSegments(batch, i, k, skip, most, bytes);
      if (!queue.takes(2 * segments)) queue.flush(descriptor, batch, 0);
      fill(queue, batch, i, k, segments, skip, six);
      k += segments;
      if (k === count) tail.leave(batch, i, skip);
    }
  }

  /** Chains the packets to forward by key; returns the number of keys in `touched`. Order inside a key is the batch's. */
  #group(batch: Batch, notRawOnly: boolean): number {
    let groups = 0;
    for (let i = 0; i < batch.count; i++) {
      if (batch.verdict[i] !== VERDICT_FORWARD || (notRawOnly && batch.rawOnly[i] !== 0)) continue;
      const port = batch.sourcePort[i] - this.#base;
      if (port < 0 || port >= this.#ports || batch.rawOnly[i] !== 0) {
        // Not a port of ours: sending it from another one would break the promise that a flow keeps its port. Nor would other headers be what was asked for.
        batch.verdict[i] = VERDICT_DROP;
        batch.reason[i] = SEND_FAILED;
        continue;
      }
      const six = batch.outerFamily[i] === 6 ? 1 : 0;
      if (this.#descriptors[six === 0 ? 0 : this.#ports] < 0) {
        this.#familyErrno = E.EAFNOSUPPORT;
        this.#bank[SEND_ERRORS_AT + NO_FAMILY]++;
        batch.verdict[i] = VERDICT_DROP;
        batch.reason[i] = UNREACHABLE;
        continue;
      }
      const key = (port << 1) | six;
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

  /** A system call only where packets change their mind: pools of one kind never switch. */
  #setChecksum(socket: number, six: boolean, fills: number): void {
    // A kernel that refuses leaves the checksum as it was: valid, merely not what was asked for.
    if (switchChecksum(this.#descriptors[socket], six, fills === 1)) this.#fills[socket] = fills;
  }
}

/**
 * `segments` segments of packet `i` from `k` on as the next message. The payload begins at the GUE header, `skip` bytes into a record; port
 * and address come from our outer headers, of which those of the first segment are all's.
 */
function fill(queue: SendQueue, batch: Batch, i: number, k: number, segments: number, skip: number, six: boolean): void {
  const view = batch.arena.view;
  const at = batch.outAt[i];
  const message = queue.count++;
  const vector = queue.vector;
  const first = queue.pieces;
  const pieces = gatherPieces(vector, first, batch, i, k, segments, skip);
  vector.gather(message, first, pieces);
  queue.owner[message] = i;
  queue.segments[message] = segments;
  queue.firstPiece[message] = first;
  queue.pieceOwner.fill(i, first, first + pieces);
  queue.pieces = first + pieces;
  const record = segments === 1 ? 0 : batch.recordOf(i, k);
  const size = segments === 1 ? 0 : batch.pieceHeader[record] - skip + batch.pieceLength[record];
  const name = vector.nameAt(message);
  const words = vector.int32;
  vector.uint16[(name >> 1) + 1] = view.getUint16(batch.outerTransportAt[i] + 2, true);
  if (six) {
    words[(name >> 2) + 2] = view.getInt32(at + 24, true);
    words[(name >> 2) + 3] = view.getInt32(at + 28, true);
    words[(name >> 2) + 4] = view.getInt32(at + 32, true);
    words[(name >> 2) + 5] = view.getInt32(at + 36, true);
    writeControl6(vector, message, view, at, size);
  } else {
    words[(name >> 2) + 1] = view.getInt32(at + 16, true);
    writeControl4(vector, message, view, at, size);
  }
}

function createQueue(family: number, bank: Float64Array): SendQueue {
  const queue = new SendQueue({
    messages: MESSAGES,
    segments: PIECES / MESSAGES,
    nameBytes: NAME_BYTES,
    controlBytes: CONTROL_BYTES,
    bank,
    singleControlBytes: family === AF_INET ? SINGLE_CONTROL4 : SINGLE_CONTROL6,
  });
  for (let i = 0; i < MESSAGES; i++) {
    queue.vector.uint16[queue.vector.nameAt(i) >> 1] = family;
    queue.vector.setNameLength(i, family === AF_INET ? 16 : 28);
    if (family === AF_INET) layControl4(queue.vector, i);
    else layControl6(queue.vector, i);
  }
  return queue;
}
