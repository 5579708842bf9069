/** What a trace may ask for. The daemon holds every request against these, whoever asks (docs/trace.md, "Bounds"). */

export interface Bound {
  readonly least: number;
  readonly usual: number;
  readonly most: number;
}

export const TRACE_BOUNDS = {
  /** Packets that are told before the trace ends by itself. */
  count: { least: 1, usual: 1000, most: 1_000_000 },
  /** Seconds after which it ends by itself. */
  seconds: { least: 1, usual: 60, most: 3600 },
  /** Packets a second: of each forwarding thread, and of all together. */
  rate: { least: 1, usual: 1000, most: 10_000 },
  /** Bytes of the client's packet that are copied; 0: its headers, no payload. Between 1 and 63 there is nothing: a header would be cut. */
  snap: { least: 64, usual: 0, most: 65_535 },
} as const satisfies Record<string, Bound>;

/** Bytes of shared memory for each forwarding thread while a trace runs. The largest record, a super-packet with its segments, has 300 KiB. */
export const RING_BYTES = 2 * 1024 * 1024;

/** Bytes that are kept when headers alone are asked for, at most: IPv6 with extension headers and TCP with options. */
export const MOST_HEADERS = 256;
