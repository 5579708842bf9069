/**
 * Packets too big for their tunnel, seen from main: while a steady part of the traffic has to be cut or fragmented, the journal says so and which
 * MTU would end it. A burst is none of its business: clients that learn what fits soon stop.
 */
import { counterAt, sumOf } from '../base/counters.ts';

/** Looks in a row in which enough packets were too big. */
const STEADY_LOOKS = 3;
/** Enough: one packet in so many, and more than a handful. */
const ONE_IN = 100;
const HANDFUL = 100;
/** Looks without a further word while it goes on: an hour of looks every ten seconds. */
const QUIET_LOOKS = 360;
/** The largest packet that clients send over Ethernet. */
const CLIENT_MTU = 1500;

const RECEIVED = counterAt('received_packets_total');
const PARTED = [
  counterAt('resegmented_packets_total'),
  counterAt('fragmented_inner_packets_total'),
  counterAt('fragmented_outer_packets_total'),
];

/** What is known of the way to a backend (host/path-mtu.ts PathMtuEntry fits). */
export interface WayToBackend {
  readonly pool: string;
  readonly name: string;
  /** 0 while unknown. */
  readonly mtu: number;
  /** Bytes of outer headers. */
  readonly overhead: number;
  readonly link: { readonly name: string; readonly mtu: number } | null;
}

export interface OversizeHint {
  readonly text: string;
  readonly hint: string;
  /** Packets that were cut or fragmented in the looks that made it steady. */
  readonly packets: number;
  /** The MTU that full client packets need; 0 when all ways have it, so that larger packets must have come. */
  readonly needed: number;
}

export class OversizeWatch {
  #received = 0;
  #parted = 0;
  #steady = 0;
  #packets = 0;
  #quiet = 0;

  /** To be called every ten seconds. What is to be said, null when nothing is. */
  look(banks: readonly Float64Array[], ways: readonly WayToBackend[]): OversizeHint | null {
    const received = sumOf(banks, RECEIVED);
    const parted = PARTED.reduce((sum, at) => sum + sumOf(banks, at), 0);
    const rose = parted - this.#parted;
    const isMuch = rose > HANDFUL && rose * ONE_IN >= received - this.#received;
    this.#received = received;
    this.#parted = parted;
    if (this.#quiet > 0) this.#quiet--;
    if (!isMuch) {
      this.#steady = 0;
      this.#packets = 0;
      return null;
    }
    this.#steady++;
    this.#packets += rose;
    if (this.#steady < STEADY_LOOKS || this.#quiet > 0) return null;
    this.#quiet = QUIET_LOOKS;
    return hintOf(this.#packets, ways);
  }
}

/** Names the way that lacks most. */
function hintOf(packets: number, ways: readonly WayToBackend[]): OversizeHint {
  const said = `${packets} packets in ${STEADY_LOOKS * 10} seconds were too big for their tunnel and had to be cut`;
  const lacking = (way: WayToBackend) => CLIENT_MTU + way.overhead - way.mtu;
  const small = ways.filter((way) => way.mtu > 0 && lacking(way) > 0).sort((a, b) => lacking(b) - lacking(a));
  if (small.length === 0) {
    const hint =
      'curl -s http://127.0.0.1:6079/metrics | grep path_mtu_bytes shows what the ways carry; clients send larger packets than 1,500 bytes';
    return { text: said, hint, packets, needed: 0 };
  }
  const { pool, name, mtu, overhead, link } = small[0];
  const needed = Math.max(...small.map((way) => CLIENT_MTU + way.overhead));
  const text = `${said}: the way to backend ${pool}/${name} carries ${mtu} bytes, full client packets need ${CLIENT_MTU + overhead}; raise the link MTU to ${needed}`;
  const own = link !== null && link.mtu < needed;
  return {
    text,
    hint: own ? `ip link set dev ${link.name} mtu ${needed}` : 'tracepath -n to the backend shows where the small link is',
    packets,
    needed,
  };
}
