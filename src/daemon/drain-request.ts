/** What POST /-/drain may be asked for: nothing (a list), a backend, or the director itself. */

export type DrainRequest =
  | { readonly what: 'list' }
  | { readonly what: 'director'; readonly cancel: boolean /** Seconds. */; readonly stopAfter: number | null }
  | {
      readonly what: 'backend';
      readonly pool: string;
      readonly backend: string;
      readonly cancel: boolean;
      /** Seconds; null: never; absent: what is configured, or what it has already. */
      readonly deadline: number | null | undefined;
      readonly force: boolean;
    };

/** Thirty days: more is a mistake. */
export const MOST_DRAIN_SECONDS = 30 * 86_400;

const KEYS = ['director', 'backend', 'cancel', 'deadline', 'stopAfter', 'force'];

/** The request, or a sentence that says what is wrong with it. */
export function parseDrainRequest(asked: Readonly<Record<string, unknown>>): DrainRequest | { readonly refusal: string } {
  const unknown = Object.keys(asked).find((key) => !KEYS.includes(key));
  if (unknown !== undefined) return { refusal: `unknown key "${unknown}"; known are ${KEYS.join(', ')}` };
  const { director, backend, cancel = false, force = false, deadline, stopAfter = null } = asked;
  if (typeof cancel !== 'boolean' || typeof force !== 'boolean') return { refusal: 'cancel and force are true or false' };
  if (director === true && backend === undefined) {
    if (stopAfter !== null && !isSeconds(stopAfter)) return { refusal: `stopAfter is seconds, at most ${MOST_DRAIN_SECONDS}` };
    return { what: 'director', cancel, stopAfter };
  }
  if (director !== undefined) return { refusal: 'director is true, and stands without backend' };
  if (backend === undefined) return { what: 'list' };
  const [, pool, name] = typeof backend === 'string' ? (/^([^/]+)\/([^/]+)$/.exec(backend) ?? []) : [];
  if (pool === undefined || name === undefined) return { refusal: 'backend is written POOL/NAME' };
  if (deadline !== undefined && deadline !== null && !isSeconds(deadline))
    return { refusal: `deadline is seconds, at most ${MOST_DRAIN_SECONDS}, or null for never` };
  return { what: 'backend', pool, backend: name, cancel, deadline, force };
}

function isSeconds(value: unknown): value is number {
  return typeof value === 'number' && value >= 0 && value <= MOST_DRAIN_SECONDS;
}
