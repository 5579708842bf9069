/**
 * Counters across a takeover: by name, because another version may keep them in other places; those of services and backends by id, which stays.
 */
import {
  BACKENDS_AT,
  createBank,
  DROPS_AT,
  FIXED_COUNTERS,
  MAX_BACKENDS,
  MAX_SERVICES,
  SEND_ERRORS_AT,
  SERVICES_AT,
  sumOf,
} from '../../base/counters.ts';
import { DROP_REASONS } from '../../base/drop-reason.ts';
import { SEND_ERRORS } from '../../base/send-error.ts';

/** Sums over all threads; what is zero is left out. */
export interface SavedCounters {
  readonly fixed: Readonly<Record<string, number>>;
  readonly drops: Readonly<Record<string, number>>;
  readonly sendErrors: Readonly<Record<string, number>>;
  /** [id, packets, bytes] */
  readonly services: readonly (readonly [number, number, number])[];
  readonly backends: readonly (readonly [number, number, number])[];
}

const FIXED = FIXED_COUNTERS.map(([name]) => name);
const REASONS = DROP_REASONS.map(({ word }) => word);

export function saveCounters(banks: readonly Float64Array[]): SavedCounters {
  const named = (names: readonly string[], at: number): Record<string, number> => {
    const pairs = names.map((name, i) => [name, sumOf(banks, at + i)] as const);
    return Object.fromEntries(pairs.filter(([, sum]) => sum !== 0));
  };
  const numbered = (most: number, at: number): [number, number, number][] => {
    const rows: [number, number, number][] = [];
    for (let id = 0; id < most; id++) {
      const packets = sumOf(banks, at + 2 * id);
      if (packets !== 0) rows.push([id, packets, sumOf(banks, at + 2 * id + 1)]);
    }
    return rows;
  };
  return {
    fixed: named(FIXED, 0),
    drops: named(REASONS, DROPS_AT),
    sendErrors: named(SEND_ERRORS, SEND_ERRORS_AT),
    services: numbered(MAX_SERVICES, SERVICES_AT),
    backends: numbered(MAX_BACKENDS, BACKENDS_AT),
  };
}

/** A bank that holds them. What this version has no place for is left out. */
export function restoreCounters(saved: SavedCounters): Float64Array {
  const bank = createBank();
  const named = (values: Readonly<Record<string, number>>, names: readonly string[], at: number): void => {
    names.forEach((name, i) => {
      if (values[name] !== undefined) bank[at + i] = values[name];
    });
  };
  const numbered = (rows: readonly (readonly [number, number, number])[], most: number, at: number): void => {
    for (const [id, packets, bytes] of rows) {
      if (id >= most) continue;
      bank[at + 2 * id] = packets;
      bank[at + 2 * id + 1] = bytes;
    }
  };
  named(saved.fixed, FIXED, 0);
  named(saved.drops, REASONS, DROPS_AT);
  named(saved.sendErrors, SEND_ERRORS, SEND_ERRORS_AT);
  numbered(saved.services, MAX_SERVICES, SERVICES_AT);
  numbered(saved.backends, MAX_BACKENDS, BACKENDS_AT);
  return bank;
}
