/**
 * `npm run bench -- segment`: cost of segmentation itself, no I/O: super-packets of the largest size, one after another from a ring of
 * 64 slots (4 MiB, as a batch leaves them), headers into one header area. Beside it, in the same round, the floor: the same
 * payload bytes summed once and nothing else, which no segmentation with right checksums can go below.
 */
import { PerformanceObserver, performance } from 'node:perf_hooks';
import { HEADROOM, LARGE_STRIDE } from '../src/base/arena.ts';
import { HEADER_STRIDE, segmentTcp, segmentUdp } from '../src/pipeline/segment.ts';
import { sum } from '../src/wire/checksum.ts';

export const name = 'segment';

const SLOTS = 64;
const HEADERS_AT = SLOTS * LARGE_STRIDE;
const MAX_RECORDS = 1024;
const OUTER = 32;

interface Case {
  readonly label: string;
  readonly family: 4 | 6;
  readonly protocol: 6 | 17;
  readonly size: number;
  /** A finished checksum, which is verified on the way. */
  readonly finished?: true;
}

const CASES: readonly Case[] = [
  { label: 'TCP IPv4, 1,448 per segment', family: 4, protocol: 6, size: 1448 },
  { label: 'TCP IPv6, 1,428 per segment', family: 6, protocol: 6, size: 1428 },
  { label: 'UDP IPv4, 1,400 per segment', family: 4, protocol: 17, size: 1400 },
  { label: 'UDP IPv6, 1,400 per segment', family: 6, protocol: 17, size: 1400 },
  { label: 'TCP IPv4, 536 per segment', family: 4, protocol: 6, size: 536 },
  { label: 'TCP IPv4, 8,948 per segment', family: 4, protocol: 6, size: 8948 },
  { label: 'TCP IPv4, 1,448, checksum verified', family: 4, protocol: 6, size: 1448, finished: true },
];

class SegmentBench {
  readonly #view: DataView;
  readonly #case: Case;
  readonly #transportAt: number;
  readonly #payloadAt: number;
  readonly #length: number;

  constructor(chosen: Case) {
    const bytes = new Uint8Array(HEADERS_AT + MAX_RECORDS * HEADER_STRIDE);
    const view = new DataView(bytes.buffer);
    const { family, protocol } = chosen;
    this.#case = chosen;
    this.#view = view;
    this.#transportAt = family === 4 ? 20 : 40;
    // TCP with timestamps, as nearly all of it is.
    this.#payloadAt = this.#transportAt + (protocol === 6 ? 32 : 8);
    const segments = Math.min(128, Math.floor((65535 - this.#payloadAt) / chosen.size));
    this.#length = this.#payloadAt + segments * chosen.size;
    for (let slot = 0; slot < SLOTS; slot++) {
      const at = slot * LARGE_STRIDE + HEADROOM;
      for (let i = 0; i < this.#length; i++) bytes[at + i] = Math.imul(i + slot, 0x9e3779b1) >>> 24;
      this.#writeHeaders(at);
    }
  }

  get segments(): number {
    return (this.#length - this.#payloadAt) / this.#case.size;
  }

  get payload(): number {
    return this.#length - this.#payloadAt;
  }

  #writeHeaders(at: number): void {
    const view = this.#view;
    const { family, protocol, finished } = this.#case;
    const transport = at + this.#transportAt;
    const length = this.#length - this.#transportAt;
    if (family === 4) {
      view.setUint16(at, 0x4500);
      view.setUint16(at + 2, this.#length);
      view.setUint16(at + 6, 0x4000);
      view.setUint16(at + 8, 0x4000 | protocol);
    } else {
      view.setUint16(at, 0x6000);
      view.setUint16(at + 4, length);
      view.setUint16(at + 6, (protocol << 8) | 64);
    }
    if (protocol === 6) {
      view.setUint16(transport + 12, 0x8018);
      view.setUint16(transport + 16, 0);
    } else {
      view.setUint16(transport + 4, length);
    }
    if (finished === undefined) return;
    const pseudo = sum(view, at + 12, 8, protocol + length);
    view.setUint16(transport + 16, ~sum(view, transport, length, pseudo));
  }

  /** ns per super-packet, segmented and merely summed, over `count` of them. */
  round(count: number): { whole: number; floor: number } {
    const { protocol, size, finished } = this.#case;
    const segment = protocol === 6 ? segmentTcp : segmentUdp;
    const view = this.#view;
    const partial = finished === undefined;
    const wanted = this.segments;
    const start = performance.now();
    for (let n = 0; n < count; n++) {
      const at = (n % SLOTS) * LARGE_STRIDE + HEADROOM;
      const end = at + this.#length;
      const made = segment(view, at, at + this.#transportAt, end, size, partial, view, HEADERS_AT, HEADER_STRIDE, OUTER);
      if (made !== wanted) throw new Error(`bench packet made ${made} segments, not ${wanted}`);
    }
    const middle = performance.now();
    let sink = 0;
    for (let n = 0; n < count; n++) {
      const at = (n % SLOTS) * LARGE_STRIDE + HEADROOM + this.#payloadAt;
      for (let k = 0; k < wanted; k++) sink ^= sum(view, at + k * size, size, 0);
    }
    const end = performance.now();
    if (sink === -1) throw new Error('unreachable: keeps the summing loop alive');
    return { whole: ((middle - start) * 1e6) / count, floor: ((end - middle) * 1e6) / count };
  }
}

function median(values: number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1];
}

/** GC events and heap growth while `count` super-packets pass, after warm-up. */
async function allocation(count: number): Promise<Record<string, string | number>> {
  const bench = new SegmentBench(CASES[0]);
  bench.round(2_000);
  let events = 0;
  const observer = new PerformanceObserver((list) => {
    events += list.getEntries().length;
  });
  await new Promise((resolve) => setTimeout(resolve, 50));
  observer.observe({ entryTypes: ['gc'] });
  const before = process.memoryUsage().heapUsed;
  bench.round(count);
  const growth = process.memoryUsage().heapUsed - before;
  await new Promise((resolve) => setTimeout(resolve, 50));
  observer.disconnect();
  return { case: 'allocation', 'super-packets': count, 'GC events': events, 'heap growth, bytes': growth };
}

export async function run(options: { quick: boolean }): Promise<{ name: string; rows: Record<string, string | number>[] }> {
  const rounds = options.quick ? 3 : 9;
  const count = options.quick ? 1_000 : 4_000;
  const rows: Record<string, string | number>[] = [];
  for (const chosen of CASES) {
    const bench = new SegmentBench(chosen);
    bench.round(count);
    const results = Array.from({ length: rounds }, () => bench.round(count));
    const whole = median(results.map((result) => result.whole));
    const floor = median(results.map((result) => result.floor));
    rows.push({
      case: chosen.label,
      segments: bench.segments,
      'ns/segment': Number((whole / bench.segments).toFixed(1)),
      'of that headers': Number(((whole - floor) / bench.segments).toFixed(1)),
      'ns/byte': Number((whole / bench.payload).toFixed(3)),
      'Gbit/s': Number(((bench.payload * 8) / whole).toFixed(1)),
    });
  }
  rows.push(await allocation(options.quick ? 5_000 : 20_000));
  return { name, rows };
}
