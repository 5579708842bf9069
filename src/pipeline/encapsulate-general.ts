/** Encapsulation of single packets whose tunnel is not the plain one: through the general writer (outer-headers.ts). */
import type { Batch } from '../base/batch.ts';
import { dropReason } from '../base/drop-reason.ts';
import { VERDICT_DROP } from '../base/verdict.ts';
import * as checksum from '../wire/checksum.ts';
import * as ipv4 from '../wire/ipv4.ts';
import * as ipv6 from '../wire/ipv6.ts';
import { B_CHECKSUM, B_FAMILY, CHECKSUM_REMOTE } from './layout.ts';
import { NO_CHECKSUM, type OuterHeaders, wantsChecksum } from './outer-headers.ts';
import { OUTER4, OUTER6 } from './outer-template.ts';
import { leaveSinglePartial } from './remote-checksum.ts';

const TOO_BIG = dropReason('too-big');
// Module-local: an imported constant is loaded from its module at every use (src/wire/README.md, "Constants").
const DROP = VERDICT_DROP;
const FAMILY = B_FAMILY;
const CHECKSUM = B_CHECKSUM;
const REMOTE = CHECKSUM_REMOTE;
const HEADER4 = OUTER4;
const HEADER6 = OUTER6;
const UDP = ipv4.PROTOCOL_UDP;
const MAX_DATAGRAM = 65535;

/** Encapsulates packet `i` for the backend of `record`; one that no datagram can carry becomes drop with `too-big`. */
export function encapsulateGeneral(batch: Batch, headers: OuterHeaders): (i: number, words: Int32Array, record: number) => void {
  const { verdict, reason, networkAt, networkLength, family, segmentCount, tunnelExtra } = batch;
  const { view } = batch.arena;
  const { hopDone } = batch.ingress;

  /**
   * A super-packet that leaves whole (whole-train.ts): the kernel completes its outer checksum for each segment, from the pseudo-header's sum.
   */
  function leavePseudo(at: number, isOuter4: boolean, end: number): void {
    const transport = at + (isOuter4 ? HEADER4 : HEADER6);
    const pseudo = isOuter4
      ? checksum.pseudoSum4(view, at + ipv4.SOURCE_AT, UDP, end - transport)
      : checksum.pseudoSum6(view, at + ipv6.SOURCE_AT, UDP, end - transport);
    view.setUint16(transport + 6, checksum.fold(pseudo));
  }

  return function encapsulateOne(i: number, words: Int32Array, record: number): void {
    const inner = networkAt[i];
    const innerLength = networkLength[i];
    const overhead = headers.overhead(i, words, record);
    const isOuter4 = words[record + FAMILY] === 4;
    const total = overhead + innerLength;
    if ((isOuter4 ? total : total - HEADER6) > MAX_DATAGRAM) {
      verdict[i] = DROP;
      reason[i] = TOO_BIG;
      return;
    }
    if (!hopDone) {
      if (family[i] === 4) ipv4.decrementTtl(view, inner);
      else ipv6.decrementHopLimit(view, inner);
    }
    const at = inner - overhead;
    const port = headers.port(i, words, record);
    const wanted = wantsChecksum(words, record, false);
    const isWhole = segmentCount[i] > 1;
    let innerSum = NO_CHECKSUM;
    if (wanted && !isWhole) {
      const isPartial = tunnelExtra[i] > 0 && words[record + CHECKSUM] === REMOTE;
      innerSum = isPartial ? leaveSinglePartial(batch, i) : checksum.sum(view, inner, innerLength, 0);
    }
    headers.write(i, words, record, at, innerLength, port, innerSum);
    if (wanted && isWhole) leavePseudo(at, isOuter4, inner + innerLength);
    headers.describe(i, words, record, at, total, port);
  };
}
