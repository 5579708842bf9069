/** What GLB director puts into the GUE header: the further backends of the packet's row (wire/glb.ts), which the choice has left in `Batch.hops`. */
import { type Batch, HOPS } from '../base/batch.ts';
import * as glb from '../wire/glb.ts';
import { B_TEMPLATE, BACKEND_WORDS, H_BACKENDS } from './layout.ts';

/** The outer destination in a template of IPv4, in words. */
const DESTINATION_WORD = 4;

/** Writes the private data of packet `i` behind the GUE header at `tunnel`, in `extra` bytes. */
export function writeHops(batch: Batch, i: number, words: Int32Array, tunnel: number, extra: number): void {
  const { view } = batch.arena;
  const count = (extra - glb.PRIVATE_LENGTH) / glb.ADDRESS_LENGTH;
  glb.write(view, tunnel, count);
  for (let k = 0; k < count; k++) {
    const record = words[H_BACKENDS] + batch.hops[i * HOPS + k] * BACKEND_WORDS;
    glb.setHop(view, tunnel, k, words[record + B_TEMPLATE + DESTINATION_WORD]);
  }
}
