/**
 * What main and a forwarding thread say to each other. Main → thread: messages on a port, announced by a word in shared memory
 * that the thread compares once per batch, and by an eventfd that ends its wait. Thread → main: messages (they arrive although
 * the thread never returns to its event loop) and words that main reads when it wants to know.
 *
 *     words (Int32):  | mail | generation | heartbeat | reserved |      drops (Float64):  | kernel drops |
 */

import type { MessagePort } from 'node:worker_threads';
import type { IngressFacts } from '../base/batch.ts';
import type { EgressConfig, FragmentLimits, IdleRule, IngressConfig } from '../config/config.ts';
import type { GateEnd } from '../io/xdp/gate.ts';
import type { PipelineOptions } from '../pipeline/pipeline.ts';
import type { SharedSnapshot, SnapshotNames } from '../pipeline/snapshot.ts';
import type { ServiceSpec } from '../pipeline/spec.ts';
import type { TraceOrder } from '../trace/tap.ts';
import type { FlowMemory } from './flow-memory.ts';

/** Written by main: messages posted since the thread started. */
export const WORD_MAIL = 0;
/** Written by the thread: generation of the snapshot it reads, 0 before it forwards. */
export const WORD_GENERATION = 1;
/** Written by the thread: seconds since boot when it last went round its loop. */
export const WORD_HEARTBEAT = 2;
export const WORD_COUNT = 16;

/** Everything a thread needs to start; structured-cloneable, memory shared. */
export interface ThreadStart {
  readonly number: number;
  readonly threads: number;
  /**
   * The queue of the TUN or TAP device that is this thread's, or the packet socket that another process opened; main has it and closes it. null: the
   * thread opens its own.
   */
  readonly queue: number | null;
  /** The same of the egress `tap-offload`; null for other drivers. */
  readonly egressQueue: number | null;
  /** Of the ingress `xdp`: what main holds for all threads; null for other drivers. */
  readonly gate: GateEnd | null;
  /** Of the egresses `packet` and `xdp`: memory of next hops by backend id, which main keeps current; null for other drivers. */
  readonly nextHops: SharedArrayBuffer | null;
  /** The processor that it is to be kept on; null: any. */
  readonly processor: number | null;
  readonly idle: IdleRule;
  /** Microseconds. */
  readonly spin: number;
  readonly ingress: IngressConfig;
  readonly egress: EgressConfig;
  readonly services: readonly ServiceSpec[];
  readonly snapshot: SharedSnapshot;
  /** The flow table of all threads, of which each has its region. */
  readonly flows: FlowMemory;
  /** What may be followed and kept of fragmented packets, and the fragment tables of all threads in order, of so many entries each. */
  readonly fragments: FragmentLimits;
  readonly fragmentEntries: number;
  readonly fragmentMemory: readonly SharedArrayBuffer[];
  /** Bytes of the largest outer packet for each backend id, 0 while unknown; main writes it. null: packets go to no network. */
  readonly pathMtu: SharedArrayBuffer | null;
  /** Where packets that were cut for their size are noted (pipeline/cut-notes.ts); null: nowhere. */
  readonly cutNotes: SharedArrayBuffer | null;
  readonly bank: Float64Array;
  /** Where it notes what it drops (base/drop-notes.ts). */
  readonly dropNotes: SharedArrayBuffer;
  readonly words: Int32Array;
  /** Packets the kernel lost; one cell, carried over a restart of the thread. */
  readonly kernelDrops: Float64Array;
  /** The eventfd by which a thread of another process hands this one its queue over; null: it is ours from the start. */
  readonly baton: number | null;
  /** The eventfd that ends the thread's wait. */
  readonly wake: number;
  readonly mail: MessagePort;
}

/** A snapshot as one who has the one before needs it: of a thousand tables a change of a pool brings one. */
export interface SnapshotChange {
  readonly generation: number;
  readonly root: SharedArrayBuffer;
  /** Bytes of it that the thread has not had before. */
  readonly newBytes: number;
  /** How many tables there are, and those that are others than before, by number. */
  readonly tableCount: number;
  readonly tables: readonly (readonly [number, SharedArrayBuffer])[];
}

export type MailToThread =
  /**
   * `services`: what the ingress is to take in from now on; null: what it takes in already. `names`: while packets are traced. Whatever comes with each snapshot is soon
   * garbage of a thread that does not collect what is old.
   */
  | {
      readonly kind: 'snapshot';
      readonly parts: SnapshotChange;
      readonly services: readonly ServiceSpec[] | null;
      readonly names: SnapshotNames | null;
    }
  | { readonly kind: 'stop' }
  /** Trace packets as `order` says, in place of whatever was traced; null: no more. `names`: of the snapshot that was sent last. */
  | { readonly kind: 'trace'; readonly order: TraceOrder; readonly names: SnapshotNames }
  | { readonly kind: 'trace'; readonly order: null }
  /** End at a batch boundary, leave all descriptors open, and raise this eventfd: whoever waits for it goes on. */
  | { readonly kind: 'leave'; readonly baton: number }
  /** The interface below the ingress or the egress is another one now: end, so that a successor opens it. */
  | { readonly kind: 'reopen'; readonly part: 'ingress' | 'egress' }
  /** Tests only: throw inside the loop, as a program error would. */
  | { readonly kind: 'fault' };

/** What its drivers are, as far as the packet path notices. */
export interface PathFacts {
  readonly ingress: IngressFacts;
  readonly egress: Required<
    Pick<PipelineOptions, 'sourcePortBase' | 'sourcePortMask' | 'trainsNeedChecksum' | 'wholeTrains' | 'outerFragments'>
  >;
}

export type MailToMain =
  /** Drivers are open; the thread forwards from here on. */
  | {
      readonly kind: 'forwarding';
      readonly ingress: string;
      readonly egress: string;
      readonly interfaceIndex: number;
      readonly facts: PathFacts;
      /** What it reads from; −1 for a driver that has none. */
      readonly descriptor: number;
      /** Milliseconds since boot. */
      readonly at: number;
    }
  /** Warm, and waits for its baton; `batches` tells how warm. */
  | { readonly kind: 'poised'; readonly batches: number }
  /** It passed its baton on; milliseconds since boot when it did. */
  | { readonly kind: 'left'; readonly at: number }
  /** A finite source has delivered everything. */
  | { readonly kind: 'exhausted'; readonly failure: string }
  /** The kernel refused a call in a way that it had not before. */
  | { readonly kind: 'refused'; readonly driver: string; readonly errno: number }
  /** It can not do what the last order to trace says, and goes on without. */
  | { readonly kind: 'untraced'; readonly message: string }
  /** There is no such processor, or this process may not use it: the kernel chooses. */
  | { readonly kind: 'unpinned'; readonly processor: number }
  /** A driver works, but not as it was meant to. */
  | {
      readonly kind: 'warning';
      readonly part: 'ingress' | 'egress';
      readonly driver: string;
      readonly message: string;
      readonly hint: string;
    }
  | { readonly kind: 'stopped' }
  | { readonly kind: 'failed'; readonly failure: Failure };

/** Code of the failure that is no error of ours: somebody removed the interface. Main opens it anew when it is there. */
export const INGRESS_GONE = 'GD_DAEMON_INGRESS_GONE';

/** The same for the device of the egress. */
export const EGRESS_GONE = 'GD_DAEMON_EGRESS_GONE';

/** An error as it crosses threads. */
export interface Failure {
  readonly message: string;
  readonly stack: string;
  /** Of a CodedError; empty otherwise. */
  readonly code: string;
  readonly hint: string;
  readonly exitCode: number;
}
