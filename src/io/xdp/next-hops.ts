/**
 * Where each backend's packets go on the link: memory that main keeps up to date from the kernel's routes and neighbours, and that forwarding threads read for
 * each packet. One record for each backend id, a cache line:
 *
 *     | version·2 + usable | MACs: destination 6, source 6 | VLAN tag, 0 for none | MTU | asked for | … |   16 words
 *
 * A record is written between two versions, so that nobody sends to half of an old address and half of a new one.
 */
import type { LinkAddress } from '../../base/batch.ts';
import { settleLoads } from '../memory-order.ts';

const RECORD_WORDS = 16;
const STATE = 0;
const MACS = 1;
const TAG = 4;
const MTU = 5;
const ASKED = 6;
const USABLE = 1;
const ETHERTYPE_VLAN = 0x8100;

export interface NextHop {
  readonly destination: LinkAddress;
  readonly source: LinkAddress;
  /** Priority, DEI and number of the VLAN as its tag has them (16 bits), or null. */
  readonly vlan: number | null;
  /** Bytes of the largest IP packet. */
  readonly mtu: number;
}

export class NextHops {
  readonly #words: Int32Array;
  /** Six bytes and six as three words of network byte order. */
  readonly #scratch = new DataView(new ArrayBuffer(12));
  /** Of the way that was taken last: MAC addresses as those words, and the tag. */
  #first = 0;
  #second = 0;
  #third = 0;
  #tag = 0;

  /** `memory`: zeroed, `bytesFor` bytes, shared with the forwarding threads. */
  constructor(memory: ArrayBufferLike) {
    this.#words = new Int32Array(memory);
  }

  static bytesFor(backends: number): number {
    return backends * RECORD_WORDS * 4;
  }

  /** For main: packets of this backend go there from now on. */
  set(backend: number, hop: NextHop): void {
    const words = this.#words;
    const at = backend * RECORD_WORDS;
    const version = this.clear(backend);
    const scratch = this.#scratch;
    scratch.setInt32(0, hop.destination.high);
    scratch.setUint16(4, hop.destination.low);
    scratch.setInt32(6, hop.source.high);
    scratch.setUint16(10, hop.source.low);
    for (let k = 0; k < 3; k++) Atomics.store(words, at + MACS + k, scratch.getInt32(4 * k));
    Atomics.store(words, at + TAG, hop.vlan === null ? 0 : (ETHERTYPE_VLAN << 16) | hop.vlan);
    Atomics.store(words, at + MTU, hop.mtu);
    Atomics.store(words, at + ASKED, 0);
    Atomics.store(words, at + STATE, version | USABLE);
  }

  /** For main: nobody knows the way to this backend. Returns the record's new state. */
  clear(backend: number): number {
    const at = backend * RECORD_WORDS + STATE;
    const state = ((Atomics.load(this.#words, at) & ~USABLE) + 2) | 0;
    Atomics.store(this.#words, at, state);
    return state;
  }

  /** For main: true once after a packet found no way to this backend: the kernel is to be asked for the neighbour. */
  takeAsked(backend: number): boolean {
    return Atomics.exchange(this.#words, backend * RECORD_WORDS + ASKED, 0) !== 0;
  }

  /**
   * For threads: reads the way to this backend, which `write` writes from now on. Returns the bytes of the largest IP packet; 0 when there is no way, which main is
   * told of, or it changed meanwhile. For each packet of a batch whose backend is not the last one's: an atomic load is a call, and costs as much as the rest.
   */
  take(backend: number): number {
    const words = this.#words;
    const at = backend * RECORD_WORDS;
    const state = Atomics.load(words, at + STATE);
    if ((state & USABLE) === 0) {
      if (Atomics.load(words, at + ASKED) === 0) Atomics.store(words, at + ASKED, 1);
      return 0;
    }
    this.#first = words[at + MACS];
    this.#second = words[at + MACS + 1];
    this.#third = words[at + MACS + 2];
    this.#tag = words[at + TAG];
    const mtu = words[at + MTU];
    settleLoads();
    return Atomics.load(words, at + STATE) === state ? mtu : 0;
  }

  /** Bytes that `write` writes, 14 or 18. */
  get headerBytes(): number {
    return this.#tag === 0 ? 14 : 18;
  }

  /** Writes the link header of the way that was taken last, so that it ends at `end`; `etherType` of what follows. Returns where it begins. */
  write(view: DataView, end: number, etherType: number): number {
    const tag = this.#tag;
    const from = tag === 0 ? end - 14 : end - 18;
    view.setInt32(from, this.#first);
    view.setInt32(from + 4, this.#second);
    view.setInt32(from + 8, this.#third);
    if (tag !== 0) view.setInt32(from + 12, tag);
    view.setUint16(end - 2, etherType);
    return from;
  }
}
