/**
 * What a forwarding thread does when the kernel refuses a packet as too big (EMSGSIZE): the MTU of the way out became smaller a moment ago, and
 * main has not heard of it yet. The thread asks the kernel for the route itself, so that the packet is cut or answered and not lost.
 *
 *     egress: EMSGSIZE ─► isNarrower ─► route ─► path MTU (shared memory, until main writes the same) ─► through the stages again
 */
import type { Batch } from '../base/batch.ts';
import { routeTo } from '../host/routes.ts';

const DESTINATION4 = 16;
const DESTINATION6 = 24;

/** Bytes of the largest route to an address (4 or 16 bytes); 0 when there is none. May throw: then nothing is known. */
export type RouteMtu = (address: Uint8Array) => number;

export class WayOut {
  readonly #pathMtu: Int32Array;
  readonly #routeMtu: RouteMtu;
  /** Second in which a backend's route was asked for: one question a second, whatever is refused. */
  readonly #asked = new Map<number, number>();

  /** `pathMtu`: bytes of the largest outer packet for each backend id, shared with main. */
  constructor(pathMtu: Int32Array, routeMtu: RouteMtu = (address) => routeTo(address)?.mtu ?? 0) {
    this.#pathMtu = pathMtu;
    this.#routeMtu = routeMtu;
  }

  /** True when refused packet `i` is larger than the path MTU of its backend as it is known now: another try cuts it. `now`: seconds. */
  isNarrower(batch: Batch, i: number, now: number): boolean {
    const id = batch.backend[i];
    const size = largestPart(batch, i);
    const known = Atomics.load(this.#pathMtu, id);
    if (known !== 0 && known < size) return true;
    if (this.#asked.get(id) === now) return false;
    this.#asked.set(id, now);
    let mtu = 0;
    try {
      mtu = this.#routeMtu(destination(batch, i));
    } catch {
      // The kernel does not answer: the packet is dropped and counted with what the send said.
      return false;
    }
    if (mtu === 0 || mtu >= size) return false;
    Atomics.store(this.#pathMtu, id, mtu);
    return true;
  }
}

/** Bytes of the first part of a train, which is the largest, or of the packet; outer headers included. */
function largestPart(batch: Batch, i: number): number {
  if (batch.recordAt[i] < 0) return batch.outLength[i];
  const first = batch.recordOf(i, 0);
  return batch.pieceHeader[first] + batch.pieceLength[first];
}

function destination(batch: Batch, i: number): Uint8Array {
  const header = batch.recordAt[i] < 0 ? batch.outerNetworkAt[i] : batch.recordAt[i];
  const at = header + (batch.outerFamily[i] === 4 ? DESTINATION4 : DESTINATION6);
  return batch.arena.bytes.slice(at, at + (batch.outerFamily[i] === 4 ? 4 : 16));
}
