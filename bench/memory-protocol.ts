// What main and a forwarding thread over memory say to each other.

import type { MessagePort } from 'node:worker_threads';
import type { FlowMemory } from '../src/daemon/flow-memory.ts';
import type { SnapshotChange } from '../src/daemon/thread-protocol.ts';
import type { SharedSnapshot } from '../src/pipeline/snapshot.ts';

/** Cells of `times`: batches by microseconds, the last one for all that took longer, and how long the longest took. */
export const TIMES = 10_000;
export const LONGEST = TIMES;

export interface MemoryThreadStart {
  readonly number: number;
  readonly threads: number;
  readonly flows: FlowMemory;
  readonly snapshot: SharedSnapshot;
  readonly frames: readonly Uint8Array[];
  readonly words: Int32Array;
  readonly bank: Float64Array;
  /** TIMES + 1 cells. */
  readonly times: Float64Array;
  /** 0: as fast as it goes; else the thread sleeps so that it is at work for this share of the time, 0–1. */
  readonly load: number;
  /** 0: the flows of `frames`; else as many, one packet of each in turn: client addresses and ports are written into the frames as they come. */
  readonly flowCount: number;
  readonly mail: MessagePort;
}

export type MemoryThreadMail =
  | { readonly kind: 'snapshot'; readonly parts: SnapshotChange }
  | { readonly kind: 'pause'; readonly until: number }
  | { readonly kind: 'stop' };

/** What a thread says at its end. */
export interface MemoryThreadEnd {
  readonly cpuSeconds: number;
  /** Milliseconds of each pause of the garbage collector. */
  readonly pauses: readonly number[];
}
