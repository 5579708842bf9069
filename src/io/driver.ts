/**
 * The one contract of every driver: how packets come in, how they go out. A driver moves frames between the kernel (or a
 * file, or memory) and a batch; it knows no service, pool or table. `test/contract/driver.ts` is its test suite.
 */
import type { Batch, IngressFacts } from '../base/batch.ts';
import type { CodedError } from '../base/errors.ts';
import type { ServiceMatch } from './packet/filter.ts';

export interface DriverStatistics {
  /** Packets that the kernel lost before we could read them (PACKET_STATISTICS, device drops). */
  readonly kernelDrops: number;
}

export interface MappedBatch {
  readonly batch: Batch;
  /** Gives the memory back; the batch must not be used any more. */
  release(): void;
}

/** A way in, as one forwarding thread holds it (one queue). */
export interface Ingress {
  /** For logs and metrics: `tun:gd0`, `packet:eth0`, `pcap-file:in.pcap`, `memory`. */
  readonly name: string;
  readonly facts: IngressFacts;
  /** Descriptor that becomes readable when packets wait; −1 when `receive` never needs waiting for. */
  readonly descriptor: number;
  /**
   * Fills the batch from index 0 with at most `capacity` frames and sets `count`, frameAt, frameLength, the virtio-net
   * columns, and clears verdict and reason of each. Returns `count`; 0 when nothing waits. Never blocks. A frame that does
   * not fit its slot is delivered with verdict drop and reason `truncated`, never cut in silence.
   */
  receive(batch: Batch): number;
  /**
   * Where packets lie in memory that both sides see: fills the batch with what was taken over from the kernel and not delivered yet. 0 when that is nothing:
   * all of that memory is the kernel's, or the queue's next reader's, again. Whoever stops receiving calls it until then.
   */
  rest?(batch: Batch): number;
  /**
   * The reply path: sends every packet of the batch whose verdict is reply (outAt, outLength: IP packet, or Ethernet frame when
   * `facts.link` is Ethernet). One that can not be sent becomes drop with reason `reply-failed`. Then the batch's answers (answerAt, answerLength;
   * the same kind of bytes): one that can not be sent is counted in `answersLost`, for its packet is on its way.
   */
  reply(batch: Batch): void;
  /** True when a finite source has delivered everything (files, memory). */
  readonly exhausted: boolean;
  /** Why a finite source ended before its end, or could not be answered; null or absent when all is well. */
  readonly failure?: CodedError | null;
  /** It works, but not as it was meant to; null or absent when it does. */
  readonly warning?: DriverWarning | null;
  /** errno of the last call the kernel refused for another reason than "nothing there"; 0 or absent when none was. */
  readonly lastErrno?: number;
  /** Index of the interface it was bound to when it was opened; absent when an interface of that name that is made anew is none of its concern. */
  readonly interfaceIndex?: number;
  /** Only what these want is to come in from now on; absent where that is not the driver's to choose. */
  setServices?(services: readonly ServiceMatch[]): void;
  /** Where the frames' memory is the driver's own: a batch of `capacity` packets over it, the only kind that `receive` takes. */
  createBatch?(capacity: number): MappedBatch;
  /** True when `statistics` counts since the device came to be, whoever read its queues; absent: since this driver was opened. */
  readonly countsDevice?: boolean;
  statistics(): DriverStatistics;
  close(): void;
}

export type EgressLayer =
  /** We hand over the UDP payload (GUE header and inner packet); the kernel writes outer IP and UDP. */
  | 'payload'
  /** We hand over the whole outer IP packet. */
  | 'l3'
  /** We hand over the whole Ethernet frame. */
  | 'l2';

/** What an egress takes and needs; the pipeline reads this once at start. */
export interface EgressFacts {
  readonly layer: EgressLayer;
  /** How several segments of one packet may leave in one call. */
  readonly trains: 'none' | 'udp-segment' | 'tunnel-gso';
  readonly maxSegments: number;
  readonly maxBytes: number;
  /** Trains need a filled outer UDP checksum (UDP_SEGMENT with the checksum off is EINVAL). */
  readonly trainsNeedChecksum: boolean;
  /** Takes fragments of outer packets (`payload` drivers can not: the kernel writes the outer IP header). */
  readonly outerFragments: boolean;
  /**
   * Outer UDP source ports: base + (flow hash & mask). A driver whose sockets have fixed ports says which; the pipeline
   * writes exactly that port into the header, so that checksum and trace are right whoever sends it.
   */
  readonly sourcePortBase: number;
  readonly sourcePortMask: number;
}

/** Something that a way in or out does without, told once when it is opened. */
export interface DriverWarning {
  /** One sentence: what is missing and what that costs. */
  readonly message: string;
  /** What to do about it. */
  readonly hint: string;
}

/** A way out, as one forwarding thread holds it. */
export interface Egress {
  readonly name: string;
  readonly facts: EgressFacts;
  /** It works, but not as it was meant to; null or absent when it does. */
  readonly warning?: DriverWarning | null;
  /**
   * Sends every packet of the batch whose verdict is forward, in order, in as few system calls as the driver can. A packet the
   * kernel refuses is retried once; then it becomes verdict drop with its `send-*` reason, and the packets behind it are still sent.
   */
  send(batch: Batch): void;
  /** errno of the last send the kernel refused; 0 or absent when none was. */
  readonly lastErrno?: number;
  close(): void;
}
