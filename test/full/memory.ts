// The director's memory while it carries bulk traffic: its resident set, read once a second after a warm-up, stays where it is.

import { readFileSync } from 'node:fs';
import { iperf } from './iperf.ts';
import type { Line, Outcome, Scale } from './line.ts';
import { dropped, IPERF_PORT, SIZE_REASONS, Stage, text } from './stage.ts';

interface Sizes {
  /** Sent before the first look: buffers are touched for the first time, and hot functions are compiled. */
  readonly warmUp: number;
  /** The first look is not before: some eight seconds after its start V8 gives back what starting took, a sixth of the whole. */
  readonly warmUpMs: number;
  readonly bytes: number;
  readonly everyMs: number;
}

/** Half of it by IPv4, half by IPv6. */
const SIZES: Readonly<Record<Scale, Sizes>> = {
  full: { warmUp: 2e9, warmUpMs: 15_000, bytes: 20e9, everyMs: 1000 },
  scaled: { warmUp: 0.4e9, warmUpMs: 0, bytes: 1e9, everyMs: 100 },
};
/** Largest distance of any reading from the first. */
const TOLERANCE = 0.05;

/** Resident bytes of a process (proc(5): VmRSS). */
function resident(pid: number): number {
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) * 1024;
}

const megabytes = (bytes: number) => (bytes / 1e6).toFixed(1);

async function run(scale: Scale): Promise<Outcome> {
  const { warmUp, warmUpMs, bytes, everyMs } = SIZES[scale];
  // Links of 1,500: super-packets come in and are cut smaller than they were, which is most of what the director can do to a packet.
  const stage = await Stage.open({ insideMtu: 1500, egress: '{ driver: udp }' });
  try {
    const { client, vip4, vip6 } = stage.lab;
    const upload = async (size: number) => {
      let arrived = 0;
      for (const address of [vip4, vip6]) {
        arrived += (await iperf(client, { address, port: IPERF_PORT, bytes: size / 2, direction: 'up' })).bytes;
      }
      return arrived;
    };
    const opened = performance.now();
    let warmed = 0;
    do {
      await upload(warmUp);
      warmed += warmUp;
    } while (performance.now() - opened < warmUpMs);
    const readings = [resident(stage.director.pid)];
    const timer = setInterval(() => readings.push(resident(stage.director.pid)), everyMs);
    const started = performance.now();
    const arrived = await upload(bytes).finally(() => clearInterval(timer));
    const seconds = (performance.now() - started) / 1000;
    readings.push(resident(stage.director.pid));
    const counters = await stage.counters();
    const lost = dropped(counters, SIZE_REASONS);
    const forwarded = counters.get('gue_director_forwarded_bytes_total') ?? 0;
    const [first, least, most, last] = [readings[0], Math.min(...readings), Math.max(...readings), readings[readings.length - 1]];
    // So short a run may lie around the moment of giving back: then only growth is judged.
    const shrunk = scale === 'full' && least < first * (1 - TOLERANCE);
    const flat = !shrunk && most <= first * (1 + TOLERANCE);
    return {
      passed: flat && lost.size === 0 && forwarded >= bytes + warmed && readings.length >= 5,
      figures: {
        'bytes uploaded': bytes,
        'bytes at the worker': arrived,
        'after a warm-up of': warmed,
        'bytes that left the director, outer headers included': forwarded,
        'Gbit/s': ((bytes * 8) / seconds / 1e9).toFixed(2),
        'readings of VmRSS': `${readings.length}, one every ${everyMs} ms`,
        'first, MB': megabytes(first),
        'least, MB': `${megabytes(least)} (${((least / first - 1) * 100).toFixed(1)} %)`,
        'most, MB': `${megabytes(most)} (+${((most / first - 1) * 100).toFixed(1)} %)`,
        'last, MB': megabytes(last),
        'lost for size': text(lost),
      },
    };
  } finally {
    await stage.close();
  }
}

export const memory: Line = {
  name: 'memory',
  claim: 'While 20 GB of TCP uploads pass the director, its resident memory stays within 5 % of what it was after the warm-up.',
  twin: 'test/full/memory.test.ts',
  run,
};
