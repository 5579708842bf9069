// Parts of a line that have nothing to do with one another, and mostly wait: labs of their own, which start, settle and end.

/** Runs these, `most` at a time, begun in order; what they come to, in order. After a failure none is begun; it is thrown when all that were begun have ended. */
export async function abreast<T>(most: number, works: readonly (() => Promise<T>)[]): Promise<T[]> {
  const results: T[] = [];
  let next = 0;
  const failures: unknown[] = [];
  const lane = async (): Promise<void> => {
    while (next < works.length && failures.length === 0) {
      const k = next++;
      try {
        results[k] = await works[k]();
      } catch (error) {
        failures.push(error);
      }
    }
  };
  await Promise.all(Array.from({ length: most }, lane));
  if (failures.length > 0) throw failures[0];
  return results;
}
