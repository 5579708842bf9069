/**
 * The client's end of the flow that a packet belongs to: its own source, or, in an ICMP error, the destination of the packet that it
 * quotes, which the worker sent to the client.
 *
 *     IP | TCP, UDP …                                    source address, source port
 *     IP | ICMP error 8 | quoted IP | TCP, UDP …          quoted destination address, quoted destination port
 */
import { type Batch, LOOKUP_FRAGMENT, LOOKUP_QUOTE } from '../base/batch.ts';
import * as icmpv4 from '../wire/icmpv4.ts';
import * as ipv4 from '../wire/ipv4.ts';
import * as ipv6 from '../wire/ipv6.ts';
import { ERROR_NONE, errorKind4, errorKind6 } from './icmp-quote.ts';

const BY_QUOTE = LOOKUP_QUOTE;
const BY_FRAGMENT = LOOKUP_FRAGMENT;
const QUOTE_AT = icmpv4.QUOTE_AT;
const TCP = ipv4.PROTOCOL_TCP;
const UDP = ipv4.PROTOCOL_UDP;
const SCTP = 132;
const SOURCE4 = ipv4.SOURCE_AT;
const DESTINATION4 = ipv4.DESTINATION_AT;
const SOURCE6 = ipv6.SOURCE_AT;
const DESTINATION6 = ipv6.DESTINATION_AT;
const IDENTIFICATION = ipv4.IDENTIFICATION_AT;

/** Protocols whose header begins with source and destination port. */
function hasPorts(protocol: number): boolean {
  return protocol === TCP || protocol === UDP || protocol === SCTP;
}

/** An ICMP error, which quotes a packet of the flow; a ping that is forwarded quotes nothing. */
function quotesPacket(batch: Batch, i: number): boolean {
  if (batch.lookup[i] !== BY_QUOTE) return false;
  const { view } = batch.arena;
  const at = batch.transportAt[i];
  return (batch.family[i] === 4 ? errorKind4(view, at) : errorKind6(view, at)) !== ERROR_NONE;
}

/** Place of the client's address in the arena: 4 bytes, or 16 where the packet's family is 6. */
export function clientAddressAt(batch: Batch, i: number): number {
  const quotes = quotesPacket(batch, i);
  if (batch.family[i] === 4) return quotes ? batch.transportAt[i] + QUOTE_AT + DESTINATION4 : batch.networkAt[i] + SOURCE4;
  return quotes ? batch.transportAt[i] + QUOTE_AT + DESTINATION6 : batch.networkAt[i] + SOURCE6;
}

/** The client's port; 0 where the protocol has none, and in fragments that do not carry it. */
export function clientPort(batch: Batch, i: number): number {
  const { view } = batch.arena;
  if (batch.lookup[i] === BY_FRAGMENT) return 0;
  if (!quotesPacket(batch, i)) return hasPorts(batch.protocol[i]) ? view.getUint16(batch.transportAt[i]) : 0;
  const quote = batch.transportAt[i] + QUOTE_AT;
  if (batch.family[i] === 4) {
    if (ipv4.isLaterFragment(view, quote)) return 0;
    return hasPorts(ipv4.protocol(view, quote)) ? view.getUint16(quote + ipv4.headerLength(view, quote) + 2) : 0;
  }
  const found = ipv6.findTransport6(view, quote, batch.networkAt[i] + batch.networkLength[i]);
  if (found < 0 || ipv6.isFragment(found) || !hasPorts(ipv6.transportProtocol(found))) return 0;
  return view.getUint16(quote + ipv6.transportOffset(found) + 2);
}

/** What tells packets without ports apart: the IPv4 identification or the IPv6 flow label of the packet itself (16 or 20 bits). */
export function packetMark(batch: Batch, i: number): number {
  const { view } = batch.arena;
  const at = batch.networkAt[i];
  return batch.family[i] === 4 ? view.getUint16(at + IDENTIFICATION) : view.getInt32(at) & 0xfffff;
}
