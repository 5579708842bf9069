/** Frames from a list: the ingress of tests and benches. No kernel, no descriptor. */
import type { Batch, IngressFacts } from '../../base/batch.ts';
import { LINK_ETHERNET } from '../../base/batch.ts';
import { VERDICT_REPLY } from '../../base/verdict.ts';
import type { DriverStatistics, Ingress } from '../driver.ts';
import { clearFrame, placeFrame } from '../frame.ts';

/** virtio-net facts of one frame; what is left out is 0. `csumStart` counts from the start of the frame. */
export interface FrameFacts {
  readonly virtioFlags?: number;
  readonly gsoType?: number;
  readonly gsoSize?: number;
  readonly headerLength?: number;
  readonly csumStart?: number;
  readonly csumOffset?: number;
}

export interface MemoryIngressOptions {
  readonly frames: readonly Uint8Array[];
  /** By index of the frame. */
  readonly virtio?: readonly (FrameFacts | undefined)[];
  /** Default: Ethernet, TTL not yet decremented, nothing verified, can not pass. */
  readonly facts?: Partial<IngressFacts>;
  /** How often the list is delivered; default 1, Infinity for benches. */
  readonly rounds?: number;
  /** Most frames per `receive`; default: as many as the batch holds. */
  readonly burst?: number;
}

export class MemoryIngress implements Ingress {
  readonly name = 'memory';
  readonly facts: IngressFacts;
  readonly descriptor = -1;
  /** Copies of what `reply` was given, oldest first. */
  readonly replies: Uint8Array[] = [];
  readonly #frames: readonly Uint8Array[];
  readonly #virtio: readonly (FrameFacts | undefined)[];
  readonly #burst: number;
  readonly #endless: boolean;
  /** A whole number, also without an end: Infinity less one would be a number on the heap each round. */
  #rounds: number;
  #next = 0;

  constructor(options: MemoryIngressOptions) {
    this.facts = { link: LINK_ETHERNET, hopDone: false, canPass: false, headerVerified: false, ...options.facts };
    this.#frames = options.frames;
    this.#virtio = options.virtio ?? [];
    this.#burst = options.burst ?? Number.POSITIVE_INFINITY;
    const rounds = options.frames.length === 0 ? 0 : (options.rounds ?? 1);
    this.#endless = rounds === Number.POSITIVE_INFINITY;
    this.#rounds = this.#endless ? 1 : rounds;
  }

  get exhausted(): boolean {
    return this.#rounds <= 0;
  }

  receive(batch: Batch): number {
    let count = 0;
    const most = Math.min(batch.capacity, this.#burst);
    while (count < most && this.#rounds > 0) {
      const frame = this.#frames[this.#next];
      clearFrame(batch, count);
      const virtio = this.#virtio[this.#next];
      if (virtio !== undefined) {
        batch.virtioFlags[count] = virtio.virtioFlags ?? 0;
        batch.gsoType[count] = virtio.gsoType ?? 0;
        batch.gsoSize[count] = virtio.gsoSize ?? 0;
        batch.headerLength[count] = virtio.headerLength ?? 0;
        batch.csumStart[count] = virtio.csumStart ?? 0;
        batch.csumOffset[count] = virtio.csumOffset ?? 0;
      }
      placeFrame(batch, count, frame);
      count++;
      if (++this.#next === this.#frames.length) {
        this.#next = 0;
        if (!this.#endless) this.#rounds--;
      }
    }
    batch.count = count;
    return count;
  }

  reply(batch: Batch): void {
    for (let i = 0; i < batch.count; i++) {
      if (batch.verdict[i] !== VERDICT_REPLY) continue;
      this.replies.push(batch.arena.bytes.slice(batch.outAt[i], batch.outAt[i] + batch.outLength[i]));
    }
    for (let a = 0; a < batch.answers; a++) {
      this.replies.push(batch.arena.bytes.slice(batch.answerAt[a], batch.answerAt[a] + batch.answerLength[a]));
    }
  }

  statistics(): DriverStatistics {
    return { kernelDrops: 0 };
  }

  close(): void {
    this.#rounds = 0;
  }
}
