/** The headers of a packet for people, one line each, from the outermost in. */
import { LINK_ETHERNET } from '../base/batch.ts';
import * as ethernet from '../wire/ethernet.ts';
import * as gre from '../wire/gre.ts';
import * as gue from '../wire/gue.ts';
import * as icmpv4 from '../wire/icmpv4.ts';
import * as icmpv6 from '../wire/icmpv6.ts';
import * as ipv4 from '../wire/ipv4.ts';
import * as ipv6 from '../wire/ipv6.ts';
import * as tcp from '../wire/tcp.ts';
import * as udp from '../wire/udp.ts';

const GRE = 47;

/** What follows a UDP header. */
export type Within = 'payload' | 'gue' | 'gue-v1' | 'fou';

/**
 * Lines of the frame from `at` to `end`. `link`: LINK_ETHERNET when it begins with an Ethernet header. `within`: what the first UDP header carries, when it
 * is known to be a tunnel. What can not be read ends the list.
 */
export function headerLines(view: DataView, at: number, end: number, link: number, within: Within = 'payload'): string[] {
  const lines: string[] = [];
  let network = at;
  if (link === LINK_ETHERNET) {
    network = ethernet.findNetwork(view, at, end);
    lines.push(`Ethernet, ${(network < 0 ? end : network) - at} bytes with its tags`);
  }
  if (network >= 0 && network < end) network4or6(view, network, end, within, lines);
  return lines;
}

function network4or6(view: DataView, at: number, end: number, within: Within, lines: string[]): void {
  if (at >= end) return;
  if (view.getUint8(at) >> 4 === 6) {
    const header = ipv6.parse(view, at, end);
    if (header === null) return;
    lines.push(ipv6.text(header));
    const found = ipv6.findTransport6(view, at, end);
    if (found < 0 || ipv6.isLaterFragment(found)) return;
    transport(view, at + ipv6.transportOffset(found), end, ipv6.transportProtocol(found), within, lines);
    return;
  }
  const header = ipv4.parse(view, at, end);
  if (header === null) return;
  lines.push(ipv4.text(header));
  if (header.fragmentOffset === 0) transport(view, at + header.headerLength, end, header.protocol, within, lines);
}

function transport(view: DataView, at: number, end: number, protocol: number, within: Within, lines: string[]): void {
  switch (protocol) {
    case ipv4.PROTOCOL_TCP: {
      const header = tcp.parse(view, at, end);
      if (header !== null) lines.push(tcp.text(header));
      return;
    }
    case ipv4.PROTOCOL_UDP: {
      const header = udp.parse(view, at, end);
      if (header === null) return;
      lines.push(udp.text(header));
      if (within === 'gue') behindGue(view, at + udp.HEADER_LENGTH, end, lines);
      else if (within !== 'payload') network4or6(view, at + udp.HEADER_LENGTH, end, 'payload', lines);
      return;
    }
    case ipv4.PROTOCOL_ICMP:
      if (at + icmpv4.HEADER_LENGTH <= end) lines.push(`ICMP type ${icmpv4.type(view, at)} code ${view.getUint8(at + 1)}`);
      return;
    case ipv6.NEXT_ICMPV6:
      if (at + icmpv6.HEADER_LENGTH <= end) lines.push(`ICMPv6 type ${icmpv6.type(view, at)} code ${view.getUint8(at + 1)}`);
      return;
    case GRE: {
      const header = gre.parse(view, at, end);
      if (header === null) return;
      lines.push(gre.text(header));
      network4or6(view, at + gre.headerLength(view, at), end, 'payload', lines);
      return;
    }
    case ipv4.PROTOCOL_IPV4:
    case ipv4.PROTOCOL_IPV6:
      network4or6(view, at, end, 'payload', lines);
      return;
    default:
      lines.push(`protocol ${protocol}`);
  }
}

function behindGue(view: DataView, at: number, end: number, lines: string[]): void {
  const header = gue.parse(view, at, end);
  if (header === null) return;
  lines.push(gue.text(header));
  network4or6(view, at + gue.headerLength(view, at), end, 'payload', lines);
}
