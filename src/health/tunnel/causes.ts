/** Why a probe was not answered, as far as it can be known: what is said to people. */
import { formatAddress } from '../../base/address.ts';
import type { Unreachable } from '../../host/icmp-quote.ts';
import { hasUdp } from '../../pipeline/tunnel-kind.ts';
import type { ProbeTarget } from '../probe.ts';
import type { ErrorAnswer } from './answer.ts';

/** Milliseconds as people say them: `1 s`, `0.25 s`. */
export function seconds(milliseconds: number): string {
  return `${Number((milliseconds / 1000).toFixed(3))} s`;
}

/** Nothing came back at all. The three things to look at, in the order of a packet's way. */
export function silence(awaited: string, timeoutMs: number, service: Uint8Array): string {
  const filter = service.length === 4 ? ', rp_filter 0' : '';
  return `${awaited} within ${seconds(timeoutMs)}: is the worker's tunnel device up, ${formatAddress(service)} on it${filter}`;
}

/** An ICMP error about the tunnel packet: it did not come to the worker's decapsulation. */
export function outerError(what: Unreachable, { backend, tunnel }: ProbeTarget): string {
  const worker = formatAddress(backend.address);
  const { encapsulation, port, port6 } = tunnel;
  switch (what) {
    case 'port': {
      if (!hasUdp(encapsulation)) return `port unreachable: no ${encapsulation} device of ${worker} takes the packet`;
      const ports = port6 === undefined || port6 === port ? `${port}` : `${port} or ${port6}`;
      return `port unreachable: nothing at ${worker} unwraps UDP port ${ports}`;
    }
    case 'protocol':
      return `protocol unreachable: nothing at ${worker} unwraps ${encapsulation}`;
    case 'prohibited':
      return `a firewall on the way refuses tunnel packets to ${worker}`;
    default:
      return `${what === 'net' ? 'network' : 'host'} unreachable: there is no way to ${worker}`;
  }
}

/** An ICMP error about the packet inside: it was unwrapped. */
export function innerError({ what, source, quoted }: ErrorAnswer): string {
  const [who, service] = [formatAddress(source), formatAddress(quoted.destination)];
  switch (what) {
    case 'forwarded':
      return `unwrapped and sent on by ${who}: ${service} is not an address of the worker`;
    case 'port':
      return `port unreachable: nothing at ${service} takes ${quoted.protocol === 17 ? `UDP port ${quoted.destinationPort}` : `protocol ${quoted.protocol}`}`;
    case 'prohibited':
      return `unwrapped, and refused by a firewall of ${who}`;
    default:
      return `unwrapped, and not delivered: ${who} has no way to ${service}`;
  }
}
