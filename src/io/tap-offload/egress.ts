/**
 * tap-offload: encapsulated packets go into a TAP device of our own, and the kernel routes them on, as if they had come from a network. A
 * super-packet goes whole, with the offsets of its headers in the virtio-net header; the kernel, or a network card that can, cuts it
 * (__skb_udp_tunnel_segment). Linux 6.17 or later. See README.md beside this file.
 *
 *     written:  | virtio-net 24 | Ethernet 14 | outer IP | UDP | GUE | inner IP | TCP or UDP | payload |
 *                                 ^ all offsets count from here
 */
import { RECORD_STRIDE } from '../../base/arena.ts';
import type { Batch } from '../../base/batch.ts';
import { createBank, SEND_ERRORS_AT } from '../../base/counters.ts';
import { dropReason } from '../../base/drop-reason.ts';
import { VERDICT_DROP, VERDICT_FORWARD } from '../../base/verdict.ts';
import { closeDescriptor } from '../../raw-socket/file.ts';
import { E, errno } from '../../raw-socket/library.ts';
import { pin } from '../../raw-socket/memory.ts';
import { MessageVector } from '../../raw-socket/message.ts';
import { getLinkAddress, openTunQueue } from '../../raw-socket/tun.ts';
import * as checksum from '../../wire/checksum.ts';
import * as ethernet from '../../wire/ethernet.ts';
import * as ipv4 from '../../wire/ipv4.ts';
import * as ipv6 from '../../wire/ipv6.ts';
import * as tcp from '../../wire/tcp.ts';
import * as udp from '../../wire/udp.ts';
import * as virtioNet from '../../wire/virtio-net.ts';
import type { Egress, EgressFacts } from '../driver.ts';
import { sendErrorAt, sendReason } from '../send-queue.ts';
import { DYNAMIC_PORTS } from '../source-ports.ts';

const OFFLOAD_REFUSED = dropReason('offload-refused');

// Module-local: an imported constant is loaded from its module at every use (src/wire/README.md, "Constants").
const FORWARD = VERDICT_FORWARD;
const DROP = VERDICT_DROP;
const VIRTIO = virtioNet.HEADER_LENGTH_TUNNEL;
const ETHERNET = ethernet.HEADER_LENGTH;
const TCP = ipv4.PROTOCOL_TCP;
const TUNNEL4 = virtioNet.GSO_BIT_UDP_TUNNEL_IPV4;
const TUNNEL6 = virtioNet.GSO_BIT_UDP_TUNNEL_IPV6;
const NEEDS_CSUM = virtioNet.FLAG_NEEDS_CSUM;
const TUNNEL_CSUM = virtioNet.FLAG_TUNNEL_CSUM;
const IPV4 = ethernet.ETHERTYPE_IPV4;
const IPV6 = ethernet.ETHERTYPE_IPV6;
const TTL_AT = ipv4.TTL_AT;
const { EINVAL } = E;
const MOST_HOPS = 255;
/** The TTL is the upper byte of a 16-bit word. */
const ONE_HOP = 0x100;

/** Whom the frames say they are from: nobody answers them. */
const SENDER = { high: 0x02000000, low: 1 };

export interface TapOffloadOptions {
  readonly device: string;
  /** A queue opened already with offloads `tunnel` (whoever opened it closes it); otherwise one is opened here. */
  readonly queue?: number;
  /** The thread's counters, for send errors; default: none that anybody reads. */
  readonly bank?: Float64Array;
}

export class TapOffloadEgress implements Egress {
  readonly name: string;
  readonly facts: EgressFacts = {
    layer: 'l2',
    trains: 'tunnel-gso',
    maxSegments: 1024,
    maxBytes: 65535,
    trainsNeedChecksum: false,
    outerFragments: true,
    sourcePortBase: DYNAMIC_PORTS.base,
    sourcePortMask: DYNAMIC_PORTS.count - 1,
  };
  /** errno of the last packet that was given up; 0 when none was. */
  lastErrno = 0;
  readonly #descriptor: number;
  readonly #ownsQueue: boolean;
  readonly #bank: Float64Array;
  /** One message: our headers, then the packet in one or two pieces. */
  readonly #vector = new MessageVector({ messages: 1, segments: 3, nameBytes: 0, controlBytes: 0 });
  readonly #headers = pin(VIRTIO + ETHERNET + 2);
  readonly #view: DataView;
  #open = true;

  /** Throws CodedError as `openTunQueue`; GD_RAW_SOCKET_TUNNEL_OFFLOAD on a kernel before 6.17. */
  constructor({ device, queue, bank = createBank() }: TapOffloadOptions) {
    this.#bank = bank;
    this.name = `tap-offload:${device}`;
    this.#ownsQueue = queue === undefined;
    this.#descriptor = queue ?? openTunQueue(device, { kind: 'tap', offloads: 'tunnel' });
    const { bytes } = this.#headers;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    // The device's own address: what is addressed to another host the kernel does not route.
    bytes.set(getLinkAddress(device), VIRTIO);
    ethernet.setSource(this.#view, VIRTIO, SENDER.high, SENDER.low);
    this.#vector.setSegment(0, 0, this.#headers.address, VIRTIO + ETHERNET);
  }

  send(batch: Batch): void {
    const { verdict, segmentCount, recordAt, outAt } = batch;
    const count = batch.count;
    for (let i = 0; i < count; i++) {
      if (verdict[i] !== FORWARD) continue;
      const segments = segmentCount[i];
      const record = recordAt[i];
      if (record >= 0) {
        this.#describeSingle();
        // What one segment was refused for, the next would be too.
        for (let k = 0; k < segments && verdict[i] === FORWARD; k++) {
          const piece = batch.recordOf(i, k);
          this.#vector.setSegment(0, 2, batch.arena.address + batch.pieceAt[piece], batch.pieceLength[piece]);
          this.#write(batch, i, record + k * RECORD_STRIDE, batch.pieceHeader[piece], 3, false);
        }
      } else {
        if (segments > 1) this.#describeWhole(batch, i);
        else this.#describeSingle();
        this.#write(batch, i, outAt[i], batch.outLength[i], 2, segments > 1);
      }
    }
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    if (this.#ownsQueue) closeDescriptor(this.#descriptor);
  }

  /** A packet whose checksums are finished and that nobody needs to cut. */
  #describeSingle(): void {
    virtioNet.writeEmpty(this.#view, 0);
    virtioNet.writeTunnel(this.#view, 0, 0, 0);
  }

  /**
   * The virtio-net header of super-packet `i`. Every offset is the distance of one column from where the frame begins; none is derived from
   * another header's length: what the guard has checked is what the kernel is told.
   */
  #describeWhole(batch: Batch, i: number): void {
    const view = this.#view;
    const frame = batch.outAt[i] - ETHERNET;
    const isTcp = batch.protocol[i] === TCP;
    const inner = batch.arena.view;
    const transport = batch.transportAt[i];
    const headers = transport + (isTcp ? tcp.headerLength(inner, transport) : udp.HEADER_LENGTH) - frame;
    const isOuterPartial = udp.checksum(inner, batch.outerTransportAt[i]) !== 0;
    virtioNet.write(
      view,
      0,
      isOuterPartial ? NEEDS_CSUM | TUNNEL_CSUM : NEEDS_CSUM,
      batch.gsoType[i] | (batch.outerFamily[i] === 4 ? TUNNEL4 : TUNNEL6),
      headers,
      batch.segmentSize[i],
      transport - frame,
      isTcp ? tcp.CHECKSUM_AT : udp.CHECKSUM_AT,
    );
    virtioNet.writeTunnel(view, 0, batch.outerTransportAt[i] - frame, batch.networkAt[i] - frame);
  }

  /**
   * Writes what begins with an outer IP header at `at`, `length` bytes, as a frame of `pieces` pieces. A refused one is tried once more, then
   * its packet is dropped.
   */
  #write(batch: Batch, i: number, at: number, length: number, pieces: number, isWhole: boolean): void {
    const vector = this.#vector;
    const isOuter4 = batch.outerFamily[i] === 4;
    ethernet.setType(this.#view, VIRTIO, isOuter4 ? IPV4 : IPV6);
    raiseHops(batch.arena.view, at, isOuter4);
    vector.setSegment(0, 1, batch.arena.address + at, length);
    if (vector.writeFrom(this.#descriptor, 0, pieces) >= 0 || vector.writeFrom(this.#descriptor, 0, pieces) >= 0) return;
    const number = errno();
    this.lastErrno = number;
    this.#bank[SEND_ERRORS_AT + sendErrorAt(number)] += 1;
    batch.verdict[i] = DROP;
    batch.reason[i] = isWhole && number === EINVAL ? OFFLOAD_REFUSED : sendReason(number);
  }
}

/** One hop more in the outer header at `at`: the kernel takes it off again when it forwards, and what leaves is what was built. */
function raiseHops(view: DataView, at: number, isOuter4: boolean): void {
  if (isOuter4) {
    const before = view.getUint16(at + TTL_AT);
    if (before >>> 8 === MOST_HOPS) return;
    view.setUint16(at + TTL_AT, before + ONE_HOP);
    ipv4.setChecksum(view, at, checksum.update16(ipv4.checksum(view, at), before, before + ONE_HOP));
  } else {
    const hops = ipv6.hopLimit(view, at);
    if (hops < MOST_HOPS) ipv6.setHopLimit(view, at, hops + 1);
  }
}
