/** The sockets that tunnel packets come in by: UDP ports for GUE and FOU, raw sockets for IP in IP and GRE. */
import { formatAddress } from '../base/address.ts';
import { CodedError, EXIT } from '../base/errors.ts';
import { openDatagramSocket, receiveTrains } from '../raw-socket/datagram.ts';
import { openProtocolSocket } from '../raw-socket/protocol-socket.ts';
import { GRE, GUE, IPV4, IPV6, type Payload } from './decapsulate.ts';

export interface Inlet {
  readonly socket: number;
  readonly payload: Payload;
  /** What is received begins with the outer IPv4 header, as raw sockets of that family give it. */
  readonly withIpv4Header: boolean;
}

export interface FouPort {
  readonly port: number;
  /** The protocol of all that comes there. */
  readonly protocol: typeof IPV4 | typeof IPV6 | typeof GRE;
}

export interface InletOptions {
  /** UDP port for GUE, both variants. */
  readonly port: number;
  readonly fou: readonly FouPort[];
  readonly ipip: boolean;
  readonly gre: boolean;
  /** Take trains of datagrams from the kernel. */
  readonly gro: boolean;
}

const RECEIVE_BUFFER = 8 << 20;

/** `6084=4` of `--fou`; throws GD_WORKER_FOU on anything else. */
export function parseFouPort(text: string): FouPort {
  const [, port, protocol] = /^(\d{1,5})=(4|41|47)$/.exec(text) ?? [];
  if (port === undefined || Number(port) < 1 || Number(port) > 65535) {
    throw new CodedError('GD_WORKER_FOU', `--fou ${text}: not a port and a protocol`, {
      exitCode: EXIT.USAGE,
      hint: 'write PORT=PROTOCOL with protocol 4 (IPv4), 41 (IPv6) or 47 (GRE), as in: --fou 6084=4 --fou 6086=41',
    });
  }
  return { port: Number(port), protocol: Number(protocol) as FouPort['protocol'] };
}

/** Opens all inlets on each address; `opened` is told of each as soon as it is open, so that a failure leaves none behind. */
export function openInlets(addresses: readonly Uint8Array[], options: InletOptions, opened: (inlet: Inlet) => void): void {
  const udp: readonly { port: number; payload: Payload }[] = [
    { port: options.port, payload: GUE },
    ...options.fou.map(({ port, protocol }) => ({ port, payload: protocol })),
  ];
  const raw: readonly Payload[] = [...(options.ipip ? ([IPV4, IPV6] as const) : []), ...(options.gre ? ([GRE] as const) : [])];
  for (const address of addresses) {
    for (const { port, payload } of udp) {
      const socket = openDatagramSocket(address, port, RECEIVE_BUFFER);
      opened({ socket, payload, withIpv4Header: false });
      // An old kernel that can not hands over one datagram at a time, which are then merged all the same.
      if (options.gro) receiveTrains(socket);
    }
    for (const payload of raw) {
      const socket = openProtocolSocket(address, payload, RECEIVE_BUFFER);
      opened({ socket, payload, withIpv4Header: address.length === 4 });
    }
  }
}

/** `UDP port 6080 (GUE), 6084 (IPv4), IP in IP, GRE on every address`. */
export function describeInlets(addresses: readonly Uint8Array[], options: InletOptions): string {
  const names = { [IPV4]: 'IPv4', [IPV6]: 'IPv6', [GRE]: 'GRE' };
  const parts = [
    `UDP port ${options.port}`,
    ...options.fou.map(({ port, protocol }) => `${port} (FOU, ${names[protocol]})`),
    ...(options.ipip ? ['IP in IP'] : []),
    ...(options.gre ? ['GRE'] : []),
  ];
  return `${parts.join(', ')} on ${addresses.length === 0 ? 'every address' : addresses.map(formatAddress).join(', ')}`;
}
