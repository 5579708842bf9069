/** Rows of text in columns, aligned by the widest cell: numbers to the right, words to the left. */

export type Alignment = 'left' | 'right';

/** `rows[0]` is the heading. No trailing spaces. */
export function columns(rows: readonly (readonly string[])[], alignment: readonly Alignment[]): string[] {
  const widths = alignment.map((_, i) => Math.max(0, ...rows.map((row) => row[i].length)));
  return rows.map((row) =>
    row
      .map((cell, i) => (alignment[i] === 'right' ? cell.padStart(widths[i]) : cell.padEnd(widths[i])))
      .join('  ')
      .trimEnd(),
  );
}

/** 0.12345 → `12.35 %`. */
export function percent(ratio: number): string {
  return `${(100 * ratio).toFixed(2)} %`;
}
