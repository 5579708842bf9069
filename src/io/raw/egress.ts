/** Raw sockets: whole outer IP packets, any source port, one sendmmsg per family and batch. See README.md beside this file. */
import type { Batch } from '../../base/batch.ts';
import { createBank, SEND_ERRORS_AT } from '../../base/counters.ts';
import { dropReason } from '../../base/drop-reason.ts';
import { VERDICT_DROP, VERDICT_FORWARD } from '../../base/verdict.ts';
import { closeDescriptor } from '../../raw-socket/file.ts';
import { attachFilter, KEEP_NOTHING } from '../../raw-socket/filter.ts';
import { E } from '../../raw-socket/library.ts';
import {
  AF_INET,
  AF_INET6,
  hasFamily,
  IP_MTU_DISCOVER,
  IPPROTO_IP,
  IPPROTO_IPV6,
  IPPROTO_RAW,
  IPV6_MTU_DISCOVER,
  openSocket,
  PMTUDISC_PROBE,
  SOCK_RAW,
  setOption,
  setSendBuffer,
} from '../../raw-socket/socket.ts';
import type { Egress, EgressFacts } from '../driver.ts';
import { SendQueue, sendErrorAt } from '../send-queue.ts';
import { DYNAMIC_PORTS } from '../source-ports.ts';
import { gatherSegment } from '../train.ts';

const NO_FAMILY = sendErrorAt(E.EAFNOSUPPORT);
const UNREACHABLE = dropReason('send-unreachable');
const SEND_BUFFER = 8 * 1024 * 1024;
/** struct sockaddr_in (16 bytes) or sockaddr_in6 (28), padded. */
const NAME_BYTES = 32;
const NAME_WORDS = NAME_BYTES >> 2;
// Module-local: an imported constant is loaded from its module at every use (src/wire/README.md, "Constants").
const FORWARD = VERDICT_FORWARD;
/** Messages of one system call: a batch of single packets, or the segments of a dozen super-packets. */
const MESSAGES = 512;

export interface RawEgressOptions {
  /** The thread's counters, for send errors; default: none that anybody reads. */
  readonly bank?: Float64Array;
}

export class RawEgress implements Egress {
  readonly name = 'raw';
  readonly facts: EgressFacts = {
    layer: 'l3',
    trains: 'none',
    maxSegments: 1,
    maxBytes: 65535,
    trainsNeedChecksum: false,
    outerFragments: true,
    sourcePortBase: DYNAMIC_PORTS.base,
    sourcePortMask: DYNAMIC_PORTS.count - 1,
  };
  readonly #descriptor4: number;
  /** −1 on a kernel without IPv6. */
  readonly #descriptor6: number;
  readonly #queue4: SendQueue;
  readonly #queue6: SendQueue;
  readonly #bank: Float64Array;
  #singles: { readonly batch: Batch; readonly gather: () => number } | null = null;
  #open = true;
  /** EAFNOSUPPORT once a packet was for a family that the kernel does not have. */
  #familyErrno = 0;

  constructor(options: RawEgressOptions = {}) {
    this.#bank = options.bank ?? createBank();
    this.#descriptor4 = openRaw(AF_INET, 'raw IPv4');
    try {
      this.#descriptor6 = hasFamily(AF_INET6) ? openRaw(AF_INET6, 'raw IPv6') : -1;
    } catch (error) {
      closeDescriptor(this.#descriptor4);
      throw error;
    }
    this.#queue4 = createQueue(AF_INET, this.#bank);
    this.#queue6 = createQueue(AF_INET6, this.#bank);
  }

  /** errno of the last packet that was given up, 0 when none was: for the log. */
  get lastErrno(): number {
    return this.#queue4.lastErrno || this.#queue6.lastErrno || this.#familyErrno;
  }

  /** `rawOnly`: of the packets those alone that no UDP socket could send. */
  send(batch: Batch, rawOnly = false): void {
    if (!rawOnly && batch.trains === 0 && batch.outerFragmented === 0 && batch.count <= MESSAGES) {
      let singles = this.#singles;
      if (singles === null || singles.batch !== batch) {
        singles = { batch, gather: singlesOf(batch, this.#queue4) };
        this.#singles = singles;
      }
      const messages = singles.gather();
      if (messages >= 0) {
        this.#queue4.count = messages;
        if (messages > 0) this.#queue4.flush(this.#descriptor4, batch, 0);
        return;
      }
    }
    for (let i = 0; i < batch.count; i++) {
      if (batch.verdict[i] !== VERDICT_FORWARD || (rawOnly && batch.rawOnly[i] === 0)) continue;
      const six = batch.outerFamily[i] === 6;
      if (six && this.#descriptor6 < 0) {
        this.#familyErrno = E.EAFNOSUPPORT;
        this.#bank[SEND_ERRORS_AT + NO_FAMILY]++;
        batch.verdict[i] = VERDICT_DROP;
        batch.reason[i] = UNREACHABLE;
        continue;
      }
      const queue = six ? this.#queue6 : this.#queue4;
      const segments = batch.segmentCount[i];
      for (let k = 0; k < segments; k++) {
        if (queue.full) queue.flush(six ? this.#descriptor6 : this.#descriptor4, batch, 0);
        fill(queue, batch, i, k, six);
      }
    }
    if (this.#queue4.count > 0) this.#queue4.flush(this.#descriptor4, batch, 0);
    if (this.#queue6.count > 0) this.#queue6.flush(this.#descriptor6, batch, 0);
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    closeDescriptor(this.#descriptor4);
    if (this.#descriptor6 >= 0) closeDescriptor(this.#descriptor6);
  }
}

/**
 * A function that prepares the packets of `batch` that leave, each as one message, and returns how many these are; −1 when there is one that is no single packet over IPv4: then nothing
 * is prepared. A closure over one batch, as the stages are (pipeline/pipeline.ts).
 */
function singlesOf(batch: Batch, queue: SendQueue): () => number {
  const { verdict, outerFamily, recordAt, segmentCount, outAt, outLength } = batch;
  const { view, address } = batch.arena;
  const { vector, owner } = queue;
  const words = vector.int32;
  const whole = vector.wholeMessages(address);
  const destination = (vector.nameAt(0) >> 2) + 1;

  return function gather(): number {
    const count = batch.count;
    let message = 0;
    for (let i = 0; i < count; i++) {
      if (verdict[i] !== FORWARD) continue;
      if (outerFamily[i] !== 4 || recordAt[i] >= 0 || segmentCount[i] !== 1) return -1;
      const at = outAt[i];
      owner[message] = i;
      whole(message, at, outLength[i]);
      words[destination + message * NAME_WORDS] = view.getInt32(at + 16, true);
      message++;
    }
    return message;
  };
}

/** Segment `k` of packet `i`, and its destination again beside it: copied as words, which keeps network byte order as it is. */
function fill(queue: SendQueue, batch: Batch, i: number, k: number, six: boolean): void {
  const view = batch.arena.view;
  const at = batch.outAt[i];
  const message = queue.count++;
  const vector = queue.vector;
  queue.owner[message] = i;
  gatherSegment(vector, message, batch, i, k, 0);
  const words = vector.int32;
  const name = vector.nameAt(message) >> 2;
  if (six) {
    words[name + 2] = view.getInt32(at + 24, true);
    words[name + 3] = view.getInt32(at + 28, true);
    words[name + 4] = view.getInt32(at + 32, true);
    words[name + 5] = view.getInt32(at + 36, true);
  } else {
    words[name + 1] = view.getInt32(at + 16, true);
  }
}

/** IPPROTO_RAW means that the header is ours, for both families. */
function openRaw(family: number, label: string): number {
  const descriptor = openSocket(family, SOCK_RAW, IPPROTO_RAW, label);
  try {
    attachFilter(descriptor, KEEP_NOTHING);
    // Only the device's MTU counts. What the kernel learns from ICMP is believed from anybody who names a bound UDP port (net/ipv4/udp.c
    // __udp4_lib_err), such as those of `auto`; how large packets may be is decided by the packet path, which checks more.
    if (family === AF_INET6) setOption(descriptor, IPPROTO_IPV6, IPV6_MTU_DISCOVER, PMTUDISC_PROBE, 'IPV6_MTU_DISCOVER');
    else setOption(descriptor, IPPROTO_IP, IP_MTU_DISCOVER, PMTUDISC_PROBE, 'IP_MTU_DISCOVER');
    setSendBuffer(descriptor, SEND_BUFFER);
    return descriptor;
  } catch (error) {
    closeDescriptor(descriptor);
    throw error;
  }
}

function createQueue(family: number, bank: Float64Array): SendQueue {
  const queue = new SendQueue({ messages: MESSAGES, segments: 2, nameBytes: NAME_BYTES, controlBytes: 0, bank });
  for (let i = 0; i < MESSAGES; i++) {
    // Family first; port, flow label and scope stay 0.
    queue.vector.uint16[queue.vector.nameAt(i) >> 1] = family;
    queue.vector.setNameLength(i, family === AF_INET ? 16 : 28);
  }
  return queue;
}
