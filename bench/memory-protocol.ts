// What main and a forwarding thread over memory say to each other.

import type { MessagePort } from 'node:worker_threads';
import type { FlowMemory } from '../src/daemon/flow-memory.ts';
import type { SnapshotChange } from '../src/daemon/thread-protocol.ts';
import type { SharedSnapshot } from '../src/pipeline/snapshot.ts';

/** Of a thread's words (thread-protocol.ts), one that the daemon has no use for: what main wants, and what the thread does. */
export const WORD_PAUSED = 8;
export const RUNNING = 0;
export const TO_SLEEP = 1;
export const ASLEEP = 2;

/** Cells of `times`: batches by microseconds, the last one for all that took longer; how long the longest took, µs; seconds of CPU time at the last `pause`. */
export const TIMES = 10_000;
export const LONGEST = TIMES;
export const CPU_SECONDS = TIMES + 1;
export const TIME_CELLS = TIMES + 2;

export interface MemoryThreadStart {
  readonly number: number;
  readonly threads: number;
  readonly flows: FlowMemory;
  readonly snapshot: SharedSnapshot;
  readonly frames: readonly Uint8Array[];
  readonly words: Int32Array;
  readonly bank: Float64Array;
  /** TIME_CELLS. */
  readonly times: Float64Array;
  /** 0: as fast as it goes; else the thread sleeps so that it is at work for this share of the time, 0–1. */
  readonly load: number;
  /** 0: the flows of `frames`; else as many, one packet of each in turn: client addresses and ports are written into the frames as they come. */
  readonly flowCount: number;
  readonly mail: MessagePort;
}

export type MemoryThreadMail =
  | { readonly kind: 'snapshot'; readonly parts: SnapshotChange }
  /** Sleep until the word WORD_PAUSED says RUNNING. */
  | { readonly kind: 'pause' }
  | { readonly kind: 'pin'; readonly processor: number }
  | { readonly kind: 'stop' };

/** What a thread says at its end. */
export interface MemoryThreadEnd {
  readonly cpuSeconds: number;
  /** Each pause of the garbage collector: milliseconds since 1970 when it began, and how long it was. */
  readonly pauses: readonly { readonly at: number; readonly duration: number }[];
}
