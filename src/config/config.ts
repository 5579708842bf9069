/** What a configuration file means: checked, completed with defaults, nothing left to parse. Made by `loadConfig`. */
import type { HealthSpec } from '../health/spec.ts';
import type { Spec } from '../pipeline/spec.ts';
import type { Discovery } from './discovery.ts';
import type { Problem } from './problem.ts';

export type IngressConfig =
  | {
      readonly driver: 'tun';
      /** Interface name, 1–15 characters. */
      readonly device: string;
      /** Packets (txqueuelen). */
      readonly queueLength: number;
    }
  | {
      readonly driver: 'tap';
      /** Interface name, 1–15 characters. */
      readonly device: string;
      /** The MAC address we answer with, 6 bytes; null: derived from host and device. */
      readonly mac: Uint8Array | null;
      /** The bridge whose port the device becomes; null: the kernel routes to it. */
      readonly bridge: string | null;
      /** Packets (txqueuelen). */
      readonly queueLength: number;
    }
  | {
      readonly driver: 'packet';
      readonly interface: string;
      /** How packets wait to be read: in a ring of frames or blocks, or in the socket's queue. */
      readonly ring: 'frames' | 'blocks' | 'none';
    }
  | {
      readonly driver: 'xdp';
      readonly interface: string;
      /** The device reads and writes the frames itself, where it can. */
      readonly zeroCopy: boolean;
    }
  | {
      readonly driver: 'pcap-file';
      /** Absolute, or relative to the working directory. */
      readonly path: string;
    }
  | { readonly driver: 'memory' };

export type EgressConfig =
  | { readonly driver: 'raw' }
  | {
      readonly driver: 'auto' | 'udp';
      /** First of `sourcePorts` consecutive UDP source ports. */
      readonly sourcePortBase: number;
      /** A power of two. */
      readonly sourcePorts: number;
    }
  | {
      readonly driver: 'tap-offload';
      /** Interface name, 1–15 characters. */
      readonly device: string;
    }
  | {
      readonly driver: 'packet' | 'xdp';
      /** Interface that frames leave by: both write link headers. */
      readonly interface: string;
    }
  | { readonly driver: 'pcap-file'; readonly path: string }
  | { readonly driver: 'memory' };

export type LogLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal' | 'silent';

/** `auto`: text on a terminal, JSON elsewhere. */
export type LogFormat = 'json' | 'text' | 'auto';

/** Where an HTTP server listens: an IP address (never a name: reading a configuration asks no resolver) and a TCP port. */
export interface ListenAddress {
  /** Without brackets: `127.0.0.1`, `::1`. */
  readonly host: string;
  /** 0 lets the kernel choose. */
  readonly port: number;
}

/** IP fragments (docs/fragments.md): what may be followed and kept. */
export interface FragmentLimits {
  /** Packets followed at a time, all threads together. */
  readonly entries: number;
  /** Seconds without a fragment after which one is not followed any more. */
  readonly timeout: number;
  /** Bytes, frames, frames of one source, and seconds that may wait for their first fragment, in each thread. */
  readonly holdBytes: number;
  readonly holdPackets: number;
  readonly holdPerSource: number;
  readonly holdTimeout: number;
}

/** What a forwarding thread does without packets (docs/threads.md). */
export type IdleRule = 'wait' | 'spin' | 'busy';

export interface ProcessorRules {
  /** Processors of the threads in their order; true: the first ones that the process may use; false: the kernel chooses. */
  readonly pin: boolean | readonly number[];
  readonly idle: IdleRule;
  /** Microseconds. */
  readonly spin: number;
}

export interface Config {
  readonly spec: Spec;
  /** By name of the pool; pools without checks are missing. */
  readonly health: ReadonlyMap<string, HealthSpec>;
  readonly ingress: IngressConfig;
  readonly egress: EgressConfig;
  /** Forwarding threads. */
  readonly threads: number;
  readonly processors: ProcessorRules;
  readonly flows: {
    /** Flow table entries, all threads together. */
    readonly entries: number;
    /** Path of the file they lie in; auto: in the runtime directory; off: memory alone. */
    readonly file: 'auto' | 'off' | (string & {});
  };
  readonly fragments: FragmentLimits;
  /** Source ports of tunnel checks: `sourcePorts` consecutive ones. */
  readonly probes: { readonly sourcePortBase: number; readonly sourcePorts: number };
  readonly listen: { readonly metrics: ListenAddress | null };
  readonly admin: {
    /** Path of the unix socket, `auto` or `off`. */
    readonly socket: string;
  };
  readonly privileges: {
    /** Whom `run` becomes when it was started as root, by name or number; null: nobody else. */
    readonly user: string | number | null;
    /** null: the user's own. */
    readonly group: string | number | null;
  };
  readonly reload: {
    /** The file is reloaded by itself when it changes. */
    readonly watch: boolean;
  };
  /** Watched files with backends; null when no pool names any. */
  readonly discovery: Discovery | null;
  readonly log: { readonly level: LogLevel; readonly format: LogFormat };
  /** The file as it was named. */
  readonly file: string;
  /** The text that it was made of. */
  readonly text: string;
  /** Things that work but are probably not meant; `run` logs them, `check` prints them. */
  readonly warnings: readonly Problem[];
}
