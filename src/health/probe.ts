/** One question to one backend, and its answer: what every kind of check is to the scheduler. */
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
  probe(target: ProbeTarget, timeoutMs: number, signal: AbortSignal): Promise<ProbeOutcome>;
}

/** What needs the kernel's help, brought by the daemon so that this room needs no FFI. Their sockets are closed by who opened them. */
export interface ProbeResources {
  /** ICMP echo (check `icmp`). */
  readonly ping: () => Probe;
  readonly tunnel: (check: TunnelCheckSpec) => Probe;
}

/** Makes the probe of a check; `checks.ts` has the one for every type. */
export type CreateProbe = (check: CheckSpec, resources: ProbeResources) => Probe;
