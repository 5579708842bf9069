/** Points in time as people write them. */

const TIME = /^(\d{1,2}):(\d{2})(?::(\d{2})(?:\.(\d{1,3}))?)?$/;
const DATE = /^(\d{4})-(\d{2})-(\d{2})[T ](\d{2}):(\d{2})(?::(\d{2})(?:\.(\d{1,3}))?)?(Z|[+-]\d{2}:\d{2})?$/;

/**
 * Milliseconds since 1970 of `14:02`, `14:02:10`, `2026-11-23T14:02:10` or `2026-11-23 14:02`, in this process's time zone unless it ends with `Z` or an offset
 * (`+01:00`). A time without a date is the last one that has been: before `now`. null when it is none of these, or no time that exists.
 */
export function parseMoment(text: string, now: number): number | null {
  const time = TIME.exec(text);
  if (time !== null) {
    const [hour, minute, second, millisecond] = numbers(time.slice(1, 5));
    const today = new Date(now);
    const on = (daysBefore: number) =>
      local(today.getFullYear(), today.getMonth() + 1, today.getDate() - daysBefore, hour, minute, second, millisecond);
    if (hour > 23 || minute > 59 || second > 59) return null;
    return on(0) <= now ? on(0) : on(1);
  }
  const date = DATE.exec(text);
  if (date === null) return null;
  const [year, month, day, hour, minute, second, millisecond] = numbers(date.slice(1, 8));
  const last = new Date(Date.UTC(year, month, 0)).getUTCDate();
  if (month < 1 || month > 12 || day < 1 || day > last || hour > 23 || minute > 59 || second > 59) return null;
  const zone = date[8];
  if (zone === undefined) return local(year, month, day, hour, minute, second, millisecond);
  const [, sign, hours, minutes] = /^([+-])(\d{2}):(\d{2})$/.exec(zone) ?? ['', '+', '0', '0'];
  const offset = (Number(hours) * 60 + Number(minutes)) * (sign === '-' ? -60_000 : 60_000);
  return Date.UTC(year, month - 1, day, hour, minute, second, millisecond) - offset;
}

/** What is missing is 0; a fraction of a second has its digits from the left. */
function numbers(parts: readonly (string | undefined)[]): number[] {
  return parts.map((part, i) => Number(i === parts.length - 1 ? (part ?? '').padEnd(3, '0') : (part ?? 0)));
}

function local(
  year: number,
  month: number,
  day: number,
  hour: number,
  minute: number,
  second: number,
  millisecond: number,
): number {
  return new Date(year, month - 1, day, hour, minute, second, millisecond).getTime();
}
