/** Rates of a running director: the difference of two looks at its counters. */
import type { Status, StatusPackets } from '../admin/status.ts';

/** A state, and when it was asked for: milliseconds of any clock that only goes forward. */
export interface Look {
  readonly at: number;
  readonly status: Status;
}

export interface Flow {
  /** A second. */
  readonly packets: number;
  readonly bits: number;
}

/** All per second. */
export interface Rates {
  /** Between the two looks. */
  readonly seconds: number;
  readonly packets: Readonly<StatusPackets>;
  readonly services: readonly ({ readonly name: string } & Flow)[];
  readonly backends: readonly ({ readonly pool: string; readonly name: string } & Flow)[];
  /** Every reason that has occurred since the director's start. */
  readonly drops: Readonly<Record<string, number>>;
}

/**
 * null when there is nothing to compare: another process answers now, and its counters began anew. What was not there at the first look has done nothing before
 * it.
 */
export function ratesBetween(before: Look, after: Look): Rates | null {
  const seconds = (after.at - before.at) / 1000;
  const [old, now] = [before.status, after.status];
  if (seconds <= 0 || old.pid !== now.pid || now.uptime < old.uptime) return null;
  // A service that was removed and added again counts from 0.
  const rate = (from: number, to: number) => Math.max(0, to - from) / seconds;
  const flow = (from: { packets: number; bytes: number } | undefined, to: { packets: number; bytes: number }): Flow => ({
    packets: rate(from?.packets ?? 0, to.packets),
    bits: 8 * rate(from?.bytes ?? 0, to.bytes),
  });
  const services = new Map(old.services.map((one) => [one.name, one]));
  const backends = new Map(old.backends.map((one) => [`${one.pool}/${one.name}`, one]));
  const { received, forwarded, replied, passed, dropped, lost } = now.packets;
  return {
    seconds,
    packets: {
      received: rate(old.packets.received, received),
      forwarded: rate(old.packets.forwarded, forwarded),
      replied: rate(old.packets.replied, replied),
      passed: rate(old.packets.passed, passed),
      dropped: rate(old.packets.dropped, dropped),
      lost: rate(old.packets.lost, lost),
    },
    services: now.services.map((one) => ({ name: one.name, ...flow(services.get(one.name), one) })),
    backends: now.backends.map((one) => ({
      pool: one.pool,
      name: one.name,
      ...flow(backends.get(`${one.pool}/${one.name}`), one),
    })),
    drops: Object.fromEntries(Object.entries(now.drops).map(([reason, count]) => [reason, rate(old.drops[reason] ?? 0, count)])),
  };
}
