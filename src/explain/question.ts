/** What somebody asks about: a flow in words, or a packet in hexadecimal digits. */
import { LINK_ETHERNET, LINK_RAW_IP } from '../base/batch.ts';
import { CodedError, EXIT } from '../base/errors.ts';
import { parseAnyAddress } from '../config/address.ts';
import * as ipv4 from '../wire/ipv4.ts';
import { PROTOCOL_SCTP } from '../wire/sctp.ts';
import * as tcp from '../wire/tcp.ts';
import { flowPacket } from './flow-packet.ts';

/** A frame and what it begins with: LINK_ETHERNET or LINK_RAW_IP. */
export interface AskedFrame {
  readonly frame: Uint8Array;
  readonly link: typeof LINK_ETHERNET | typeof LINK_RAW_IP;
}

export interface FlowWishes {
  /** TCP flags by name, e.g. `syn` or `psh,ack`; default `ack`: a packet of a connection that is there. */
  readonly flags?: string | undefined;
  /** Bytes of the IP packet. */
  readonly length?: number | undefined;
}

const PROTOCOLS: ReadonlyMap<string, number> = new Map([
  ['tcp', ipv4.PROTOCOL_TCP],
  ['udp', ipv4.PROTOCOL_UDP],
  ['sctp', PROTOCOL_SCTP],
]);
const FLAGS: ReadonlyMap<string, number> = new Map([
  ['fin', tcp.FIN],
  ['syn', tcp.SYN],
  ['rst', tcp.RST],
  ['psh', tcp.PSH],
  ['ack', tcp.ACK],
  ['urg', tcp.URG],
  ['ece', tcp.ECE],
  ['cwr', tcp.CWR],
]);
const MOST_FRAME = 65_535 + 18;

function refuse(message: string, hint: string): CodedError {
  return new CodedError('GD_EXPLAIN_QUESTION', message, { exitCode: EXIT.USAGE, hint });
}

/**
 * `tcp 192.0.2.7:40000 198.51.100.1:443`, with `>`, `→` or `->` between the two if one likes, as `replay` and `ss` print it; IPv6 addresses with a port in brackets. The
 * protocol may be a number, then without ports. Throws GD_EXPLAIN_QUESTION (exit code 2).
 */
export function flowFrame(text: string, wishes: FlowWishes = {}): AskedFrame {
  const words = text
    .trim()
    .split(/\s+/)
    .filter((word) => !['>', '→', '->', 'to'].includes(word));
  const example = 'write: tcp 192.0.2.7:40000 198.51.100.1:443   (or udp; IPv6: [2001:db8::7]:40000)';
  if (words.length !== 3) throw refuse(`"${text}" is no flow: it has a protocol, a source and a destination`, example);
  const protocol = PROTOCOLS.get(words[0].toLowerCase()) ?? (/^\d{1,3}$/.test(words[0]) ? Number(words[0]) : Number.NaN);
  if (!(protocol >= 0 && protocol <= 255)) throw refuse(`"${words[0]}" is no protocol`, example);
  const hasPorts = [...PROTOCOLS.values()].includes(protocol);
  const [source, destination] = [words[1], words[2]].map((word) => endOf(word, hasPorts, example));
  if (source.address.length !== destination.address.length) {
    throw refuse(`${words[1]} and ${words[2]} are of two IP versions`, 'write both as IPv4, or both as IPv6');
  }
  const frame = flowPacket({
    source: source.address,
    destination: destination.address,
    protocol,
    sourcePort: source.port,
    destinationPort: destination.port,
    tcpFlags: flagsOf(wishes.flags ?? 'ack'),
    length: wishes.length ?? 0,
  });
  return { frame, link: LINK_RAW_IP };
}

function endOf(text: string, hasPort: boolean, example: string): { address: Uint8Array; port: number } {
  const parts = hasPort ? (/^\[([^\]]+)\]:(\d{1,5})$/.exec(text) ?? /^([^:]+):(\d{1,5})$/.exec(text)) : [text, text, '0'];
  if (parts === null) throw refuse(`"${text}" is not ADDRESS:PORT`, example);
  const port = Number(parts[2]);
  if (port > 65535) throw refuse(`${port} is not a port: at most 65535`, example);
  const { value, refusal } = parseAnyAddress(parts[1]);
  if (refusal !== null) throw refuse(refusal.message, example);
  return { address: value, port };
}

function flagsOf(text: string): number {
  let bits = 0;
  for (const word of text.toLowerCase().split(/[,+|\s]+/)) {
    if (word === 'none' || word === '') continue;
    const bit = FLAGS.get(word);
    if (bit === undefined)
      throw refuse(`"${word}" is no TCP flag`, `flags are ${[...FLAGS.keys()].join(', ')}, joined by commas`);
    bits |= bit;
  }
  return bits;
}

/**
 * A packet in hexadecimal digits; blanks, colons and a leading 0x do not matter. `link`: what it begins with; absent: IP when that fits its first byte and
 * length, else Ethernet. Throws GD_EXPLAIN_QUESTION (exit code 2).
 */
export function hexFrame(text: string, link?: 'ip' | 'ethernet'): AskedFrame {
  const digits = text.replace(/^0x/i, '').replace(/[\s:]/g, '');
  const hint =
    'tcpdump -xx (with Ethernet header) and -x (without) print such digits; of their lines only what stands behind the offset';
  if (digits === '' || digits.length % 2 !== 0 || !/^[0-9a-f]+$/i.test(digits)) {
    const wrong = /[^0-9a-f]/i.exec(digits);
    const why = wrong === null ? `${digits.length} digits` : `"${wrong[0]}" at digit ${wrong.index + 1}`;
    throw refuse(`this is no packet in hexadecimal digits: ${why}`, hint);
  }
  const frame = new Uint8Array(digits.length / 2);
  for (let i = 0; i < frame.length; i++) frame[i] = Number.parseInt(digits.slice(2 * i, 2 * i + 2), 16);
  if (frame.length > MOST_FRAME) throw refuse(`a packet has at most ${MOST_FRAME} bytes, not ${frame.length}`, hint);
  const isIp = link === undefined ? looksLikeIp(frame) : link === 'ip';
  return { frame, link: isIp ? LINK_RAW_IP : LINK_ETHERNET };
}

/** By version and length together: an Ethernet address that begins with 45 does not have both. */
function looksLikeIp(frame: Uint8Array): boolean {
  const view = new DataView(frame.buffer);
  if (frame.length >= 20 && frame[0] >> 4 === 4 && (frame[0] & 15) >= 5)
    return view.getUint16(2) >= 20 && view.getUint16(2) <= frame.length;
  return frame.length >= 40 && frame[0] >> 4 === 6 && view.getUint16(4) + 40 <= frame.length;
}
