/**
 * Packets as they came, after the path has worked on them. A packet is looked at when it has left, but encapsulation has decremented its TTL, its checksum may have been
 * completed, and an answer may lie where it lay. Copying each one beforehand would cost more than a trace may, so:
 *
 *     selected by what they are      copied beforehand, since these are few
 *     the path may write into them   copied beforehand too: ICMP and unusual protocols (echo is answered in place), SYNs where an MSS may be clamped
 *     all others                     lie where they lay; their TTL is noted where the path decrements it, a completed checksum is in the batch's own column
 */
import { type Batch, FRAGMENT_LATER, LINK_ETHERNET, VIRTIO_NEEDS_CSUM } from '../base/batch.ts';
import { dropReason } from '../base/drop-reason.ts';
import * as ipv4 from '../wire/ipv4.ts';
import * as ipv6 from '../wire/ipv6.ts';
import * as tcp from '../wire/tcp.ts';
import { MOST_HEADERS } from './bounds.ts';
import { familyOf, headersOf, networkOf } from './filter/headers.ts';

// Module-local: an imported constant is loaded from its module at every use (src/wire/README.md, "Constants").
const NEEDS_CSUM = VIRTIO_NEEDS_CSUM;
const TCP = ipv4.PROTOCOL_TCP;
const UDP = ipv4.PROTOCOL_UDP;
const PROTOCOL_AT = ipv4.PROTOCOL_AT;
/** The one reason to drop a packet of no service whose checksum has been completed (pipeline/classify.ts, checkRest). */
const LOOP = dropReason('encapsulation-loop');
const SYN = tcp.SYN;
const FLAGS_AT = tcp.DATA_OFFSET_AT + 1;
const HEADER6 = ipv6.HEADER_LENGTH;
/** Offset of the words that hold TTL and protocol (IPv4), next header and hop limit (IPv6). */
const TTL_AT = ipv4.TTL_AT;
const NEXT_HEADER_AT = ipv6.NEXT_HEADER_AT;

export class AsItCame {
  readonly #startAt: Int32Array;
  /** Of copied packets: bytes. */
  readonly #kept: Int32Array;
  readonly #isCopied: Uint8Array;
  /** Their numbers. */
  readonly #copiedOnes: Int32Array;
  #copies = 0;
  readonly #hops: Uint8Array;
  readonly #memory: DataView;
  readonly #stride: number;
  readonly #snap: number;
  readonly #batch: Batch;
  readonly #isEthernet: boolean;

  /** `snap`: bytes kept of each packet; 0: its headers. */
  constructor(batch: Batch, snap: number) {
    const { capacity } = batch;
    this.#batch = batch;
    this.#isEthernet = batch.ingress.link === LINK_ETHERNET;
    this.#snap = snap;
    this.#stride = snap === 0 ? MOST_HEADERS : (snap + 7) & ~7;
    this.#startAt = new Int32Array(capacity);
    this.#kept = new Int32Array(capacity);
    this.#isCopied = new Uint8Array(capacity);
    this.#copiedOnes = new Int32Array(capacity);
    this.#hops = new Uint8Array(capacity);
    this.#memory = new DataView(new ArrayBuffer(capacity * this.#stride));
  }

  /**
   * Before the batch is processed, when any packet of it may be asked for. `answers`: those too that are answered in place. `clamps`: SYNs may be written into. Does nothing
   * where neither is so and the hop is done.
   */
  note(answers: boolean, clamps: boolean): void {
    this.#forget();
    if (this.#isEthernet || !this.#batch.ingress.hopDone) this.#noteHops(answers, clamps);
    else if (answers || clamps) this.#noteRaw(clamps);
  }

  /** No packet of this batch is copied yet. */
  #forget(): void {
    for (let c = 0; c < this.#copies; c++) this.#isCopied[this.#copiedOnes[c]] = 0;
    this.#copies = 0;
  }

  /** Raw IP whose hop is done. What lies behind a short packet is of the arena: it is looked at in vain, and no harm done. */
  #noteRaw(clamps: boolean): void {
    const { frameAt } = this.#batch;
    const { view } = this.#batch.arena;
    const count = this.#batch.count;
    for (let i = 0; i < count; i++) {
      const at = frameAt[i];
      const protocol = view.getUint8(at) < 0x50 ? view.getUint8(at + PROTOCOL_AT) : view.getUint8(at + NEXT_HEADER_AT);
      if (protocol === UDP || (protocol === TCP && !clamps)) continue;
      if (protocol !== TCP || this.#isSyn(at)) this.#copy(i);
    }
  }

  #noteHops(answers: boolean, clamps: boolean): void {
    const { frameAt, frameLength } = this.#batch;
    const { view } = this.#batch.arena;
    const count = this.#batch.count;
    const startAt = this.#startAt;
    const hops = this.#hops;
    const isEthernet = this.#isEthernet;
    for (let i = 0; i < count; i++) {
      const from = frameAt[i];
      const at = isEthernet ? networkOf(view, from, (from + frameLength[i]) | 0) : from;
      startAt[i] = at;
      const is4 = view.getUint8(at) < 0x50;
      const word = view.getUint16(at + (is4 ? TTL_AT : NEXT_HEADER_AT));
      hops[i] = is4 ? word >>> 8 : word & 0xff;
      const protocol = is4 ? word & 0xff : word >>> 8;
      if (protocol === UDP || (protocol === TCP && !clamps)) continue;
      if (protocol === TCP ? this.#isSyn(at) : answers) this.#copy(i);
    }
  }

  /** Of a packet whose protocol is TCP. */
  #isSyn(at: number): boolean {
    const { view } = this.#batch.arena;
    const first = view.getUint8(at);
    const transport = at + (first < 0x50 ? (first & 15) << 2 : HEADER6);
    return (view.getUint8(transport + FLAGS_AT) & SYN) !== 0;
  }

  /** Before the batch is processed: the first `count` of `selected` are to be kept; no others. */
  keep(selected: Int32Array, count: number): void {
    this.#forget();
    const { frameAt, frameLength } = this.#batch;
    for (let s = 0; s < count; s++) {
      const i = selected[s];
      const from = frameAt[i];
      if (this.#isEthernet) this.#startAt[i] = networkOf(this.#batch.arena.view, from, (from + frameLength[i]) | 0);
      this.#copy(i);
    }
  }

  isKept(i: number): boolean {
    return this.#isCopied[i] === 1;
  }

  /** Where packet `i` begins. Of packets that were looked at. */
  startOf(i: number): number {
    return this.#isEthernet ? this.#startAt[i] : this.#batch.frameAt[i];
  }

  #copy(i: number): void {
    const { view } = this.#batch.arena;
    const at = this.startOf(i);
    const kept = this.keptOf(view, at, this.lengthOf(i));
    this.#kept[i] = kept;
    this.#isCopied[i] = 1;
    this.#copiedOnes[this.#copies++] = i;
    copyBytes(this.#memory, i * this.#stride, view, at, kept);
  }

  /** Bytes that are kept of a packet. */
  keptOf(view: DataView, at: number, length: number): number {
    if (length <= 0) return 0;
    return this.#snap === 0 ? Math.min(headersOf(view, at, length), this.#stride) : Math.min(length, this.#snap);
  }

  /** Bytes of packet `i`, to the end of its frame; 0 when the frame carries no IP packet. */
  lengthOf(i: number): number {
    const batch = this.#batch;
    return batch.frameAt[i] + batch.frameLength[i] - this.startOf(i);
  }

  /** Bytes kept of packet `i`: what `write` will write. When the batch has left. */
  keptBytes(i: number): number {
    return this.isKept(i) ? this.#kept[i] : this.keptOf(this.#batch.arena.view, this.startOf(i), this.lengthOf(i));
  }

  /** Writes the first `kept` bytes of packet `i` as it came to `target`. When the batch has left. */
  write(i: number, target: DataView, to: number, kept: number): void {
    if (this.isKept(i)) {
      copyBytes(target, to, this.#memory, i * this.#stride, kept);
      return;
    }
    const batch = this.#batch;
    const at = this.startOf(i);
    copyBytes(target, to, batch.arena.view, at, kept);
    const field = batch.frameAt[i] + batch.csumStart[i] + batch.csumOffset[i] - at;
    if (this.#wasCompleted(i) && field >= 0 && field + 2 <= kept) target.setUint16(to + field, batch.partialChecksum[i]);
    if (batch.ingress.hopDone) return;
    const family = familyOf(target, to, kept);
    // One hop at most.
    if (family === 4 && ipv4.ttl(target, to) !== this.#hops[i]) ipv4.incrementTtl(target, to);
    else if (family === 6) ipv6.setHopLimit(target, to, this.#hops[i]);
  }

  /** Classify has completed its checksum, and noted what the field held. */
  #wasCompleted(i: number): boolean {
    const batch = this.#batch;
    if ((batch.virtioFlags[i] & NEEDS_CSUM) === 0 || batch.gsoType[i] !== 0) return false;
    if (batch.fragments > 0 && batch.fragment[i] === FRAGMENT_LATER) return false;
    return batch.service[i] >= 0 || batch.reason[i] === LOOP;
  }
}

/** Copies `length` bytes between two memories, a word at a time: without the objects that `set` and `subarray` make. */
export function copyBytes(target: DataView, to: number, source: DataView, from: number, length: number): void {
  const words = length & ~3;
  let k = 0;
  for (; k < words; k += 4) target.setInt32(to + k, source.getInt32(from + k));
  for (; k < length; k++) target.setUint8(to + k, source.getUint8(from + k));
}
