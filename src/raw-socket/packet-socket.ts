/** AF_PACKET: set-up, auxiliary data and statistics. (Documentation/networking/packet_mmap.rst, linux/if_packet.h) */
import { closeDescriptor } from './file.ts';
import { attachFilter, KEEP_NOTHING } from './filter.ts';
import { libc, must } from './library.ts';
import { pin, retain } from './memory.ts';
import { type RingShape, requestRing } from './packet-ring.ts';
import {
  AF_PACKET,
  bindInterface,
  getStructOption,
  openSocket,
  SOCK_DGRAM,
  SOCK_RAW,
  SOL_PACKET,
  setOption,
  setReceiveBuffer,
  setSendBuffer,
} from './socket.ts';
import { interfaceIndex } from './tun.ts';

const getsockname = libc<(fd: number, at: number, lengthAt: number) => number>(
  'int getsockname(int fd, uintptr_t at, uintptr_t lengthAt)',
);

const PACKET_STATISTICS = 6;
const PACKET_AUXDATA = 8;
const PACKET_VNET_HDR = 15;
const PACKET_FANOUT = 18;
const PACKET_IGNORE_OUTGOING = 23;
const PACKET_FANOUT_HASH = 0;

/** Bytes of the virtio-net header that packet sockets use (no num_buffers). */
export const PACKET_VNET_HEADER = 10;

/**
 * Control data of one received packet: a cmsghdr (16 bytes) and struct tpacket_auxdata (20), padded to 40.
 *
 *     16 status u32 | 20 length | 24 captured | 28 mac u16 | 30 net u16 | 32 VLAN TCI u16 | 34 VLAN TPID u16
 */
export const AUXDATA_BYTES = 40;
export const AUXDATA_STATUS = 16;
export const AUXDATA_VLAN_TCI = 32;
export const AUXDATA_VLAN_TPID = 34;
/** The transport checksum is only begun: a sender on this host leaves the rest to a device. */
export const STATUS_CHECKSUM_NOT_READY = 1 << 3;
/** The kernel or a network card has found the transport checksum right. */
export const STATUS_CHECKSUM_VALID = 1 << 7;
export const STATUS_VLAN_VALID = 1 << 4;
export const STATUS_VLAN_TPID_VALID = 1 << 6;

export interface PacketSocketOptions {
  readonly device: string;
  /** Number (16 bits) of the group that shares the device's packets by flow hash; null for a socket of its own. */
  readonly fanoutGroup: number | null;
  /** Receive buffer in bytes: of packets that wait in the socket's queue. */
  readonly receiveBuffer: number;
  /** Packets are to wait in a ring; absent: in the queue. */
  readonly ring?: RingShape;
}

/**
 * A packet socket on one interface that receives nothing yet: attach the real filter to begin. It keeps nothing from before it is
 * bound, so neither stale packets nor (with a fanout group) packets of another thread's flows are ever queued to it. It belongs to the
 * interface with this index: when that is removed, the socket stays deaf, also when a new one gets the same name.
 */
export function openPacketSocket(options: PacketSocketOptions): { descriptor: number; interfaceIndex: number } {
  const index = interfaceIndex(options.device);
  // Protocol 0: deaf until bound.
  const descriptor = openSocket(AF_PACKET, SOCK_RAW, 0, `packet ingress on ${options.device}`);
  try {
    attachFilter(descriptor, KEEP_NOTHING);
    setOption(descriptor, SOL_PACKET, PACKET_VNET_HDR, 1, 'PACKET_VNET_HDR');
    setOption(descriptor, SOL_PACKET, PACKET_AUXDATA, 1, 'PACKET_AUXDATA');
    setOption(descriptor, SOL_PACKET, PACKET_IGNORE_OUTGOING, 1, 'PACKET_IGNORE_OUTGOING');
    setReceiveBuffer(descriptor, options.receiveBuffer);
    if (options.ring !== undefined) requestRing(descriptor, options.ring);
    bindInterface(descriptor, index, options.device);
    if (options.fanoutGroup !== null) {
      // No PACKET_FANOUT_FLAG_DEFRAG: it would hand us datagrams that were never on the wire.
      setOption(descriptor, SOL_PACKET, PACKET_FANOUT, options.fanoutGroup | (PACKET_FANOUT_HASH << 16), 'PACKET_FANOUT');
    }
    return { descriptor, interfaceIndex: index };
  } catch (error) {
    closeDescriptor(descriptor);
    throw error;
  }
}

/** A packet socket that sends whole frames by one interface and receives nothing. Frames wait in the interface's queue (qdisc) as the kernel's own do. */
export function openSendingSocket(device: string, sendBuffer: number): number {
  const index = interfaceIndex(device);
  const descriptor = openSocket(AF_PACKET, SOCK_RAW, 0, `packet egress on ${device}`);
  try {
    attachFilter(descriptor, KEEP_NOTHING);
    setSendBuffer(descriptor, sendBuffer);
    bindInterface(descriptor, index, device, 0);
    return descriptor;
  } catch (error) {
    closeDescriptor(descriptor);
    throw error;
  }
}

/** Index of the interface that a packet socket is bound to (another process may have opened it). */
export function boundInterface(descriptor: number): number {
  // struct sockaddr_ll: u16 family, be16 protocol, int ifindex, …; its length behind it.
  const name = pin(32);
  name.int32[6] = 20;
  must(getsockname(descriptor, name.address, name.address + 24), 'getsockname of a packet socket');
  retain(name);
  return name.int32[1];
}

/**
 * A packet socket on every interface for packets of one EtherType that come in, from their network header on, with auxiliary data. Deaf until a filter
 * is attached. It stands beside the kernel's own receiver of that protocol, behind bridges, bonds and VLANs and in front of netfilter
 * and reverse path filters: what these drop, it has seen; nothing that goes out concerns it.
 */
export function openNetworkSocket(etherType: number, receiveBuffer: number, label: string): number {
  const descriptor = openSocket(AF_PACKET, SOCK_DGRAM, 0, label);
  try {
    attachFilter(descriptor, KEEP_NOTHING);
    setOption(descriptor, SOL_PACKET, PACKET_AUXDATA, 1, 'PACKET_AUXDATA');
    setReceiveBuffer(descriptor, receiveBuffer);
    bindInterface(descriptor, 0, label, etherType);
    return descriptor;
  } catch (error) {
    closeDescriptor(descriptor);
    throw error;
  }
}

const statistics = pin(8);

/** Packets that found no room in the receive buffer, or the ring, since the last call: reading resets the kernel's count. */
export function takePacketDrops(descriptor: number): number {
  getStructOption(descriptor, SOL_PACKET, PACKET_STATISTICS, statistics.address, 8, 'PACKET_STATISTICS');
  return statistics.int32[1] >>> 0;
}
