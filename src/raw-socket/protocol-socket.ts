/** Raw sockets that receive one IP protocol: IP in IP and GRE, which have no ports. */
import { closeDescriptor } from './file.ts';
import { AF_INET, AF_INET6, bindAddress, openSocket, SOCK_RAW, setReceiveBuffer } from './socket.ts';

/**
 * A non-blocking raw socket for packets of `protocol` to `address` (4 or 16 bytes; all zero: every address of that family). Over IPv4 what
 * it gives begins with the outer IP header, over IPv6 behind it (raw(7), RFC 3542 §3); fragments come reassembled. As long as it is
 * open the kernel answers no such packet with "protocol unreachable" (ip_local_deliver_finish). Needs CAP_NET_RAW.
 *
 * Throws CodedError: GD_RAW_SOCKET_NO_ADDRESS, GD_RAW_SOCKET_CALL.
 */
export function openProtocolSocket(address: Uint8Array, protocol: number, receiveBuffer: number): number {
  const six = address.length === 16;
  const label = `IP protocol ${protocol} over IPv${six ? 6 : 4}`;
  const descriptor = openSocket(six ? AF_INET6 : AF_INET, SOCK_RAW, protocol, label);
  try {
    setReceiveBuffer(descriptor, receiveBuffer);
    bindAddress(descriptor, address, 0, label);
    return descriptor;
  } catch (error) {
    closeDescriptor(descriptor);
    throw error;
  }
}
