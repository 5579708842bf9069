/** The plain data that health checks are made of: what `config/` compiles `pools.NAME.health` to. No defaults to fill in. */

/** How a check asks. Addresses are those of the backend, but for `tunnel`. */
export type CheckSpec = TcpCheckSpec | HttpCheckSpec | IcmpCheckSpec | DnsCheckSpec | UdpCheckSpec | TunnelCheckSpec;
export type CheckType = CheckSpec['type'];

export interface TcpCheckSpec {
  readonly type: 'tcp';
  readonly port: number;
  /** Bytes sent after the connection stands; null: none. */
  readonly send: Uint8Array | null;
  /** Bytes that the answer begins with; null: the connection alone is enough. */
  readonly expect: Uint8Array | null;
}

export interface UdpCheckSpec {
  readonly type: 'udp';
  readonly port: number;
  readonly send: Uint8Array;
  /** Bytes that the answer begins with; null: any answer. */
  readonly expect: Uint8Array | null;
  /** `optional`: silence is no failure, only "port unreachable" is. */
  readonly answer: 'required' | 'optional';
}

/** What the first 64 KiB of a body are asked for. */
export type BodySpec =
  | { readonly contains: string }
  /** Source of a regular expression (flags: u). */
  | { readonly matches: string };

export interface TlsSpec {
  /** Chain and name are verified. */
  readonly verify: boolean;
  /** Absolute paths of PEM files; null: the roots that Node brings, no certificate of our own. */
  readonly ca: string | null;
  readonly certificate: string | null;
  readonly key: string | null;
  /** Name asked for (SNI) and verified; null: that of `host`, when it is a name. */
  readonly serverName: string | null;
}

export interface HttpCheckSpec {
  readonly type: 'http' | 'https';
  readonly port: number;
  readonly method: 'GET' | 'HEAD' | 'POST' | 'OPTIONS';
  /** With query, from the slash on. */
  readonly path: string;
  /** Header `Host`; null: the backend's address and port. */
  readonly host: string | null;
  /** Inclusive ranges of status numbers that are good. */
  readonly status: readonly { readonly from: number; readonly to: number }[];
  readonly body: BodySpec | null;
  /** Only with https. */
  readonly tls: TlsSpec | null;
}

export interface IcmpCheckSpec {
  readonly type: 'icmp';
}

export const DNS_TYPES = { A: 1, NS: 2, CNAME: 5, SOA: 6, PTR: 12, MX: 15, TXT: 16, AAAA: 28, SRV: 33 } as const;
export const DNS_RCODES = { NOERROR: 0, FORMERR: 1, SERVFAIL: 2, NXDOMAIN: 3, NOTIMP: 4, REFUSED: 5 } as const;

export interface DnsCheckSpec {
  readonly type: 'dns';
  readonly port: number;
  readonly name: string;
  readonly query: keyof typeof DNS_TYPES;
  readonly rcode: keyof typeof DNS_RCODES;
}

/** HTTP inside the tunnel: what the status line of the answer must say. */
export type TunnelHttpSpec = Pick<HttpCheckSpec, 'method' | 'path' | 'host' | 'status'>;

/** The whole way of a packet, the tunnel included (tunnel/): a TCP connection, a datagram and its answer, or where the service has neither, a ping. */
export interface TunnelCheckSpec {
  readonly type: 'tunnel';
  /** Inner destination: address of a service, 4 or 16 bytes; null: that of the pool's first TCP service, else of its first. */
  readonly address: Uint8Array | null;
  /** Inner destination port; null: the first port of that service. */
  readonly port: number | null;
  /** TCP: asked after the connection stands. Absent or null: the connection alone is enough. */
  readonly http?: TunnelHttpSpec | null;
  /** UDP: the datagram. Absent: one without bytes. */
  readonly send?: Uint8Array;
  /** UDP: bytes that the answer begins with. Absent or null: any answer. */
  readonly expect?: Uint8Array | null;
  /** Inner source: an address of this host, of the family of the service. Absent or null: that of the route to the worker. */
  readonly source?: Uint8Array | null;
  /** Routers behind the worker's tunnel that the packet may pass (a container's host is one). Absent: 0, the worker itself takes it. */
  readonly hops?: number;
}

/** Flap damping: going down adds 1 to a penalty, which halves every `halfLife` seconds. */
export interface DampingSpec {
  /** Seconds. */
  readonly halfLife: number;
  /** From this penalty on a backend that is good again is held down … */
  readonly suppress: number;
  /** … until the penalty is below this. */
  readonly reuse: number;
  /** Seconds that one is held at most. */
  readonly longest: number;
}

export interface HealthSpec {
  /** All must be good. */
  readonly checks: readonly CheckSpec[];
  /** Seconds between two runs of a check, and after which a run is given up. */
  readonly interval: number;
  readonly timeout: number;
  /** Good runs in a row that bring a backend up, bad ones that take it down. */
  readonly rise: number;
  readonly fall: number;
  /** Part of the interval, 0–0.5, by which each run may come early. */
  readonly jitter: number;
  /** State before the first run. */
  readonly initial: 'up' | 'down';
  /** null: none. */
  readonly damping: DampingSpec | null;
  /** Seconds in which the weight of a backend that came up grows to its full size; 0: at once. */
  readonly slowStart: number;
  /** As many backends must be good: a number of them, or percent of those that could be; null: no such rule. */
  readonly minimum: { readonly count: number } | { readonly percent: number } | null;
  /** Below the minimum: the last good set goes on, or the pool's services are not ready. */
  readonly belowMinimum: 'keep' | 'unready';
  /** What becomes of the flows of a backend that goes down. */
  readonly whenDown: 'move' | 'keep-flows';
  /** `fail`: ICMP "port unreachable" about tunnel packets counts as a bad run. */
  readonly portUnreachable: 'fail' | 'ignore';
}
