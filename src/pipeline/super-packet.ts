/**
 * What the virtio-net header of a super-packet may say, held against the packet itself. The rules are those by which the Linux kernel
 * takes such a frame from a TUN device (drivers/net/tun_vnet.h, include/linux/virtio_net.h virtio_net_hdr_to_skb): what it refuses is
 * refused here, before anything is segmented.
 */
import { type Batch, VIRTIO_NEEDS_CSUM } from '../base/batch.ts';
import * as ipv4 from '../wire/ipv4.ts';
import * as tcp from '../wire/tcp.ts';
import * as udp from '../wire/udp.ts';
import * as virtioNet from '../wire/virtio-net.ts';
import * as train from './train.ts';

// Local names: an imported constant is loaded from its module at every use.
const TCP = ipv4.PROTOCOL_TCP;
const UDP = ipv4.PROTOCOL_UDP;
const NEEDS_CSUM = VIRTIO_NEEDS_CSUM;
const GSO_TCPV4 = virtioNet.GSO_TCPV4;
const GSO_TCPV6 = virtioNet.GSO_TCPV6;
const GSO_UDP_L4 = virtioNet.GSO_UDP_L4;
const ECN = virtioNet.GSO_BIT_ECN;
const REFUSED_TYPE = train.REFUSED_TYPE;
const REFUSED_SIZE = train.REFUSED_SIZE;
const REFUSED_LENGTH = train.REFUSED_LENGTH;
const REFUSED_PLACE = train.REFUSED_PLACE;
const REFUSED_CHECKSUM = train.REFUSED_CHECKSUM;

/**
 * Packet `i`, classified (family, protocol and offsets are set) and with a gso type: 0 when its virtio-net facts describe it, or a
 * refusal (train.ts). The segment functions check the packet's own lengths.
 */
export function checkSuperPacket(batch: Batch, i: number): number {
  const type = batch.gsoType[i];
  const isTcp = batch.protocol[i] === TCP;
  if (isTcp) {
    // The ECN bit says that CWR is set on the first segment only; it changes nothing (tcp_gso_segment looks at the flag itself).
    if ((type & ~ECN) !== (batch.family[i] === 4 ? GSO_TCPV4 : GSO_TCPV6)) return REFUSED_TYPE;
  } else if (batch.protocol[i] !== UDP || type !== GSO_UDP_L4) {
    return REFUSED_TYPE;
  }
  if (batch.gsoSize[i] === 0 || batch.gsoSize[i] === 0xffff) return REFUSED_SIZE;
  if (batch.headerLength[i] > batch.frameLength[i]) return REFUSED_LENGTH;
  if ((batch.virtioFlags[i] & NEEDS_CSUM) === 0) return isTcp ? 0 : REFUSED_CHECKSUM;
  const field = isTcp ? tcp.CHECKSUM_AT : udp.CHECKSUM_AT;
  const rightPlace = batch.frameAt[i] + batch.csumStart[i] === batch.transportAt[i] && batch.csumOffset[i] === field;
  return rightPlace ? 0 : REFUSED_PLACE;
}
