/** Times of a history as people of this process's time zone read them; all take ISO 8601. */

const two = (value: number) => String(value).padStart(2, '0');

/** `14:02:03`, with milliseconds `14:02:03.117`. */
export function clock(time: string, withMilliseconds = false): string {
  const at = new Date(time);
  const text = [at.getHours(), at.getMinutes(), at.getSeconds()].map(two).join(':');
  return withMilliseconds ? `${text}.${String(at.getMilliseconds()).padStart(3, '0')}` : text;
}

export function date(time: string): string {
  const at = new Date(time);
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
}

/** With the date where it is not that of `beside`. */
export function moment(time: string, beside: string): string {
  return date(time) === date(beside) ? clock(time) : `${date(time)} ${clock(time)}`;
}

/** Seconds are counted at full ones, or a millisecond before: cut off, that would be a second early. */
export function fullSecond(time: string): string {
  return new Date(Math.round(Date.parse(time) / 1000) * 1000).toISOString();
}
