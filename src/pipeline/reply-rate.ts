/**
 * How often the director may answer: a token bucket for all answers and one for each destination, in memory that never grows.
 *
 *     answer to 192.0.2.7 ──► bucket of 192.0.2.7 ──► bucket of all ──► sent
 *                             empty: not sent         empty: not sent
 *
 * The destination is asked first and pays only when both allow, so that one noisy client can not use up what is there for all (Linux
 * since 6.12 asks in this order for the same reason). Buckets of destinations lie in a fixed table found by a hash: two destinations
 * may share one, and then share its rate.
 *
 * Linux exempts "fragmentation needed" and "packet too big" from its limits, since a path without them is a black hole (icmpv4_mask_allow;
 * net.ipv6.icmp.ratemask leaves type 2 out). A director answers for many clients at once and may be flooded, so ours are limited, at
 * Linux's rate for all other errors (net.ipv4.icmp_msgs_per_sec), but not at its one per second and destination: behind
 * one address there may be many clients, each of which needs its answer.
 */
import * as ipv4 from '../wire/ipv4.ts';
import * as ipv6 from '../wire/ipv6.ts';

export interface ReplyRateOptions {
  /** Answers per second, and most at once: 1–65,535. */
  readonly perSecond: number;
  readonly burst: number;
  /** The same for one destination. */
  readonly destinationPerSecond: number;
  readonly destinationBurst: number;
  /** Buckets for destinations, a power of two, 8 bytes each. */
  readonly buckets: number;
  /** Any int32. With a random one nobody can find out which addresses share a bucket. */
  readonly seed: number;
}

/**
 * Per forwarding thread. A burst of one second's rate, because time comes in whole seconds: with less, a bucket that is filled once a
 * second would never give its rate.
 */
export const REPLY_RATE: ReplyRateOptions = {
  perSecond: 1000,
  burst: 1000,
  destinationPerSecond: 100,
  destinationBurst: 100,
  buckets: 4096,
  seed: 0,
};

/** Words of a bucket: the second it was last filled, and the answers left. */
const WORDS = 2;
const LARGEST_RATE = 65535;

/** Spreads a 32-bit value over all bits (the finalizer of MurmurHash3). */
function mix(value: number): number {
  let h = value;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return h ^ (h >>> 16);
}

/**
 * The destination of an answer to the IP packet at `at` as int32: its source address. IPv6: the /64, of which one client may have every
 * address.
 */
export function replyKey(view: DataView, at: number, family: number): number {
  if (family === 4) return ipv4.source(view, at);
  const sourceAt = at + ipv6.SOURCE_AT;
  return mix(view.getInt32(sourceAt)) ^ view.getInt32(sourceAt + 4);
}

export class ReplyRate {
  /** Answers not given since the start because all answers together were too many, or those to one destination. */
  suppressed = 0;
  suppressedByDestination = 0;
  readonly #options: ReplyRateOptions;
  readonly #mask: number;
  readonly #destinations: Int32Array;
  readonly #all: Int32Array;

  /** Options left out are those of REPLY_RATE. Throws RangeError for a rate or number of buckets that can not be. */
  constructor(options: Partial<ReplyRateOptions> = {}) {
    const chosen = { ...REPLY_RATE, ...options };
    for (const rate of [chosen.perSecond, chosen.burst, chosen.destinationPerSecond, chosen.destinationBurst])
      if (!Number.isInteger(rate) || rate < 1 || rate > LARGEST_RATE)
        throw new RangeError(`a rate of ${rate}: need 1 to ${LARGEST_RATE}`);
    const { buckets } = chosen;
    if (!Number.isInteger(buckets) || buckets < 1 || buckets > 1 << 24 || (buckets & (buckets - 1)) !== 0)
      throw new RangeError(`${buckets} buckets: need a power of two, at most ${1 << 24}`);
    this.#options = chosen;
    this.#mask = buckets - 1;
    // Each over a buffer of its own: its address stays where it is.
    this.#destinations = new Int32Array(new ArrayBuffer(buckets * WORDS * 4));
    this.#all = new Int32Array(new ArrayBuffer(WORDS * 4));
    for (let b = 0; b < buckets; b++) this.#destinations[b * WORDS + 1] = chosen.destinationBurst;
    this.#all[1] = chosen.burst;
  }

  /**
   * Whether the answer to destination `key` (`replyKey`) may be sent; if so it is counted as sent. `now`: whole seconds of any steady
   * clock, the pipeline's own; a step back fills nothing.
   */
  allow(key: number, now: number): boolean {
    const { perSecond, burst, destinationPerSecond, destinationBurst, seed } = this.#options;
    const at = (mix(key ^ seed) & this.#mask) * WORDS;
    if (fill(this.#destinations, at, now, destinationPerSecond, destinationBurst) === 0) {
      this.suppressedByDestination++;
      return false;
    }
    if (fill(this.#all, 0, now, perSecond, burst) === 0) {
      this.suppressed++;
      return false;
    }
    this.#destinations[at + 1]--;
    this.#all[1]--;
    return true;
  }
}

/** Fills the bucket at `at` for the time since it was last filled. Returns what is in it. */
function fill(table: Int32Array, at: number, now: number, rate: number, burst: number): number {
  const passed = now - table[at];
  if (passed !== 0) {
    table[at] = now;
    if (passed > 0) {
      // A rate is at least 1, so `burst` seconds fill any bucket, and the product stays small.
      table[at + 1] = Math.min(burst, table[at + 1] + Math.min(passed, burst) * rate);
    }
  }
  return table[at + 1];
}
