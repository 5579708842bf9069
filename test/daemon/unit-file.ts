// deploy/systemd/gue-director.service as its settings.

import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';

export const UNIT = resolve(import.meta.dirname, '../../deploy/systemd/gue-director.service');

/** Every `Name=value` in order. */
export const settings: readonly (readonly [string, string])[] = readFileSync(UNIT, 'utf8')
  .split('\n')
  .filter((line) => /^[A-Z]\w+=/.test(line))
  .map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]);

/** The values of one setting. */
export function setting(name: string): string[] {
  return settings.filter(([key]) => key === name).map(([, value]) => value);
}
