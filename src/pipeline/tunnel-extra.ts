/**
 * What single packets add to their backend's tunnel header: GUE options that not every packet has, or that are not alike (GLB's hops). How long they are is known before segmentation, which
 * must know what fits; what they are is written behind the GUE header by outer-headers.ts.
 *
 *     | UDP | GUE 4, its length field counts the options | options, tunnelExtra bytes | inner packet |
 *
 * An option is added here: its length in `extraOf`, its bytes in `writeExtra`, the most it can be in tunnel-kind.ts `mostExtraOf`.
 */
import type { Batch } from '../base/batch.ts';
import { VERDICT_FORWARD } from '../base/verdict.ts';
import { writeHops } from './glb-hops.ts';
import { B_CHECKSUM, B_MOST_EXTRA, BACKEND_WORDS, CHECKSUM_REMOTE, H_BACKENDS, H_TUNNEL_EXTRAS } from './layout.ts';
import { isRemote, writeRemoteChecksum } from './remote-checksum.ts';
import type { Snapshot } from './snapshot.ts';
import { REMOTE_CHECKSUM_LENGTH } from './tunnel-kind.ts';

// Module-local: an imported constant is loaded from its module at every use (src/wire/README.md, "Constants").
const REMOTE_LENGTH = REMOTE_CHECKSUM_LENGTH;
const FORWARD = VERDICT_FORWARD;

/** Bytes that packet `i` adds, a multiple of 4. */
function extraOf(batch: Batch, i: number, words: Int32Array, record: number): number {
  if (words[record + B_CHECKSUM] === CHECKSUM_REMOTE) return isRemote(batch, i) ? REMOTE_LENGTH : 0;
  // GLB's hops: every packet has as many.
  return words[record + B_MOST_EXTRA];
}

/** Of these, what fragments of the packet keep: their checksum is the whole datagram's, and nobody can complete it for one of them. */
export function extraOfFragments(words: Int32Array, record: number, extra: number): number {
  return words[record + B_CHECKSUM] === CHECKSUM_REMOTE ? 0 : extra;
}

/** Writes the options of packet `i` behind the GUE header at `tunnel`, whose length field and flags it sets. `inner`: where the inner packet begins. */
export function writeExtra(batch: Batch, i: number, words: Int32Array, record: number, tunnel: number, inner: number): void {
  if (words[record + B_CHECKSUM] === CHECKSUM_REMOTE) writeRemoteChecksum(batch, i, tunnel, inner);
  else writeHops(batch, i, words, tunnel, batch.tunnelExtra[i]);
}

/** The lengths of one batch's options, before segmentation. Costs one load for a batch while no backend has packets with options. */
export function tunnelExtraStage(batch: Batch): (snapshot: Snapshot) => void {
  const { verdict, backend, tunnelExtra } = batch;
  let isClean = true;

  return function tunnelExtras(snapshot: Snapshot): void {
    const words = snapshot.words;
    if (words[H_TUNNEL_EXTRAS] === 0) {
      if (!isClean) tunnelExtra.fill(0);
      isClean = true;
      return;
    }
    isClean = false;
    const count = batch.count;
    for (let i = 0; i < count; i++) {
      tunnelExtra[i] = 0;
      if (verdict[i] !== FORWARD) continue;
      const record = words[H_BACKENDS] + backend[i] * BACKEND_WORDS;
      if (words[record + B_MOST_EXTRA] !== 0) tunnelExtra[i] = extraOf(batch, i, words, record);
    }
  };
}
