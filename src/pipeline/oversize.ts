/**
 * What becomes of a packet that is too big for its tunnel: cut into smaller TCP segments where that is safe, answered with ICMP, or
 * dropped, as its service's policy says (docs/oversize.md). Asked only for packets that do not fit.
 */
import type { Batch } from '../base/batch.ts';
import { dropReason } from '../base/drop-reason.ts';
import { VERDICT_DROP } from '../base/verdict.ts';
import * as tcp from '../wire/tcp.ts';
import { OVERSIZE_DROP } from './layout.ts';
import { type ReplyRate, replyKey } from './reply-rate.ts';
import { answerTooBig, toldMtu, tooBigLength } from './too-big.ts';

const TOO_BIG = dropReason('too-big');
const TOO_BIG_RATE = dropReason('too-big-rate');

/** Flags that a cut can not keep right: SYN and RST open and end, URG points into the payload. */
const UNSAFE_FLAGS = tcp.SYN | tcp.RST | tcp.URG;
/** Reserved bits but the lowest, which is AE (RFC 9768): what they mean is not known. */
const UNKNOWN_BITS = 0x0e;
const OPTION_END = 0;
const OPTION_NONE = 1;
/** RFC 2385, RFC 5925: a signature over the segment as its sender made it. */
const OPTION_MD5 = 19;
const OPTION_AO = 29;

/**
 * True when the TCP segment whose header lies at `at`, whole with its options, may be cut into several: no flag, no bit and no option speaks
 * against it. What the IP header says against it (fragments, extension headers) `segmentTcp` refuses.
 */
export function mayCut(view: DataView, at: number): boolean {
  if ((tcp.flags(view, at) & UNSAFE_FLAGS) !== 0 || (view.getUint8(at + tcp.DATA_OFFSET_AT) & UNKNOWN_BITS) !== 0) return false;
  const end = at + tcp.headerLength(view, at);
  let here = at + tcp.HEADER_LENGTH;
  while (here < end) {
    const kind = view.getUint8(here);
    if (kind === OPTION_END) return true;
    if (kind === OPTION_NONE) {
      here++;
      continue;
    }
    if (kind === OPTION_MD5 || kind === OPTION_AO || here + 1 >= end) return false;
    const length = view.getUint8(here + 1);
    // Options that can not be read may hide one of the two.
    if (length < 2 || here + length > end) return false;
    here += length;
  }
  return true;
}

/**
 * Answers packet `i`, whose largest segment (or itself) has `largest` bytes, that `innerMtu` is what fits; or drops it, when `policy` says
 * so, no answer is allowed, or too many were given. Its headers must be as they came. True when it was answered. `now`: seconds.
 */
export function refuseOversize(
  batch: Batch,
  i: number,
  largest: number,
  innerMtu: number,
  policy: number,
  rate: ReplyRate,
  now: number,
): boolean {
  const { view } = batch.arena;
  const at = batch.networkAt[i];
  const family = batch.family[i];
  batch.reason[i] = TOO_BIG;
  // A super-packet is longer than its segments: when these are no larger than the MTU that would be named, an answer could not help.
  const helps = policy !== OVERSIZE_DROP && largest > toldMtu(family, innerMtu);
  if (helps && tooBigLength(view, at, batch.networkLength[i], family, innerMtu) > 0) {
    if (!rate.allow(replyKey(view, at, family), now)) batch.reason[i] = TOO_BIG_RATE;
    else if (answerTooBig(batch, i, innerMtu) > 0) {
      batch.reason[i] = 0;
      return true;
    }
  }
  batch.verdict[i] = VERDICT_DROP;
  return false;
}
