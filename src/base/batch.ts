/**
 * A batch: what the drivers fill, the pipeline's stages read and write, and the drivers send. A struct of typed arrays;
 * index i is one packet in every column. Nothing in here is allocated after construction.
 *
 *     slotAt     frameAt            networkAt   transportAt                  frameAt + frameLength
 *     |          |                  |           |                            |
 *     | headroom | Ethernet (VLAN)  | IP header | TCP / UDP header | payload |
 *
 * After `encapsulate` the packet to send begins earlier, in the headroom (the link header is overwritten):
 *
 *     outAt = outerNetworkAt   outerTransportAt  tunnelAt  networkAt (inner)    outAt + outLength
 *     |                        |                 |         |                    |
 *     | outer IPv4 / IPv6      | UDP             | GUE     | inner IP packet    |
 *
 * Other encapsulations lack UDP, a tunnel header or both; the offset of what is missing is that of what follows (pipeline/tunnel-kind.ts).
 *
 * All offsets count bytes from the start of the arena. They are explicit, never derived from one another by a stage that
 * did not write them: the incident behind this project was one stale offset.
 */
import type { Arena } from './arena.ts';
import { HEADROOM, RECORD_STRIDE } from './arena.ts';

/** The frame starts with an Ethernet header. */
export const LINK_ETHERNET = 1;
/** The frame starts with an IP header (TUN, raw-IP captures). */
export const LINK_RAW_IP = 2;

/** virtio-net `flags` bit: the transport checksum holds only the pseudo-header sum and must be completed. */
export const VIRTIO_NEEDS_CSUM = 1;

/** By its own 5-tuple: flow table, then tables. Everything but what follows. */
export const LOOKUP_FLOW = 0;
/** An ICMP error: by the 5-tuple of the packet it quotes, turned round; it leaves no trace in the flow table. */
export const LOOKUP_QUOTE = 1;
/** A fragment without ports: by what is known of its datagram's first fragment. */
export const LOOKUP_FRAGMENT = 2;
/** `batch.fragment` of a fragment with the transport header, and of any other. 0: no fragment. */
export const FRAGMENT_FIRST = 1;
export const FRAGMENT_LATER = 2;

/** By a server id in the packet (QUIC connection ids). */
export const LOOKUP_SERVER_ID = 3;
/** By itself: affinity none, one datagram at a time. */
export const LOOKUP_PACKET = 5;
/** By a flow without ports: addresses and protocol, because the protocol has none (ESP, GRE, AH). */
export const LOOKUP_ADDRESSES = 6;
/** By a flow without addresses: service, protocol and ports, the same on every path of an SCTP association. */
export const LOOKUP_PORTS = 7;
/** By the pool's table alone, every packet: a scheme whose directors keep no flows (glb). Set by the stage behind classify. */
export const LOOKUP_TABLE = 4;

/** Most further hops that GLB director writes: the second of a row, and both of a second row. */
export const HOPS = 3;

/** Facts about the ingress driver that the stages need; the driver sets them once. */
export interface IngressFacts {
  readonly link: typeof LINK_ETHERNET | typeof LINK_RAW_IP;
  /** The kernel has already decremented the TTL on its way to us (TUN): never decrement twice. */
  readonly hopDone: boolean;
  /** The driver owns the packet and can leave it to the kernel (xdp). Elsewhere not-a-service is a drop. */
  readonly canPass: boolean;
  /** The kernel has verified the IPv4 header (TUN: it routed the packet). */
  readonly headerVerified: boolean;
  /** Frames come without a word on whether their transport checksum is whole or only begun (AF_XDP): the stages find out. Absent: the columns say. */
  readonly checksumsUnknown?: boolean;
  /** Our own address on the link, where ARP and neighbour discovery for service addresses are ours to answer (TAP). Absent elsewhere. */
  readonly linkAddress?: LinkAddress;
}

/** An Ethernet (MAC) address as the stages compare and write it. */
export interface LinkAddress {
  /** First four bytes as int32. */
  readonly high: number;
  /** Last two bytes. */
  readonly low: number;
}

/** When each packet of a batch was captured, since 1970. Two columns: a double holds no nanoseconds of this century. */
export interface CaptureTimes {
  readonly seconds: Float64Array;
  readonly nanoseconds: Int32Array;
}

/**
 * Memory for a column: in the arena, where it has room; else a buffer of its own. V8 keeps a small array given only a length in its moving heap, where its
 * address is not constant.
 */
function columnOf(arena: Arena, length: number, width: number): [ArrayBufferLike, number, number] {
  const at = arena.take(length * width);
  return at < 0 ? [new ArrayBuffer(length * width), 0, length] : [arena.memory, at, length];
}

export class Batch {
  readonly arena: Arena;
  readonly capacity: number;
  readonly ingress: IngressFacts;
  /** Packets in this batch: columns are valid for 0 ≤ i < count. */
  count = 0;
  /** Made and filled by drivers that read captures; null where packets are live. */
  captureTimes: CaptureTimes | null = null;

  // Written by the ingress driver.
  readonly slotAt: Int32Array;
  /** Where packets lie in a ring, with other packets behind them: each column's own slot of the arena's stride. Null where slotAt says that. */
  homeAt: Int32Array | null = null;
  readonly frameAt: Int32Array;
  readonly frameLength: Int32Array;
  /** virtio-net facts; zero where the driver has none. csumStart counts from frameAt. */
  readonly virtioFlags: Uint8Array;
  readonly gsoType: Uint8Array;
  readonly gsoSize: Uint16Array;
  readonly headerLength: Uint16Array;
  readonly csumStart: Uint16Array;
  readonly csumOffset: Uint16Array;

  // Written by classify.
  readonly networkAt: Int32Array;
  readonly transportAt: Int32Array;
  /** Length of the IP packet as its own header says; link padding is not part of it. */
  readonly networkLength: Int32Array;
  /** 4 or 6. */
  readonly family: Uint8Array;
  readonly protocol: Uint8Array;
  /** TCP flag byte (offset 13), 0 for other protocols. */
  readonly tcpFlags: Uint8Array;
  /** Deterministic hash of the 5-tuple, the same on every director. */
  readonly flowHash: Int32Array;
  /** Service number (index in the snapshot), −1 when none. */
  readonly service: Int32Array;
  /** How its backend is found: one of the LOOKUP_ numbers. */
  readonly lookup: Uint8Array;

  /** A FRAGMENT_ number; 0 for what is no fragment of an IP packet. */
  readonly fragment: Uint8Array;
  /** Packets of this batch for which it is not 0. */
  fragments = 0;

  // Written by steer.
  readonly fingerprintLow: Int32Array;
  readonly fingerprintHigh: Int32Array;
  /** Backend id, −1 when none. */
  readonly backend: Int32Array;
  /** Where the pool's scheme is glb: low words of the hashes that chose the packet's row and its second row (0 for none). Else anything. */
  readonly rowHash: Int32Array;
  readonly secondRowHash: Int32Array;
  /** There too: ids of the backends to which a worker passes on what is not its own, HOPS for each packet in their order; −1 for none. */
  readonly hops: Int32Array;

  /**
   * Bytes, a multiple of 4, by which this packet's tunnel header is longer than its backend's: options that not every packet has
   * (pipeline/tunnel-extra.ts). 0 in all of a batch while no backend has such packets.
   */
  readonly tunnelExtra: Uint8Array;
  /** Where classify completed a partial checksum: what the field held, the pseudo-header's sum. Otherwise without meaning. */
  readonly partialChecksum: Uint16Array;

  // Written by encapsulate (forward) or by the stage that answered (reply).
  readonly outAt: Int32Array;
  readonly outLength: Int32Array;
  readonly outerNetworkAt: Int32Array;
  readonly outerTransportAt: Int32Array;
  readonly tunnelAt: Int32Array;
  /** 4 or 6. */
  readonly outerFamily: Uint8Array;
  /** One of the KIND_ numbers (pipeline/tunnel-kind.ts): what lies between the outer IP header and the inner packet. */
  readonly encapsulation: Uint8Array;
  /**
   * 1 where no UDP socket could send the tunnel packet, because the kernel would write other outer headers: a tunnel without UDP, or a header policy that is
   * not a socket's (pipeline/outer-policy.ts). All 0 while `rawOnlyPackets`, their number, is 0.
   */
  readonly rawOnly: Uint8Array;
  rawOnlyPackets = 0;
  /** Outer UDP source port; 0 where the tunnel has no UDP header. */
  readonly sourcePort: Uint16Array;
  /** Bytes of payload per segment, but perhaps the last; 0 for fragments, which have no one size, and for a packet that leaves as it is. */
  readonly segmentSize: Uint16Array;
  /** Number of segments or fragments; 1 for a packet that leaves as it is. */
  readonly segmentCount: Uint16Array;
  /**
   * A train, the parts that one packet leaves in: segmentCount consecutive records of the arena, from recordAt on, one for each part, which
   * hold its headers. −1 for a packet that leaves as it is. outLength is the sum of all parts.
   *
   * With recordAt −1 and a segmentCount above 1 it leaves whole, as one packet behind one outer header, and the kernel is to make those
   * segments of it (pipeline/whole-train.ts): its inner checksum, and the outer one where there is one, hold the pseudo-header's sum only.
   */
  readonly recordAt: Int32Array;
  /**
   * Columns by record number (`recordOf`), not by packet: bytes of headers in the record, place and bytes of the payload that follows them
   * on the wire, which lies where it was received. Parts need not be of one length, nor have headers of one length: fragments have not.
   */
  readonly pieceHeader: Uint16Array;
  readonly pieceAt: Int32Array;
  readonly pieceLength: Uint16Array;
  /** Trains in this batch. */
  trains = 0;
  /** Records of the arena that hold something of this batch, from the first one on. */
  recordsUsed = 0;
  /** 1 where the tunnel packet is too long for its path and leaves in fragments of its own, and how many these are. */
  readonly fragmentsOuter: Uint8Array;
  outerFragmented = 0;
  /**
   * Answers beside verdicts: what the sender of a packet is told that is forwarded nonetheless. The reply path sends answer a, at
   * answerAt, answerLength bytes (as a packet with verdict reply: IP packet, or Ethernet frame), after the replies. answerTo is the packet.
   */
  readonly answerAt: Int32Array;
  readonly answerLength: Int32Array;
  readonly answerTo: Int32Array;
  answers = 0;
  /** Of these, what the reply path could not send. */
  answersLost = 0;

  /** Outer headers have been written over link headers, so that nothing can be answered to who sent the frames. */
  linkHeadersLost = false;

  readonly verdict: Uint8Array;
  readonly reason: Uint8Array;

  /** Slots are the first `capacity` of the arena, in order. */
  constructor(arena: Arena, ingress: IngressFacts, capacity: number = arena.slots) {
    if (capacity > arena.slots) throw new RangeError(`batch of ${capacity} needs as many slots, the arena has ${arena.slots}`);
    const int32 = (each = 1) => new Int32Array(...columnOf(arena, capacity * each, 4)).fill(0);
    const uint16 = () => new Uint16Array(...columnOf(arena, capacity, 2)).fill(0);
    const uint8 = () => new Uint8Array(...columnOf(arena, capacity, 1)).fill(0);
    this.arena = arena;
    this.ingress = ingress;
    this.capacity = capacity;
    this.slotAt = int32();
    this.frameAt = int32();
    this.frameLength = int32();
    this.virtioFlags = uint8();
    this.gsoType = uint8();
    this.gsoSize = uint16();
    this.headerLength = uint16();
    this.csumStart = uint16();
    this.csumOffset = uint16();
    this.networkAt = int32();
    this.transportAt = int32();
    this.networkLength = int32();
    this.family = uint8();
    this.protocol = uint8();
    this.tcpFlags = uint8();
    this.flowHash = int32();
    this.service = int32();
    this.lookup = uint8();
    this.fragment = uint8();
    this.fingerprintLow = int32();
    this.fingerprintHigh = int32();
    this.backend = int32();
    this.rowHash = int32();
    this.secondRowHash = int32();
    this.hops = int32(HOPS);
    this.outAt = int32();
    this.outLength = int32();
    this.outerNetworkAt = int32();
    this.outerTransportAt = int32();
    this.tunnelAt = int32();
    this.outerFamily = uint8();
    this.encapsulation = uint8();
    this.tunnelExtra = uint8();
    this.partialChecksum = uint16();
    this.rawOnly = uint8();
    this.sourcePort = uint16();
    this.segmentSize = uint16();
    this.segmentCount = uint16();
    this.recordAt = int32();
    this.fragmentsOuter = uint8();
    this.answerAt = int32();
    this.answerLength = int32();
    this.answerTo = int32();
    this.pieceHeader = new Uint16Array(new ArrayBuffer(arena.records * 2));
    this.pieceAt = new Int32Array(new ArrayBuffer(arena.records * 4));
    this.pieceLength = new Uint16Array(new ArrayBuffer(arena.records * 2));
    this.verdict = uint8();
    this.reason = uint8();
    // A packet that no stage has made a train of is none.
    this.segmentCount.fill(1);
    this.recordAt.fill(-1);
    for (let i = 0; i < capacity; i++) {
      this.slotAt[i] = i * arena.stride;
      this.frameAt[i] = this.slotAt[i] + HEADROOM;
    }
  }

  /** Bytes a frame may have: a slot less its headroom. */
  get frameCapacity(): number {
    return this.arena.stride - HEADROOM;
  }

  /** Number of the record that holds the headers of part `k` of train `i`: its place in the columns by record. */
  recordOf(i: number, k: number): number {
    return (((this.recordAt[i] - this.arena.recordsAt) / RECORD_STRIDE) | 0) + k;
  }
}
