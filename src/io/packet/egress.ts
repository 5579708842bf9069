/**
 * AF_PACKET: whole Ethernet frames out of an interface, past routing and firewall, gathered by the kernel from where the packets lie: one sendmmsg per batch.
 *
 *     message:  | link header, in front of the packet | outer headers … |
 *     or:       | link header, in memory of ours | outer headers … | payload of a train's part |
 */
import { RECORD_STRIDE } from '../../base/arena.ts';
import type { Batch } from '../../base/batch.ts';
import { createBank, SEND_ERRORS_AT } from '../../base/counters.ts';
import { dropReason } from '../../base/drop-reason.ts';
import { VERDICT_DROP, VERDICT_FORWARD } from '../../base/verdict.ts';
import { closeDescriptor } from '../../raw-socket/file.ts';
import { E } from '../../raw-socket/library.ts';
import { pin } from '../../raw-socket/memory.ts';
import { openSendingSocket } from '../../raw-socket/packet-socket.ts';
import { ETHERTYPE_IPV4, ETHERTYPE_IPV6 } from '../../wire/ethernet.ts';
import type { Egress, EgressFacts } from '../driver.ts';
import { SendQueue, sendErrorAt } from '../send-queue.ts';
import { DYNAMIC_PORTS } from '../source-ports.ts';
import { NextHops } from '../xdp/next-hops.ts';

const TOO_BIG = dropReason('send-too-big');
const UNREACHABLE = dropReason('send-unreachable');
const AT_TOO_BIG = SEND_ERRORS_AT + sendErrorAt(E.EMSGSIZE);
const AT_UNREACHABLE = SEND_ERRORS_AT + sendErrorAt(E.EHOSTUNREACH);
const IPV4 = ETHERTYPE_IPV4;
const IPV6 = ETHERTYPE_IPV6;
const RECORD = RECORD_STRIDE;
const SEND_BUFFER = 8 * 1024 * 1024;
/** Messages of one system call: a batch of single packets, or the segments of a dozen super-packets. */
const MESSAGES = 512;
/** A packet that begins within so many bytes behind the start of its slot (the headroom of whatever ingress, and a link header) has what is before it to itself. */
const MOST_ROOM = 256 + 18;
/** Bytes for each message's link header, where it has no place in front of the packet; it ends at its end: 14, or 18 with a VLAN tag. */
const HEADER = 32;

export interface PacketEgressOptions {
  readonly device: string;
  /** Memory of `NextHops`. */
  readonly nextHops: ArrayBufferLike;
  /** The thread's counters, for send errors; default: none that anybody reads. */
  readonly bank?: Float64Array;
}

export class PacketEgress implements Egress {
  readonly name: string;
  readonly facts: EgressFacts = {
    layer: 'l2',
    trains: 'none',
    maxSegments: 1,
    maxBytes: 65535,
    trainsNeedChecksum: false,
    outerFragments: true,
    sourcePortBase: DYNAMIC_PORTS.base,
    sourcePortMask: DYNAMIC_PORTS.count - 1,
  };
  readonly #descriptor: number;
  readonly #hops: NextHops;
  readonly #bank: Float64Array;
  readonly #queue: SendQueue;
  readonly #headers = pin(MESSAGES * HEADER);
  readonly #headerView = new DataView(this.#headers.bytes.buffer);
  #refused = 0;
  #open = true;

  /** Throws CodedError: missing device or privilege. */
  constructor(options: PacketEgressOptions) {
    this.name = `packet:${options.device}`;
    this.#hops = new NextHops(options.nextHops);
    this.#bank = options.bank ?? createBank();
    this.#descriptor = openSendingSocket(options.device, SEND_BUFFER);
    this.#queue = new SendQueue({ messages: MESSAGES, segments: 3, nameBytes: 0, controlBytes: 0, bank: this.#bank });
  }

  get lastErrno(): number {
    return this.#queue.lastErrno || this.#refused;
  }

  send(batch: Batch): void {
    const queue = this.#queue;
    const { verdict, backend, segmentCount } = batch;
    let taken = -1;
    let mtu = 0;
    for (let i = 0; i < batch.count; i++) {
      if (verdict[i] !== VERDICT_FORWARD) continue;
      if (backend[i] !== taken) {
        taken = backend[i];
        mtu = this.#hops.take(taken);
      }
      if (mtu === 0) {
        this.#refuse(batch, i, UNREACHABLE, E.EHOSTUNREACH, AT_UNREACHABLE);
        continue;
      }
      if (largestPart(batch, i) > mtu) {
        this.#refuse(batch, i, TOO_BIG, E.EMSGSIZE, AT_TOO_BIG);
        continue;
      }
      const segments = segmentCount[i];
      for (let k = 0; k < segments; k++) {
        if (queue.full) queue.flush(this.#descriptor, batch, 0);
        this.#push(batch, i, k);
      }
    }
    if (queue.count > 0) queue.flush(this.#descriptor, batch, 0);
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    closeDescriptor(this.#descriptor);
  }

  /** Part `k` of packet `i`, by the way that was taken last. */
  #push(batch: Batch, i: number, k: number): void {
    const queue = this.#queue;
    const hops = this.#hops;
    const { vector } = queue;
    const message = queue.count++;
    queue.owner[message] = i;
    const base = batch.arena.address;
    const type = batch.outerFamily[i] === 4 ? IPV4 : IPV6;
    const record = batch.recordAt[i];
    const outAt = batch.outAt[i];
    const room = outAt - batch.slotAt[i];
    if (record < 0 && room >= hops.headerBytes && room <= MOST_ROOM) {
      const from = hops.write(batch.arena.view, outAt, type);
      vector.setSegment(message, 0, base + from, outAt - from + batch.outLength[i]);
      vector.useSegments(message, 1);
      return;
    }
    const end = (message + 1) * HEADER;
    const from = hops.write(this.#headerView, end, type);
    vector.setSegment(message, 0, this.#headers.address + from, end - from);
    if (record < 0) {
      vector.setSegment(message, 1, base + outAt, batch.outLength[i]);
      vector.useSegments(message, 2);
      return;
    }
    const number = batch.recordOf(i, k);
    vector.setSegment(message, 1, base + record + k * RECORD, batch.pieceHeader[number]);
    vector.setSegment(message, 2, base + batch.pieceAt[number], batch.pieceLength[number]);
    vector.useSegments(message, 3);
  }

  #refuse(batch: Batch, i: number, reason: number, number: number, counter: number): void {
    batch.verdict[i] = VERDICT_DROP;
    batch.reason[i] = reason;
    this.#refused = number;
    this.#bank[counter]++;
  }
}

/** Bytes of the largest IP packet that packet `i` leaves in. */
function largestPart(batch: Batch, i: number): number {
  if (batch.recordAt[i] < 0) return batch.outLength[i];
  const { pieceHeader, pieceLength } = batch;
  const first = batch.recordOf(i, 0);
  const end = first + batch.segmentCount[i];
  let largest = 0;
  for (let number = first; number < end; number++) {
    const length = pieceHeader[number] + pieceLength[number];
    if (length > largest) largest = length;
  }
  return largest;
}
