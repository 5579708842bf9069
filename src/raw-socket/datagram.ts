/** UDP sockets bound to one address: what receives tunnel packets. */
import { CodedError, EXIT } from '../base/errors.ts';
import { closeDescriptor } from './file.ts';
import { E, errno, libc, must } from './library.ts';
import { pin, retain } from './memory.ts';
import { AF_INET, AF_INET6, IPPROTO_IPV6, IPPROTO_UDP, openSocket, SOCK_DGRAM, setOption, setReceiveBuffer } from './socket.ts';

const bindCall = libc<(fd: number, at: number, bytes: number) => number>('int bind(int fd, uintptr_t at, unsigned int bytes)');

const IPV6_V6ONLY = 26;
/** Accept a zero UDP checksum over IPv6, which RFC 6935 allows for tunnels and Linux refuses unless told. */
const UDP_NO_CHECK6_RX = 102;

/**
 * A non-blocking UDP socket bound to `address` (4 or 16 bytes; all zero: every address of that family) and `port`. An IPv6 socket takes
 * IPv6 alone, and datagrams without a checksum. `receiveBuffer` in bytes is a wish: without CAP_NET_ADMIN the kernel caps it.
 *
 *     struct sockaddr_in,  16 bytes:  | u16 family | be16 port | address[4] | zero[8] |
 *     struct sockaddr_in6, 28 bytes:  | u16 family | be16 port | u32 flow | address[16] | u32 scope |
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
    const name = pin(32);
    name.uint16[0] = six ? AF_INET6 : AF_INET;
    name.bytes[2] = port >> 8;
    name.bytes[3] = port;
    name.bytes.set(address, six ? 8 : 4);
    const bound = bindCall(descriptor, name.address, six ? 28 : 16);
    retain(name);
    if (bound < 0 && errno() === E.EADDRINUSE) {
      throw new CodedError('GD_RAW_SOCKET_PORT_TAKEN', `${label} is taken by another program`, {
        hint: `ss -ulnp sport = :${port}`,
      });
    }
    if (bound < 0 && errno() === E.EADDRNOTAVAIL) {
      throw new CodedError('GD_RAW_SOCKET_NO_ADDRESS', `${label}: the address to listen on is not an address of this host`, {
        exitCode: EXIT.FAILED,
        hint: 'ip address show',
      });
    }
    must(bound, `bind ${label}`);
    return descriptor;
  } catch (error) {
    closeDescriptor(descriptor);
    throw error;
  }
}
