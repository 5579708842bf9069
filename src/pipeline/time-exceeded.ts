/**
 * The answer to a packet whose TTL or hop limit ran out here: ICMP "time exceeded in transit" (type 11 code 0, RFC 792), ICMPv6 "hop limit
 * exceeded" (type 3 code 0, RFC 4443 §3.3), as a router gives it, so that traceroute to a service shows the director. How an error is
 * written and what is never answered, icmp-error.ts says. docs/icmp.md has the rest.
 *
 * A stage of its own behind classify, which marks such packets as drops: it runs only for batches that have one.
 */
import type { Batch } from '../base/batch.ts';
import { dropReason } from '../base/drop-reason.ts';
import { VERDICT_DROP } from '../base/verdict.ts';
import * as icmpv4 from '../wire/icmpv4.ts';
import * as icmpv6 from '../wire/icmpv6.ts';
import { answerError, errorLength } from './icmp-error.ts';
import { type ReplyRate, replyKey } from './reply-rate.ts';

const TTL_EXPIRED = dropReason('ttl-expired');
const TTL_EXPIRED_RATE = dropReason('ttl-expired-rate');
const EXCEEDED4 = (icmpv4.TYPE_TIME_EXCEEDED << 8) | icmpv4.CODE_TTL_EXCEEDED;
const EXCEEDED6 = (icmpv6.TYPE_TIME_EXCEEDED << 8) | icmpv6.CODE_HOP_LIMIT_EXCEEDED;

export interface ExpiredTally {
  /** Packets whose TTL ran out in this batch: written by classify. */
  expired: number;
  /** Those that were answered. */
  expiredAnswered: number;
}

/**
 * Turns packet `i` into the answer that its TTL ran out, in its own slot: verdict reply, outAt and outLength. Its headers must be as they
 * came. Returns the bytes of the answer without its link header, or 0 when it must not be answered: then nothing was changed.
 */
export function answerExpired(batch: Batch, i: number): number {
  const family = batch.family[i];
  const length = errorLength(batch.arena.view, batch.networkAt[i], batch.networkLength[i], family);
  return length === 0 ? 0 : answerError(batch, i, length, family === 4 ? EXCEEDED4 : EXCEEDED6, 0);
}

/** Answers the packets of one batch that classify dropped as `ttl-expired`, as often as `rate` allows. `now`: seconds. */
export function timeExceededStage(batch: Batch, rate: ReplyRate): (now: number, tally: ExpiredTally) => void {
  const { verdict, reason, networkAt, networkLength, family } = batch;
  const { view } = batch.arena;

  return function answerExpiredPackets(now: number, tally: ExpiredTally): void {
    for (let i = 0; i < batch.count; i++) {
      if (reason[i] !== TTL_EXPIRED || verdict[i] !== VERDICT_DROP) continue;
      // Asked first, so that what is never answered does not use up what others may have.
      if (errorLength(view, networkAt[i], networkLength[i], family[i]) === 0) continue;
      if (!rate.allow(replyKey(view, networkAt[i], family[i]), now)) reason[i] = TTL_EXPIRED_RATE;
      else if (answerExpired(batch, i) > 0) {
        reason[i] = 0;
        tally.expiredAnswered++;
      }
    }
  };
}
