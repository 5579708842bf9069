/**
 * TUN queues and the few settings of a network device that need no netlink. (Documentation/networking/tuntap.rst, net/if.h)
 *
 *     struct ifreq, 40 bytes:  | char name[16] | union: short flags / int value / … [24] |
 */
import { CodedError, EXIT } from '../base/errors.ts';
import { closeDescriptor, O_NONBLOCK, O_RDWR, openDescriptor } from './file.ts';
import { E, errno, errnoName, libc, must } from './library.ts';
import type { Pinned } from './memory.ts';
import { pin, retain } from './memory.ts';
import { AF_INET, openSocket, SOCK_DGRAM } from './socket.ts';

const ioctl = libc<(fd: number, request: number, at: number) => number>('int ioctl(int fd, unsigned long request, uintptr_t at)');

const TUNSETIFF = 0x400454ca;
const TUNSETOFFLOAD = 0x400454d0;
const TUNSETVNETHDRSZ = 0x400454d8;
const IFF_TUN = 0x0001;
const IFF_MULTI_QUEUE = 0x0100;
const IFF_NO_PI = 0x1000;
const IFF_VNET_HDR = 0x4000;
/** Partial checksums may arrive (NEEDS_CSUM); nothing larger than the MTU may: the kernel segments before us. */
const TUN_F_CSUM = 0x01;

const SIOCGIFFLAGS = 0x8913;
const SIOCSIFFLAGS = 0x8914;
const SIOCGIFMTU = 0x8921;
const SIOCSIFMTU = 0x8922;
const SIOCGIFINDEX = 0x8933;
const SIOCSIFTXQLEN = 0x8943;
const IFF_UP = 0x1;

/** Bytes of the virtio-net header in front of each packet read from or written to a queue (with num_buffers). */
export const VNET_HEADER = 12;

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
 * Opens one queue of TUN device `device`, which comes to be with its first queue and vanishes with its last. Non-blocking; IP
 * packets behind a 12-byte virtio-net header. Throws CodedError: no /dev/net/tun, no privilege, the name belongs to another kind
 * of device, or to one made without multi-queue.
 */
export function openTunQueue(device: string): number {
  const interfaceRequest = request(device);
  const descriptor = openDescriptor(
    '/dev/net/tun',
    O_RDWR | O_NONBLOCK,
    'load the tun module (modprobe tun), or in a container pass --device /dev/net/tun --cap-add NET_ADMIN',
  );
  try {
    interfaceRequest.uint16[8] = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE;
    const attached = ioctl(descriptor, TUNSETIFF, interfaceRequest.address);
    retain(interfaceRequest);
    if (attached < 0) {
      const number = errno();
      const taken = number === E.EINVAL || number === E.EBUSY || number === E.EEXIST;
      throw new CodedError('GD_RAW_SOCKET_TUN', `TUN device ${device}: ${errnoName(number)}`, {
        exitCode: number === E.EPERM ? EXIT.PRIVILEGE : EXIT.FAILED,
        hint: taken
          ? `${device} exists already and is of another kind, in use, or without multi_queue: see "ip -d link show ${device}", remove it or name another device`
          : 'run as root, or give the process CAP_NET_ADMIN',
      });
    }
    const size = pin(8);
    size.int32[0] = VNET_HEADER;
    const sized = ioctl(descriptor, TUNSETVNETHDRSZ, size.address);
    retain(size);
    must(sized, 'ioctl TUNSETVNETHDRSZ');
    must(ioctl(descriptor, TUNSETOFFLOAD, TUN_F_CSUM), 'ioctl TUNSETOFFLOAD');
    return descriptor;
  } catch (error) {
    closeDescriptor(descriptor);
    throw error;
  }
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

export function getMtu(device: string): number {
  return deviceCall(device, SIOCGIFMTU, 'MTU').int32[4];
}

export function setMtu(device: string, bytes: number): void {
  deviceCall(device, SIOCSIFMTU, 'MTU', (memory) => {
    memory.int32[4] = bytes;
  });
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
