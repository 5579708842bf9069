/**
 * A super-packet that is not cut here: it gets one outer header, and the kernel behind the egress cuts it inside its tunnel (egress
 * tap-offload, Linux ≥ 6.17).
 *
 *     | outer IP, UDP, GUE | inner IP | TCP or UDP, its checksum the pseudo-header's sum | payload, 2 and more segments |
 *
 * What the kernel would drop without a word, or make wrong packets of, must not come so far: whatever is odd about the packet is left to
 * the cut in software, which knows what to say about it.
 */
import { type Batch, VIRTIO_NEEDS_CSUM } from '../base/batch.ts';
import * as checksum from '../wire/checksum.ts';
import * as ipv4 from '../wire/ipv4.ts';
import * as tcp from '../wire/tcp.ts';
import * as udp from '../wire/udp.ts';
import { checkNetwork, pseudoSum } from './segment-headers.ts';
import { MAX_DATAGRAMS, MAX_SEGMENTS, planTrain } from './train.ts';

// Module-local: an imported constant is loaded from its module at every use (src/wire/README.md, "Constants").
const TCP = ipv4.PROTOCOL_TCP;
const TCP_HEADER = tcp.HEADER_LENGTH;
const UDP_HEADER = udp.HEADER_LENGTH;
const NEEDS_CSUM = VIRTIO_NEEDS_CSUM;
const MOST_SEGMENTS = MAX_SEGMENTS;
const MOST_DATAGRAMS = MAX_DATAGRAMS;
/** What the outer header's own length field can say. */
const MAX_PACKET = 65535;

/**
 * Segments of `size` bytes that the kernel will make of super-packet `i` behind `overhead` bytes of outer headers; its segmentSize and
 * segmentCount are set, and its checksum field holds the pseudo-header's sum over its whole length. 0 when it must be cut here: its
 * checksum is finished (cutting verifies it), it makes no two segments, it is too long for one outer header, or something about it is wrong.
 */
export function leaveWhole(batch: Batch, i: number, size: number, overhead: number): number {
  const length = batch.networkLength[i];
  if ((batch.virtioFlags[i] & NEEDS_CSUM) === 0 || length + overhead > MAX_PACKET) return 0;
  const { view } = batch.arena;
  const network = batch.networkAt[i];
  const transport = batch.transportAt[i];
  const end = network + length;
  const protocol = batch.protocol[i];
  if (checkNetwork(view, network, transport, end, protocol) !== 0) return 0;
  const isTcp = protocol === TCP;
  const header = isTcp ? tcp.headerLength(view, transport) : UDP_HEADER;
  if (isTcp ? header < TCP_HEADER : udp.length(view, transport) !== end - transport) return 0;
  const count = planTrain(end - transport - header, size, isTcp ? MOST_SEGMENTS : MOST_DATAGRAMS);
  if (count < 2) return 0;
  // Written anew: the kernel takes what stands here for right.
  const sum = checksum.fold(pseudoSum(view, network, protocol, batch.family[i] === 4) + end - transport);
  if (isTcp) tcp.setChecksum(view, transport, sum);
  else udp.setChecksum(view, transport, sum);
  batch.segmentSize[i] = size;
  batch.segmentCount[i] = count;
  return count;
}
