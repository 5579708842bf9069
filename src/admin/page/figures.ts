/** Numbers for people: `91,873`, `71.6 MB`, `50.00 %`. */

const GROUPED = new Intl.NumberFormat('en-US', { maximumFractionDigits: 0 });
const UNITS = ['bytes', 'kB', 'MB', 'GB', 'TB', 'PB', 'EB'];

export function grouped(count: number): string {
  return GROUPED.format(count);
}

/** Decimal units, three digits. */
export function bytesText(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 999.5 && unit < UNITS.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${unit === 0 ? value : value.toPrecision(3)} ${UNITS[unit]}`;
}

/** 0.5 → `50.00 %`. */
export function percentText(ratio: number): string {
  return `${(100 * ratio).toFixed(2)} %`;
}

/** Milliseconds since 1970 → `2026-11-23 14:02:07`, UTC. */
export function timeText(time: number): string {
  return new Date(time).toISOString().slice(0, 19).replace('T', ' ');
}
