/** One question to one backend, and its answer: what every kind of check is to the scheduler. */
import type { CodedError } from '../base/errors.ts';
import type { BackendSpec, ServiceSpec, TunnelSpec } from '../pipeline/spec.ts';
import type { CheckSpec, TunnelCheckSpec } from './spec.ts';

/** Whom a probe asks. */
export interface ProbeTarget {
  readonly pool: string;
  /** As it is in force: its `source` is resolved. */
  readonly backend: BackendSpec;
  /** The tunnel of this backend (its own, else the pool's), sources resolved. */
  readonly tunnel: TunnelSpec;
  /** The services that this pool serves. */
  readonly services: readonly ServiceSpec[];
}

export interface ProbeOutcome {
  readonly ok: boolean;
  /** One sentence without a full stop, stable words: "connection refused", "no answer within 1 s", "HTTP 503, wanted 200". */
  readonly detail: string;
  readonly milliseconds: number;
}

/**
 * Has no state between two runs; runs for different backends may overlap. `probe` resolves within `timeoutMs`, whatever the worker does. It
 * rejects only for a fault of our own (no socket to be had), which says nothing about the worker. When `signal` aborts it resolves or rejects
 * soon; nobody reads that.
 */
export interface Probe {
  /**
   * What must be had before a run, and is waited for outside of its time and of the runs that are made at a time. Absent, or null: nothing. Resolves to null
   * soon when `signal` aborts; rejects as `probe` does.
   */
  readonly turn?: (target: ProbeTarget, signal: AbortSignal) => Promise<Turn | null>;
  /** `turn`: what was waited for. The caller releases it, after this. */
  probe(target: ProbeTarget, timeoutMs: number, signal: AbortSignal, turn?: Turn | null): Promise<ProbeOutcome>;
}

/** A source port for one question alone, because only by it the answer is known. */
export interface Turn {
  readonly port: number;
  release(): void;
}

/** What needs the kernel's help, brought by the daemon so that this room needs no FFI. Their sockets are closed by who opened them. */
export interface ProbeResources {
  /** ICMP echo (check `icmp`). */
  readonly ping: () => Probe;
  readonly tunnel: (check: TunnelCheckSpec) => Probe;
  /** Told that files which a check reads are of no use now, and that what they held before goes on being used. Absent: nobody is. */
  readonly stale?: (error: CodedError) => void;
}

/** Makes the probe of a check; `checks.ts` has the one for every type. */
export type CreateProbe = (check: CheckSpec, resources: ProbeResources) => Probe;
