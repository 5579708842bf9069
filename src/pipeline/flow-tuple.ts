/**
 * A flow's addresses, ports and protocol, wherever they lie: in the packet's own headers, or in the packet that an ICMP error quotes (there
 * source and destination change places: the flow is the client's). What the tables are asked by where no flow entry answers.
 */
import type { Batch } from '../base/batch.ts';
import * as ipv4 from '../wire/ipv4.ts';
import * as ipv6 from '../wire/ipv6.ts';
import { PROTOCOL_SCTP } from '../wire/sctp.ts';

const TCP = ipv4.PROTOCOL_TCP;
const UDP = ipv4.PROTOCOL_UDP;
const SCTP = PROTOCOL_SCTP;
const SOURCE4 = ipv4.SOURCE_AT;
const DESTINATION4 = ipv4.DESTINATION_AT;
const SOURCE6 = ipv6.SOURCE_AT;
const DESTINATION6 = ipv6.DESTINATION_AT;

/** The ports of packet `i` as `FlowTuple.ports` has them, 0 where its protocol has none (what lies there is something else). */
export function ownPorts(batch: Batch, i: number): number {
  const protocol = batch.protocol[i];
  if (protocol !== TCP && protocol !== UDP && protocol !== SCTP) return 0;
  return batch.arena.view.getInt32(batch.transportAt[i]);
}

/** Made once for each stage, filled for each packet: an object for every packet would be garbage. */
export class FlowTuple {
  readonly view: DataView;
  /** 4 or 6. */
  family = 4;
  /** Places of the client's and of the service's address in `view`, 4 or 16 bytes each. */
  sourceAt = 0;
  destinationAt = 0;
  /** Client's port in the upper half, service's in the lower, int32 as read big-endian; 0 where a protocol or a fragment has none. */
  ports = 0;
  protocol = 0;
  /** Set by `tableBackendOf`: 1 when Katran takes the service's port for 0. */
  allPorts = 0;
  /** Set by `tableBackendOf` where the pool's scheme is glb: low words of the hashes that chose the rows. */
  rowHash = 0;
  secondRowHash = 0;

  constructor(view: DataView) {
    this.view = view;
  }

  /** Takes packet `i`'s own addresses and protocol; `ports` as given: 0 for a later fragment. */
  fromPacket(batch: Batch, i: number, ports: number): void {
    const at = batch.networkAt[i];
    const isInner4 = batch.family[i] === 4;
    this.family = isInner4 ? 4 : 6;
    this.sourceAt = at + (isInner4 ? SOURCE4 : SOURCE6);
    this.destinationAt = at + (isInner4 ? DESTINATION4 : DESTINATION6);
    this.ports = ports;
    this.protocol = batch.protocol[i];
  }
}
