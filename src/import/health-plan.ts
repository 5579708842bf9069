/** How the backends of a pool will be checked, and its text in the configuration (docs/health.md). */
import { lineText, type Place } from './place.ts';

/** A check that is longer stands in several lines. */
const WIDTH = 118;

export interface PlannedCheck {
  /** Keys of the check and their values as YAML, `type` first. */
  readonly keys: readonly (readonly [key: string, value: string])[];
  readonly at: Place;
}

export interface PlannedHealth {
  /** At least one. */
  readonly checks: readonly PlannedCheck[];
  /** Seconds. */
  readonly interval: number;
  readonly timeout: number;
  readonly fall: number;
  readonly initial: 'up' | 'down';
  /** How many backends must be good; null: no such rule. */
  readonly minimum: number | null;
}

/** `type: http, port: 80, path: /health`: what a check asks, without its place. */
export function checkText({ keys }: PlannedCheck): string {
  return keys.map(([key, value]) => `${key}: ${value}`).join(', ');
}

/** The key `health` of a pool, at the indentation of a pool's keys; `withPlaces`: where each check comes from. */
export function healthLines({ checks, interval, timeout, fall, initial, minimum }: PlannedHealth, withPlaces: boolean): string[] {
  const lines = ['    health:', '      checks:'];
  for (const check of checks) {
    const place = withPlaces ? ` # ${lineText(check.at)}` : '';
    const [[type, word], ...rest] = check.keys;
    const line = `        - { ${checkText(check)} }`;
    if (line.length <= WIDTH) lines.push(`${line}${place}`);
    else lines.push(`        - ${type}: ${word}${place}`, ...rest.map(([key, value]) => `          ${key}: ${value}`));
  }
  lines.push(`      interval: ${interval}`, `      timeout: ${timeout}`);
  lines.push('      rise: 1', `      fall: ${fall}`);
  if (initial !== 'up') lines.push(`      initial: ${initial}`);
  lines.push('      damping: off # keepalived has none; without this line a backend that flaps is held down for a time');
  if (minimum !== null) lines.push(`      minimum-healthy: ${minimum}`, '      below-minimum: unready');
  return lines;
}
