/** What somebody asks the history, from the parameters of `GET /-/history` (docs/history.md). */
import type { Prefix } from '../base/address.ts';
import { DROP_REASONS } from '../base/drop-reason.ts';
import { CodedError, EXIT } from '../base/errors.ts';
import { parseAnyAddress, withoutHostBits } from '../config/address.ts';
import type { HistoryQuestion } from '../observe/history.ts';
import { parseMoment } from '../observe/moment.ts';

const PARAMETERS = ['at', 'last', 'window', 'client', 'service', 'backend', 'reason'];
/** Seconds. */
export const LAST_DEFAULT = 600;
export const WINDOW_DEFAULT = 60;
const MOST_SECONDS = 7 * 86_400;

/** Names that the history knows, gone ones included. */
export interface KnownNames {
  /** With the pool of each that is there now. */
  readonly services: ReadonlyMap<string, string | null>;
  /** POOL/NAME */
  readonly backends: readonly string[];
}

function refuse(message: string, hint: string): CodedError {
  return new CodedError('GD_HISTORY_QUESTION', message, { exitCode: EXIT.USAGE, hint });
}

/** `now`: milliseconds since 1970. Throws GD_HISTORY_QUESTION (exit code 2). */
export function historyQuestion(query: URLSearchParams, names: KnownNames, now: number): HistoryQuestion {
  const unknown = [...query.keys()].find((key) => !PARAMETERS.includes(key));
  if (unknown !== undefined) throw refuse(`unknown parameter "${unknown}"`, `there are ${PARAMETERS.join(', ')}`);
  const [client, service, backend, reason] = ['client', 'service', 'backend', 'reason'].map((name) => query.get(name));
  if (service !== null && !names.services.has(service)) {
    throw refuse(`there is no service "${service}", nor was one`, listed('services', [...names.services.keys()]));
  }
  if (backend !== null && !names.backends.includes(backend)) {
    throw refuse(`there is no backend "${backend}", nor was one`, listed('backends', names.backends));
  }
  const words = DROP_REASONS.slice(1).map(({ word }) => word);
  if (reason !== null && !words.includes(reason)) throw refuse(`"${reason}" is no drop reason`, listed('reasons', words));
  const pool = backend?.slice(0, backend.indexOf('/')) ?? (service === null ? null : (names.services.get(service) ?? null));
  return { ...windowOf(query, now), client, clientPrefix: clientPrefix(client), service, pool, backend, reason };
}

function windowOf(query: URLSearchParams, now: number): { from: number; to: number } {
  const at = query.get('at');
  if (at === null) {
    if (query.has('window')) throw refuse('a window without "at"', 'name when it begins: at=14:02');
    return { from: now - seconds(query, 'last', LAST_DEFAULT) * 1000, to: now };
  }
  if (query.has('last')) throw refuse('"at" or "last": one of them', 'at=14:02, or last=600');
  const from = parseMoment(at, now);
  if (from === null)
    throw refuse(`"${at}" is no time`, 'write 14:02, 14:02:10 or 2026-11-23T14:02:10, with Z or +01:00 for another time zone');
  return { from, to: from + seconds(query, 'window', WINDOW_DEFAULT) * 1000 };
}

function seconds(query: URLSearchParams, name: string, otherwise: number): number {
  const text = query.get(name);
  if (text === null) return otherwise;
  const value = /^\d{1,7}$/.test(text) ? Number(text) : 0;
  if (value >= 1 && value <= MOST_SECONDS) return value;
  throw refuse(`${name} is a number of seconds from 1 to ${MOST_SECONDS}, not "${text}"`, `${name}=600`);
}

/** An address, or a prefix, whose host bits do not matter. */
function clientPrefix(text: string | null): Prefix | null {
  if (text === null) return null;
  const example = 'write 192.0.2.7, 2001:db8::7 or 192.0.2.0/24';
  const [address, length, ...rest] = text.split('/');
  const { value, refusal } = parseAnyAddress(address);
  if (refusal !== null) throw refuse(refusal.message, example);
  const bits = length === undefined ? value.length * 8 : Number(length);
  if (rest.length > 0 || (length !== undefined && !/^\d{1,3}$/.test(length)) || bits > value.length * 8)
    throw refuse(`"${text}" is no prefix`, example);
  return { bytes: withoutHostBits(value, bits), length: bits };
}

/** `services: web, dns`, at most a line of it. */
function listed(what: string, names: readonly string[]): string {
  const most = 40;
  const shown = names.slice(0, most).join(', ');
  return `${what}: ${shown === '' ? 'none' : shown}${names.length > most ? `, and ${names.length - most} more` : ''}`;
}
