/**
 * encapsulate: writes the outer headers in front of the packet where it lies. The plain tunnel is written out here: the backend's template is copied word
 * by word; then lengths, source port, inner protocol, traffic class and checksums are filled in. Every other tunnel goes through outer-headers.ts.
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
import { encapsulateGeneral } from './encapsulate-general.ts';
import type { Identifiers } from './identifiers.ts';
import {
  B_CHECKSUM,
  B_DATAGRAM_SUM,
  B_FAMILY,
  B_GENERAL,
  B_HEADER_SUM,
  B_TEMPLATE,
  BACKEND_WORDS,
  CHECKSUM_ALL,
  H_BACKENDS,
} from './layout.ts';
import { NEAR_PLACE, type NearBackends } from './near-backends.ts';
import { outerHeaders } from './outer-headers.ts';
import { GUE_LENGTH, OUTER4, OUTER6, UDP_LENGTH } from './outer-template.ts';
import type { PlainTunnel } from './plain-tunnel.ts';
import type { Snapshot } from './snapshot.ts';
import { sourcePortOf } from './source-port.ts';
import { trainStage } from './train-stage.ts';
import { KIND_GUE } from './tunnel-kind.ts';

const TOO_BIG = dropReason('too-big');

// Module-local: an imported constant is loaded from its module at every use (src/wire/README.md, "Constants").
const FORWARD = VERDICT_FORWARD;
const DROP = VERDICT_DROP;
const FAMILY = B_FAMILY;
const CHECKSUM = B_CHECKSUM;
const GENERAL = B_GENERAL;
const KIND = KIND_GUE;
const ALL = CHECKSUM_ALL;
const HEADER_SUM = B_HEADER_SUM;
const DATAGRAM_SUM = B_DATAGRAM_SUM;
const TEMPLATE = B_TEMPLATE;
const RECORD = BACKEND_WORDS;
const PLACE = NEAR_PLACE;
const BACKENDS = H_BACKENDS;
const HEADER4 = OUTER4;
const HEADER6 = OUTER6;
const GUE = GUE_LENGTH;
const TUNNEL = UDP_LENGTH + GUE_LENGTH;
const INNER4 = gue.PROTOCOL_IPV4;
const INNER6 = gue.PROTOCOL_IPV6;
const sum = checksum.sum;
const finishUdp = checksum.finishUdp;
const fold = checksum.fold;
const portOf = sourcePortOf;

/** Largest value of the IPv4 total length and the UDP length fields. */
const MAX_DATAGRAM = 65535;

/**
 * The encapsulation of one batch: packets with verdict forward and a backend; one that no datagram can carry becomes drop with
 * `too-big`. Outer source ports are `portBase` + (hash & `portMask`), unless the header policy has another rule. `trainsNeedChecksum`: see io/driver.ts.
 * `plain`: does what it can of the batch faster; null: nobody does.
 */
export function encapsulateStage(
  batch: Batch,
  near: NearBackends,
  identifiers: Identifiers,
  portBase: number,
  portMask: number,
  trainsNeedChecksum = false,
  plain: PlainTunnel | null = null,
): (snapshot: Snapshot) => void {
  const { verdict, reason, backend, networkAt, transportAt, networkLength, family, flowHash, sourcePort } = batch;
  const { outAt, outLength, outerNetworkAt, outerTransportAt, tunnelAt, outerFamily, recordAt, segmentCount } = batch;
  const { encapsulation, rawOnly } = batch;
  const { view } = batch.arena;
  const { hopDone } = batch.ingress;
  const { words: records, ids, follow, fetch } = near;

  const headers = outerHeaders(batch, identifiers, portBase, portMask);
  const encapsulateTrains = trainStage(batch, headers, trainsNeedChecksum);
  const encapsulateOther = encapsulateGeneral(batch, headers);
  const write = plain === null ? null : plain.write;

  return function encapsulate(snapshot: Snapshot): void {
    const trains = batch.trains > 0;
    if (batch.rawOnlyPackets > 0) rawOnly.fill(0);
    batch.rawOnlyPackets = 0;
    if (trains) encapsulateTrains(snapshot);
    const words = snapshot.words;
    follow(words);
    const count = batch.count;
    let isPlain = write !== null && !trains;
    for (let i = 0; i < count; i++) {
      if (isPlain && write !== null) {
        i = write(i, count);
        if (i >= count) break;
      }
      if (verdict[i] !== FORWARD || (trains && recordAt[i] >= 0)) continue;
      const id = backend[i];
      if (ids[id & PLACE] !== id) fetch(words, id);
      const record = (id & PLACE) * RECORD;
      if (records[record + GENERAL] !== 0) {
        // Rarely alone in its batch.
        isPlain = false;
        encapsulateOther(i, words, words[BACKENDS] + id * RECORD);
        continue;
      }
      const inner = networkAt[i];
      const innerLength = networkLength[i];
      const isOuter4 = records[record + FAMILY] === 4;
      const overhead = isOuter4 ? HEADER4 + TUNNEL : HEADER6 + TUNNEL;
      const total = overhead + innerLength;
      if ((isOuter4 ? total : total - HEADER6) > MAX_DATAGRAM) {
        verdict[i] = DROP;
        reason[i] = TOO_BIG;
        continue;
      }

      const isInner4 = family[i] === 4;
      let trafficClass: number;
      if (isInner4) {
        if (!hopDone) ipv4.decrementTtl(view, inner);
        trafficClass = view.getUint8(inner + 1);
      } else {
        if (!hopDone) ipv6.decrementHopLimit(view, inner);
        trafficClass = (view.getUint16(inner) >> 4) & 0xff;
      }

      const network = inner - overhead;
      const transport = inner - TUNNEL;
      const tunnel = inner - GUE;
      const datagram = innerLength + TUNNEL;
      const port = portOf(flowHash[i], portBase, portMask);
      const protocol = isInner4 ? INNER4 : INNER6;

      // Native word copies in memory order (the platform is little-endian, see layout.ts): bytes arrive as they lie in the
      // template. Written out, because a loop would cost more than the copies; fields that are filled in below are not copied.
      const template = record + TEMPLATE;
      let ports: number;
      if (isOuter4) {
        const sum = records[record + HEADER_SUM] + trafficClass + total;
        const folded = (sum & 0xffff) + (sum >>> 16);
        view.setInt32(network, 0x45000000 | (trafficClass << 16) | total);
        view.setInt32(network + 4, records[template + 1], true);
        // TTL and protocol as they lie in the template, whose checksum is 0; the checksum's bytes behind them.
        const right = ~(folded + (folded >>> 16));
        view.setInt32(network + 8, records[template + 2] | ((right & 0xff) << 24) | ((right & 0xff00) << 8), true);
        view.setInt32(network + 12, records[template + 3], true);
        view.setInt32(network + 16, records[template + 4], true);
        ports = records[template + 5];
      } else {
        view.setInt32(network, 0x60000000 | (trafficClass << 20));
        view.setInt32(network + 4, records[template + 1], true);
        view.setUint16(network + 4, datagram);
        view.setInt32(network + 8, records[template + 2], true);
        view.setInt32(network + 12, records[template + 3], true);
        view.setInt32(network + 16, records[template + 4], true);
        view.setInt32(network + 20, records[template + 5], true);
        view.setInt32(network + 24, records[template + 6], true);
        view.setInt32(network + 28, records[template + 7], true);
        view.setInt32(network + 32, records[template + 8], true);
        view.setInt32(network + 36, records[template + 9], true);
        ports = records[template + 10];
      }
      // The template's word of ports, read little-endian, has the destination port's bytes in its upper half; its source port is 0.
      view.setInt32(transport, ports | ((port << 8) & 0xff00) | (port >> 8), true);
      view.setInt32(transport + 4, datagram << 16);
      view.setInt32(tunnel, protocol << 16);
      if (records[record + CHECKSUM] === ALL) {
        if (trains && segmentCount[i] > 1) {
          // Leaves whole (whole-train.ts): the kernel completes it for each segment, from the pseudo-header's sum, which has no port in it.
          view.setUint16(transport + 6, fold(records[record + DATAGRAM_SUM] + datagram - view.getUint16(transport + 2)));
        } else {
          // Length counts twice: in the pseudo-header and in the UDP header. GUE's first word is the protocol alone, its second 0.
          const start = records[record + DATAGRAM_SUM] + datagram + datagram + port + protocol;
          // An IPv4 header that is right (classify or the kernel has verified it) sums to 0xffff, which is zero in this arithmetic.
          const from = isInner4 ? transportAt[i] : inner;
          view.setUint16(transport + 6, finishUdp(sum(view, from, (inner + innerLength - from) | 0, start)));
        }
      }

      outAt[i] = network;
      outLength[i] = total;
      outerNetworkAt[i] = network;
      outerTransportAt[i] = transport;
      tunnelAt[i] = tunnel;
      outerFamily[i] = isOuter4 ? 4 : 6;
      encapsulation[i] = KIND;
      sourcePort[i] = port;
    }
  };
}
