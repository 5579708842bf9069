/**
 * Warming up: a thread that is to take a busy queue over runs its stages on made-up packets first. V8 compiles a function only after it has run for
 * a while; until then a packet costs twenty times as much, and at a high rate the queue would overflow.
 *
 * It is the thread's own pipeline, batch and flow table that are warmed: code is compiled for them alone (pipeline/pipeline.ts), and a second pipeline
 * in the thread would halve the speed of both for ever. So whoever calls must see to it that what the packets leave in flow table and counters is gone
 * before real ones come. Nothing is sent; nothing is answered, nothing too big, so that no other memory is written.
 */

import { type Batch, LINK_ETHERNET } from '../../base/batch.ts';
import { BANK_LENGTH } from '../../base/counters.ts';
import { clearFrame, placeFrame } from '../../io/frame.ts';
import type { Pipeline } from '../../pipeline/pipeline.ts';
import type { ServiceSpec } from '../../pipeline/spec.ts';
import type { BoottimeClock } from '../../raw-socket/clock.ts';
import * as ethernet from '../../wire/ethernet.ts';
import * as ipv4 from '../../wire/ipv4.ts';
import * as ipv6 from '../../wire/ipv6.ts';
import * as tcp from '../../wire/tcp.ts';
import * as virtioNet from '../../wire/virtio-net.ts';

/** Milliseconds; the compiler works beside the thread and needs some of them. */
const WARM_UP_MS = 600;
const MOST_SERVICES = 16;
/** Clients of each service: each is a flow, so that new, known and confirmed ones occur. */
const CLIENTS = 512;
/** Fits every tunnel's path: what does not is noted in memory that main reads. */
const SEGMENT_BYTES = 1000;
const SEGMENTS = 6;
const TTL = 64;

export interface WarmUpParts {
  readonly pipeline: Pipeline;
  readonly batch: Batch;
  readonly services: readonly ServiceSpec[];
  readonly clock: BoottimeClock;
}

/** A made-up frame; what changes from packet to packet is written at `clientAt`, two bytes of the client's address. */
interface MadeUp {
  readonly bytes: Uint8Array;
  readonly isSuper: boolean;
  readonly six: boolean;
  /** Where its IP header begins. */
  readonly network: number;
}

/** Runs the stages for a while; returns how many batches. */
export function warmUp({ pipeline, batch, services, clock }: WarmUpParts): number {
  const made = services.slice(0, MOST_SERVICES).flatMap((service) => framesOf(service, batch));
  if (made.length === 0) return 0;
  const until = clock.milliseconds() + WARM_UP_MS;
  let client = 0;
  let batches = 0;
  while (clock.milliseconds() < until) {
    // Batches of many sizes, and of single packets and trains apart: as they come.
    const count = 1 + (batches % batch.capacity);
    for (let i = 0; i < count; i++) {
      clearFrame(batch, i);
      const { bytes, isSuper, six, network } = made[(batches + (i >> 3)) % made.length];
      client = (client + 1) % CLIENTS;
      writeClient(bytes, network, six, client);
      placeFrame(batch, i, bytes);
      if (isSuper) {
        batch.gsoType[i] = six ? virtioNet.GSO_TCPV6 : virtioNet.GSO_TCPV4;
        batch.gsoSize[i] = SEGMENT_BYTES;
        batch.virtioFlags[i] = virtioNet.FLAG_NEEDS_CSUM;
        const transport = network + (six ? ipv6.HEADER_LENGTH : ipv4.HEADER_LENGTH);
        batch.headerLength[i] = transport + tcp.HEADER_LENGTH;
        batch.csumStart[i] = transport;
        batch.csumOffset[i] = tcp.CHECKSUM_AT;
      }
    }
    batch.count = count;
    pipeline.process(batch, clock.seconds());
    pipeline.account(batch);
    batches++;
  }
  batch.count = 0;
  return batches;
}

/** Sets what was counted back to zero, without touching pages in which nothing was. */
export function clearCounters(bank: Float64Array): void {
  for (let i = 0; i < BANK_LENGTH; i++) if (bank[i] !== 0) bank[i] = 0;
}

/** TCP: a SYN, a packet of a connection, a super-packet. UDP: a datagram. Other protocols: none. */
function framesOf(service: ServiceSpec, batch: Batch): MadeUp[] {
  const { protocol } = service;
  const rest = (bytes: number, flags: number, isSuper = false) => frame(service, batch, bytes, flags, isSuper);
  if (protocol === ipv4.PROTOCOL_UDP) return [rest(64, 0), rest(700, 0)];
  if (protocol !== ipv4.PROTOCOL_TCP) return [];
  return [rest(0, tcp.SYN), rest(0, tcp.ACK), rest(600, tcp.ACK), rest(SEGMENT_BYTES * SEGMENTS, tcp.ACK, true)];
}

function frame(service: ServiceSpec, batch: Batch, payload: number, flags: number, isSuper: boolean): MadeUp {
  const { ingress } = batch;
  const address = service.prefix.bytes;
  const six = address.length === 16;
  const isTcp = service.protocol === ipv4.PROTOCOL_TCP;
  const network = ingress.link === LINK_ETHERNET ? ethernet.HEADER_LENGTH : 0;
  const transport = network + (six ? ipv6.HEADER_LENGTH : ipv4.HEADER_LENGTH);
  const length = (isTcp ? tcp.HEADER_LENGTH : 8) + payload;
  const bytes = new Uint8Array(transport + length);
  const view = new DataView(bytes.buffer);
  if (network > 0) {
    const { high, low } = ingress.linkAddress ?? { high: 0x02000000, low: 1 };
    view.setInt32(0, high);
    view.setUint16(4, low);
    ethernet.setSource(view, 0, 0x02000000, 2);
    ethernet.setType(view, 0, six ? ethernet.ETHERTYPE_IPV6 : ethernet.ETHERTYPE_IPV4);
  }
  if (six) {
    view.setUint8(network, 0x60);
    ipv6.setPayloadLength(view, network, length);
    ipv6.setNextHeader(view, network, service.protocol);
    ipv6.setHopLimit(view, network, TTL);
    // 2001:db8::/32, RFC 3849
    view.setUint32(network + ipv6.SOURCE_AT, 0x20010db8);
    bytes.set(address, network + ipv6.DESTINATION_AT);
  } else {
    view.setUint8(network, 0x45);
    ipv4.setTotalLength(view, network, ipv4.HEADER_LENGTH + length);
    ipv4.setTtl(view, network, TTL);
    ipv4.setProtocol(view, network, service.protocol);
    // 198.18.0.0/15, RFC 2544
    view.setUint32(network + ipv4.SOURCE_AT, 0xc6120000);
    bytes.set(address, network + ipv4.DESTINATION_AT);
  }
  view.setUint16(transport, 40_000);
  view.setUint16(transport + 2, service.portFrom === 0 ? Math.min(service.portTo, 9) : service.portFrom);
  if (isTcp) {
    view.setUint8(transport + tcp.DATA_OFFSET_AT, 0x50);
    tcp.setFlags(view, transport, flags);
  } else {
    view.setUint16(transport + 4, length);
  }
  return { bytes, isSuper, six, network };
}

function writeClient(bytes: Uint8Array, network: number, six: boolean, client: number): void {
  const view = new DataView(bytes.buffer);
  if (six) {
    view.setUint16(network + ipv6.SOURCE_AT + 14, client);
    return;
  }
  view.setUint16(network + ipv4.SOURCE_AT + 2, client);
  ipv4.setChecksum(view, network, ipv4.computeChecksum(view, network));
}
