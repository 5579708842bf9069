/**
 * A JSON log line as people read it:
 *
 *     12:03:04.567 WARN  packets dropped  reason=no-backend packets=12
 *                        hint: …           (and `stack:` in full, indented, for errors)
 */
import { styleText } from 'node:util';

type Style = Parameters<typeof styleText>[0];
const STYLES: Readonly<Record<string, Style>> = { warn: 'yellow', error: 'red', fatal: 'red', debug: 'dim', trace: 'dim' };
/** Fields that are in the line already, or that nobody reads at a terminal. */
const OMITTED = new Set(['level', 'time', 'pid', 'msg', 'hint', 'stack', 'err']);

/** `line` is one JSON object as pino writes it; a line that is none is returned as it is. */
export function textLine(line: string, colour: boolean): string {
  let entry: Record<string, unknown>;
  try {
    entry = JSON.parse(line) as Record<string, unknown>;
  } catch {
    return line;
  }
  const level = String(entry.level ?? 'info');
  const paint = (text: string): string => (colour && level in STYLES ? styleText(STYLES[level], text) : text);
  const error = entry.err as { message?: string; stack?: string } | undefined;
  const fields = Object.entries(entry)
    .filter(([key]) => !OMITTED.has(key))
    .map(([key, value]) => `${key}=${fieldText(value)}`);
  const time = String(entry.time ?? '').slice(11, 23);
  const head = `${time} ${paint(level.toUpperCase().padEnd(5))} ${visible(String(entry.msg ?? ''))}`;
  const rest: string[] = [];
  const stack = (entry.stack ?? error?.stack) as string | undefined;
  if (typeof entry.hint === 'string' && entry.hint !== '') rest.push(`hint: ${entry.hint}`);
  if (stack !== undefined) rest.push(stack);
  const indent = `\n${' '.repeat(19)}`;
  const tail = rest.map((text) => indent + text.split('\n').map(visible).join(indent)).join('');
  return `${fields.length === 0 ? head : `${head}  ${fields.join(' ')}`}${tail}\n`;
}

function fieldText(value: unknown): string {
  const text = typeof value === 'string' ? value : JSON.stringify(value);
  return /^[\x21-\x7e]+$/.test(text) && !text.includes('"') ? text : JSON.stringify(value);
}

/** Control characters as escapes: a name from outside must not move the reader's cursor. */
function visible(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is being made visible
  return text.replace(/[\x00-\x1f\x7f-\x9f]/g, (c) => `\\x${c.charCodeAt(0).toString(16).padStart(2, '0')}`);
}
