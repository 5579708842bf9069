/** UDP sockets bound to one address: what receives tunnel packets. */
import { CodedError } from '../base/errors.ts';
import { closeDescriptor } from './file.ts';
import { pin } from './memory.ts';
import type { MessageVector } from './message.ts';
import {
  AF_INET,
  AF_INET6,
  bindAddress,
  getStructOption,
  IPPROTO_IPV6,
  IPPROTO_UDP,
  openSocket,
  SOCK_DGRAM,
  SOL_SOCKET,
  setOption,
  setReceiveBuffer,
  switchOption,
} from './socket.ts';

const IPV6_V6ONLY = 26;
/** Accept a zero UDP checksum over IPv6, which RFC 6935 allows for tunnels and Linux refuses unless told. */
const UDP_NO_CHECK6_RX = 102;
const UDP_GRO = 104;

/** Control data of a received train: what a MessageVector needs per message. CMSG_SPACE of an int. */
export const TRAIN_CONTROL = 24;
/** What the kernel writes of it: CMSG_LEN of an int. */
const TRAIN_CONTROL_WRITTEN = 20;

const SO_MEMINFO = 55;
/** SK_MEMINFO_VARS of linux/sock_diag.h: u32 each; SK_MEMINFO_DROPS is the last. */
const MEMINFO_BYTES = 36;

/**
 * A non-blocking UDP socket bound to `address` (4 or 16 bytes; all zero: every address of that family) and `port`. An IPv6 socket takes
 * IPv6 alone, and datagrams without a checksum. `receiveBuffer` in bytes is a wish: without CAP_NET_ADMIN the kernel caps it.
 *
 * Throws CodedError: GD_RAW_SOCKET_PORT_TAKEN, GD_RAW_SOCKET_NO_ADDRESS, GD_RAW_SOCKET_CALL.
 */
export function openDatagramSocket(address: Uint8Array, port: number, receiveBuffer: number): number {
  const six = address.length === 16;
  const label = `UDP port ${port} over IPv${six ? 6 : 4}`;
  const descriptor = openSocket(six ? AF_INET6 : AF_INET, SOCK_DGRAM, 0, label);
  try {
    if (six) {
      setOption(descriptor, IPPROTO_IPV6, IPV6_V6ONLY, 1, 'IPV6_V6ONLY');
      setOption(descriptor, IPPROTO_UDP, UDP_NO_CHECK6_RX, 1, 'UDP_NO_CHECK6_RX');
    }
    setReceiveBuffer(descriptor, receiveBuffer);
    if (!bindAddress(descriptor, address, port, label)) {
      throw new CodedError('GD_RAW_SOCKET_PORT_TAKEN', `${label} is taken by another program`, {
        hint: `ss -ulnp sport = :${port}`,
      });
    }
    return descriptor;
  } catch (error) {
    closeDescriptor(descriptor);
    throw error;
  }
}

/**
 * From now on one message may carry many datagrams of one sender, merged by the kernel (GRO) or never cut by it (a neighbour's
 * UDP_SEGMENT over a virtual link). False when the kernel can not (Linux < 5.0).
 */
export function receiveTrains(descriptor: number): boolean {
  return switchOption(descriptor, IPPROTO_UDP, UDP_GRO, 1);
}

/**
 * Messages that the kernel threw away since the socket was opened, because nobody had taken what came before them (the receive buffer was
 * full) or because their checksum was wrong. A train counts as one.
 */
export function receiveDrops(descriptor: number): number {
  const info = pin(MEMINFO_BYTES + 4);
  getStructOption(descriptor, SOL_SOCKET, SO_MEMINFO, info.address, MEMINFO_BYTES, 'SO_MEMINFO');
  return info.int32[8] >>> 0;
}

/**
 * Bytes per datagram of received message `i`, whose last datagram may be shorter; 0 when the message is one datagram. The vector has
 * TRAIN_CONTROL bytes of control data per message, and `setControlLength` has offered them before the call.
 *
 *     struct cmsghdr, 24 bytes:  | u64 length 20 | i32 level SOL_UDP | i32 type UDP_GRO | i32 size | pad |
 */
export function trainSize(messages: MessageVector, i: number): number {
  if (messages.controlLength(i) < TRAIN_CONTROL_WRITTEN) return 0;
  const at = messages.controlAt(i) >> 2;
  const words = messages.int32;
  return words[at + 2] === IPPROTO_UDP && words[at + 3] === UDP_GRO ? words[at + 4] : 0;
}
