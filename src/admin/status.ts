/**
 * What `GET /-/status` answers and `gue-director status --json` prints: the state of a running director, for people and programs. Fields are
 * added, never renamed or given another meaning; docs/cli.md explains each (a test holds the two together).
 */
import type { Condition } from './server.ts';

export const STATUS_PATH = '/-/status';
export const EXPLAIN_PATH = '/-/explain';
export const HISTORY_PATH = '/-/history';

export interface Status {
  readonly version: string;
  readonly pid: number;
  /** Configuration file as it was named. */
  readonly config: string;
  /** Seconds since the start of the process. */
  readonly uptime: number;
  /** Of the published snapshot; counts the configurations that were taken over. */
  readonly generation: number;
  readonly reload: StatusReload;
  readonly healthy: Condition;
  readonly ready: Condition;
  /** The director's own drain; null: none. Seconds since it began, and until it ends by itself (null: it does not). */
  readonly draining: { readonly age: number; readonly stopIn: number | null } | null;
  readonly packets: StatusPackets;
  /** Packets dropped, by reason; only reasons that occurred. */
  readonly drops: Readonly<Record<string, number>>;
  readonly services: readonly StatusService[];
  readonly pools: readonly StatusPool[];
  readonly backends: readonly StatusBackend[];
  /** Watched files with backends. */
  readonly discovery: readonly StatusDiscovery[];
  readonly flowTable: StatusFlowTable;
  readonly threads: readonly StatusThread[];
}

/** What the flow table lies in, and what became of the one before at the start. */
export interface StatusFlowTable {
  /** Of its file; null: this process's memory alone. */
  readonly path: string | null;
  /** `picked-up`, `shared` (taken over), `made`, `renewed` (what was there is of no use), `memory`. */
  readonly outcome: string;
  /** Why it is `renewed`, or `memory` although a file is wanted; else empty. */
  readonly reason: string;
  /** Entries that were picked up, and how many of them confirmed. */
  readonly pickedUp: { readonly entries: number; readonly confirmed: number };
  readonly bytes: number;
  /** That it can hold. */
  readonly entries: number;
  /** Of which each thread writes one. */
  readonly regions: number;
}

export interface StatusDiscovery {
  readonly file: string;
  /** That name it. */
  readonly pools: readonly string[];
  /** In force from it. */
  readonly backends: number;
  /** Seconds since it was last seen to hold what is in force; null: it never was right. */
  readonly age: number | null;
  /** What is wrong with what it holds now, with its place; null: nothing. */
  readonly problem: string | null;
}

/** The configuration in force, and the last wish for another one. */
export interface StatusReload {
  /** Of what the configuration in force means: equal on directors with the same one. */
  readonly digest: string;
  /** Who asked last: `start`, `signal`, `command`, `file`. */
  readonly cause: string;
  /** `success`, `refused`, `failed`, `rolled-back`. */
  readonly result: string;
  /** Seconds since then. */
  readonly age: number;
  /** Why not, the first problem with its place; null with `success`. */
  readonly problem: string | null;
  /** Seconds until the configuration in force is rolled back; null when it need not be confirmed. */
  readonly confirmWithin: number | null;
  /** Reloads since the start, by result. */
  readonly counts: Readonly<Record<string, number>>;
}

/** Since the start of the process. */
export interface StatusPackets {
  readonly received: number;
  readonly forwarded: number;
  readonly replied: number;
  readonly passed: number;
  readonly dropped: number;
  /** Lost by the kernel before the director could read them. */
  readonly lost: number;
}

export interface StatusService {
  readonly name: string;
  readonly pool: string;
  /** As /-/ready/NAME answers: what speaks against the director, and against the service's pool. */
  readonly ready: Condition;
  readonly packets: number;
  readonly bytes: number;
}

export interface StatusPool {
  readonly name: string;
  /** `maglev`, or the peer whose table it is: `ipvs-mh`, `katran`, `glb`. */
  readonly scheme: string;
  readonly tableSize: number;
  readonly seed: number;
  /** Of the lookup table: equal on directors that steer alike. */
  readonly digest: string;
  /** null without health checks. */
  readonly health: StatusPoolHealth | null;
}

export interface StatusBackend {
  readonly pool: string;
  readonly name: string;
  readonly address: string;
  /** `active`, `draining` or `down`. */
  readonly state: string;
  /** null: it is not drained. */
  readonly drain: StatusDrain | null;
  /** As configured. */
  readonly weight: number;
  /** What it counts for in new flows now: a part of its weight while it starts slowly, 0 while it takes none. */
  readonly effectiveWeight: number;
  /** `gue`, `gue-v1`, `fou`, `ipip` or `gre`. */
  readonly encapsulation: string;
  /** UDP destination ports: one, two with fou for both families, none without UDP. */
  readonly ports: readonly number[];
  /** Bytes in front of an inner packet, outer IP header included, at most. */
  readonly overhead: number;
  /** Of the pool's new flows, 0–1. */
  readonly share: number;
  readonly packets: number;
  readonly bytes: number;
  /** null where packets go to no network (drivers `memory` and `pcap-file`). */
  readonly pathMtu: StatusPathMtu | null;
  /** null likewise. */
  readonly unreachable: StatusUnreachable | null;
  /** null without health checks, or when the operator took it down. */
  readonly health: StatusHealth | null;
}

export interface StatusPoolHealth {
  /** Backends that take flows and are up (or held down for flapping, and needed), of how many. */
  readonly good: number;
  readonly of: number;
  /** How many must be; 0: no such rule. */
  readonly wanted: number;
  readonly belowMinimum: boolean;
}

export interface StatusHealth {
  /** Its checks say that it serves. */
  readonly up: boolean;
  /** It does: as `up`, or because too few others are good. */
  readonly serves: boolean;
  /** Of its weight, 0–1: below 1 while it starts slowly. */
  readonly share: number;
  /** Seconds since it went up or down. */
  readonly age: number;
  /** Seconds for which it is still held down although its checks are good; 0 when it is not. */
  readonly heldFor: number;
  /** Of flap damping. */
  readonly penalty: number;
  readonly checks: readonly StatusCheck[];
}

export interface StatusCheck {
  /** `http:8080`. */
  readonly check: string;
  readonly good: boolean;
  /** Runs in a row that say the contrary of `good`. */
  readonly contrary: number;
  /** What the last run found, and how long it took; null before the first. */
  readonly detail: string | null;
  readonly milliseconds: number | null;
  /** Seconds since it ended. */
  readonly age: number | null;
}

export interface StatusDrain {
  /** `command`: by hand; `configuration`: its state there is draining. */
  readonly cause: 'command' | 'configuration';
  /** Seconds since it began. */
  readonly age: number;
  /** Seconds until the backend is down; 0: it is; null: never. */
  readonly downIn: number | null;
}

/** ICMP errors that said that tunnel packets to the backend do not arrive, since it is configured. */
export interface StatusUnreachable {
  /** Nothing listens on the tunnel port, or no tunnel device takes the packets. */
  readonly port: number;
  /** The host does not know the tunnel's IP protocol. */
  readonly protocol: number;
  /** The last router before it does not find the host. */
  readonly host: number;
  /** A router has no way. */
  readonly net: number;
  /** A firewall refuses. */
  readonly prohibited: number;
  /** What the last one said, one of those words; null when none came. */
  readonly last: string | null;
  /** Seconds since the last one; null when none came. */
  readonly age: number | null;
}

export interface StatusPathMtu {
  /** Bytes of the largest outer packet; 0 while not known. */
  readonly bytes: number;
  /** Bytes of the largest inner packet; 0 while not known. */
  readonly innerBytes: number;
  readonly cause: 'route' | 'icmp' | 'unknown';
  /** What the route alone allows; 0 without a route. */
  readonly routeBytes: number;
  /** Interface of the route; empty without one. */
  readonly interface: string;
  /** Bytes of the largest packet, outer headers included, that was cut in the last minute; 0 when none was. */
  readonly wantedBytes: number;
  /** Seconds since it has this value. */
  readonly age: number;
  /** Seconds until what ICMP said is forgotten; null when nothing it said is remembered. */
  readonly expiresIn: number | null;
}

export interface StatusThread {
  readonly number: number;
  /** `forwarding`; `absent` while it is replaced or its interface is gone. */
  readonly state: 'forwarding' | 'absent';
  /** `tun:gd0`; empty before it has opened its drivers. */
  readonly ingress: string;
  /** `auto`, `auto:raw`, `udp` …; empty before. */
  readonly egress: string;
  readonly received: number;
  /** Times it ended by an error. */
  readonly failures: number;
  /** Seconds since it last went round its loop. */
  readonly heartbeatAge: number;
}
