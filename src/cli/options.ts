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
