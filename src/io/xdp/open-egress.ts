/** Where an egress's frames leave by: the ingress's own socket when that is on the same interface, a socket of its own elsewhere. */
import { CodedError, EXIT } from '../../base/errors.ts';
import { interfaceIndex, receiveQueuesOf } from '../../raw-socket/tun.ts';
import type { Ingress } from '../driver.ts';
import { XdpEgress } from './egress.ts';
import { XdpIngress } from './ingress.ts';
import { NextHops } from './next-hops.ts';
import { XdpPort } from './port.ts';

export interface OpenEgressOptions {
  readonly device: string;
  /** The thread's ingress; null: there is none. */
  readonly ingress: Ingress | null;
  /** Memory of `NextHops`. */
  readonly nextHops: ArrayBufferLike;
  /** The thread's number, from 0, is its queue's. */
  readonly thread: number;
  readonly threads: number;
  readonly bank: Float64Array;
}

/** Receiving is no part of it: as few frames lent as can be. */
const RECEIVE_RING = 8;

/** Throws CodedError: GD_IO_XDP_QUEUES, GD_RAW_SOCKET_XDP_TAKEN, GD_RAW_SOCKET_XDP_MEMORY, missing device or privilege. */
export function openXdpEgress({ device, ingress, nextHops, thread, threads, bank }: OpenEgressOptions): XdpEgress {
  const hops = new NextHops(nextHops);
  if (ingress instanceof XdpIngress && ingress.device === device) {
    return new XdpEgress({ device, port: ingress.port, nextHops: hops, bank });
  }
  const queues = receiveQueuesOf(device);
  if (queues < threads) {
    const has = `${queues} ${queues === 1 ? 'queue' : 'queues'}`;
    throw new CodedError('GD_IO_XDP_QUEUES', `${device} has ${has}, too few for ${threads} threads that send by it`, {
      exitCode: EXIT.CONFIG,
      hint: `ethtool -L ${device} combined ${threads}   or set threads: ${queues}`,
    });
  }
  const port = new XdpPort({
    device,
    interfaceIndex: interfaceIndex(device),
    queue: thread,
    receiveRing: RECEIVE_RING,
    largePackets: false,
  });
  return new XdpEgress({ device, port, nextHops: hops, bank, ownsPort: true });
}
