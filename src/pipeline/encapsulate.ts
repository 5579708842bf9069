/**
 * encapsulate: writes the outer headers in front of the packet where it lies. The backend's template is copied word by word;
 * then lengths, source port, inner protocol, traffic class and checksums are filled in.
 *
 *     | IPv4 20 or IPv6 40 | UDP 8 | GUE 4 | inner IP packet, its TTL decremented once |
 *     ^ outerNetworkAt      ^ outerTransportAt
 *                                   ^ tunnelAt
 *                                           ^ networkAt (inner)   ^ transportAt (inner)
 */
import type { Batch } from '../base/batch.ts';
import { dropReason } from '../base/drop-reason.ts';
import { VERDICT_DROP, VERDICT_FORWARD } from '../base/verdict.ts';
import * as checksum from '../wire/checksum.ts';
import * as gue from '../wire/gue.ts';
import * as ipv4 from '../wire/ipv4.ts';
import * as ipv6 from '../wire/ipv6.ts';
import * as udp from '../wire/udp.ts';
import {
  B_CHECKSUM,
  B_DATAGRAM_SUM,
  B_FAMILY,
  B_HEADER_SUM,
  B_OVERHEAD,
  B_TEMPLATE,
  BACKEND_WORDS,
  H_BACKENDS,
} from './layout.ts';
import { OUTER4, OUTER6, UDP_LENGTH } from './outer-template.ts';
import type { Snapshot } from './snapshot.ts';

const TOO_BIG = dropReason('too-big');

/** Largest value of the IPv4 total length and the UDP length fields. */
const MAX_DATAGRAM = 65535;

/**
 * Outer UDP source port: the flow keeps its port, flows spread over all ports, so that ECMP and RSS on the way spread flows.
 * The high half is folded in because the table's slot is taken from the hash as a whole.
 */
export function sourcePortOf(flowHash: number, base: number, mask: number): number {
  return base + ((flowHash ^ (flowHash >>> 16)) & mask);
}

/** Packets with verdict forward and a backend; one that no datagram can carry becomes drop with `too-big`. */
export function encapsulate(batch: Batch, snapshot: Snapshot, portBase: number, portMask: number): void {
  const words = snapshot.words;
  const backendsAt = words[H_BACKENDS];
  const view = batch.arena.view;
  const { count, verdict, reason, backend, networkAt, networkLength, family, flowHash, sourcePort } = batch;
  const { outAt, outLength, outerNetworkAt, outerTransportAt, tunnelAt, outerFamily } = batch;
  const { hopDone } = batch.ingress;

  for (let i = 0; i < count; i++) {
    if (verdict[i] !== VERDICT_FORWARD) continue;
    const record = backendsAt + backend[i] * BACKEND_WORDS;
    const overhead = words[record + B_OVERHEAD];
    const inner = networkAt[i];
    const innerLength = networkLength[i];
    const total = overhead + innerLength;
    const isOuter4 = words[record + B_FAMILY] === 4;
    if ((isOuter4 ? total : total - OUTER6) > MAX_DATAGRAM) {
      verdict[i] = VERDICT_DROP;
      reason[i] = TOO_BIG;
      continue;
    }

    const isInner4 = family[i] === 4;
    let trafficClass: number;
    if (isInner4) {
      if (!hopDone) ipv4.decrementTtl(view, inner);
      trafficClass = ipv4.trafficClass(view, inner);
    } else {
      if (!hopDone) ipv6.decrementHopLimit(view, inner);
      trafficClass = ipv6.trafficClass(view, inner);
    }

    const network = inner - overhead;
    const transport = network + (isOuter4 ? OUTER4 : OUTER6);
    const tunnel = transport + UDP_LENGTH;
    const template = record + B_TEMPLATE;
    // Native word copy in memory order (the platform is little-endian, see layout.ts): bytes arrive as they lie in the template.
    for (let w = 0; w < overhead >> 2; w++) view.setInt32(network + (w << 2), words[template + w], true);

    const port = sourcePortOf(flowHash[i], portBase, portMask);
    const datagram = total - (transport - network);
    const protocol = isInner4 ? gue.PROTOCOL_IPV4 : gue.PROTOCOL_IPV6;
    udp.setSourcePort(view, transport, port);
    udp.setLength(view, transport, datagram);
    gue.write(view, tunnel, protocol);
    if (isOuter4) {
      ipv4.setTrafficClass(view, network, trafficClass);
      ipv4.setTotalLength(view, network, total);
      ipv4.setChecksum(view, network, checksum.finish(words[record + B_HEADER_SUM] + trafficClass + total));
    } else {
      ipv6.setTrafficClass(view, network, trafficClass);
      ipv6.setPayloadLength(view, network, datagram);
    }
    if (words[record + B_CHECKSUM] !== 0) {
      // Length counts twice: in the pseudo-header and in the UDP header. GUE's first word is the protocol alone, its second 0.
      const start = words[record + B_DATAGRAM_SUM] + datagram + datagram + port + protocol;
      udp.setChecksum(view, transport, checksum.finishUdp(checksum.sum(view, inner, innerLength, start)));
    }

    outAt[i] = network;
    outLength[i] = total;
    outerNetworkAt[i] = network;
    outerTransportAt[i] = transport;
    tunnelAt[i] = tunnel;
    outerFamily[i] = isOuter4 ? 4 : 6;
    sourcePort[i] = port;
  }
}
