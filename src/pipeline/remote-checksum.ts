/**
 * Remote checksum offload (GUE private flag; Linux include/net/gue.h, net/ipv4/fou_core.c gue_remcsum), as IPVS emits it (ip_vs_xmit.c
 * ipvs_gue_encap): a packet that came with a partial checksum leaves with it, and the worker is told where to sum from and where to store.
 * The outer checksum, always filled, protects every byte on the way.
 *
 *     0        4               8       10       12
 *     | GUE    | 0x80000000    | start | offset | inner packet
 *       hlen 2   private flags   │       └ of the checksum field    both from the inner packet's first byte
 *       flags 1                  └ of the TCP or UDP header
 *
 * A partial checksum field holds the sum of the pseudo-header; a finished one, c, is the complement of the sum over header and payload with the partial
 * one in the field. So the sum of what is sent is ~c, and no byte of the payload is looked at a second time: classify and segmentation have summed it.
 */
import { type Batch, LOOKUP_FRAGMENT, LOOKUP_QUOTE, VIRTIO_NEEDS_CSUM } from '../base/batch.ts';
import * as checksum from '../wire/checksum.ts';
import * as gue from '../wire/gue.ts';
import * as ipv4 from '../wire/ipv4.ts';
import * as tcp from '../wire/tcp.ts';
import * as udp from '../wire/udp.ts';
import { B_CHECKSUM, BACKEND_WORDS, CHECKSUM_REMOTE, H_BACKENDS } from './layout.ts';
import { pseudoSum } from './segment-headers.ts';

// Module-local: an imported constant is loaded from its module at every use (src/wire/README.md, "Constants").
const TCP = ipv4.PROTOCOL_TCP;
const UDP = ipv4.PROTOCOL_UDP;
const TCP_FIELD = tcp.CHECKSUM_AT;
const UDP_FIELD = udp.CHECKSUM_AT;
const NEEDS_CSUM = VIRTIO_NEEDS_CSUM;
const QUOTE = LOOKUP_QUOTE;
const FRAGMENT = LOOKUP_FRAGMENT;

/** True when packet `i`, for a backend with remote checksum offload, leaves with a partial checksum: it came with one, and classify found its place right. */
export function isRemote(batch: Batch, i: number): boolean {
  if ((batch.virtioFlags[i] & NEEDS_CSUM) === 0) return false;
  const protocol = batch.protocol[i];
  if ((protocol !== TCP && protocol !== UDP) || batch.lookup[i] === QUOTE || batch.lookup[i] === FRAGMENT) return false;
  return batch.family[i] !== 4 || !ipv4.isFragment(batch.arena.view, batch.networkAt[i]);
}

/** Writes GUE's length, flags and option, 12 bytes at `tunnel` in all but the protocol; the inner packet begins at `inner`. */
export function writeRemoteChecksum(batch: Batch, i: number, tunnel: number, inner: number): void {
  const { view } = batch.arena;
  const start = batch.transportAt[i] - batch.networkAt[i];
  view.setUint8(tunnel, (inner - tunnel - gue.HEADER_LENGTH) >> 2);
  view.setUint16(tunnel + gue.FLAGS_AT, gue.FLAG_PRIVATE);
  view.setInt32(tunnel + gue.HEADER_LENGTH, gue.PRIVATE_REMOTE_CHECKSUM);
  view.setUint16(tunnel + gue.HEADER_LENGTH + 4, start);
  view.setUint16(tunnel + gue.HEADER_LENGTH + 6, start + (batch.protocol[i] === TCP ? TCP_FIELD : UDP_FIELD));
}

/**
 * Puts the partial checksum `partial` back where the finished one stands, in the inner packet of `i` whose header lies at `inner`. Returns the folded
 * sum of the whole inner packet as it is now.
 */
function leavePartial(batch: Batch, i: number, inner: number, partial: number): number {
  const { view } = batch.arena;
  const header = batch.transportAt[i] - batch.networkAt[i];
  const field = inner + header + (batch.protocol[i] === TCP ? TCP_FIELD : UDP_FIELD);
  const finished = view.getUint16(field);
  view.setUint16(field, partial);
  return checksum.sum(view, inner, header, ~finished & 0xffff);
}

/** A single packet: with the sum that it came with, whatever that was. */
export function leaveSinglePartial(batch: Batch, i: number): number {
  return leavePartial(batch, i, batch.networkAt[i], batch.partialChecksum[i]);
}

/** A part of a train, `innerLength` bytes long, whose headers are in a record: with its own length in the sum. */
export function leaveSegmentPartial(batch: Batch, i: number, inner: number, innerLength: number): number {
  const protocol = batch.protocol[i];
  const pseudo = pseudoSum(batch.arena.view, inner, protocol, batch.family[i] === 4);
  const length = innerLength - (batch.transportAt[i] - batch.networkAt[i]);
  return leavePartial(batch, i, inner, checksum.fold(pseudo + length));
}

/** Finishes the checksum of a single packet that had left with a partial one, and is to be looked at once more. Nothing for others. */
export function finishAgain(batch: Batch, i: number, words: Int32Array): void {
  const record = words[H_BACKENDS] + batch.backend[i] * BACKEND_WORDS;
  if (batch.tunnelExtra[i] === 0 || batch.recordAt[i] >= 0 || words[record + B_CHECKSUM] !== CHECKSUM_REMOTE) return;
  const end = batch.networkAt[i] + batch.networkLength[i];
  const field = batch.protocol[i] === TCP ? TCP_FIELD : UDP_FIELD;
  checksum.completePartial(batch.arena.view, batch.transportAt[i], field, end);
}
