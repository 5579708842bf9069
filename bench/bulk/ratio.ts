// Ratios of two contenders, round by round: what the machine did to both of them cancels out.

export interface Ratio {
  readonly middle: number;
  readonly least: number;
  readonly most: number;
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const half = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}

/** Of each round's two values; null without rounds that both took part in. */
export function ratio(of: readonly number[], over: readonly number[]): Ratio | null {
  const rounds = Math.min(of.length, over.length);
  if (rounds === 0) return null;
  const ratios = Array.from({ length: rounds }, (_, i) => of[i] / over[i]);
  return { middle: median(ratios), least: Math.min(...ratios), most: Math.max(...ratios) };
}
