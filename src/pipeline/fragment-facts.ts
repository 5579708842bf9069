/**
 * What a fragment says of itself: which bytes of its datagram it holds, and whose datagram that is. And what speaks against it whatever its
 * datagram is (docs/fragments.md).
 *
 *     IPv4   | IP header, options | bytes offset … end of the datagram |                identification: 16 bits
 *     IPv6   | IP header | per-fragment headers | fragment header 8 | bytes … |         identification: 32 bits
 *                                               ^ + 8: next header, offset and more, identification
 */
import { type Batch, VIRTIO_NEEDS_CSUM } from '../base/batch.ts';
import { dropReason } from '../base/drop-reason.ts';
import * as ipv4 from '../wire/ipv4.ts';
import * as ipv6 from '../wire/ipv6.ts';
import * as tcp from '../wire/tcp.ts';
import * as udp from '../wire/udp.ts';
import { FRAGMENTS_BY_ADDRESS, FRAGMENTS_DROP, H_SERVICES, S_FRAGMENTS, SERVICE_WORDS } from './layout.ts';

const FRAGMENT = dropReason('fragment');
const TINY = dropReason('fragment-tiny');
const LENGTH = dropReason('fragment-length');
const BAD_VIRTIO_HEADER = dropReason('bad-virtio-header');

const TCP = ipv4.PROTOCOL_TCP;
const UDP = ipv4.PROTOCOL_UDP;
/** The length of a datagram whose last byte is its 65,535th counts the IPv4 header. */
const LONGEST = 65535;
const FRAGMENT_HEADER = 8;

/** Place of the fragment header of packet `i`, an IPv6 fragment, in the arena. */
function headerAt6(batch: Batch, i: number): number {
  const at = batch.networkAt[i];
  return at + ipv6.fragmentHeaderOffset(batch.arena.view, at, at + batch.networkLength[i]);
}

/** Of packet `i`, a fragment: first of its bytes in the datagram's payload. */
export function fragmentStart(batch: Batch, i: number): number {
  const { view } = batch.arena;
  if (batch.family[i] === 4) return (view.getUint16(batch.networkAt[i] + ipv4.FRAGMENT_AT) & ipv4.FRAGMENT_OFFSET) << 3;
  return view.getUint16(headerAt6(batch, i) + 2) & 0xfff8;
}

/** Bytes that it holds. */
export function fragmentBytes(batch: Batch, i: number): number {
  const end = batch.networkAt[i] + batch.networkLength[i];
  return batch.family[i] === 4 ? end - batch.transportAt[i] : end - headerAt6(batch, i) - FRAGMENT_HEADER;
}

export function moreFragments(batch: Batch, i: number): boolean {
  const { view } = batch.arena;
  if (batch.family[i] === 4) return (view.getUint16(batch.networkAt[i] + ipv4.FRAGMENT_AT) & ipv4.MORE_FRAGMENTS) !== 0;
  return (view.getUint16(headerAt6(batch, i) + 2) & 1) !== 0;
}

/** Identification as int32. */
export function fragmentIdentification(batch: Batch, i: number): number {
  const { view } = batch.arena;
  return batch.family[i] === 4 ? ipv4.identification(view, batch.networkAt[i]) : view.getInt32(headerAt6(batch, i) + 4);
}

/** 0 when the range of packet `i`, a fragment, can be one of a datagram; else a drop reason. */
export function checkRange(batch: Batch, i: number): number {
  // Whoever fragments has finished the checksum (ip_do_fragment of Linux does), and no merged frame is a fragment.
  if (batch.gsoType[i] !== 0 || (batch.virtioFlags[i] & VIRTIO_NEEDS_CSUM) !== 0) return BAD_VIRTIO_HEADER;
  const start = fragmentStart(batch, i);
  const bytes = fragmentBytes(batch, i);
  if (bytes <= 0) return LENGTH;
  if (moreFragments(batch, i) && (bytes & 7) !== 0) return LENGTH;
  const headers = batch.family[i] === 4 ? batch.transportAt[i] - batch.networkAt[i] : 0;
  if (headers + start + bytes > LONGEST) return LENGTH;
  // RFC 3128: the flags of a TCP header would lie in it.
  return batch.protocol[i] === TCP && start === 8 ? TINY : 0;
}

/**
 * 0 when packet `i`, the first fragment of a packet of service `service`, may go on; else a drop reason. Its transport header is whole
 * (RFC 1858 §3, RFC 7112); how long the datagram is only its last fragment knows.
 */
export function checkFirst(batch: Batch, i: number, words: Int32Array, service: number): number {
  const { view } = batch.arena;
  if (words[words[H_SERVICES] + service * SERVICE_WORDS + S_FRAGMENTS] === FRAGMENTS_DROP) return FRAGMENT;
  const wrong = checkRange(batch, i);
  if (wrong !== 0) return wrong;
  const at = batch.transportAt[i];
  const room = batch.networkAt[i] + batch.networkLength[i] - at;
  if (batch.protocol[i] === TCP) return room < tcp.HEADER_LENGTH || room < tcp.headerLength(view, at) ? TINY : 0;
  return batch.protocol[i] === UDP && room < udp.HEADER_LENGTH ? TINY : 0;
}

/** True when the service wants its fragments steered by their addresses, the first included. */
export function isByAddress(words: Int32Array, service: number): boolean {
  return words[words[H_SERVICES] + service * SERVICE_WORDS + S_FRAGMENTS] === FRAGMENTS_BY_ADDRESS;
}
