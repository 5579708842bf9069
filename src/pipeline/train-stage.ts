/**
 * Outer headers of trains: in front of each segment's inner headers, in its record. Not as fast as the plain single packet's way and need not
 * be: one super-packet carries dozens of kilobytes.
 *
 *     record k:  | outer headers (outer-headers.ts) | inner headers |
 */
import { RECORD_STRIDE } from '../base/arena.ts';
import type { Batch } from '../base/batch.ts';
import { dropReason } from '../base/drop-reason.ts';
import { VERDICT_DROP, VERDICT_FORWARD } from '../base/verdict.ts';
import * as checksum from '../wire/checksum.ts';
import * as ipv4 from '../wire/ipv4.ts';
import { DF_CLEAR, DF_COPY } from './header-policy.ts';
import { B_CHECKSUM, B_FAMILY, B_POLICY, BACKEND_WORDS, CHECKSUM_REMOTE, H_BACKENDS } from './layout.ts';
import { innerSum } from './local-checksum.ts';
import { NO_CHECKSUM, type OuterHeaders, wantsChecksum } from './outer-headers.ts';
import { OUTER6 } from './outer-template.ts';
import { leaveSegmentPartial } from './remote-checksum.ts';
import { copyHeaders } from './segment-headers.ts';
import type { Snapshot } from './snapshot.ts';

const TOO_BIG = dropReason('too-big');
const MAX_DATAGRAM = 65535;
// Module-local: an imported constant is loaded from its module at every use (src/wire/README.md, "Constants").
const STRIDE = RECORD_STRIDE;

/**
 * The encapsulation of a batch's trains. A segment's outer checksum comes from headers alone, because its own checksum is right
 * (local-checksum.ts); a fragment's from its bytes. `trainsNeedChecksum`: backends with checksum `auto` get it over IPv4 too.
 */
export function trainStage(batch: Batch, headers: OuterHeaders, trainsNeedChecksum = false): (snapshot: Snapshot) => void {
  const { verdict, reason, backend, networkAt, transportAt, family, protocol, tunnelExtra } = batch;
  const { recordAt, segmentCount, pieceHeader, pieceAt, pieceLength } = batch;
  const { view, recordsAt } = batch.arena;

  /** Partial of the inner packet at `inner`, in the record at `at`. */
  function sumOf(i: number, at: number, inner: number, innerLength: number): number {
    if (family[i] !== 4 || !ipv4.isFragment(view, inner))
      return innerSum(view, inner, inner + transportAt[i] - networkAt[i], innerLength, protocol[i]);
    // Its transport checksum, if it has one at all, is that of the whole datagram: these bytes are to be summed. A right IPv4 header is zero.
    const number = ((at - recordsAt) / STRIDE) | 0;
    const header = ipv4.headerLength(view, inner);
    const start = checksum.sum(view, inner + header, at + pieceHeader[number] - inner - header, 0);
    return checksum.sum(view, pieceAt[number], pieceLength[number], start);
  }

  return function encapsulateTrains(snapshot: Snapshot): void {
    const words = snapshot.words;
    const count = batch.count;
    for (let i = 0; i < count; i++) {
      if (recordAt[i] < 0 || verdict[i] !== VERDICT_FORWARD) continue;
      const record = words[H_BACKENDS] + backend[i] * BACKEND_WORDS;
      const overhead = headers.overhead(i, words, record);
      const first = recordAt[i];
      const segments = segmentCount[i];
      const number = batch.recordOf(i, 0);
      const isOuter4 = words[record + B_FAMILY] === 4;
      let largest = 0;
      let total = 0;
      for (let k = 0; k < segments; k++) {
        const bytes = pieceHeader[number + k] + pieceLength[number + k];
        largest = Math.max(largest, bytes);
        total += bytes;
      }
      // IPv6 counts its header apart.
      if ((isOuter4 ? largest : largest - OUTER6) > MAX_DATAGRAM) {
        verdict[i] = VERDICT_DROP;
        reason[i] = TOO_BIG;
        continue;
      }
      const port = headers.port(i, words, record);
      const wanted = wantsChecksum(words, record, trainsNeedChecksum);
      const isPartial = tunnelExtra[i] > 0 && words[record + B_CHECKSUM] === CHECKSUM_REMOTE;
      // Each with an identification of its own.
      const isNumbered = (words[record + B_POLICY] & (DF_COPY | DF_CLEAR)) !== 0;
      const isFragment = family[i] === 4 && ipv4.isFragment(view, first + overhead);
      let written = -1;
      for (let k = 0; k < segments; k++) {
        const at = first + k * STRIDE;
        const length = pieceHeader[number + k] - overhead + pieceLength[number + k];
        // Equally long segments have one and the same outer header: their checksums, being right, say nothing about their content.
        if (length === written && !isFragment && !isPartial && !isNumbered) copyHeaders(view, at - STRIDE, view, at, overhead);
        else {
          const inner = at + overhead;
          let innerPartial = NO_CHECKSUM;
          if (isPartial) innerPartial = leaveSegmentPartial(batch, i, inner, length);
          else if (wanted) innerPartial = sumOf(i, at, inner, length);
          headers.write(i, words, record, at, length, port, innerPartial);
        }
        written = length;
      }
      headers.describe(i, words, record, first, total, port);
    }
  };
}
