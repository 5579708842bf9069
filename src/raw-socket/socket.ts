/** Sockets: open, bind, options. Set-up only; packets travel through message.ts. */
import { CodedError, EXIT } from '../base/errors.ts';
import { closeDescriptor } from './file.ts';
import { E, errno, libc, must } from './library.ts';
import { pin, retain } from './memory.ts';

const socketCall = libc<(family: number, type: number, protocol: number) => number>(
  'int socket(int family, int type, int protocol)',
);
const bindCall = libc<(fd: number, at: number, bytes: number) => number>('int bind(int fd, uintptr_t at, unsigned int bytes)');
const listenCall = libc<(fd: number, backlog: number) => number>('int listen(int fd, int backlog)');
const setsockoptCall = libc<(fd: number, level: number, name: number, at: number, bytes: number) => number>(
  'int setsockopt(int fd, int level, int name, uintptr_t at, unsigned int bytes)',
);
const getsockoptCall = libc<(fd: number, level: number, name: number, at: number, lengthAt: number) => number>(
  'int getsockopt(int fd, int level, int name, uintptr_t at, uintptr_t lengthAt)',
);

export const AF_INET = 2;
export const AF_INET6 = 10;
export const AF_PACKET = 17;
export const AF_XDP = 44;
export const SOCK_STREAM = 1;
export const SOCK_DGRAM = 2;
export const SOCK_RAW = 3;
const SOCK_NONBLOCK_CLOEXEC = 0x800 | 0x80000;

export const SOL_SOCKET = 1;
export const SOL_PACKET = 263;
export const SO_REUSEADDR = 2;
export const SO_NO_CHECK = 11;
export const SO_REUSEPORT = 15;
const SO_SNDBUF = 7;
const SO_RCVBUF = 8;
const SO_SNDBUFFORCE = 32;
const SO_RCVBUFFORCE = 33;

export const IPPROTO_IP = 0;
export const IPPROTO_UDP = 17;
export const IPPROTO_IPV6 = 41;
export const IPPROTO_RAW = 255;
export const IP_TOS = 1;
export const IP_TTL = 2;
export const IP_HDRINCL = 3;
export const IP_PKTINFO = 8;
export const IP_MTU_DISCOVER = 10;
export const IPV6_FLOWINFO = 11;
export const IPV6_UNICAST_HOPS = 16;
export const IPV6_MTU_DISCOVER = 23;
export const IPV6_V6ONLY = 26;
export const IPV6_PKTINFO = 50;
export const IPV6_HOPLIMIT = 52;
export const IPV6_TCLASS = 67;
export const IPV6_AUTOFLOWLABEL = 70;
/** DF set, the path MTU ignored: a packet is as big as we made it or is refused (both families use 3). */
export const PMTUDISC_PROBE = 3;
export const UDP_NO_CHECK6_TX = 101;
/** Option: bytes of each datagram that a longer message is cut into, 0 for none; control data: the same for one message, as u16. */
export const UDP_SEGMENT = 103;

/** A non-blocking socket, not inherited by children. `label` names it in the error. */
export function openSocket(family: number, type: number, protocol: number, label: string): number {
  return must(socketCall(family, type | SOCK_NONBLOCK_CLOEXEC, protocol), `socket for ${label}`);
}

/** False when this kernel has no such family: IPv6 with `ipv6.disable=1` on the kernel's command line, or not built in. */
export function hasFamily(family: number): boolean {
  const descriptor = socketCall(family, SOCK_DGRAM | SOCK_NONBLOCK_CLOEXEC, 0);
  if (descriptor < 0) return errno() !== E.EAFNOSUPPORT;
  closeDescriptor(descriptor);
  return true;
}

const integer = pin(8);

export function setOption(descriptor: number, level: number, name: number, value: number, label: string): void {
  integer.int32[0] = value;
  must(setsockoptCall(descriptor, level, name, integer.address, 4), `setsockopt ${label}`);
}

/** For an option that is switched on the packet path: false when the kernel refuses. */
export function switchOption(descriptor: number, level: number, name: number, value: number): boolean {
  integer.int32[0] = value;
  return setsockoptCall(descriptor, level, name, integer.address, 4) === 0;
}

/** An option whose value is a structure at `address`. */
export function setStructOption(
  descriptor: number,
  level: number,
  name: number,
  address: number,
  bytes: number,
  label: string,
): void {
  must(setsockoptCall(descriptor, level, name, address, bytes), `setsockopt ${label}`);
}

/** Reads an option's structure to `address`; returns how many bytes the kernel wrote. */
export function getStructOption(
  descriptor: number,
  level: number,
  name: number,
  address: number,
  bytes: number,
  label: string,
): number {
  integer.int32[0] = bytes;
  must(getsockoptCall(descriptor, level, name, address, integer.address), `getsockopt ${label}`);
  return integer.int32[0];
}

/** Send buffer in bytes: past net.core.wmem_max with CAP_NET_ADMIN, up to it without. */
export function setSendBuffer(descriptor: number, bytes: number): void {
  if (!switchOption(descriptor, SOL_SOCKET, SO_SNDBUFFORCE, bytes))
    setOption(descriptor, SOL_SOCKET, SO_SNDBUF, bytes, 'SO_SNDBUF');
}

/** Receive buffer in bytes, likewise. */
export function setReceiveBuffer(descriptor: number, bytes: number): void {
  if (!switchOption(descriptor, SOL_SOCKET, SO_RCVBUFFORCE, bytes))
    setOption(descriptor, SOL_SOCKET, SO_RCVBUF, bytes, 'SO_RCVBUF');
}

/** How a socket treats DF and the path MTU: PMTUDISC_PROBE, the same number in both families. */
export function setPathMtuDiscovery(descriptor: number, six: boolean, mode: number): void {
  if (six) setOption(descriptor, IPPROTO_IPV6, IPV6_MTU_DISCOVER, mode, 'IPV6_MTU_DISCOVER');
  else setOption(descriptor, IPPROTO_IP, IP_MTU_DISCOVER, mode, 'IP_MTU_DISCOVER');
}

/** Binds to a port on every address; false when the port is taken, throws on anything else. */
export function bindPort(descriptor: number, family: number, port: number): boolean {
  return bindAddress(descriptor, new Uint8Array(family === AF_INET ? 4 : 16), port, `port ${port}`);
}

/**
 * Binds to `address` (4 or 16 bytes; all zero: every address of that family) and `port`, 0 where the protocol has none. False when the port is
 * taken. `label` names the socket in errors.
 *
 *     struct sockaddr_in,  16 bytes:  | u16 family | be16 port | address[4] | zero[8] |
 *     struct sockaddr_in6, 28 bytes:  | u16 family | be16 port | u32 flow | address[16] | u32 scope |
 *
 * Throws CodedError: GD_RAW_SOCKET_NO_ADDRESS, GD_RAW_SOCKET_CALL.
 */
export function bindAddress(descriptor: number, address: Uint8Array, port: number, label: string): boolean {
  const six = address.length === 16;
  const name = pin(32);
  name.uint16[0] = six ? AF_INET6 : AF_INET;
  name.bytes[2] = port >> 8;
  name.bytes[3] = port;
  name.bytes.set(address, six ? 8 : 4);
  const bound = bindCall(descriptor, name.address, six ? 28 : 16);
  retain(name);
  if (bound < 0 && errno() === E.EADDRINUSE) return false;
  if (bound < 0 && errno() === E.EADDRNOTAVAIL) {
    throw new CodedError('GD_RAW_SOCKET_NO_ADDRESS', `${label}: the address to listen on is not an address of this host`, {
      exitCode: EXIT.FAILED,
      hint: 'ip address show',
    });
  }
  must(bound, `bind to ${label}`);
  return true;
}

/** A bound TCP socket listens from now on; connections that nobody accepts wait, `backlog` of them. */
export function listenOn(descriptor: number, backlog: number, label: string): void {
  must(listenCall(descriptor, backlog), `listen on ${label}`);
}

const ETH_P_ALL = 0x0003;

/** Binds a packet socket to one interface (0: all), for every protocol or one EtherType: from now on it receives. EtherType 0: it only sends. */
export function bindInterface(descriptor: number, index: number, label: string, etherType = ETH_P_ALL): void {
  // struct sockaddr_ll: u16 family, be16 protocol, int ifindex, u16 hatype, u8 pkttype, u8 halen, u8 address[8]
  const name = pin(24);
  name.uint16[0] = AF_PACKET;
  name.bytes[2] = etherType >> 8;
  name.bytes[3] = etherType;
  name.int32[1] = index;
  const result = bindCall(descriptor, name.address, 20);
  retain(name);
  must(result, `bind to ${label}`);
}
