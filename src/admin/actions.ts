/**
 * What the unix socket can be asked to change. The HTTP face on TCP has none of it: whoever may open the socket (its mode is 0660) may
 * change the director, and nobody else.
 */

import type { LineStream } from './trace-stream.ts';

/** An answer, as JSON. `status` is that of HTTP: 200, 400 (the request is wrong), 409 (not now), 422 (refused: the body says why). */
export interface ActionAnswer {
  readonly status: number;
  readonly body: unknown;
  /** What is said from then on, in place of `body`: an answer that goes on (trace-stream.ts). */
  readonly stream?: (out: LineStream) => void;
}

/** Does what its path says; `request` is the parsed JSON body, `{}` without one. Whoever asks checks what it finds in it. */
export type Action = (request: Readonly<Record<string, unknown>>) => ActionAnswer | Promise<ActionAnswer>;

/** By path: `/-/reload`, `/-/drain`. Asked with POST. */
export type Actions = ReadonlyMap<string, Action>;

/** Bytes that a request may have. */
export const MOST_REQUEST = 65_536;
