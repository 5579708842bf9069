/** AF_XDP: whole Ethernet frames out of an interface, from where they were received when that was by the same port. See README.md beside this file. */

import { type Arena, RECORD_STRIDE } from '../../base/arena.ts';
import type { Batch } from '../../base/batch.ts';
import { createBank, SEND_ERRORS_AT } from '../../base/counters.ts';
import { dropReason } from '../../base/drop-reason.ts';
import { VERDICT_DROP, VERDICT_FORWARD } from '../../base/verdict.ts';
import { E } from '../../raw-socket/library.ts';
import { copyMemory } from '../../raw-socket/memory.ts';
import { ETHERTYPE_IPV4, ETHERTYPE_IPV6 } from '../../wire/ethernet.ts';
import type { Egress, EgressFacts } from '../driver.ts';
import { sendErrorAt } from '../send-queue.ts';
import { DYNAMIC_PORTS } from '../source-ports.ts';
import type { NextHops } from './next-hops.ts';
import { FRAME_BYTES, type XdpPort } from './port.ts';

const TOO_BIG = dropReason('send-too-big');
const UNREACHABLE = dropReason('send-unreachable');
const NO_BUFFER = dropReason('send-no-buffer');
const AT_TOO_BIG = SEND_ERRORS_AT + sendErrorAt(E.EMSGSIZE);
const AT_UNREACHABLE = SEND_ERRORS_AT + sendErrorAt(E.EHOSTUNREACH);
const AT_NO_BUFFER = SEND_ERRORS_AT + sendErrorAt(E.ENOBUFS);
const IPV4 = ETHERTYPE_IPV4;
const IPV6 = ETHERTYPE_IPV6;

export interface XdpEgressOptions {
  readonly device: string;
  /** The queue's socket: the ingress's on the same interface, or one of its own. */
  readonly port: XdpPort;
  readonly nextHops: NextHops;
  /** The port is closed with the egress; default false: whoever made it closes it. */
  readonly ownsPort?: boolean;
  /** The thread's counters, for send errors; default: none that anybody reads. */
  readonly bank?: Float64Array;
}

export class XdpEgress implements Egress {
  readonly name: string;
  readonly facts: EgressFacts = {
    layer: 'l2',
    trains: 'none',
    maxSegments: 1,
    maxBytes: FRAME_BYTES,
    trainsNeedChecksum: false,
    outerFragments: true,
    sourcePortBase: DYNAMIC_PORTS.base,
    sourcePortMask: DYNAMIC_PORTS.count - 1,
  };
  readonly #port: XdpPort;
  readonly #hops: NextHops;
  readonly #bank: Float64Array;
  readonly #ownsPort: boolean;
  #refused = 0;

  constructor(options: XdpEgressOptions) {
    this.name = `xdp:${options.device}`;
    this.#port = options.port;
    this.#hops = options.nextHops;
    this.#ownsPort = options.ownsPort ?? false;
    this.#bank = options.bank ?? createBank();
  }

  get lastErrno(): number {
    return this.#port.lastErrno || this.#refused;
  }

  send(batch: Batch): void {
    const port = this.#port;
    const hops = this.#hops;
    const isOwn = batch.arena === port.arena;
    const { verdict, recordAt, outAt, outLength, backend, outerFamily } = batch;
    let sent = 0;
    let taken = -1;
    let mtu = 0;
    for (let i = 0; i < batch.count; i++) {
      if (verdict[i] !== VERDICT_FORWARD) continue;
      if (backend[i] !== taken) {
        taken = backend[i];
        mtu = hops.take(taken);
      }
      if (mtu === 0) {
        this.#refuse(batch, i, UNREACHABLE, E.EHOSTUNREACH, AT_UNREACHABLE);
        continue;
      }
      if (recordAt[i] >= 0 || !isOwn || !port.holdsFrame(batch, i)) {
        if (this.#sendParts(batch, i, mtu)) sent++;
        continue;
      }
      if (outLength[i] > mtu) {
        this.#refuse(batch, i, TOO_BIG, E.EMSGSIZE, AT_TOO_BIG);
        continue;
      }
      const at = hops.write(batch.arena.view, outAt[i], outerFamily[i] === 4 ? IPV4 : IPV6);
      if (port.sendColumn(batch, i, at, outAt[i] - at + outLength[i])) sent++;
      else this.#refuse(batch, i, NO_BUFFER, E.ENOBUFS, AT_NO_BUFFER);
    }
    if (sent > 0) port.flush();
  }

  close(): void {
    if (this.#ownsPort) this.#port.close();
  }

  /** What does not lie in one piece in one of our frames is put together in free ones: the parts of a train, packets of another's memory. */
  #sendParts(batch: Batch, i: number, mtu: number): boolean {
    const record = batch.recordAt[i];
    if (record < 0) return this.#sendPart(batch, i, mtu, batch.outAt[i], batch.outLength[i], 0, 0);
    const segments = batch.segmentCount[i];
    for (let k = 0; k < segments; k++) {
      const part = batch.recordOf(i, k);
      const at = record + k * RECORD_STRIDE;
      const { pieceHeader, pieceAt, pieceLength } = batch;
      if (!this.#sendPart(batch, i, mtu, at, pieceHeader[part], pieceAt[part], pieceLength[part])) return k > 0;
    }
    return true;
  }

  #sendPart(
    batch: Batch,
    i: number,
    mtu: number,
    firstAt: number,
    firstLength: number,
    secondAt: number,
    secondLength: number,
  ): boolean {
    const port = this.#port;
    const hops = this.#hops;
    const length = firstLength + secondLength;
    const header = hops.headerBytes;
    if (length > mtu || header + length > FRAME_BYTES) {
      this.#refuse(batch, i, TOO_BIG, E.EMSGSIZE, AT_TOO_BIG);
      return false;
    }
    const frame = port.borrow();
    if (frame < 0) {
      this.#refuse(batch, i, NO_BUFFER, E.ENOBUFS, AT_NO_BUFFER);
      return false;
    }
    const packetAt = port.packetAt(frame) + header;
    const at = hops.write(port.arena.view, packetAt, batch.outerFamily[i] === 4 ? IPV4 : IPV6);
    copy(port.arena, packetAt, batch.arena, firstAt, firstLength);
    copy(port.arena, packetAt + firstLength, batch.arena, secondAt, secondLength);
    port.sendBorrowed(at, packetAt - at + length);
    return true;
  }

  #refuse(batch: Batch, i: number, reason: number, number: number, counter: number): void {
    batch.verdict[i] = VERDICT_DROP;
    batch.reason[i] = reason;
    this.#refused = number;
    this.#bank[counter]++;
  }
}

/** Nothing is allocated where the kernel knows both memories, as in every forwarding thread. */
function copy(to: Arena, toAt: number, from: Arena, fromAt: number, length: number): void {
  if (length === 0) return;
  if (from === to) to.bytes.copyWithin(toAt, fromAt, fromAt + length);
  else if (from.address !== 0) copyMemory(to.address + toAt, from.address + fromAt, length);
  else to.bytes.set(from.bytes.subarray(fromAt, fromAt + length), toAt);
}
