/**
 * MSS clamp: lowers the maximum segment size that a SYN announces, so that the worker sends smaller segments (docs/mss-clamp.md says
 * what that can and can not do). Only services that ask for it; only SYNs are looked into.
 *
 *     TCP option, RFC 9293 §3.2:   | kind 2 | length 4 | MSS, 16 bits |
 *
 * A SYN without the option has said 536 already (RFC 9293 §3.7.1), so none is ever added. Options that can not be read, and those that are
 * signed (TCP-AO, RFC 5925 §5.1), leave the packet as it came; TCP-MD5 does not sign options (RFC 2385 §2).
 */
import { type Batch, VIRTIO_NEEDS_CSUM } from '../base/batch.ts';
import { VERDICT_FORWARD } from '../base/verdict.ts';
import { update16 } from '../wire/checksum.ts';
import * as tcp from '../wire/tcp.ts';
import {
  B_MOST_EXTRA,
  B_OVERHEAD,
  BACKEND_WORDS,
  H_BACKENDS,
  H_MSS_CLAMPS,
  H_SERVICES,
  MSS_CLAMP_AUTO,
  S_MSS_CLAMP,
  SERVICE_WORDS,
} from './layout.ts';
import type { Snapshot } from './snapshot.ts';

// Module-local: an imported constant is loaded from its module at every use (src/wire/README.md, "Constants").
const FORWARD = VERDICT_FORWARD;
const NEEDS_CSUM = VIRTIO_NEEDS_CSUM;
const HEADER = tcp.HEADER_LENGTH;
const CHECKSUM_AT = tcp.CHECKSUM_AT;
const SYN = tcp.SYN;
const SYN_RST = tcp.SYN | tcp.RST;
const OPTION_END = 0;
const OPTION_NONE = 1;
const OPTION_MSS = 2;
const OPTION_AO = 29;
const MSS_LENGTH = 4;
/** What an MSS leaves out: the IP header without options and the TCP header without options (RFC 6691 §2). */
const FIXED4 = 40;
const FIXED6 = 60;

/** SYNs that were changed in one batch; added to the thread's counters. */
export interface ClampTally {
  clamped: number;
}

/** True when every option from `from` to `end` can be read, an MSS option has its length, and none signs the others. */
function isReadable(view: DataView, from: number, end: number): boolean {
  let at = from;
  while (at < end) {
    const kind = view.getUint8(at);
    if (kind === OPTION_END) return true;
    if (kind === OPTION_NONE) {
      at++;
      continue;
    }
    if (kind === OPTION_AO || at + 1 >= end) return false;
    const length = view.getUint8(at + 1);
    if (length < 2 || at + length > end || (kind === OPTION_MSS && length !== MSS_LENGTH)) return false;
    at += length;
  }
  return true;
}

/**
 * Lowers every MSS option above `most` (1–65535) of the TCP header at `at`, which is whole with its options and has SYN. `partial`: the checksum
 * field holds no finished checksum (virtio-net NEEDS_CSUM not completed yet): it does not cover the option and stays. Otherwise it follows
 * by RFC 1624; a wrong one stays wrong by the same difference. Never raises, adds nothing. True when something was lowered.
 */
export function clampMss(view: DataView, at: number, most: number, partial: boolean): boolean {
  const end = at + tcp.headerLength(view, at);
  if (!isReadable(view, at + HEADER, end)) return false;
  let lowered = false;
  for (let here = at + HEADER; here < end; ) {
    const kind = view.getUint8(here);
    if (kind === OPTION_END) break;
    if (kind === OPTION_NONE) {
      here++;
      continue;
    }
    if (kind === OPTION_MSS) {
      const before = view.getUint16(here + 2);
      if (before > most) {
        view.setUint16(here + 2, most);
        if (!partial) {
          // At an odd place each byte stands in the other half of a checksum word (RFC 1071 §2 B).
          const odd = ((here - at) & 1) === 1;
          const old = odd ? ((before & 0xff) << 8) | (before >> 8) : before;
          const fresh = odd ? ((most & 0xff) << 8) | (most >> 8) : most;
          view.setUint16(at + CHECKSUM_AT, update16(view.getUint16(at + CHECKSUM_AT), old, fresh));
        }
        lowered = true;
      }
    }
    here += view.getUint8(here + 1);
  }
  return lowered;
}

/**
 * The clamp of one batch, between steer (which knows the backend) and segment. `pathMtu`: bytes of the largest outer packet for each
 * backend id, 0 while unknown; where it is unknown, or null, `auto` changes nothing. Costs one load for a batch while no service clamps.
 */
export function mssClampStage(batch: Batch, pathMtu: Int32Array | null): (snapshot: Snapshot, tally: ClampTally) => void {
  const { verdict, tcpFlags, service, backend, family, transportAt, gsoType, virtioFlags } = batch;
  const { view } = batch.arena;

  /** The largest segment that fits the tunnel of packet `i` whole; 0 when that is not known. */
  function fitting(i: number, words: Int32Array): number {
    const limit = pathMtu === null ? 0 : pathMtu[backend[i]];
    if (limit === 0) return 0;
    const record = words[H_BACKENDS] + backend[i] * BACKEND_WORDS;
    // The SYN speaks for packets to come, whatever these add.
    const overhead = words[record + B_OVERHEAD] + words[record + B_MOST_EXTRA];
    return Math.max(0, limit - overhead - (family[i] === 4 ? FIXED4 : FIXED6));
  }

  return function clamp(snapshot: Snapshot, tally: ClampTally): void {
    const words = snapshot.words;
    if (words[H_MSS_CLAMPS] === 0) return;
    const servicesAt = words[H_SERVICES];
    const count = batch.count;
    for (let i = 0; i < count; i++) {
      if ((tcpFlags[i] & SYN_RST) !== SYN || verdict[i] !== FORWARD) continue;
      const rule = words[servicesAt + service[i] * SERVICE_WORDS + S_MSS_CLAMP];
      if (rule === 0) continue;
      const most = rule === MSS_CLAMP_AUTO ? fitting(i, words) : rule;
      if (most === 0) continue;
      // What came as a single packet has its checksum completed already (classify).
      const partial = gsoType[i] !== 0 && (virtioFlags[i] & NEEDS_CSUM) !== 0;
      if (clampMss(view, transportAt[i], most, partial)) tally.clamped++;
    }
  };
}
