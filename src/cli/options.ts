/** Options that several commands share, so that they are spelled and explained the same everywhere. */
import { InvalidArgumentError, Option } from 'commander';

export const DEFAULT_CONFIG = '/etc/gue-director/director.yaml';

export function configOption(): Option {
  return new Option('-c, --config <file>', 'configuration file').default(DEFAULT_CONFIG);
}

export function jsonOption(): Option {
  return new Option('--json', 'print JSON for programs').default(false);
}

/** A parser for option values: a whole number within [least, most]; anything else is wrong usage (exit code 2). */
export function wholeNumber(least: number, most: number): (text: string) => number {
  return (text) => {
    const value = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
    if (value >= least && value <= most) return value;
    throw new InvalidArgumentError(`It must be a whole number from ${least} to ${most}.`);
  };
}

/** The least is FLOOR4 of host/path-mtu.ts, below which the daemon believes nobody. */
const PATH_MTU = { least: 552, most: 65535, usual: 1500 };

export function pathMtuOption(): Option {
  return new Option('--path-mtu <bytes>', 'largest packet on the way to the backends, outer headers included')
    .argParser(wholeNumber(PATH_MTU.least, PATH_MTU.most))
    .default(PATH_MTU.usual);
}

const UNITS: Readonly<Record<string, number>> = { d: 86_400, h: 3600, m: 60, min: 60, s: 1, '': 1 };

/** A parser for durations: `90`, `90s`, `10m`, `2h`, `1h30m`; in seconds, at most `most`. Anything else is wrong usage (exit code 2). */
export function durationUpTo(most: number): (text: string) => number {
  return (text) => {
    const parts = [...text.matchAll(/(\d{1,9})(d|h|min|m|s|)/g)];
    const whole = text !== '' && parts.map(([part]) => part).join('') === text;
    const seconds = parts.reduce((sum, [, count, unit]) => sum + Number(count) * UNITS[unit], 0);
    if (whole && seconds <= most) return seconds;
    throw new InvalidArgumentError(`It must be a duration such as 90s, 10m or 1h30m, at most ${most / 86_400} days.`);
  };
}
