/**
 * What an answer socket received, read: a TCP segment, a datagram, an echo reply, or an ICMP error with the packet that it quotes. Whoever forged or
 * garbled it, nothing is read behind its end; lengths, and checksums where they are there, must be right. To whom it belongs is not said here.
 */
import type { AnswerState } from '../../host/answer-socket.ts';
import { WIRE_OK } from '../../wire/check.ts';
import * as checksum from '../../wire/checksum.ts';
import * as icmpv4 from '../../wire/icmpv4.ts';
import * as icmpv6 from '../../wire/icmpv6.ts';
import * as ipv4 from '../../wire/ipv4.ts';
import * as ipv6 from '../../wire/ipv6.ts';
import * as tcp from '../../wire/tcp.ts';
import * as udp from '../../wire/udp.ts';

interface From {
  /** 4 or 16 bytes each. */
  readonly source: Uint8Array;
  readonly destination: Uint8Array;
}

export interface TcpAnswer extends From {
  readonly kind: 'tcp';
  readonly sourcePort: number;
  readonly destinationPort: number;
  /** Unsigned. */
  readonly sequence: number;
  readonly acknowledgement: number;
  readonly flags: number;
  readonly payload: Uint8Array;
  /** Bytes of the payload as the header says it: more than `payload` when the end of a long answer was not read. */
  readonly payloadLength: number;
}

export interface UdpAnswer extends From {
  readonly kind: 'udp';
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly payload: Uint8Array;
}

export interface EchoAnswer extends From {
  readonly kind: 'echo';
  readonly identifier: number;
  readonly sequence: number;
  readonly payload: Uint8Array;
}

/** Someone could not deliver a packet of ours after it had left the tunnel: the quote is the inner packet. */
export interface ErrorAnswer extends From {
  readonly kind: 'error';
  /** `forwarded`: its TTL ran out, so whoever unwrapped it does not take it for its own. */
  readonly what: 'forwarded' | 'host' | 'port' | 'prohibited';
  readonly quoted: From & {
    /** IP protocol number. */
    readonly protocol: number;
    /** Of ICMP the identifier. */
    readonly sourcePort: number;
    /** 0 for ICMP. */
    readonly destinationPort: number;
    /** The four bytes behind the ports, unsigned: the sequence number of a TCP segment. */
    readonly word: number;
  };
}

export type Answer = TcpAnswer | UdpAnswer | EchoAnswer | ErrorAnswer;

const PROHIBITED4 = new Set([9, 10, icmpv4.CODE_PROHIBITED]);
const PROHIBITED6 = new Set([icmpv6.CODE_PROHIBITED, 5, 6]);

/** The packet from `at` to `end`, null when it is not right or nothing that we read. */
export function readAnswer(view: DataView, at: number, end: number, state: AnswerState): Answer | null {
  if (end - at < ipv4.HEADER_LENGTH) return null;
  return view.getUint8(at) >> 4 === 6 ? read6(view, at, end, state) : read4(view, at, end, state);
}

function bytesOf(view: DataView, at: number, length: number): Uint8Array {
  return new Uint8Array(view.buffer, view.byteOffset + at, length).slice();
}

function read4(view: DataView, at: number, end: number, { isFinished, isCut }: AnswerState): Answer | null {
  // `ipv4.check` wants the whole packet; of a long one the end may be missing.
  if (ipv4.version(view, at) !== 4) return null;
  const transport = at + ipv4.headerLength(view, at);
  const ipEnd = at + ipv4.totalLength(view, at);
  if (transport < at + ipv4.HEADER_LENGTH || transport > ipEnd || transport > end) return null;
  if ((ipEnd > end && !isCut) || !ipv4.verifyChecksum(view, at) || ipv4.isFragment(view, at)) return null;
  const protocol = ipv4.protocol(view, at);
  const from = { source: bytesOf(view, at + ipv4.SOURCE_AT, 4), destination: bytesOf(view, at + ipv4.DESTINATION_AT, 4) };
  const readEnd = Math.min(end, ipEnd);
  if (protocol === ipv4.PROTOCOL_ICMP) return readEnd < ipEnd ? null : readIcmp4(view, transport, readEnd, from);
  const pseudo = checksum.pseudoSum4(view, at + ipv4.SOURCE_AT, protocol, ipEnd - transport);
  return readPorted(view, protocol, transport, readEnd, ipEnd, isFinished ? pseudo : -1, from);
}

function read6(view: DataView, at: number, end: number, { isFinished, isCut }: AnswerState): Answer | null {
  const transport = at + ipv6.HEADER_LENGTH;
  if (transport > end) return null;
  const ipEnd = transport + ipv6.payloadLength(view, at);
  if (ipEnd > end && !isCut) return null;
  const readEnd = Math.min(end, ipEnd);
  const protocol = ipv6.nextHeader(view, at);
  const from = { source: bytesOf(view, at + ipv6.SOURCE_AT, 16), destination: bytesOf(view, at + ipv6.SOURCE_AT + 16, 16) };
  if (protocol === ipv6.NEXT_ICMPV6) {
    if (readEnd < ipEnd || icmpv6.check(view, transport, readEnd) !== WIRE_OK) return null;
    if (isFinished && !icmpv6.verifyChecksum(view, at + ipv6.SOURCE_AT, transport, readEnd)) return null;
    return readIcmp6(view, transport, readEnd, from);
  }
  const pseudo = checksum.pseudoSum6(view, at + ipv6.SOURCE_AT, protocol, ipEnd - transport);
  return readPorted(view, protocol, transport, readEnd, ipEnd, isFinished ? pseudo : -1, from);
}

/** `pseudo`: the pseudo-header's sum, −1 when the checksum is not filled in. `ipEnd`: where the packet ends, `end`: what of it is there. */
function readPorted(
  view: DataView,
  protocol: number,
  at: number,
  end: number,
  ipEnd: number,
  pseudo: number,
  from: From,
): Answer | null {
  const isWhole = end === ipEnd;
  if (protocol === ipv4.PROTOCOL_TCP) {
    if (tcp.check(view, at, end) !== WIRE_OK) return null;
    if (pseudo >= 0 && isWhole && !checksum.verifies(checksum.sum(view, at, end - at, pseudo))) return null;
    const data = at + tcp.headerLength(view, at);
    return {
      kind: 'tcp',
      ...from,
      sourcePort: tcp.sourcePort(view, at),
      destinationPort: tcp.destinationPort(view, at),
      sequence: tcp.sequence(view, at) >>> 0,
      acknowledgement: tcp.acknowledgement(view, at) >>> 0,
      flags: tcp.flags(view, at),
      payload: bytesOf(view, data, end - data),
      payloadLength: ipEnd - data,
    };
  }
  if (protocol !== ipv4.PROTOCOL_UDP || !isWhole || udp.check(view, at, end) !== WIRE_OK) return null;
  const length = udp.length(view, at);
  if (length < udp.HEADER_LENGTH || at + length > end) return null;
  const has = udp.checksum(view, at) !== 0;
  if (pseudo >= 0 && has && !checksum.verifies(checksum.sum(view, at, end - at, pseudo))) return null;
  return {
    kind: 'udp',
    ...from,
    sourcePort: udp.sourcePort(view, at),
    destinationPort: udp.destinationPort(view, at),
    payload: bytesOf(view, at + udp.HEADER_LENGTH, length - udp.HEADER_LENGTH),
  };
}

function echoOf(view: DataView, at: number, end: number, from: From): EchoAnswer {
  return {
    kind: 'echo',
    ...from,
    identifier: icmpv4.identifier(view, at),
    sequence: icmpv4.sequence(view, at),
    payload: bytesOf(view, at + icmpv4.HEADER_LENGTH, end - at - icmpv4.HEADER_LENGTH),
  };
}

function readIcmp4(view: DataView, at: number, end: number, from: From): Answer | null {
  if (icmpv4.check(view, at, end) !== WIRE_OK || !icmpv4.verifyChecksum(view, at, end)) return null;
  const type = icmpv4.type(view, at);
  const code = icmpv4.code(view, at);
  if (type === icmpv4.TYPE_ECHO_REPLY) return code === 0 ? echoOf(view, at, end, from) : null;
  const isExpired = type === icmpv4.TYPE_TIME_EXCEEDED && code === icmpv4.CODE_TTL_EXCEEDED;
  if (!isExpired && (type !== icmpv4.TYPE_DESTINATION_UNREACHABLE || code === icmpv4.CODE_FRAGMENTATION_NEEDED)) return null;
  const quote = at + icmpv4.QUOTE_AT;
  const transport = quote + ipv4.HEADER_LENGTH;
  // We write no options and no fragments; 8 bytes behind the header are quoted by everybody (RFC 792).
  if (end < transport + 8 || view.getUint8(quote) !== 0x45 || ipv4.isFragment(view, quote)) return null;
  const protocol = ipv4.protocol(view, quote);
  const what = isExpired
    ? 'forwarded'
    : code === icmpv4.CODE_PORT_UNREACHABLE || code === icmpv4.CODE_PROTOCOL_UNREACHABLE
      ? 'port'
      : PROHIBITED4.has(code)
        ? 'prohibited'
        : 'host';
  const addresses = {
    source: bytesOf(view, quote + ipv4.SOURCE_AT, 4),
    destination: bytesOf(view, quote + ipv4.DESTINATION_AT, 4),
  };
  return { kind: 'error', ...from, what, quoted: quotedOf(view, transport, protocol, protocol === 1, addresses) };
}

function readIcmp6(view: DataView, at: number, end: number, from: From): Answer | null {
  const type = icmpv6.type(view, at);
  const code = icmpv6.code(view, at);
  if (type === icmpv6.TYPE_ECHO_REPLY) return code === 0 ? echoOf(view, at, end, from) : null;
  const isExpired = type === icmpv6.TYPE_TIME_EXCEEDED && code === icmpv6.CODE_HOP_LIMIT_EXCEEDED;
  if (!isExpired && type !== icmpv6.TYPE_DESTINATION_UNREACHABLE) return null;
  const quote = at + icmpv6.QUOTE_AT;
  const transport = quote + ipv6.HEADER_LENGTH;
  if (end < transport + 8 || ipv6.version(view, quote) !== 6) return null;
  const protocol = ipv6.nextHeader(view, quote);
  const what = isExpired
    ? 'forwarded'
    : code === icmpv6.CODE_PORT_UNREACHABLE
      ? 'port'
      : PROHIBITED6.has(code)
        ? 'prohibited'
        : 'host';
  const addresses = {
    source: bytesOf(view, quote + ipv6.SOURCE_AT, 16),
    destination: bytesOf(view, quote + ipv6.SOURCE_AT + 16, 16),
  };
  return { kind: 'error', ...from, what, quoted: quotedOf(view, transport, protocol, protocol === ipv6.NEXT_ICMPV6, addresses) };
}

function quotedOf(view: DataView, at: number, protocol: number, isIcmp: boolean, addresses: From): ErrorAnswer['quoted'] {
  return {
    ...addresses,
    protocol,
    sourcePort: view.getUint16(isIcmp ? at + icmpv4.REST_AT : at),
    destinationPort: isIcmp ? 0 : view.getUint16(at + 2),
    word: view.getUint32(at + 4),
  };
}
