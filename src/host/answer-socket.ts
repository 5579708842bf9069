/**
 * Answers to tunnel probes, taken by one packet socket for each family, whatever routes, reverse path filters and firewall rules would make of them: the
 * address that they come from is a service's, which this host routes elsewhere (to its TUN device, or nowhere). The kernel's own copy dies at the port
 * guard (port-guard.ts) or, with rp_filter on, before.
 *
 * A packet socket can not join Node's event loop, so somebody calls `poll` while an answer is awaited; else nothing is asked of the kernel.
 */
import { closeDescriptor } from '../raw-socket/file.ts';
import { attachFilter, KEEP_NOTHING } from '../raw-socket/filter.ts';
import { E, errno, must } from '../raw-socket/library.ts';
import { pin } from '../raw-socket/memory.ts';
import { MessageVector, MSG_TRUNC } from '../raw-socket/message.ts';
import { AUXDATA_BYTES, AUXDATA_STATUS, openNetworkSocket, STATUS_CHECKSUM_NOT_READY } from '../raw-socket/packet-socket.ts';
import { ETHERTYPE_IPV4, ETHERTYPE_IPV6 } from '../wire/ethernet.ts';
import { answerFilter4, answerFilter6 } from './answer-filter.ts';
import type { PortRange } from './port-guard.ts';

const BATCH = 32;
/** Of an answer that is longer (segments merged by GRO) the rest is not read. */
const SLOT = 4096;
const RECEIVE_BUFFER = 1024 * 1024;
/** Messages of each family that one poll reads at most. */
const MESSAGES_PER_POLL = 512;

/** A packet, bytes `at` to `end` of `view` from its IP header on, valid during the call. */
export type TakeAnswer = (view: DataView, at: number, end: number, state: AnswerState) => void;

export interface AnswerState {
  /** Its transport checksum is what it must be. */
  readonly isFinished: boolean;
  /** It is longer than what there is of it. */
  readonly isCut: boolean;
}

/** Receives in the network namespace in which it was made. Needs CAP_NET_RAW. */
export class AnswerSocket {
  readonly #memory = pin(BATCH * SLOT);
  readonly #view = new DataView(this.#memory.bytes.buffer);
  readonly #vector = new MessageVector({ messages: BATCH, segments: 1, nameBytes: 0, controlBytes: AUXDATA_BYTES });
  #descriptor4 = -1;
  #descriptor6 = -1;

  constructor() {
    for (let i = 0; i < BATCH; i++) this.#vector.setSegment(i, 0, this.#memory.address + i * SLOT, SLOT);
  }

  /**
   * Answers from these service addresses (4 or 16 bytes) to these ports, from now on. Opens a socket for a family that is needed for the first time.
   * Throws CodedError, EXIT.PRIVILEGE without CAP_NET_RAW.
   */
  listen(ports: PortRange, addresses: readonly Uint8Array[]): void {
    const [four, six] = [4, 16].map((length) => addresses.filter((address) => address.length === length));
    if (four.length > 0 && this.#descriptor4 < 0) this.#descriptor4 = open(ETHERTYPE_IPV4);
    if (six.length > 0 && this.#descriptor6 < 0) this.#descriptor6 = open(ETHERTYPE_IPV6);
    if (this.#descriptor4 >= 0) attachFilter(this.#descriptor4, four.length === 0 ? KEEP_NOTHING : answerFilter4(ports, four));
    if (this.#descriptor6 >= 0) attachFilter(this.#descriptor6, six.length === 0 ? KEEP_NOTHING : answerFilter6(ports, six));
  }

  /** Gives what has arrived to `take`, oldest first within a family, never blocking. Throws CodedError when a socket fails. */
  poll(take: TakeAnswer): void {
    if (this.#descriptor4 >= 0) this.#receive(this.#descriptor4, take);
    if (this.#descriptor6 >= 0) this.#receive(this.#descriptor6, take);
  }

  close(): void {
    for (const descriptor of [this.#descriptor4, this.#descriptor6]) if (descriptor >= 0) closeDescriptor(descriptor);
    this.#descriptor4 = -1;
    this.#descriptor6 = -1;
  }

  #receive(descriptor: number, take: TakeAnswer): void {
    const vector = this.#vector;
    for (let left = MESSAGES_PER_POLL; left > 0; left -= BATCH) {
      // The kernel writes back how much control data there was.
      for (let i = 0; i < BATCH; i++) vector.setControlLength(i, AUXDATA_BYTES);
      const received = vector.receive(descriptor, BATCH);
      if (received < 0) {
        const number = errno();
        // An interface that went down says so once (ENETDOWN) to a socket on all of them too; it delivers again when it is back.
        if (number === E.EAGAIN || number === E.EINTR || number === E.ENETDOWN) return;
        must(received, 'recvmmsg of answers to tunnel probes');
      }
      for (let i = 0; i < received; i++) {
        const known = vector.controlLength(i) >= AUXDATA_STATUS + 4;
        const status = known ? vector.int32[(vector.controlAt(i) + AUXDATA_STATUS) >> 2] : 0;
        const state = {
          isFinished: (status & STATUS_CHECKSUM_NOT_READY) === 0,
          isCut: (vector.flags(i) & MSG_TRUNC) !== 0,
        };
        take(this.#view, i * SLOT, i * SLOT + vector.transferred(i), state);
      }
      if (received < BATCH) return;
    }
  }
}

function open(etherType: number): number {
  return openNetworkSocket(etherType, RECEIVE_BUFFER, `answers to tunnel probes over IPv${etherType === ETHERTYPE_IPV4 ? 4 : 6}`);
}
