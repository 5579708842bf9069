/**
 * Trains of fragments: header records as fragment4.ts and fragment6.ts write them, and for each where its payload lies. The packet's headers may
 * lie in a record themselves, apart from its payload (a datagram of a super-packet, a tunnel packet): what of them follows the IP
 * header is payload of the first fragment, and is copied behind it.
 *
 *     headers     | IP | UDP |               payload   | ……………………………………………………… |
 *     record 0    | IP'| UDP |                         | 0            |
 *     record 1    | IP'|                                              | 1            |         parts of unequal length
 */
import { RECORD_STRIDE } from '../base/arena.ts';
import type { Batch } from '../base/batch.ts';
import * as ipv4 from '../wire/ipv4.ts';
import * as ipv6 from '../wire/ipv6.ts';
import { fragmentHeaders4, fragmentPayload } from './fragment4.ts';
import { FRAGMENT_HEADERS6, fragmentHeaders6, fragmentPayload6 } from './fragment6.ts';
import { REFUSED_ROOM, REFUSED_SIZE } from './train.ts';

const STRIDE = RECORD_STRIDE;
const HEADER6 = ipv6.HEADER_LENGTH;

/**
 * Fragments of the IP packet whose `headers` bytes of headers lie at `at` and whose other `bytes` bytes lie at `from`, none longer than `mtu`; with
 * `identifier` where it needs one. Records begin at `to`, each with `outerLength` bytes left free in front. Returns their number, at least 1, or a
 * refusal (train.ts). Of the columns it writes those by record.
 */
export type WriteFragments = (
  at: number,
  headers: number,
  from: number,
  bytes: number,
  mtu: number,
  identifier: number,
  to: number,
  outerLength: number,
) => number;

export function fragmentTrain(batch: Batch): { readonly fragments4: WriteFragments; readonly fragments6: WriteFragments } {
  const { pieceHeader, pieceAt, pieceLength } = batch;
  const { view, recordsAt } = batch.arena;

  /** Columns of `count` records from `to` on: `network` bytes of headers each, the first `rest` more, which are copied from `restAt`. */
  function place(
    count: number,
    size: number,
    network: number,
    restAt: number,
    rest: number,
    from: number,
    bytes: number,
    to: number,
    outerLength: number,
  ): void {
    const first = ((to - recordsAt) / STRIDE) | 0;
    for (let k = 0; k < rest; k++) view.setUint8(to + outerLength + network + k, view.getUint8(restAt + k));
    let here = from;
    for (let k = 0; k < count; k++) {
      const own = k === 0 ? rest : 0;
      const piece = k === count - 1 ? from + bytes - here : size - own;
      pieceHeader[first + k] = outerLength + network + own;
      pieceAt[first + k] = here;
      pieceLength[first + k] = piece;
      here += piece;
    }
  }

  function fragments4(
    at: number,
    headers: number,
    from: number,
    bytes: number,
    mtu: number,
    identifier: number,
    to: number,
    outerLength: number,
  ): number {
    const network = ipv4.headerLength(view, at);
    const rest = headers - network;
    const size = fragmentPayload(network, mtu);
    if (rest > size) return REFUSED_SIZE;
    if (outerLength + headers > STRIDE) return REFUSED_ROOM;
    const count = fragmentHeaders4(view, at, mtu, identifier, view, to, STRIDE, outerLength);
    if (count > 0) place(count, size, network, at + network, rest, from, bytes, to, outerLength);
    return count;
  }

  function fragments6(
    at: number,
    headers: number,
    from: number,
    bytes: number,
    mtu: number,
    identifier: number,
    to: number,
    outerLength: number,
  ): number {
    const rest = headers - HEADER6;
    const size = fragmentPayload6(mtu);
    if (rest > size) return REFUSED_SIZE;
    if (outerLength + headers + FRAGMENT_HEADERS6 - HEADER6 > STRIDE) return REFUSED_ROOM;
    const count = fragmentHeaders6(view, at, mtu, identifier, view, to + outerLength, STRIDE);
    if (count > 0) place(count, size, FRAGMENT_HEADERS6, at + HEADER6, rest, from, bytes, to, outerLength);
    return count;
  }

  return { fragments4, fragments6 };
}
