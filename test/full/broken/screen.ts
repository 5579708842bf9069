// What somebody sees of a command's output without touching a key: 24 rows of 80 columns. A longer line takes as many rows as it wraps into.

export const ROWS = 24;
export const COLUMNS = 80;

/** The lines that fit, whole ones and the beginning of the last. */
export function firstScreen(text: string): string {
  const rows: string[] = [];
  for (const line of text.trimEnd().split('\n')) {
    for (let at = 0; at === 0 || at < line.length; at += COLUMNS) {
      if (rows.length === ROWS) return rows.join('');
      rows.push(line.slice(at, at + COLUMNS) + (at + COLUMNS < line.length ? '' : '\n'));
    }
  }
  return rows.join('');
}

/** The command that `doctor` prints for a finding; null without one. `text`: its output. */
export function fixOf(text: string, id: string): string | null {
  const lines = text.split('\n');
  const at = lines.findIndex((line) => line.includes(`[${id}]`));
  return /^\s+fix: (.*)$/.exec(lines[at + 1] ?? '')?.[1] ?? null;
}
