/** The state of all checks as plain data: what a reload carries over in memory, a restart in a file, a takeover in a message. */
import type { CheckStanding, StandingState } from './standing.ts';

/** Another version is not understood, and ignored. */
export const STATE_VERSION = 1;

export interface ExportedState {
  readonly version: typeof STATE_VERSION;
  /** Seconds of CLOCK_BOOTTIME; all times in here are. */
  readonly savedAt: number;
  readonly pools: readonly { readonly name: string; readonly lastGood: readonly string[] }[];
  readonly backends: readonly ExportedBackend[];
}

export interface ExportedBackend {
  readonly pool: string;
  readonly name: string;
  readonly address: string;
  /** Definition of each check of `state.checks`. */
  readonly checks: readonly string[];
  readonly state: StandingState;
}

/** What `value` (parsed JSON) says, or null when it is no such state. */
export function readExported(value: unknown): ExportedState | null {
  const { version, savedAt, pools, backends } = record(value);
  if (version !== STATE_VERSION || !isNumber(savedAt) || !Array.isArray(pools) || !Array.isArray(backends)) return null;
  const isPool = (pool: unknown) => isText(record(pool).name) && isTexts(record(pool).lastGood);
  return pools.every(isPool) && backends.every(isBackend) ? (value as ExportedState) : null;
}

function isBackend(value: unknown): boolean {
  const { pool, name, address, checks, state } = record(value);
  const standing = record(state);
  const penalty = record(standing.penalty);
  return (
    [pool, name, address].every(isText) &&
    isTexts(checks) &&
    Array.isArray(standing.checks) &&
    standing.checks.length === (checks as unknown[]).length &&
    standing.checks.every(isCheck) &&
    [standing.since, penalty.value, penalty.at].every(isNumber) &&
    [standing.up, standing.starting, standing.served, penalty.held].every(isFlag)
  );
}

function isCheck(value: unknown): value is CheckStanding {
  const { good, contrary, fresh, last } = record(value);
  if (!isFlag(good) || !isFlag(fresh) || !isNumber(contrary)) return false;
  const { ok, detail, milliseconds, at } = record(last);
  return last === null || (isFlag(ok) && isText(detail) && isNumber(milliseconds) && isNumber(at));
}

function record(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}

function isNumber(value: unknown): value is number {
  return typeof value === 'number' && Number.isFinite(value);
}

function isText(value: unknown): value is string {
  return typeof value === 'string';
}

function isTexts(value: unknown): value is string[] {
  return Array.isArray(value) && value.every(isText);
}

function isFlag(value: unknown): value is boolean {
  return typeof value === 'boolean';
}
