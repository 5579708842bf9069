/**
 * TUN and TAP queues and the few settings of a network device that need no netlink. (Documentation/networking/tuntap.rst, net/if.h)
 *
 *     struct ifreq, 40 bytes:  | char name[16] | union: short flags / int value / … [24] |
 */
import { release } from 'node:os';
import { CodedError, EXIT } from '../base/errors.ts';
import { closeDescriptor, O_NONBLOCK, O_RDWR, openDescriptor } from './file.ts';
import { E, errno, errnoName, libc, must } from './library.ts';
import type { Pinned } from './memory.ts';
import { pin, retain, storeAddress } from './memory.ts';
import { AF_INET, openSocket, SOCK_DGRAM } from './socket.ts';

const ioctl = libc<(fd: number, request: number, at: number) => number>('int ioctl(int fd, unsigned long request, uintptr_t at)');

const TUNSETIFF = 0x400454ca;
const TUNSETOFFLOAD = 0x400454d0;
const TUNSETVNETHDRSZ = 0x400454d8;
const IFF_TUN = 0x0001;
const IFF_TAP = 0x0002;
const IFF_MULTI_QUEUE = 0x0100;
const IFF_NO_PI = 0x1000;
const IFF_VNET_HDR = 0x4000;
/**
 * What the kernel may leave to us (TUN_F_ bits of linux/if_tun.h): 0x01 partial checksums (NEEDS_CSUM), 0x02 and 0x04 TCP super-packets
 * over IPv4 and IPv6, 0x08 those with ECN, 0x20 and 0x40 UDP super-packets (Linux ≥ 6.2, both or none), 0x80 and 0x100 super-packets
 * inside a UDP tunnel, without and with an outer checksum (Linux ≥ 6.17). What is not set, the kernel does before we read, and does not
 * take from us. It refuses a word with a bit that it does not know, so each list goes from most to least.
 */
const OFFLOAD_WORDS = { checksum: [0x01], segmentation: [0x6f, 0x0f], tunnel: [0x1ef] } as const;

const SIOCGIFFLAGS = 0x8913;
const SIOCSIFFLAGS = 0x8914;
const SIOCGIFMTU = 0x8921;
const SIOCSIFMTU = 0x8922;
const SIOCGIFINDEX = 0x8933;
const SIOCGIFHWADDR = 0x8927;
const SIOCSIFTXQLEN = 0x8943;
const SIOCETHTOOL = 0x8946;
/** linux/ethtool.h */
const ETHTOOL_GTXCSUM = 0x16;
const ETHTOOL_GFLAGS = 0x25;
const ETHTOOL_GGRO = 0x2b;
const ETHTOOL_GCHANNELS = 0x3c;
const ETH_FLAG_LRO = 1 << 15;
const TUNGETFEATURES = 0x800454cf;
const IFF_UP = 0x1;

/** `tun` carries IP packets, `tap` Ethernet frames. */
export type QueueKind = 'tun' | 'tap';

/**
 * `checksum`: the kernel segments before us, nothing larger than the MTU arrives. `segmentation`: super-packets arrive whole. `tunnel`: they
 * may be inside a UDP tunnel, and the virtio-net header has 24 bytes (TUNNEL_VNET_HEADER); TAP only, since the kernel checks a tunnel's
 * offsets as if an Ethernet header were there.
 */
export type QueueOffloads = 'checksum' | 'segmentation' | 'tunnel';

export interface QueueOptions {
  readonly kind?: QueueKind;
  /** A property of the whole device: give all of its queues the same. */
  readonly offloads?: QueueOffloads;
}

/** Bytes of the virtio-net header in front of each packet read from or written to a queue (with num_buffers). */
export const VNET_HEADER = 12;
/** The same with the offsets of a UDP tunnel (offloads `tunnel`). */
export const TUNNEL_VNET_HEADER = 24;

function request(device: string): Pinned {
  const name = Buffer.from(device);
  if (name.length < 1 || name.length > 15) {
    throw new CodedError('GD_RAW_SOCKET_DEVICE_NAME', `device name "${device}" must have 1 to 15 bytes`, {
      exitCode: EXIT.CONFIG,
    });
  }
  const memory = pin(40);
  memory.bytes.set(name);
  return memory;
}

/**
 * Opens one queue of TUN or TAP device `device`, which comes to be with its first queue and vanishes with its last. Non-blocking;
 * packets or frames behind a virtio-net header of 12 bytes (24 with `tunnel`). Throws CodedError: no /dev/net/tun, no privilege, the name
 * belongs to another kind of device, or to one made without multi-queue; GD_RAW_SOCKET_TUNNEL_OFFLOAD when this kernel knows no `tunnel`.
 */
export function openTunQueue(device: string, options: QueueOptions = {}): number {
  const { kind = 'tun', offloads = 'checksum' } = options;
  const interfaceRequest = request(device);
  const descriptor = openDescriptor(
    '/dev/net/tun',
    O_RDWR | O_NONBLOCK,
    'load the tun module (modprobe tun), or in a container pass --device /dev/net/tun --cap-add NET_ADMIN',
  );
  try {
    interfaceRequest.uint16[8] = (kind === 'tun' ? IFF_TUN : IFF_TAP) | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE;
    const attached = ioctl(descriptor, TUNSETIFF, interfaceRequest.address);
    retain(interfaceRequest);
    if (attached < 0) {
      const number = errno();
      const taken = number === E.EINVAL || number === E.EBUSY || number === E.EEXIST;
      throw new CodedError('GD_RAW_SOCKET_TUN', `${kind.toUpperCase()} device ${device}: ${errnoName(number)}`, {
        exitCode: number === E.EPERM ? EXIT.PRIVILEGE : EXIT.FAILED,
        hint: taken
          ? `${device} exists already and is of another kind, in use, or without multi_queue: see "ip -d link show ${device}", remove it or name another device`
          : 'run as root, or give the process CAP_NET_ADMIN',
      });
    }
    const size = pin(8);
    size.int32[0] = offloads === 'tunnel' ? TUNNEL_VNET_HEADER : VNET_HEADER;
    const sized = ioctl(descriptor, TUNSETVNETHDRSZ, size.address);
    retain(size);
    must(sized, 'ioctl TUNSETVNETHDRSZ');
    setOffloads(descriptor, offloads);
    return descriptor;
  } catch (error) {
    closeDescriptor(descriptor);
    throw error;
  }
}

/** Tells the kernel what it may leave to us, as much of it as this kernel knows. */
function setOffloads(descriptor: number, offloads: QueueOffloads): void {
  const words = OFFLOAD_WORDS[offloads];
  const accepted = words.some((word) => ioctl(descriptor, TUNSETOFFLOAD, word) === 0);
  if (accepted) return;
  if (offloads === 'tunnel' && errno() === E.EINVAL) {
    throw new CodedError(
      'GD_RAW_SOCKET_TUNNEL_OFFLOAD',
      `this kernel (Linux ${release()}) takes no encapsulated super-packets from a TAP device: that needs Linux 6.17 or later`,
      { hint: 'set "egress: { driver: auto }" in the configuration: it works on every kernel' },
    );
  }
  must(-1, `ioctl TUNSETOFFLOAD (${offloads})`);
}

function deviceCall(device: string, call: number, name: string, fill?: (memory: Pinned) => void): Pinned {
  const memory = request(device);
  fill?.(memory);
  const descriptor = openSocket(AF_INET, SOCK_DGRAM, 0, `ioctl ${name}`);
  try {
    must(ioctl(descriptor, call, memory.address), `${name} of ${device}`, '');
    return memory;
  } finally {
    closeDescriptor(descriptor);
  }
}

/** Interface index. Throws CodedError when there is no such device. */
export function interfaceIndex(device: string): number {
  return deviceCall(device, SIOCGIFINDEX, 'index').int32[4];
}

/** The MAC address of a TAP device, 6 bytes. Throws CodedError when there is no such device. */
export function getLinkAddress(device: string): Uint8Array {
  // struct sockaddr: the hardware's type in two bytes, then the address.
  return deviceCall(device, SIOCGIFHWADDR, 'link address').bytes.slice(18, 24);
}

export function getMtu(device: string): number {
  return deviceCall(device, SIOCGIFMTU, 'MTU').int32[4];
}

export function setMtu(device: string, bytes: number): void {
  deviceCall(device, SIOCSIFMTU, 'MTU', (memory) => {
    memory.int32[4] = bytes;
  });
}

/** True when packets leave the device with checksums still to be completed, by itself or by whom it hands them to (`ethtool -k`: tx-checksumming). */
export function leavesChecksums(device: string): boolean {
  return ethtoolValue(device, ETHTOOL_GTXCSUM) !== 0;
}

/** What the device merges before anybody sees it (`ethtool -k`: large- and generic-receive-offload); null when there is no such device, or it does not say. */
export function offloadsOf(device: string): { readonly lro: boolean; readonly gro: boolean } | null {
  try {
    return { lro: (ethtoolValue(device, ETHTOOL_GFLAGS) & ETH_FLAG_LRO) !== 0, gro: ethtoolValue(device, ETHTOOL_GGRO) !== 0 };
  } catch (error) {
    if (error instanceof CodedError) return null;
    throw error;
  }
}

function ethtoolValue(device: string, command: number): number {
  // struct ethtool_value: command, then its answer.
  const value = pin(8);
  value.int32[0] = command;
  deviceCall(device, SIOCETHTOOL, 'offloads', (memory) => storeAddress(memory.int32, 4, value.address));
  retain(value);
  return value.int32[1];
}

/** Receive queues that the device uses (`ethtool -l`); 1 for one that does not say. */
export function receiveQueuesOf(device: string): number {
  // struct ethtool_channels, u32 each: command, most receive, transmit, other, combined; then receive, transmit, other, combined in use.
  const channels = pin(40);
  channels.int32[0] = ETHTOOL_GCHANNELS;
  try {
    deviceCall(device, SIOCETHTOOL, 'queues', (memory) => storeAddress(memory.int32, 4, channels.address));
  } catch (error) {
    if (error instanceof CodedError && errno() === E.EOPNOTSUPP) return 1;
    throw error;
  }
  retain(channels);
  return Math.max(1, channels.int32[5] + channels.int32[8]);
}

/** IFF_ bits that this kernel knows for TUN devices. `descriptor` is one of /dev/net/tun; no privilege is asked for. */
export function tunFeatures(descriptor: number): number {
  const features = pin(8);
  must(ioctl(descriptor, TUNGETFEATURES, features.address), 'ioctl TUNGETFEATURES');
  retain(features);
  return features.int32[0];
}

/** Packets that the kernel queues towards us before it drops (txqueuelen). */
export function setQueueLength(device: string, packets: number): void {
  deviceCall(device, SIOCSIFTXQLEN, 'queue length', (memory) => {
    memory.int32[4] = packets;
  });
}

/** Sets the device up; routes over it work from then on. */
export function setLinkUp(device: string): void {
  const flags = deviceCall(device, SIOCGIFFLAGS, 'flags').uint16[8];
  deviceCall(device, SIOCSIFFLAGS, 'flags', (memory) => {
    memory.uint16[8] = flags | IFF_UP;
  });
}
